use std::sync::Arc;

use crate::entry::Shared;

/// A cell in the extensions of a request, in which a router leaves the name of the route that it chose.
///
/// Where the access log stands around the whole router, it cannot see what goes on inside. So, with
/// [`route_cell`](crate::AccessLogLayer::route_cell), it sends this cell along, whose value is logged as `route`. A
/// clone is the same cell.
///
/// # Examples
///
/// On axum a route layer fills it:
///
/// ```
/// use axum::{Router, extract::{MatchedPath, Request}, middleware::{Next, from_fn}, response::Response, routing::get};
/// use graceful_access_log::{AccessLogLayer, MatchedRoute};
/// use tower::Layer;
///
/// async fn tell_route(request: Request, next: Next) -> Response {
///     let extensions = request.extensions();
///     if let (Some(route), Some(path)) = (extensions.get::<MatchedRoute>(), extensions.get::<MatchedPath>()) {
///         route.set(path.as_str());
///     }
///     next.run(request).await
/// }
///
/// let router: Router = Router::new()
///     .route("/users/{id}", get(async || "a user"))
///     .route_layer(from_fn(tell_route));
/// let app = AccessLogLayer::new().route_cell(true).layer(router);
/// ```
#[derive(Clone, Debug, Default)]
pub struct MatchedRoute {
    shared: Arc<Shared>,
}

impl MatchedRoute {
    pub(crate) const fn of(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// Says which route the request took, for example `/users/{id}`. The first call counts.
    ///
    /// An `Arc<str>` is taken as it is, any other string is copied. The name goes into the log whole: it should be the
    /// program's own, not what the client sent.
    pub fn set(&self, route: impl Into<Arc<str>>) {
        self.shared.route.get_or_init(|| route.into());
    }

    /// The route, if it is known yet.
    #[must_use]
    pub fn get(&self) -> Option<&str> {
        self.shared.route()
    }
}
