//! The name of the route that a request takes, for those who stand around the router and cannot see it: the access log,
//! and the connection, for a shutdown that has to name the request.

mod known;

use std::{
    sync::{Arc, OnceLock},
    task::{Context, Poll},
};

use axum::{Router, extract::MatchedPath};
use graceful_access_log::tell_route;
use graceful_connection::ConnectionControl;
use http::{Extensions, Request};
use tower_layer::Layer;
use tower_service::Service;

use self::known::KnownPaths;

/// A router, and where names are wanted a second one, which tells them.
///
/// Only a layer on each route learns what axum has chosen, and axum takes 1,100 instructions and three allocations for
/// one. Most routes have no parameters: the first request for one of them goes to the router with the layers, and the
/// others, whose name is their path, to the one without.
#[derive(Clone, Debug)]
pub(super) struct Routes {
    plain: Router,
    telling: Option<Telling>,
}

#[derive(Clone, Debug)]
struct Telling {
    router: Router,
    known: Arc<KnownPaths>,
}

impl Routes {
    /// `router` has its state, so that its services are made already, and the same ones in both.
    pub(super) fn new(router: Router, tell: bool) -> Self {
        // axum panics on a route layer without routes.
        let telling = (tell && router.has_routes()).then(|| {
            let known = Arc::new(KnownPaths::new());
            Telling { router: router.clone().route_layer(TellRouteLayer { known: Arc::clone(&known) }), known }
        });
        Self { plain: router, telling }
    }

    /// The one that is to have this request.
    #[inline]
    pub(super) fn router_for<B>(&mut self, request: &Request<B>) -> &mut Router {
        let Some(Telling { router, known }) = &mut self.telling else { return &mut self.plain };
        let Some(name) = known.get(request.uri().path()) else { return router };
        tell(request.extensions(), name);
        &mut self.plain
    }
}

fn tell(extensions: &Extensions, name: &Arc<str>) {
    if let Some(control) = extensions.get::<ConnectionControl>() {
        control.set_route(name);
    }
    tell_route(Arc::clone(name));
}

#[derive(Clone, Debug)]
struct TellRouteLayer {
    known: Arc<KnownPaths>,
}

impl<S> Layer<S> for TellRouteLayer {
    type Service = TellRoute<S>;

    fn layer(&self, inner: S) -> TellRoute<S> {
        TellRoute { inner, name: Arc::default(), known: Arc::clone(&self.known) }
    }
}

#[derive(Clone, Debug)]
struct TellRoute<S> {
    inner: S,
    /// The name, from the first request: a route has one, so that it need not be copied for each.
    name: Arc<OnceLock<Arc<str>>>,
    known: Arc<KnownPaths>,
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
            tell(extensions, &name);
            if *name == *request.uri().path() {
                self.known.add(&name);
            }
        }
        self.inner.call(request)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering::SeqCst},
    };

    use axum::{body::Body, routing::get};
    use graceful_access_log::{AccessLogLayer, Record};
    use graceful_json_log::{JsonSubscriber, LogConfig};
    use http::StatusCode;
    use tower::{ServiceBuilder, ServiceExt, layer::layer_fn};

    use super::*;
    use crate::{Config, stack::router::RouterService};

    /// The names that the access log heard, a request after the other.
    async fn names(router: Router, requests: &[(&str, &str)]) -> Vec<Option<String>> {
        let subscriber = JsonSubscriber::new(LogConfig::new().open().expect("standard output"));
        // The filter is only asked where somebody listens. What it has seen is not written.
        let _listens = tracing::subscriber::set_default(subscriber);
        let heard = Arc::new(Mutex::new(Vec::new()));
        let log = AccessLogLayer::new().filter({
            let heard = Arc::clone(&heard);
            move |record: &Record| {
                heard.lock().expect("no test panics with it").push(record.route().map(str::to_owned));
                false
            }
        });
        let service = ServiceBuilder::new().layer(log).service(RouterService::new(Routes::new(router, true), None));
        for (method, path) in requests {
            let request = Request::builder().method(*method).uri(*path).body(Body::empty()).expect("a good request");
            service.clone().oneshot(request).await.expect("a router does not fail");
        }
        drop(service);
        std::mem::take(&mut *heard.lock().expect("no test panics with it"))
    }

    #[tokio::test]
    async fn a_request_has_the_name_of_its_route_the_first_time_and_later() {
        let things = Router::new().route("/", get(|| async {})).route("/{id}", get(|| async {}));
        let router = Router::new()
            .route("/", get(|| async {}))
            .route("/users/me", get(|| async {}))
            .route("/users/{id}", get(|| async {}))
            .route("/files/{*rest}", get(|| async {}))
            .nest("/v1/things", things)
            .fallback_service(Router::new().route("/elsewhere", get(|| async {})));
        let cases = [
            ("GET", "/", Some("/")),
            ("GET", "/users/me", Some("/users/me")),
            ("GET", "/users/me?as=root", Some("/users/me")),
            ("HEAD", "/users/me", Some("/users/me")),
            // Not allowed, but a route all the same.
            ("POST", "/users/me", Some("/users/me")),
            ("GET", "/users/7", Some("/users/{id}")),
            ("GET", "/users/{id}", Some("/users/{id}")),
            ("GET", "/users/me2", Some("/users/{id}")),
            ("GET", "/files/a/b", Some("/files/{*rest}")),
            ("GET", "/v1/things", Some("/v1/things")),
            ("GET", "/v1/things/9", Some("/v1/things/{id}")),
            ("GET", "/elsewhere", None),
            ("GET", "/nowhere", None),
        ];
        let requests: Vec<_> = cases.iter().flat_map(|(method, path, _)| [(*method, *path); 3]).collect();
        let names = names(router, &requests).await;
        for ((method, path, name), heard) in cases.iter().zip(names.chunks(3)) {
            for (time, heard) in heard.iter().enumerate() {
                assert_eq!(heard.as_deref(), *name, "{method} {path}, time {time}");
            }
        }
    }

    #[tokio::test]
    async fn only_the_first_request_for_a_path_goes_through_the_layer_on_its_route() {
        let mut routes =
            Routes::new(Router::new().route("/a", get(|| async {})).route("/b/{id}", get(|| async {})), true);
        for (path, later_plain) in [("/a", true), ("/b/1", false), ("/none", false)] {
            for time in 0..3 {
                let request = Request::builder().uri(path).body(Body::empty()).expect("a good request");
                let telling = routes.telling.as_ref().expect("names are wanted");
                let is_known = telling.known.get(path).is_some();
                assert_eq!(is_known, later_plain && time > 0, "{path}, time {time}");
                let response = routes.router_for(&request).clone().oneshot(request).await;
                let status = response.expect("a router does not fail").status();
                assert_eq!(status == StatusCode::OK, path != "/none");
            }
        }
    }

    #[tokio::test]
    async fn a_layer_of_the_users_is_applied_as_often_as_without_names() {
        let applied = Arc::new(AtomicUsize::new(0));
        let layer = layer_fn({
            let applied = Arc::clone(&applied);
            move |inner: axum::routing::Route| {
                applied.fetch_add(1, SeqCst);
                inner
            }
        });
        let router = Router::new().route("/", get(|| async {})).layer(layer);
        applied.store(0, SeqCst);
        let mut times = [false, true].map(|route_names| {
            let config = Config { route_names, ..Config::default() };
            let routes = crate::stack::finish(router.clone(), &config);
            (applied.swap(0, SeqCst), routes)
        });
        let [(without, _), (with, routes)] = &mut times;
        assert_eq!((*with, *without), (1, 1), "a limit in it would be two limits");
        for _ in 0..2 {
            let request = Request::get("/").body(Body::empty()).expect("a good request");
            let response = routes.router_for(&request).clone().oneshot(request).await;
            assert_eq!(response.expect("a router does not fail").status(), StatusCode::OK);
        }
        assert_eq!(applied.load(SeqCst), 0, "nor a new one for a request");
    }
}
