//! The stack that people put together from tower-http and tracing-subscriber.

use std::time::Duration;

use axum::{BoxError, Router, error_handling::HandleErrorLayer};
use http::{Request, Response, StatusCode};
use tower::{ServiceBuilder, limit::GlobalConcurrencyLimitLayer, load_shed::LoadShedLayer};
use tower_http::{
    catch_panic::CatchPanicLayer,
    request_id::{MakeRequestUuid, PropagateRequestIdLayer, RequestId, SetRequestIdLayer},
    timeout::TimeoutLayer,
    trace::TraceLayer,
};
use tracing::Span;

use crate::Options;

/// JSON lines to standard output, at `info`.
pub(crate) fn init_logging() {
    tracing_subscriber::fmt()
        .json()
        .flatten_event(true)
        .with_current_span(true)
        .with_span_list(false)
        .with_max_level(tracing::Level::INFO)
        .init();
}

/// The features of ours as far as they are on the shelf, with the same limits.
pub(crate) fn stack(router: Router, options: Options) -> Router {
    router.layer(
        ServiceBuilder::new()
            .layer(SetRequestIdLayer::x_request_id(MakeRequestUuid))
            .layer(
                TraceLayer::new_for_http()
                    .make_span_with(request_span)
                    .on_request(())
                    .on_response(access_line)
                    .on_body_chunk(())
                    .on_eos(()),
            )
            .layer(PropagateRequestIdLayer::x_request_id())
            .layer(CatchPanicLayer::new())
            .layer(HandleErrorLayer::new(busy))
            .layer(LoadShedLayer::new())
            .layer(GlobalConcurrencyLimitLayer::new(options.max_in_flight))
            .layer(TimeoutLayer::with_status_code(StatusCode::SERVICE_UNAVAILABLE, Duration::from_secs(30))),
    )
}

/// The span with what a line needs to be found by.
pub fn request_span<B>(request: &Request<B>) -> Span {
    let id = request.extensions().get::<RequestId>().and_then(|id| id.header_value().to_str().ok()).unwrap_or_default();
    tracing::info_span!("request", method = %request.method(), path = request.uri().path(), request_id = id)
}

/// The line, once the head of the response is there: tower-http has no hook for a body's last byte that is always called.
pub fn access_line<B: http_body::Body>(response: &Response<B>, latency: Duration, _: &Span) {
    tracing::info!(
        status = response.status().as_u16(),
        duration_ms = u64::try_from(latency.as_millis()).unwrap_or(u64::MAX),
        bytes = response.body().size_hint().exact().unwrap_or(0),
        "access"
    );
}

async fn busy(_: BoxError) -> (StatusCode, &'static str) {
    (StatusCode::SERVICE_UNAVAILABLE, "server busy")
}
