//! Handlers that run on.

use std::{
    convert::Infallible,
    future::pending,
    panic::AssertUnwindSafe,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use futures_util::FutureExt;
use graceful_timeout::{DetachLayer, DetachedHandler, TimeoutLayer};
use http::{Request, Response};
use http_body_util::{Empty, Full};
use tokio::{sync::oneshot, time::sleep};
use tokio_test::{assert_pending, task};
use tokio_util::task::TaskTracker;
use tower::{Layer, Service, ServiceExt, service_fn};
use tracing::{Instrument, Level, info_span};

use crate::support::{Answered, Gone, Log, Logged, SECOND, ok, request, text};

const T: Duration = Duration::from_secs(5);

type Reports = Arc<Mutex<Vec<&'static str>>>;

/// A handler that takes 8 s and reports its way.
fn handler(
    reports: &Reports,
) -> impl Service<Request<Empty<Bytes>>, Response = Response<Full<Bytes>>, Error = Infallible, Future: Send + 'static>
+ Clone
+ use<> {
    let reports = reports.clone();
    service_fn(move |_| {
        let reports = reports.clone();
        async move {
            reports.lock().unwrap().push("begun");
            sleep(8 * SECOND).await;
            reports.lock().unwrap().push("ended");
            ok("done")
        }
    })
}

#[tokio::test(start_paused = true)]
async fn when_the_time_is_up_the_handler_runs_on() {
    for detached in [true, false] {
        let reports = Reports::default();
        let response = if detached {
            TimeoutLayer::new(T).detached().layer(handler(&reports)).oneshot(request()).await
        } else {
            // Shows that it is the detaching that does it.
            let response = TimeoutLayer::new(T).layer(handler(&reports)).oneshot(request()).await;
            response.map(|response| response.map(|_| graceful_answer::AnswerBody::answer("handler timed out".into())))
        }
        .unwrap();
        assert_eq!(response.status(), 503);
        assert_eq!(*reports.lock().unwrap(), ["begun"], "the client has its answer at the limit");
        assert_eq!(text(response).await, "handler timed out");
        sleep(4 * SECOND).await;
        let expected: &[&str] = if detached { &["begun", "ended"] } else { &["begun"] };
        assert_eq!(*reports.lock().unwrap(), expected, "detached: {detached}");
    }
}

#[tokio::test(start_paused = true)]
async fn when_the_client_leaves_the_handler_runs_on() {
    let reports = Reports::default();
    let mut service = TimeoutLayer::new(T).detached().layer(handler(&reports));
    let mut future = task::spawn(service.call(request()));
    assert_pending!(future.poll());
    drop(future);
    sleep(9 * SECOND).await;
    assert_eq!(*reports.lock().unwrap(), ["begun", "ended"]);
}

#[tokio::test(start_paused = true)]
async fn a_handler_that_has_not_begun_is_dropped() {
    let reports = Reports::default();
    let mut service = TimeoutLayer::new(T).detached().layer(handler(&reports));
    drop(service.call(request()));
    sleep(9 * SECOND).await;
    assert_eq!(*reports.lock().unwrap(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn an_answer_in_time_is_the_answer_and_nothing_is_spawned() {
    let spawned = Arc::new(Mutex::new(0));
    let count = spawned.clone();
    let layer = TimeoutLayer::new(9 * SECOND).detached_on(move |_: DetachedHandler| *count.lock().unwrap() += 1);
    let reports = Reports::default();
    let response = layer.layer(handler(&reports)).oneshot(request()).await.unwrap();
    assert_eq!(text(response).await, "done");
    assert_eq!(*spawned.lock().unwrap(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_tracker_can_wait_for_what_runs_on() {
    let tasks = TaskTracker::new();
    let tracked = tasks.clone();
    let layer = TimeoutLayer::new(T).detached_on(move |rest: DetachedHandler| {
        tracked.spawn(rest);
    });
    let reports = Reports::default();
    let response = layer.layer(handler(&reports)).oneshot(request()).await.unwrap();
    assert_eq!(response.status(), 503);
    assert_eq!(tasks.len(), 1, "it is in the tracker before the client is answered");
    tasks.close();
    tasks.wait().await;
    assert_eq!(*reports.lock().unwrap(), ["begun", "ended"]);
}

#[tokio::test(start_paused = true)]
async fn a_second_limit_inside_ends_what_runs_on() {
    let gone = Gone::default();
    let handler = {
        let gone = gone.clone();
        service_fn(move |_: Request<Empty<Bytes>>| {
            let guard = gone.guard();
            async move {
                let _guard = guard;
                pending::<Answered>().await
            }
        })
    };
    let service = TimeoutLayer::new(T).detached().layer(TimeoutLayer::new(9 * SECOND).layer(handler));
    assert_eq!(service.oneshot(request()).await.unwrap().status(), 503);
    sleep(3 * SECOND).await;
    assert!(!gone.is_gone(), "runs on");
    sleep(2 * SECOND).await;
    assert!(gone.is_gone(), "and is stopped at the second limit, by a timer of its own task");
}

#[tokio::test(start_paused = true)]
async fn a_panic_of_what_runs_on_is_logged_in_the_span_of_its_request() {
    let (log, _guard) = Log::capture();
    let handler = service_fn(|_: Request<Empty<Bytes>>| async {
        sleep(8 * SECOND).await;
        if true {
            panic!("late {}", "trouble");
        }
        ok("done")
    });
    let tasks = TaskTracker::new();
    let tracked = tasks.clone();
    let layer = TimeoutLayer::new(T).detached_on(move |rest: DetachedHandler| {
        tracked.spawn(async {
            rest.await;
            "ended"
        });
    });
    let expected = Logged {
        level: Some(Level::ERROR),
        message: "panic".to_owned(),
        panic: "late trouble".to_owned(),
        span: Some("request"),
    };

    let response = layer.layer(handler).oneshot(request()).instrument(info_span!("request")).await.unwrap();
    assert_eq!(response.status(), 503);
    assert_eq!(log.events(), [], "not yet");
    tasks.close();
    tasks.wait().await;
    assert_eq!(log.events(), std::slice::from_ref(&expected));

    // The same if the client left, and the future was dropped outside of the span.
    let span = info_span!("request");
    let mut service = layer.layer(handler);
    let mut future = task::spawn(span.in_scope(|| service.call(request())));
    span.in_scope(|| assert_pending!(future.poll()));
    drop(future);
    tasks.wait().await;
    assert_eq!(log.events(), [expected.clone(), expected]);
}

#[tokio::test(start_paused = true)]
async fn panics_in_the_drops_of_what_runs_on_are_logged() {
    #[derive(Debug)]
    struct Bomb;
    impl Drop for Bomb {
        fn drop(&mut self) {
            panic!("in drop");
        }
    }
    let (log, _guard) = Log::capture();
    // As a body whose source panics when it is dropped.
    let answers_with_a_bomb = service_fn(|_: Request<Empty<Bytes>>| async {
        sleep(SECOND).await;
        Ok::<_, Infallible>(Bomb)
    });
    let mut service = DetachLayer::new().layer(answers_with_a_bomb);
    let mut future = task::spawn(service.call(request()));
    assert_pending!(future.poll());
    drop(future);
    sleep(2 * SECOND).await;
    assert_eq!(log.events().len(), 1);
    assert_eq!(log.events()[0].panic, "in drop");

    /// Ready, and a bomb itself.
    struct Handler {
        polls: u8,
        _bomb: Bomb,
    }
    impl Future for Handler {
        type Output = Answered;
        fn poll(mut self: std::pin::Pin<&mut Self>, _: &mut std::task::Context<'_>) -> std::task::Poll<Answered> {
            self.polls += 1;
            if self.polls == 1 { std::task::Poll::Pending } else { std::task::Poll::Ready(ok("done")) }
        }
    }
    let is_a_bomb = service_fn(|_: Request<Empty<Bytes>>| Handler { polls: 0, _bomb: Bomb });
    let mut service = DetachLayer::new().layer(is_a_bomb);
    let mut future = task::spawn(service.call(request()));
    assert_pending!(future.poll());
    drop(future);
    sleep(2 * SECOND).await;
    assert_eq!(log.events().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_panic_in_time_passes_through_and_nothing_runs_on() {
    let spawned = Arc::new(Mutex::new(0));
    let count = spawned.clone();
    let layer = TimeoutLayer::new(T).detached_on(move |_: DetachedHandler| *count.lock().unwrap() += 1);
    let handler = service_fn(|_: Request<Empty<Bytes>>| async {
        sleep(SECOND).await;
        if true {
            panic!("in time");
        }
        ok("done")
    });
    let caught = AssertUnwindSafe(layer.layer(handler).oneshot(request())).catch_unwind().await;
    assert!(caught.is_err(), "recovery further out sees it");
    assert_eq!(*spawned.lock().unwrap(), 0, "what has panicked is not polled again");
}

#[test]
fn without_a_runtime_the_handler_is_stopped_and_nothing_panics() {
    let (log, _guard) = Log::capture();
    let gone = Gone::default();
    let mut guard = Some(gone.guard());
    let mut service = DetachLayer::new().layer(service_fn(move |_: Request<Empty<Bytes>>| {
        let guard = guard.take();
        async move {
            let _guard = guard;
            pending::<Answered>().await
        }
    }));
    let mut future = task::spawn(service.call(request()));
    assert_pending!(future.poll());
    drop(future);
    assert!(gone.is_gone());
    assert_eq!(log.events()[0].level, Some(Level::WARN), "and said so");
}

#[test]
fn a_runtime_that_shuts_down_stops_what_runs_on() {
    let gone = Gone::default();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let (begun, has_begun) = oneshot::channel();
    let mut parts = Some((gone.guard(), begun));
    let mut service = DetachLayer::new().layer(service_fn(move |_: Request<Empty<Bytes>>| {
        let (guard, begun) = parts.take().expect("one request");
        async move {
            let _guard = guard;
            begun.send(()).expect("the test waits");
            pending::<Answered>().await
        }
    }));
    // A connection's task, which the end of the runtime drops while the handler waits.
    runtime.spawn(service.call(request()));
    runtime.block_on(has_begun).expect("the handler begins");
    drop(runtime);
    assert!(gone.is_gone());
}
