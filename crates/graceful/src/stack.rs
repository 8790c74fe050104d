//! The stack, in one place, in its order.

mod answers;
mod body_limit;
mod refusals;
mod route;
mod router;

use std::net::SocketAddr;

use axum::{Router, extract::ConnectInfo};
use graceful_access_log::AccessLogLayer;
use graceful_concurrency_limit::ConcurrencyLimitLayer;
use graceful_connection::HttpService;
use graceful_recovery::RecoveryLayer;
use graceful_request_logger::{IdFormat, RequestLoggerLayer};
use graceful_timeout::TimeoutLayer;
use http::Extensions;
use tower::ServiceBuilder;

pub(crate) use self::refusals::Refusals;
use self::{answers::Answers, body_limit::BodyLimit, route::Routes, router::RouterService};
use crate::{Config, RequestIdFormat, logging};

/// Puts the layers around the finished router, outermost first.
///
/// - The id and the span come first: every line that follows is inside them.
/// - The access record comes before everything that may answer, so that it sees those answers too.
/// - Recovery stands outside what may panic, the layers below it included.
/// - A request waits for its place before its handler's time begins.
/// - The handler's clock starts when the handler does.
///
/// Around the router, not in it: a `Router::layer` costs a boxed clone and 4 to 6 allocations for each request. Only the
/// name of the route cannot be seen from here: see [`Routes`].
pub(crate) fn stack(router: Router, config: &Config) -> impl HttpService + Sync + use<> {
    let answers = Answers::of(config);
    let format = match config.request_id {
        RequestIdFormat::V4 => IdFormat::V4,
        RequestIdFormat::V7 => IdFormat::V7,
    };
    let limit = ConcurrencyLimitLayer::new(config.max_in_flight.unwrap_or(usize::MAX))
        .max_queue(config.max_queue)
        .max_wait(config.queue_wait)
        .answer(answers);
    let timeout = TimeoutLayer::new(config.handler_timeout.filter(|limit| !limit.is_zero())).answer(answers);
    ServiceBuilder::new()
        .layer(RequestLoggerLayer::new().id_format(format))
        // The span outside is entered for drops too, so the record need not hold on to it.
        .layer(AccessLogLayer::new().peer(peer).capture_span(false).writer(logging::write_access))
        .layer(RecoveryLayer::new().answer(answers))
        .layer(limit)
        .layer(timeout)
        .service(RouterService::new(finish(router, config), BodyLimit::of(config)))
}

/// A router of our own, without the stack.
pub(crate) fn plain(router: Router) -> impl HttpService + Sync + use<> {
    RouterService::new(Routes::new(router.with_state(()), false), None)
}

fn finish(router: Router, config: &Config) -> Routes {
    // `with_state` as `axum::serve` does: without it, every request makes its route anew, from a handler and its layers.
    Routes::new(router.with_state(()), config.route_names)
}

fn peer(extensions: &Extensions) -> Option<SocketAddr> {
    extensions.get::<ConnectInfo<SocketAddr>>().map(|peer| peer.0)
}
