//! The id, its echo, and the span. tower-http's id layers open no span: the row of `log_line` has both.

use divan::Bencher;
use graceful_request_logger::RequestLoggerLayer;
use tower::{Layer, ServiceBuilder};
use tower_http::request_id::{MakeRequestUuid, PropagateRequestIdLayer, SetRequestIdLayer};

use crate::{
    bare::{READY, bench},
    logging,
};

#[divan::bench]
fn graceful_off(bencher: Bencher<'_, '_>) {
    logging::off();
    bench(bencher, RequestLoggerLayer::new().layer(READY));
}

#[divan::bench]
fn graceful_noop(bencher: Bencher<'_, '_>) {
    let _guard = logging::noop();
    bench(bencher, RequestLoggerLayer::new().layer(READY));
}

#[divan::bench]
fn graceful_json(bencher: Bencher<'_, '_>) {
    let _guard = logging::json();
    bench(bencher, RequestLoggerLayer::new().layer(READY));
}

#[divan::bench]
fn tower_http(bencher: Bencher<'_, '_>) {
    logging::off();
    let service = ServiceBuilder::new()
        .layer(SetRequestIdLayer::x_request_id(MakeRequestUuid))
        .layer(PropagateRequestIdLayer::x_request_id())
        .service(READY);
    bench(bencher, service);
}
