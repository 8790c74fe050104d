use std::{cell::Cell, sync::Arc};

use crate::entry::Shared;

/// Tells the access log around the running code which route the request took, for example `/users/{id}`, and costs no
/// allocation. The first call counts; without an access log around it does nothing.
///
/// It is heard wherever the access log calls or polls its service: in the router, its layers and the handler, but not in
/// tasks and threads that those spawn. For these there is the [`MatchedRoute`].
///
/// The name goes into the log whole: it should be the program's own, not what the client sent.
///
/// # Examples
///
/// On axum, in a route layer:
///
/// ```
/// use axum::{Router, extract::{MatchedPath, Request}, middleware::{Next, from_fn}, response::Response, routing::get};
/// use graceful_access_log::{AccessLogLayer, tell_route};
/// use tower::Layer;
///
/// async fn tell(request: Request, next: Next) -> Response {
///     if let Some(path) = request.extensions().get::<MatchedPath>() {
///         tell_route(path.as_str());
///     }
///     next.run(request).await
/// }
///
/// let router: Router = Router::new().route("/users/{id}", get(async || "a user")).route_layer(from_fn(tell));
/// let app = AccessLogLayer::new().layer(router);
/// ```
pub fn tell_route(route: impl Into<Arc<str>>) {
    let _ = TOLD.try_with(|told| {
        told.set(match told.take() {
            Told::Listening => Told::Route(route.into()),
            nobody_or_known => nobody_or_known,
        });
    });
}

/// What the innermost access log that runs on this thread has been told.
#[derive(Debug, Default)]
enum Told {
    #[default]
    Nobody,
    Listening,
    Route(Arc<str>),
}

thread_local! {
    static TOLD: Cell<Told> = const { Cell::new(Told::Nobody) };
}

/// Listens to [`tell_route`] as long as it lives, also if what runs meanwhile panics.
pub(crate) struct Listener<'a> {
    route: &'a mut Option<Arc<str>>,
    outside: Told,
}

impl<'a> Listener<'a> {
    pub(crate) fn new(route: &'a mut Option<Arc<str>>) -> Self {
        let outside = TOLD.try_with(|told| told.replace(Told::Listening)).unwrap_or_default();
        Self { route, outside }
    }
}

impl Drop for Listener<'_> {
    fn drop(&mut self) {
        let _ = TOLD.try_with(|told| {
            let outside = std::mem::take(&mut self.outside);
            let outside_listens = matches!(outside, Told::Listening);
            let Told::Route(route) = told.replace(outside) else { return };
            // An access log further out has not heard it.
            if outside_listens {
                told.set(Told::Route(Arc::clone(&route)));
            }
            self.route.get_or_insert(route);
        });
    }
}

/// A cell in the extensions of a request, in which a router leaves the name of the route that it chose.
///
/// Where the access log stands around the whole router, it cannot see what goes on inside. [`tell_route`] is the way to
/// tell it; where the router runs in another task than the access log, this cell is, which
/// [`route_cell`](crate::AccessLogLayer::route_cell) sends along, and whose value is logged as `route`. A clone is the
/// same cell.
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
