//! When the span is entered, and when it ends.

use std::{
    convert::Infallible,
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::{Pin, pin},
    sync::{Arc, Mutex},
    task::{Context, Poll},
};

use bytes::Bytes;
use graceful_request_logger::{RequestLogger, RequestLoggerLayer, ResponseBody, ResponseFuture};
use http::{Request, Response};
use http_body::{Body, Frame};
use http_body_util::{BodyExt, Empty, Full};
use tokio::task::JoinHandle;
use tokio_test::{assert_pending, assert_ready, assert_ready_err, assert_ready_ok, task};
use tower::{Layer, Service, ServiceExt, service_fn};
use tracing::{Instrument, Span, info};

use crate::{
    capture::Capture,
    stack::{LogDrop, LoggingBody, logging_handler},
};

fn request(id: &str) -> Request<()> {
    Request::builder().header("x-request-id", id).body(()).expect("a request")
}

#[tokio::test]
async fn every_line_from_the_call_to_the_drop_of_the_body_is_inside() {
    let capture = Capture::new();
    let service = RequestLoggerLayer::new().layer(service_fn(logging_handler));
    let response = service.oneshot(request("r-1")).await.expect("infallible");
    info!("between");
    let collected = response.into_body().collect().await.expect("infallible");
    info!("after");

    assert_eq!(collected.trailers().expect("trailers")["x-end"], "yes", "trailers pass through");
    assert_eq!(collected.to_bytes(), "chunkchunk");
    assert_eq!(
        capture.messages_of("r-1"),
        [
            "called",
            "polled",
            "polled again",
            "future dropped",
            "body polled",
            "body polled",
            "body polled",
            "body polled",
            "body dropped",
        ],
        "all that the handler does, to its very end, is inside its span"
    );
    for line in capture.lines() {
        let outside = ["between", "after"].contains(&line.message.as_str());
        assert_eq!(line.ids.is_empty(), outside, "nothing is entered between two polls: {line:?}");
    }
    capture.assert_all_ended();
}

#[tokio::test]
async fn a_future_that_is_done_is_dropped_inside_and_at_once() {
    let capture = Capture::new();
    let mut service = RequestLoggerLayer::new().layer(service_fn(|_: Request<()>| {
        let dropped = LogDrop("future dropped");
        // Not an `async` block: that drops what it holds when it returns, this only when it is itself dropped.
        std::future::poll_fn(move |_| {
            let _held = &dropped;
            Poll::Ready(Ok::<_, Infallible>(Response::new(LoggingBody::new())))
        })
    }));
    let mut future = task::spawn(service.call(request("r-1")));
    let response = assert_ready_ok!(future.poll());
    assert_eq!(capture.messages_of("r-1"), ["future dropped"], "it may hold what the body waits for");
    drop(response);
    assert!(capture.span().closed, "a future that is kept after it is done does not keep the span");
    drop(future);
    capture.assert_all_ended();
}

#[tokio::test]
async fn a_future_that_is_dropped_unfinished_is_dropped_inside() {
    for polls in [0, 1] {
        let capture = Capture::new();
        let mut service = RequestLoggerLayer::new().layer(service_fn(logging_handler));
        let mut future = task::spawn(service.call(request("r-1")));
        for _ in 0..polls {
            assert_pending!(future.poll());
        }
        assert!(!capture.span().closed);
        drop(future);
        assert_eq!(capture.messages_of("r-1").last().map(String::as_str), Some("future dropped"));
        capture.assert_all_ended();
    }
}

#[tokio::test]
async fn a_body_that_is_dropped_unfinished_is_dropped_inside() {
    for frames in [0, 1] {
        let capture = Capture::new();
        let service = RequestLoggerLayer::new().layer(service_fn(logging_handler));
        let mut body = service.oneshot(request("r-1")).await.expect("infallible").into_body();
        for _ in 0..frames {
            body.frame().await.expect("a frame").expect("infallible");
        }
        assert!(!capture.span().closed, "the span goes on with the body");
        assert!(Span::current().is_none());
        drop(body);
        assert_eq!(capture.messages_of("r-1").last().map(String::as_str), Some("body dropped"));
        capture.assert_all_ended();
    }
}

#[tokio::test]
async fn an_error_of_the_service_passes_through_and_ends_the_span() {
    let capture = Capture::new();
    let mut service =
        RequestLoggerLayer::new().layer(service_fn(async |_: Request<()>| Err::<Response<()>, _>("refused")));
    let mut future = task::spawn(service.call(request("r-1")));
    assert_eq!(assert_ready_err!(future.poll()), "refused");
    capture.assert_all_ended();
}

#[tokio::test]
async fn requests_that_take_turns_on_one_thread_do_not_mix() {
    let capture = Capture::new();
    let service = RequestLoggerLayer::new().layer(service_fn(logging_handler));
    let mut futures: Vec<_> =
        ["r-1", "r-2", "r-3"].map(|id| task::spawn(service.clone().call(request(id)))).into_iter().collect();
    for future in &mut futures {
        assert_pending!(future.poll());
    }
    // They end in the order they did not begin in, and so do their bodies.
    let mut bodies: Vec<_> =
        futures.iter_mut().rev().map(|future| assert_ready_ok!(future.poll()).into_body()).collect();
    for _ in 0..4 {
        for body in &mut bodies {
            let _ = assert_ready!(task::spawn(body.frame()).poll());
        }
    }
    drop(futures);
    bodies.truncate(1);
    drop(bodies);
    for id in ["r-1", "r-2", "r-3"] {
        assert_eq!(capture.messages_of(id).len(), 9, "each line is in the span of its own request: {id}");
    }
    assert!(capture.lines().iter().all(|line| line.ids.len() == 1));
    capture.assert_all_ended();
}

#[tokio::test]
async fn a_spawned_task_carries_the_span_on_if_told_to() {
    let capture = Capture::new();
    let (go, wait) = tokio::sync::oneshot::channel::<()>();
    let wait = Mutex::new(Some(wait));
    let service = service_fn(async |_: Request<()>| {
        tokio::spawn(async { info!("bare") }).await.expect("no panic");
        let wait = wait.lock().expect("not poisoned").take().expect("one request");
        let carried = async {
            wait.await.expect("the test sends");
            info!("carried");
        };
        let task = tokio::spawn(carried.in_current_span());
        let mut response = Response::new(Empty::<Bytes>::new());
        response.extensions_mut().insert(Arc::new(task));
        Ok::<_, Infallible>(response)
    });
    let mut response = RequestLoggerLayer::new().layer(service).oneshot(request("r-1")).await.expect("infallible");
    let task = response.extensions_mut().remove::<Arc<JoinHandle<()>>>().expect("a task");
    drop(response);

    assert!(!capture.span().closed, "the span lives as long as a task that carries it");
    info!("after the response");
    go.send(()).expect("the task waits");
    Arc::into_inner(task).expect("only here").await.expect("no panic");
    let ids: Vec<_> = capture.lines().into_iter().map(|line| (line.message, line.ids.concat())).collect();
    assert_eq!(
        ids,
        [("bare", ""), ("after the response", ""), ("carried", "r-1")].map(|(m, id)| (m.into(), id.into()))
    );
    capture.assert_all_ended();
}

/// Panics when it is dropped.
struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        panic!("dropped");
    }
}

/// Panics when it is polled, or, defused, when it is dropped.
struct PanickingBody(Option<Bomb>);

impl Body for PanickingBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        std::mem::forget(self.0.take());
        panic!("polled")
    }
}

#[tokio::test]
async fn a_panic_anywhere_leaves_and_ends_the_span() {
    type Handler = fn() -> Pin<Box<dyn Future<Output = Result<Response<PanickingBody>, Infallible>>>>;
    let cases: [(&str, Handler); 5] = [
        ("call", || panic!("called")),
        ("future", || Box::pin(async { panic!("polled") })),
        ("drop of the future", || {
            let bomb = Bomb;
            let mut done = false;
            Box::pin(std::future::poll_fn(move |_| {
                let _moved_in = &bomb;
                assert!(!std::mem::replace(&mut done, true));
                Poll::Ready(Ok(Response::new(PanickingBody(None))))
            }))
        }),
        ("body", || Box::pin(async { Ok(Response::new(PanickingBody(None))) })),
        ("drop of the body", || Box::pin(async { Ok(Response::new(PanickingBody(Some(Bomb)))) })),
    ];
    for (place, handler) in cases {
        let capture = Capture::new();
        let panicked = catch_unwind(AssertUnwindSafe(|| {
            let mut service = RequestLoggerLayer::new().layer(service_fn(move |_: Request<()>| handler()));
            let mut future = task::spawn(service.call(request("r-1")));
            let mut response = assert_ready_ok!(future.poll());
            if place == "body" {
                let _ = task::spawn(response.body_mut().frame()).poll();
            }
        }));
        assert!(panicked.is_err(), "a panic in the {place} is not swallowed");
        capture.assert_all_ended();
        info!("next");
        assert!(capture.lines().iter().all(|line| line.message != "next" || line.ids.is_empty()));
    }
}

#[tokio::test]
async fn what_is_dropped_by_a_panic_is_dropped_inside() {
    let capture = Capture::new();
    let mut service = RequestLoggerLayer::new().layer(service_fn(|_: Request<()>| async {
        let _dropped = LogDrop("unwound");
        if Span::current().is_none() {
            return Ok::<_, Infallible>(Response::new(LoggingBody::new()));
        }
        panic!("polled")
    }));
    let future = service.call(request("r-1"));
    let panicked = catch_unwind(AssertUnwindSafe(|| task::spawn(future).poll().is_ready()));
    assert!(panicked.is_err());
    assert_eq!(capture.messages_of("r-1"), ["unwound"]);
    capture.assert_all_ended();
}

#[tokio::test]
async fn readiness_is_the_inner_services() {
    let (service, mut handle) = tower_test::mock::pair::<Request<()>, Response<()>>();
    let mut service = task::spawn(RequestLoggerLayer::new().layer(service));
    handle.allow(0);
    assert_pending!(service.enter(|cx, mut service| service.poll_ready(cx)));
    handle.allow(1);
    assert!(service.is_woken());
    assert_ready_ok!(service.enter(|cx, mut service| service.poll_ready(cx)));

    let future = service.enter(|_, mut service| service.call(request("r-1")));
    let mut requests = pin!(handle);
    let (_, send) = assert_ready!(task::spawn(requests.next_request()).poll()).expect("a request");
    send.send_response(Response::new(()));
    assert_eq!(future.await.expect("a response").headers()["x-request-id"], "r-1");
}

/// Must be called only when it is ready, as the contract of `Service` says; a clone is not.
struct Strict {
    ready: bool,
}

impl Clone for Strict {
    fn clone(&self) -> Self {
        Self { ready: false }
    }
}

impl Service<Request<()>> for Strict {
    type Response = Response<()>;
    type Error = Infallible;
    type Future = std::future::Ready<Result<Response<()>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.ready = true;
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<()>) -> Self::Future {
        assert!(std::mem::take(&mut self.ready), "the service that is called is the one that was ready");
        std::future::ready(Ok(Response::new(())))
    }
}

#[tokio::test]
async fn a_clone_has_a_readiness_of_its_own() {
    let mut service = RequestLoggerLayer::new().layer(Strict { ready: false });
    let ready = service.ready().await.expect("infallible");
    let clone = ready.clone();
    ready.call(request("r-1")).await.expect("infallible");
    clone.oneshot(request("r-2")).await.expect("infallible");
}

#[tokio::test]
async fn a_body_is_passed_on_as_it_is() {
    let full = RequestLoggerLayer::new().layer(service_fn(async |_: Request<()>| {
        Ok::<_, Infallible>(Response::new(Full::new(Bytes::from_static(b"hello"))))
    }));
    let mut body = full.oneshot(request("r-1")).await.expect("infallible").into_body();
    assert_eq!(body.size_hint().exact(), Some(5), "a known length must stay known");
    assert!(!body.is_end_stream());
    body.frame().await.expect("a frame").expect("infallible");
    assert!(body.is_end_stream());

    let body = ResponseBody::<Full<Bytes>>::default();
    assert!(body.is_end_stream());
    assert_eq!(body.size_hint().exact(), Some(0));
}

#[test]
fn auto_traits() {
    fn send_sync<T: Send + Sync + Unpin + 'static>() {}
    fn clone<T: Clone>() {}
    send_sync::<RequestLoggerLayer>();
    send_sync::<RequestLogger<()>>();
    send_sync::<ResponseFuture<std::future::Ready<()>>>();
    send_sync::<ResponseBody<Full<Bytes>>>();
    send_sync::<graceful_request_logger::RequestId>();
    send_sync::<graceful_request_logger::InvalidRequestId>();
    clone::<RequestLoggerLayer>();
    clone::<RequestLogger<()>>();
    let mut service = RequestLoggerLayer::new().layer(7);
    *service.get_mut() += 1;
    assert_eq!(*service.get_ref(), 8);
    assert_eq!(service.into_inner(), 8);
}
