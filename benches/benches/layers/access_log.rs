//! One line a request: ours at its true end and with some fourteen fields, tower-http's at the head and with three.

use benches::{access_line, request_span};
use divan::Bencher;
use graceful_access_log::AccessLogLayer;
use tower::Layer;
use tower_http::trace::TraceLayer;

use crate::{
    bare::{Bare, READY, bench},
    logging,
};

macro_rules! trace_layer {
    () => {
        TraceLayer::new_for_http()
            .make_span_with(request_span::<_>)
            .on_request(())
            .on_response(access_line::<_>)
            .on_body_chunk(())
            .on_eos(())
            .layer(READY)
    };
}

fn graceful() -> graceful_access_log::AccessLog<Bare> {
    AccessLogLayer::new().layer(READY)
}

#[divan::bench_group]
mod off {
    use super::*;

    #[divan::bench]
    fn graceful(bencher: Bencher<'_, '_>) {
        logging::off();
        bench(bencher, super::graceful());
    }

    #[divan::bench]
    fn tower_http(bencher: Bencher<'_, '_>) {
        logging::off();
        bench(bencher, trace_layer!());
    }
}

#[divan::bench_group]
mod noop {
    use super::*;

    #[divan::bench]
    fn graceful(bencher: Bencher<'_, '_>) {
        let _guard = logging::noop();
        bench(bencher, super::graceful());
    }

    #[divan::bench]
    fn tower_http(bencher: Bencher<'_, '_>) {
        let _guard = logging::noop();
        bench(bencher, trace_layer!());
    }
}

#[divan::bench_group]
mod json {
    use super::*;

    #[divan::bench]
    fn graceful(bencher: Bencher<'_, '_>) {
        let _guard = logging::json();
        bench(bencher, super::graceful());
    }

    #[divan::bench]
    fn tower_http(bencher: Bencher<'_, '_>) {
        let _guard = logging::json();
        bench(bencher, trace_layer!());
    }
}
