//! The contracts of tower and of the language.

use std::{
    convert::Infallible,
    future::{Ready, ready},
    panic::{RefUnwindSafe, UnwindSafe},
    task::{Context, Poll},
    time::Duration,
};

use axum::{Router, routing::get as route};
use bytes::Bytes;
use futures_util::{FutureExt, poll};
use graceful_answer::PlainText;
use graceful_concurrency_limit::{
    ConcurrencyLimit, ConcurrencyLimitLayer, Limit, Overloaded, Reason, ResponseBody, ResponseFuture, Stats,
};
use http::{Request, Response};
use http_body_util::{Empty, Full};
use tower::{Layer, Service};
use tower_test::mock;

use crate::support::get;

/// Ready once it was polled, and for one call; a clone starts anew.
#[derive(Debug, Default)]
struct OnceReady {
    ready: bool,
}

impl Clone for OnceReady {
    fn clone(&self) -> Self {
        Self { ready: false }
    }
}

impl<B> Service<Request<B>> for OnceReady {
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.ready = true;
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<B>) -> Self::Future {
        assert!(self.ready, "only the service that was polled ready is called");
        self.ready = false;
        ready(Ok(Response::default()))
    }
}

#[tokio::test]
async fn the_service_that_was_polled_ready_is_the_one_that_is_called() {
    let layer = ConcurrencyLimitLayer::new(1).max_wait(Duration::MAX);
    let mut service = layer.layer(OnceReady::default());
    let cx = &mut Context::from_waker(std::task::Waker::noop());
    let poll_ready = |service: &mut _, cx: &mut _| {
        let poll: Poll<Result<(), Infallible>> = Service::<Request<Empty<Bytes>>>::poll_ready(service, cx);
        assert!(poll.is_ready());
    };

    poll_ready(&mut service, cx);
    let inside = service.call(get("/")).now_or_never().expect("ready").expect("infallible");
    poll_ready(&mut service, cx);
    let mut waits = Box::pin(service.call(get("/")));
    assert!(poll!(&mut waits).is_pending());
    assert!(!service.get_ref().ready, "what stays behind is the clone");
    drop(inside);
    assert_eq!(waits.await.expect("infallible").status(), 200);
}

#[tokio::test]
async fn readiness_is_the_inner_services_and_takes_no_place() {
    let layer = ConcurrencyLimitLayer::new(1);
    let (mut service, mut handle) = mock::spawn_layer::<Request<Empty<Bytes>>, Response<Full<Bytes>>, _>(layer.clone());
    handle.allow(0);
    assert!(service.poll_ready().is_pending(), "not ready, as the inner service");
    handle.allow(2);
    assert!(service.poll_ready().is_ready());
    assert_eq!(layer.limit().stats().in_flight, 0, "an idle service starves nobody");

    let first = tokio::spawn(service.call(get("/first")));
    let (request, respond) = handle.next_request().await.expect("the request");
    assert_eq!(request.uri().path(), "/first");
    respond.send_response(Response::default());
    assert_eq!(first.await.expect("no panic").expect("no error").status(), 200);

    handle.send_error("closed");
    assert!(matches!(service.poll_ready(), Poll::Ready(Err(_))), "its error passes through");
}

#[tokio::test]
async fn a_clone_made_before_ready_is_a_service_of_its_own() {
    let layer = ConcurrencyLimitLayer::new(1).max_queue(0);
    let mut service = layer.layer(OnceReady::default());
    let mut clone = service.clone();
    for service in [&mut service, &mut clone] {
        let cx = &mut Context::from_waker(std::task::Waker::noop());
        assert!(Service::<Request<Empty<Bytes>>>::poll_ready(service, cx).is_ready());
        assert_eq!(service.call(get("/")).await.expect("infallible").status(), 200);
    }
}

#[test]
fn options_of_a_clone_are_its_own() {
    let layer = ConcurrencyLimitLayer::new(1).max_queue(0);
    let other = layer.clone().retry_after(None);
    let mut blocked = ConcurrencyLimitLayer::from_limit(layer.limit()).layer(OnceReady { ready: true });
    let _inside = blocked.call(get("/"));
    for (layer, told) in [(layer, true), (other, false)] {
        let response = layer.layer(OnceReady::default()).call(get("/")).now_or_never().expect("at once");
        assert_eq!(response.expect("infallible").headers().contains_key("retry-after"), told);
    }
}

#[test]
fn it_fits_axum() {
    let layer = ConcurrencyLimitLayer::new(1);
    let router: Router = Router::new().route("/", route(|| async {}).layer(layer.clone())).layer(layer.clone());
    let around = layer.layer(router);
    fn is_service<S>(_: &S)
    where
        S: Service<Request<axum::body::Body>, Error = Infallible> + Clone + Send + Sync + 'static,
        S::Response: axum::response::IntoResponse,
        S::Future: Send,
    {
    }
    is_service(&around);
}

#[test]
fn auto_traits() {
    fn all<T: Send + Sync + Unpin>() {}
    fn shared<T: Send + Sync + Clone + std::fmt::Debug + 'static>() {}
    fn unwind<T: UnwindSafe + RefUnwindSafe>() {}
    type Body = Full<Bytes>;
    shared::<ConcurrencyLimitLayer>();
    shared::<ConcurrencyLimitLayer<fn(&Overloaded) -> Response<Bytes>>>();
    shared::<ConcurrencyLimit<OnceReady>>();
    shared::<Limit>();
    shared::<Stats>();
    shared::<Overloaded>();
    shared::<Reason>();
    unwind::<Limit>();
    unwind::<Overloaded>();
    all::<ResponseBody<Body, Body>>();
    fn send<T: Send + Sync>() {}
    send::<ResponseFuture<Ready<Result<Response<Body>, Infallible>>, OnceReady, Body, PlainText>>();
}

#[test]
fn accessors() {
    let layer = ConcurrencyLimitLayer::new(1);
    let mut service = layer.layer(OnceReady::default());
    service.get_mut().ready = true;
    assert!(service.get_ref().ready);
    assert!(service.into_inner().ready);
}
