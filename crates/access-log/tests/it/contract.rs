//! What any `tower` layer owes its neighbours.

use std::{
    convert::Infallible,
    future::{Ready, ready},
    rc::Rc,
};

use bytes::Bytes;
use graceful_access_log::{
    AccessLog, AccessLogLayer, MatchedRoute, Outcome, Record, RequestBody, ResponseBody, ResponseFuture,
};
use http::{Request, Response};
use http_body::Body;
use http_body_util::{BodyExt, Empty, Full};
use tower::{Layer, Service, ServiceExt, service_fn};
use tower_test::{assert_request_eq, mock};

use crate::capture::Capture;

type Answer = Ready<Result<Response<Full<Bytes>>, Infallible>>;

#[test]
fn auto_traits() {
    fn everything<T: Clone + Send + Sync + Unpin + std::fmt::Debug + 'static>() {}
    fn movable<T: Send + Sync + Unpin + std::fmt::Debug + 'static>() {}
    everything::<AccessLogLayer>();
    everything::<AccessLog<()>>();
    everything::<MatchedRoute>();
    everything::<Outcome>();
    movable::<Record>();
    movable::<ResponseFuture<Answer>>();
    movable::<RequestBody<Full<Bytes>>>();
    movable::<ResponseBody<Full<Bytes>>>();
}

#[tokio::test]
async fn readiness_is_the_inner_services() {
    let _log = Capture::new();
    type Handle = mock::Handle<(), Response<Empty<Bytes>>>;
    let (mut service, mut handle): (_, Handle) = mock::spawn_with(|mock| {
        let mock: mock::Mock<(), Response<Empty<Bytes>>> = mock;
        AccessLogLayer::new().layer(mock.map_request(|_: Request<RequestBody<Empty<Bytes>>>| ()))
    });
    handle.allow(0);
    assert!(service.poll_ready::<Request<Empty<Bytes>>>().is_pending(), "no readiness of its own");
    handle.allow(1);
    assert!(service.poll_ready::<Request<Empty<Bytes>>>().is_ready());
    let response = service.call(Request::new(Empty::new()));
    assert_request_eq!(handle, ()).send_response(Response::new(Empty::new()));
    response.await.expect("an answer");
    handle.send_error("broken");
    assert!(service.poll_ready::<Request<Empty<Bytes>>>().is_ready());
}

#[tokio::test]
async fn a_clone_is_made_before_it_is_ready() {
    let mut log = Capture::new();
    /// Panics if it is called before it was ready, as a service may.
    struct Strict(bool);
    impl Clone for Strict {
        fn clone(&self) -> Self {
            Self(false)
        }
    }
    impl<B> Service<Request<B>> for Strict {
        type Response = Response<Full<Bytes>>;
        type Error = Infallible;
        type Future = Answer;
        fn poll_ready(&mut self, _: &mut std::task::Context<'_>) -> std::task::Poll<Result<(), Infallible>> {
            self.0 = true;
            std::task::Poll::Ready(Ok(()))
        }
        fn call(&mut self, _: Request<B>) -> Answer {
            assert!(std::mem::take(&mut self.0), "a service is called when it is ready");
            ready(Ok(Response::new(Full::default())))
        }
    }
    let mut service = AccessLogLayer::new().layer(Strict(false));
    let mut clone = service.clone();
    for service in [&mut service, &mut clone] {
        ServiceExt::<Request<Empty<Bytes>>>::ready(service).await.expect("infallible");
        service.call(Request::new(Empty::<Bytes>::new())).await.expect("infallible");
        assert_eq!(log.only().outcome(), (200, "complete"));
    }
}

#[test]
fn the_inner_service_can_be_had() {
    let mut service = AccessLogLayer::default().layer(1);
    *service.get_mut() += 1;
    assert_eq!(*service.get_ref(), 2);
    assert_eq!(service.into_inner(), 2);
}

#[tokio::test]
async fn bodies_forward_their_length_and_their_end() {
    for listening in [true, false] {
        let _log = listening.then(Capture::new);
        let service = service_fn(|request: Request<RequestBody<Full<Bytes>>>| {
            let body = request.into_body();
            assert_eq!(body.size_hint().exact(), Some(6), "a known length must stay known");
            assert!(!body.is_end_stream());
            assert_eq!(body.into_inner().size_hint().exact(), Some(6));
            ready(Ok::<_, Infallible>(Response::new(Full::<Bytes>::from("hello"))))
        });
        let request = Request::new(Full::from("upload"));
        let response = AccessLogLayer::new().layer(service).oneshot(request).await.expect("infallible");
        let mut body = response.into_body();
        assert_eq!(body.size_hint().exact(), Some(5), "a known length must stay known");
        assert!(!body.is_end_stream());
        body.frame().await.expect("a frame").expect("infallible");
        assert!(body.is_end_stream(), "the end is known with the last frame");
        assert_eq!(body.size_hint().exact(), Some(0));
    }
}

#[tokio::test]
async fn bodies_that_cannot_be_sent_between_threads_are_welcome() {
    let mut log = Capture::new();
    let local = Rc::new(());
    let service = service_fn(move |_: Request<RequestBody<Empty<Bytes>>>| {
        let local = Rc::clone(&local);
        ready(Ok::<_, Infallible>(Response::new(Full::<Bytes>::from("hello").map_frame(move |frame| {
            let _local = &local;
            frame
        }))))
    });
    let response = AccessLogLayer::new().layer(service).oneshot(Request::new(Empty::new())).await.expect("infallible");
    response.into_body().collect().await.expect("infallible");
    assert_eq!(log.only().outcome(), (200, "complete"));
}

#[tokio::test]
async fn without_a_listener_nothing_is_touched() {
    // No subscriber in this thread: the filter, the peer and the route cell are not even asked for.
    let layer = AccessLogLayer::new()
        .route_cell(true)
        .peer(|_| panic!("no peer is looked for"))
        .filter(|_| panic!("no record is shown"));
    let service = service_fn(|request: Request<RequestBody<Full<Bytes>>>| {
        assert!(request.extensions().get::<MatchedRoute>().is_none(), "no cell is offered");
        ready(Ok::<_, Infallible>(Response::new(request.into_body())))
    });
    let response = layer.layer(service).oneshot(Request::new(Full::from("hello"))).await.expect("infallible");
    assert_eq!(response.into_body().collect().await.expect("infallible").to_bytes(), "hello");
}
