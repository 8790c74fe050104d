//! A panic on the way is never called the client's fault, and the log adds none of its own.

use std::{
    convert::Infallible,
    panic::{AssertUnwindSafe, catch_unwind},
};

use bytes::Bytes;
use futures_util::FutureExt;
use graceful_access_log::{AccessLogLayer, RequestBody};
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Empty, Full};
use tower::{Layer, Service, ServiceExt, service_fn};
use tracing::{Level, Subscriber};
use tracing_subscriber::layer::{Context, SubscriberExt};

use crate::{
    body::{
        Script,
        Step::{Data, Panic, Wait},
    },
    capture::{Capture, Captured},
};

type Received = Request<RequestBody<Empty<Bytes>>>;

fn request() -> Request<Empty<Bytes>> {
    Request::new(Empty::new())
}

async fn get(body: Script) -> Response<graceful_access_log::ResponseBody<Script>> {
    let mut body = Some(body);
    let service = service_fn(move |_: Received| {
        let body = body.take().expect("one request");
        async { Ok::<_, Infallible>(Response::new(body)) }
    });
    AccessLogLayer::new().layer(service).oneshot(request()).await.expect("infallible")
}

#[track_caller]
fn assert_is_a_500_without_an_answer(event: &Captured) {
    assert_eq!(event.outcome(), (500, "body_error"));
    assert_eq!(event.level, Level::WARN);
    assert_eq!(event.float("ttfb_ms"), None, "no head left this layer");
}

#[tokio::test]
async fn in_the_call() {
    let mut log = Capture::new();
    let mut service = AccessLogLayer::new()
        .layer(service_fn(|_: Received| -> std::future::Ready<Answered> { panic!("panic in the call") }));
    catch_unwind(AssertUnwindSafe(|| drop(service.call(request())))).expect_err("the panic passes through");
    assert_is_a_500_without_an_answer(&log.only());
}

type Answered = Result<Response<Script>, Infallible>;

async fn panicking(_: Received) -> Answered {
    tokio::task::yield_now().await;
    panic!("panic in the handler")
}

#[tokio::test]
async fn in_the_future_which_is_dropped_by_the_unwinding() {
    let mut log = Capture::new();
    let future = AccessLogLayer::new().layer(service_fn(panicking)).oneshot(request());
    #[expect(clippy::disallowed_methods, reason = "a task is what unwinds here")]
    let task = tokio::spawn(future);
    task.await.expect_err("the panic passes through");
    assert_is_a_500_without_an_answer(&log.only());
}

#[tokio::test]
async fn in_the_future_and_caught_outside_before_the_drop() {
    let mut log = Capture::new();
    let mut future = Box::pin(AccessLogLayer::new().layer(service_fn(panicking)).oneshot(request()));
    AssertUnwindSafe(future.as_mut()).catch_unwind().await.expect_err("the panic passes through");
    log.none();
    drop(future);
    assert_is_a_500_without_an_answer(&log.only());
}

#[tokio::test]
async fn in_the_future_with_recovery_inside() {
    let mut log = Capture::new();
    let recovered = service_fn(|request: Received| async {
        let caught = AssertUnwindSafe(panicking(request)).catch_unwind().await;
        assert!(caught.is_err());
        let mut response = Response::new(Full::<Bytes>::from("internal error"));
        *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
        Ok::<_, Infallible>(response)
    });
    let response = AccessLogLayer::new().layer(recovered).oneshot(request()).await.expect("infallible");
    response.into_body().collect().await.expect("infallible");
    let event = log.only();
    assert_eq!(event.outcome(), (500, "complete"), "the client has its answer");
    assert_eq!(event.level, Level::WARN);
}

#[tokio::test]
async fn in_the_drop_of_the_future() {
    struct Bomb;
    impl Drop for Bomb {
        fn drop(&mut self) {
            panic!("panic in a drop")
        }
    }
    let mut log = Capture::new();
    let mut service = AccessLogLayer::new().layer(service_fn(|_: Received| {
        let bomb = Bomb;
        async {
            let _bomb = bomb;
            std::future::pending::<Answered>().await
        }
    }));
    let future = service.call(request());
    catch_unwind(AssertUnwindSafe(|| drop(future))).expect_err("the panic passes through");
    assert_is_a_500_without_an_answer(&log.only());
}

#[tokio::test]
async fn in_the_body() {
    for caught_outside in [true, false] {
        let mut log = Capture::new();
        let mut response = get(Script::new([Data("hello"), Panic]).with_length(11)).await;
        response.frame().await.expect("a frame").expect("no error");
        if caught_outside {
            AssertUnwindSafe(response.frame()).catch_unwind().await.expect_err("the panic passes through");
            log.none();
            drop(response);
        } else {
            #[expect(clippy::disallowed_methods, reason = "a task is what unwinds here")]
            let task = tokio::spawn(async move { response.frame().await.is_some() });
            task.await.expect_err("the panic passes through");
        }
        let event = log.only();
        assert_eq!(event.outcome(), (200, "body_error"), "caught outside: {caught_outside}");
        assert_eq!(event.bytes(), (0, 5, Some(11)));
    }
}

#[tokio::test]
async fn elsewhere_in_the_task_is_no_fault_of_the_client() {
    let mut log = Capture::new();
    let response = get(Script::new([Wait])).await;
    catch_unwind(AssertUnwindSafe(|| {
        let _cut_short = response;
        panic!("panic in a layer outside")
    }))
    .expect_err("panics");
    assert_eq!(log.only().outcome(), (200, "body_error"));
}

#[tokio::test]
async fn after_the_end_has_no_part_in_the_outcome() {
    let mut log = Capture::new();
    let mut response = get(Script::new([Data("hello")]).telling_end()).await;
    response.frame().await.expect("a frame").expect("no error");
    catch_unwind(AssertUnwindSafe(|| {
        let _at_its_end = response;
        panic!("panic in a layer outside")
    }))
    .expect_err("panics");
    assert_eq!(log.only().outcome(), (200, "complete"));
}

#[tokio::test]
async fn in_the_filter_the_record_is_written() {
    for unwinding in [false, true] {
        let mut log = Capture::new();
        let service = service_fn(async |_: Received| Ok::<_, Infallible>(Response::new(Script::new([Wait]))));
        let layer = AccessLogLayer::new().filter(|_| panic!("panic in the filter"));
        let response = layer.layer(service).oneshot(request()).await.expect("infallible");
        let dropped = catch_unwind(AssertUnwindSafe(|| {
            let _response = response;
            if unwinding {
                panic!("panic in the task");
            }
        }));
        assert_eq!(dropped.is_err(), unwinding, "the filter's panic goes no further");
        assert_eq!(log.only().outcome(), (200, if unwinding { "body_error" } else { "truncated" }));
    }
}

#[tokio::test]
async fn in_the_subscriber_the_request_goes_on() {
    struct Broken;
    impl<S: Subscriber> tracing_subscriber::Layer<S> for Broken {
        fn on_event(&self, _: &tracing::Event<'_>, _: Context<'_, S>) {
            panic!("panic in the subscriber")
        }
    }
    let _default = tracing::subscriber::set_default(tracing_subscriber::registry().with(Broken));
    let body = get(Script::new([Data("hello")])).await.into_body().collect().await.expect("no error");
    assert_eq!(body.to_bytes(), "hello", "a log that is broken breaks nothing else");
    drop(get(Script::new([Wait])).await);
}
