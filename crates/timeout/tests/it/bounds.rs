//! Promises to the type checker: what is `Clone`, `Send`, `Sync` and infallible stays so.

use std::{convert::Infallible, fmt::Debug, time::Duration};

use axum::{Router, body::Body, extract::Request, routing::get};
use bytes::Bytes;
use graceful_answer::PlainText;
use graceful_timeout::{
    BodyDeadline, BodyDeadlineFuture, BodyDeadlineLayer, BodyElapsed, Deadline, Detach, DetachFuture, DetachLayer,
    DetachedHandler, Elapsed, ResponseBody, ResponseFuture, RouteTimeout, RouteTimeoutLayer, Timeout, TimeoutLayer,
    TokioSpawn,
};
use http::Response;
use http_body_util::Full;
use tower::{Layer, Service};

fn layer<T: Clone + Send + Sync + Unpin + Debug + 'static>() {}
fn future<T: Send + 'static>() {}

#[test]
fn auto_traits() {
    layer::<TimeoutLayer>();
    layer::<RouteTimeoutLayer>();
    layer::<DetachLayer>();
    layer::<BodyDeadlineLayer>();
    layer::<Timeout<(), PlainText>>();
    layer::<RouteTimeout<(), PlainText>>();
    layer::<Detach<(), TokioSpawn>>();
    layer::<BodyDeadline<()>>();
    layer::<Deadline>();
    layer::<Elapsed>();
    layer::<BodyElapsed>();

    type Inner = std::future::Ready<Result<Response<Body>, Infallible>>;
    future::<ResponseFuture<Inner, PlainText>>();
    future::<DetachFuture<Inner, TokioSpawn>>();
    future::<BodyDeadlineFuture<Inner>>();
    future::<ResponseBody<Body>>();
    future::<DetachedHandler>();

    fn sync<T: Sync>() {}
    sync::<ResponseFuture<std::future::Pending<()>, PlainText>>();
    sync::<ResponseBody<Full<Bytes>>>();
}

#[test]
fn infallible_stays_infallible_and_fits_axum() {
    fn infallible<S>(_: &S)
    where
        S: Service<Request, Error = Infallible, Future: Send> + Clone + Send + Sync + 'static,
    {
    }
    let second = Duration::from_secs(1);
    let router = || Router::<()>::new().route("/", get(|| async {}));
    infallible(&TimeoutLayer::new(second).layer(router()));
    infallible(&TimeoutLayer::new(second).detached().layer(router()));
    infallible(&TimeoutLayer::new(second).body_deadline(second).layer(router()));
    infallible(&RouteTimeoutLayer::new(second).layer(router()));
    let _: Router = router()
        .layer(TimeoutLayer::new(second))
        .layer(TimeoutLayer::new(second).detached())
        .layer(TimeoutLayer::new(second).body_deadline(second))
        .route_layer(RouteTimeoutLayer::off())
        .layer(TimeoutLayer::new(second).answer(|_: &Elapsed| Response::new(Bytes::new())));
}

#[test]
fn services_give_what_they_wrap() {
    let second = Duration::from_secs(1);
    let mut timeout = TimeoutLayer::new(second).layer(1);
    *timeout.get_mut() += 1;
    assert_eq!((*timeout.get_ref(), timeout.into_inner()), (2, 2));
    let mut route = RouteTimeoutLayer::new(second).layer(1);
    *route.get_mut() += 1;
    assert_eq!((*route.get_ref(), route.into_inner()), (2, 2));
    let mut detach = DetachLayer::new().layer(1);
    *detach.get_mut() += 1;
    assert_eq!((*detach.get_ref(), detach.into_inner()), (2, 2));
    let mut body = BodyDeadlineLayer::new(second).layer(1);
    *body.get_mut() += 1;
    assert_eq!((*body.get_ref(), body.into_inner()), (2, 2));
}
