//! Id, span and line together, which is what a request's line in the log costs: through `graceful-json-log`, and through
//! the JSON of tracing-subscriber.

use benches::{access_line, request_span};
use divan::Bencher;
use graceful_access_log::AccessLogLayer;
use graceful_request_logger::RequestLoggerLayer;
use tower::ServiceBuilder;
use tower_http::{
    request_id::{MakeRequestUuid, PropagateRequestIdLayer, SetRequestIdLayer},
    trace::TraceLayer,
};

use crate::{
    bare::{READY, bench},
    logging,
};

#[divan::bench]
fn graceful_json_log(bencher: Bencher<'_, '_>) {
    let _guard = logging::json_log();
    graceful(bencher);
}

#[divan::bench]
fn graceful_json(bencher: Bencher<'_, '_>) {
    let _guard = logging::json();
    graceful(bencher);
}

fn graceful(bencher: Bencher<'_, '_>) {
    let service = ServiceBuilder::new()
        .layer(RequestLoggerLayer::new())
        .layer(AccessLogLayer::new().capture_span(false))
        .service(READY);
    bench(bencher, service);
}

#[divan::bench]
fn tower_http_json(bencher: Bencher<'_, '_>) {
    let _guard = logging::json();
    let service = ServiceBuilder::new()
        .layer(SetRequestIdLayer::x_request_id(MakeRequestUuid))
        .layer(
            TraceLayer::new_for_http()
                .make_span_with(request_span::<_>)
                .on_request(())
                .on_response(access_line::<_>)
                .on_body_chunk(())
                .on_eos(()),
        )
        .layer(PropagateRequestIdLayer::x_request_id())
        .service(READY);
    bench(bencher, service);
}
