use std::{
    sync::{Arc, OnceLock},
    task::{Context, Poll},
};

use axum::extract::MatchedPath;
use graceful_access_log::tell_route;
use graceful_connection::ConnectionControl;
use http::Request;
use tower_layer::Layer;
use tower_service::Service;

/// Passes the name of the matched route out to the access log, which stands around the router and cannot see it, and to
/// the connection, for a shutdown that has to name the request.
#[derive(Clone, Debug)]
pub(super) struct TellRouteLayer;

impl<S> Layer<S> for TellRouteLayer {
    type Service = TellRoute<S>;

    fn layer(&self, inner: S) -> TellRoute<S> {
        TellRoute { inner, name: Arc::default() }
    }
}

#[derive(Clone, Debug)]
pub(super) struct TellRoute<S> {
    inner: S,
    /// The name, from the first request: a route has one, so that it need not be copied for each.
    name: Arc<OnceLock<Arc<str>>>,
}

impl<S> TellRoute<S> {
    fn name(&self, path: &MatchedPath) -> Arc<str> {
        let name = self.name.get_or_init(|| path.as_str().into());
        // Another one, where the router stands in several places of the same outer one.
        if **name == *path.as_str() { Arc::clone(name) } else { path.as_str().into() }
    }
}

impl<S, B> Service<Request<B>> for TellRoute<S>
where
    S: Service<Request<B>>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> S::Future {
        let extensions = request.extensions();
        if let Some(path) = extensions.get::<MatchedPath>() {
            let name = self.name(path);
            if let Some(control) = extensions.get::<ConnectionControl>() {
                control.set_route(&name);
            }
            tell_route(name);
        }
        self.inner.call(request)
    }
}
