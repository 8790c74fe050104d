//! When the time starts, when it is up, and what happens then.

use std::{
    convert::Infallible,
    future::{Pending, pending, poll_fn, ready},
    panic::AssertUnwindSafe,
    pin::pin,
    sync::{Arc, Mutex},
    task::Poll,
    time::Duration,
};

use bytes::Bytes;
use futures_util::{
    FutureExt,
    stream::{FuturesUnordered, StreamExt},
};
use graceful_answer::{Answer, Cause, ProblemDetails};
use graceful_timeout::{Deadline, Elapsed, RouteTimeoutLayer, TimeoutLayer};
use graceful_timer::TaskTimer;
use http::{HeaderValue, Request, Response, StatusCode};
use http_body_util::{Empty, Full};
use tokio::{
    sync::oneshot,
    time::{Instant, advance, sleep},
};
use tokio_test::{assert_pending, assert_ready, task};
use tower::{Layer, Service, ServiceExt, service_fn};

use crate::support::{Answered, Gone, MS, SECOND, ok, request, text};

const T: Duration = Duration::from_secs(5);

/// A handler that answers after `time`.
fn takes(
    time: Duration,
) -> impl Service<Request<Empty<Bytes>>, Response = Response<Full<Bytes>>, Error = Infallible> + Clone {
    service_fn(move |_| async move {
        sleep(time).await;
        ok("done")
    })
}

/// A handler that waits for `receiver`; for one request.
fn waits(
    receiver: oneshot::Receiver<()>,
) -> impl Service<Request<Empty<Bytes>>, Response = Response<Full<Bytes>>, Error = Infallible> {
    let mut receiver = Some(receiver);
    service_fn(move |_| {
        let receiver = receiver.take().expect("one request");
        async move {
            receiver.await.expect("the sender is held");
            ok("done")
        }
    })
}

#[tokio::test(start_paused = true)]
async fn the_time_is_up_at_the_limit_and_not_before() {
    for (takes_ms, status) in [(0, 200), (4999, 200), (5001, 503), (60_000, 503)] {
        let start = Instant::now();
        let service = TimeoutLayer::new(T).layer(takes(Duration::from_millis(takes_ms)));
        let response = service.oneshot(request()).await.unwrap();
        assert_eq!(response.status(), status, "a handler that takes {takes_ms} ms");
        assert_eq!(start.elapsed(), T.min(Duration::from_millis(takes_ms)));
    }
}

#[tokio::test(start_paused = true)]
async fn the_default_answer_is_503_in_plain_text() {
    let response = TimeoutLayer::new(T).layer(takes(2 * T)).oneshot(request()).await.unwrap();
    assert_eq!(response.status(), 503);
    assert_eq!(response.headers()["content-type"], "text/plain; charset=utf-8");
    let elapsed = response.extensions().get::<Elapsed>().expect("layers further out can tell it from another 503");
    assert_eq!(elapsed.limit(), T);
    assert_eq!(elapsed.to_string(), "the handler did not answer within 5s");
    assert!(response.body().is_answer());
    assert_eq!(text(response).await, "handler timed out");
}

#[tokio::test(start_paused = true)]
async fn status_message_and_answer_are_settable() {
    let layer = TimeoutLayer::new(T).status(StatusCode::GATEWAY_TIMEOUT).message("too slow");
    let response = layer.clone().layer(takes(2 * T)).oneshot(request()).await.unwrap();
    assert_eq!(response.status(), 504);
    assert_eq!(text(response).await, "too slow");

    let response = layer.clone().answer(ProblemDetails::new()).layer(takes(2 * T)).oneshot(request()).await.unwrap();
    assert_eq!(
        text(response).await,
        r#"{"type":"about:blank","title":"Gateway Timeout","status":504,"detail":"too slow"}"#
    );

    let closure = |elapsed: &Elapsed| {
        Response::new(Bytes::from(format!("{} {} {:?}", elapsed.status(), elapsed.message(), elapsed.limit())))
    };
    let response = layer.answer(closure).layer(takes(2 * T)).oneshot(request()).await.unwrap();
    assert_eq!(response.status(), 200, "what the closure returns is sent as it is");
    assert_eq!(text(response).await, "504 Gateway Timeout too slow 5s");
}

#[tokio::test(start_paused = true)]
async fn handler_and_timer_in_the_same_instant_give_one_answer() {
    // Both go off in one turn of the timer, whichever was registered first: the handler is looked at first.
    let response = TimeoutLayer::new(T).layer(takes(T)).oneshot(request()).await.unwrap();
    assert_eq!(response.status(), 200, "completion wins a tie");

    // The handler first, by a hair.
    let (sender, receiver) = oneshot::channel();
    let mut future = task::spawn(TimeoutLayer::new(T).layer(waits(receiver)).call(request()));
    assert_pending!(future.poll());
    advance(T).await;
    sender.send(()).expect("the handler waits");
    let response = assert_ready!(future.poll()).unwrap();
    assert_eq!(response.status(), 200, "completion wins a tie");
    assert_eq!(text(response).await, "done");

    // The timer first, by a hair.
    let (sender, receiver) = oneshot::channel();
    let mut future = task::spawn(TimeoutLayer::new(T).layer(waits(receiver)).call(request()));
    assert_pending!(future.poll());
    advance(T).await;
    let response = assert_ready!(future.poll()).unwrap();
    assert!(sender.send(()).is_err(), "the handler is gone and cannot answer as well");
    assert_eq!(response.status(), 503);
    assert_eq!(text(response).await, "handler timed out");
}

#[tokio::test(start_paused = true)]
async fn the_time_starts_with_the_call() {
    let mut service = TimeoutLayer::new(T).layer(service_fn(|_| pending::<Answered>()));
    advance(T).await;
    let mut future = task::spawn(service.call(request()));
    advance(T - MS).await;
    assert_pending!(future.poll(), "time before the call does not count");
    advance(MS).await;
    let response = assert_ready!(future.poll(), "time between the call and the first poll does").unwrap();
    assert_eq!(response.status(), 503);
}

#[tokio::test(start_paused = true)]
async fn a_blocking_first_poll_is_on_the_clock() {
    /// As a handler that blocks its thread: the time passes within one poll.
    fn block(time: Duration) {
        let _ = advance(time).now_or_never();
    }
    let blocks_and_waits = service_fn(|_| async {
        block(T);
        pending::<Answered>().await
    });
    let mut future = task::spawn(TimeoutLayer::new(T).layer(blocks_and_waits).call(request()));
    let response = assert_ready!(future.poll(), "the time is up after the first poll").unwrap();
    assert_eq!(response.status(), 503);

    let blocks_and_answers = service_fn(|_| async {
        block(2 * T);
        ok("done")
    });
    let response = TimeoutLayer::new(T).layer(blocks_and_answers).oneshot(request()).await.unwrap();
    assert_eq!(response.status(), 200, "an answer that is there is not thrown away");

    let call_blocks = service_fn(|_| {
        block(T);
        pending::<Answered>()
    });
    let mut future = task::spawn(TimeoutLayer::new(T).layer(call_blocks).call(request()));
    assert!(future.poll().is_ready(), "`call` is on the clock as well");
}

#[tokio::test(start_paused = true)]
async fn the_handler_is_dropped_before_the_answer_is_made() {
    struct Handler(Arc<Mutex<Vec<&'static str>>>);
    impl Drop for Handler {
        fn drop(&mut self) {
            self.0.lock().unwrap().push("handler dropped");
        }
    }
    let order = Arc::new(Mutex::new(Vec::new()));
    let (in_handler, in_answer) = (order.clone(), order.clone());
    let layer = TimeoutLayer::new(T).answer(move |_: &Elapsed| {
        in_answer.lock().unwrap().push("answer made");
        Response::new(Bytes::new())
    });
    let handler = service_fn(move |_| {
        let handler = Handler(in_handler.clone());
        async move {
            let _handler = handler;
            pending::<Answered>().await
        }
    });
    let mut future = task::spawn(layer.layer(handler).call(request()));
    assert_pending!(future.poll());
    advance(T).await;
    assert!(future.poll().is_ready());
    assert_eq!(*order.lock().unwrap(), ["handler dropped", "answer made"], "while the future still exists");
}

#[tokio::test(start_paused = true)]
async fn a_client_that_leaves_drops_the_handler_and_gets_no_answer() {
    let answers = Arc::new(Mutex::new(0));
    let count = answers.clone();
    let layer = TimeoutLayer::new(T).answer(move |_: &Elapsed| {
        *count.lock().unwrap() += 1;
        Response::new(Bytes::new())
    });
    for polled in [false, true] {
        let gone = Gone::default();
        let guard = gone.guard();
        let mut guard = Some(guard);
        let handler = service_fn(move |_| {
            let guard = guard.take();
            async move {
                let _guard = guard;
                pending::<Answered>().await
            }
        });
        let mut future = task::spawn(layer.layer(handler).call(request()));
        if polled {
            assert_pending!(future.poll());
        }
        assert!(!gone.is_gone());
        drop(future);
        assert!(gone.is_gone(), "the handler goes with its future (polled: {polled})");
    }
    sleep(2 * T).await;
    assert_eq!(*answers.lock().unwrap(), 0, "an answer that nobody reads is not made");
}

#[test]
fn a_handler_that_is_ready_at_once_costs_no_timer() {
    // There is no runtime: tokio panics where a timer is made.
    let service = TimeoutLayer::new(T).layer(service_fn(|_| async { ok("done") }));
    let response = service.oneshot(request()).now_or_never().expect("ready at once").unwrap();
    assert_eq!(response.status(), 200);
}

#[tokio::test(start_paused = true)]
async fn a_lent_timer_is_used() {
    let mut service = TimeoutLayer::new(T).layer(service_fn(|_| pending::<Answered>()));

    // The connection lends its timer and then goes wrong: it does not arm it.
    let mut timer = task::spawn(TaskTimer::new());
    let mut future = pin!(service.call(request()));
    timer.enter(|cx, mut timer| assert_pending!(timer.as_mut().lend(cx, |cx| future.as_mut().poll(cx))));
    sleep(2 * T).await;
    assert!(!timer.is_woken(), "the future has no timer of its own");

    // Done right, the one timer of the connection ends the handler.
    let start = Instant::now();
    let mut timer = pin!(TaskTimer::new());
    let mut future = pin!(service.call(request()));
    let response = poll_fn(|cx| {
        loop {
            if let Poll::Ready(answer) = timer.as_mut().lend(cx, |cx| future.as_mut().poll(cx)) {
                return Poll::Ready(answer);
            }
            if timer.as_mut().poll_until(cx, Instant::now(), Some(start + 60 * SECOND)).is_pending() {
                return Poll::Pending;
            }
        }
    })
    .await
    .unwrap();
    assert_eq!(response.status(), 503);
    assert_eq!(start.elapsed(), T);
}

#[tokio::test(start_paused = true)]
async fn a_timer_lent_to_another_task_is_not_used() {
    let mut service = TimeoutLayer::new(T).layer(service_fn(|_| pending::<Answered>()));
    let mut timer = pin!(TaskTimer::new());
    // Each future in here has a waker of its own.
    let mut futures = FuturesUnordered::from_iter([service.call(request())]);
    // Nobody arms the lent timer, so only one of the timeout's own can end this.
    let answer = poll_fn(|cx| timer.as_mut().lend(cx, |cx| futures.poll_next_unpin(cx))).await;
    assert_eq!(answer.expect("one future").unwrap().status(), 503);
}

#[tokio::test(start_paused = true)]
async fn an_empty_response_is_a_response() {
    let empty =
        service_fn(|_: Request<Empty<Bytes>>| async { Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new())) });
    let response = TimeoutLayer::new(T).layer(empty).oneshot(request()).await.unwrap();
    assert_eq!(response.status(), 200);
    assert!(!response.body().is_answer());
    assert_eq!(text(response).await, "");
}

#[tokio::test(start_paused = true)]
async fn none_zero_and_the_maximum_are_no_limit() {
    let year = 365 * 24 * 3600 * SECOND;
    for layer in [
        TimeoutLayer::new(None),
        TimeoutLayer::new(Duration::ZERO),
        TimeoutLayer::new(Duration::MAX),
        TimeoutLayer::new(Duration::MAX - SECOND),
        TimeoutLayer::new(Duration::from_secs(u64::MAX / 2)),
        TimeoutLayer::new(Duration::from_secs(i64::MAX as u64 - 1)),
    ] {
        let response = layer.layer(takes(year)).oneshot(request()).await.unwrap();
        assert_eq!(response.status(), 200, "{layer:?}");
    }
    // The longest that is a limit still is one, and does not overflow the timer.
    let longest = Duration::from_secs(30 * 365 * 24 * 3600 - 1);
    let start = Instant::now();
    let response = TimeoutLayer::new(longest).layer(takes(Duration::MAX)).oneshot(request()).await.unwrap();
    assert_eq!(response.status(), 503);
    assert_eq!(start.elapsed(), longest);
}

#[tokio::test(start_paused = true)]
async fn an_error_of_the_service_passes_through() {
    let fails = service_fn(|_: Request<Empty<Bytes>>| async {
        sleep(MS).await;
        Err::<Response<Empty<Bytes>>, _>("broken")
    });
    let error = TimeoutLayer::new(T).layer(fails).oneshot(request()).await.map(|_| ()).expect_err("it fails");
    assert_eq!(error, "broken");
}

#[tokio::test(start_paused = true)]
async fn a_panic_passes_through_from_everywhere() {
    async fn panics<F: Future>(future: impl FnOnce() -> F) -> &'static str {
        let caught =
            AssertUnwindSafe(async { future().await }).catch_unwind().await.map(|_| ()).expect_err("it panics");
        assert!(Deadline::current().is_none(), "nothing is left behind on the thread");
        caught.downcast_ref::<&str>().expect("a text")
    }
    let layer = TimeoutLayer::new(T);

    let in_call = service_fn(|_: Request<Empty<Bytes>>| -> Pending<Answered> { panic!("in call") });
    assert_eq!(panics(|| layer.layer(in_call).call(request())).await, "in call");

    let in_future = service_fn(|_: Request<Empty<Bytes>>| async {
        sleep(MS).await;
        if true {
            panic!("in the future");
        }
        ok("done")
    });
    assert_eq!(panics(|| layer.layer(in_future).call(request())).await, "in the future");

    struct Bomb;
    impl Drop for Bomb {
        fn drop(&mut self) {
            panic!("in drop");
        }
    }
    let in_drop = service_fn(|_: Request<Empty<Bytes>>| async {
        let _bomb = Bomb;
        pending::<Answered>().await
    });
    assert_eq!(panics(|| layer.layer(in_drop).call(request())).await, "in drop");
}

#[tokio::test]
async fn readiness_is_that_of_the_service_inside() {
    let (mut service, mut handle) = tower_test::mock::spawn_layer::<_, Response<Empty<Bytes>>, _>(TimeoutLayer::new(T));
    handle.allow(0);
    assert_pending!(service.poll_ready());
    handle.allow(1);
    assert_ready!(service.poll_ready()).unwrap();

    // The mock panics if another service is called than the one that was made ready.
    let clone = service.clone();
    let _future = service.call(Request::new(()));
    drop(clone);
    handle.send_error("closed");
    assert!(assert_ready!(service.poll_ready()).is_err(), "an error passes through");
}

#[tokio::test(start_paused = true)]
async fn a_trusted_client_can_shorten_its_limit_and_nothing_else() {
    for (trust, name, value, seconds) in [
        (true, "x-request-timeout", "2", 2),
        (true, "x-request-timeout", "2000ms", 2),
        (true, "grpc-timeout", "2S", 2),
        (true, "x-request-timeout", "7", 5),
        (true, "grpc-timeout", "99999999H", 5),
        (true, "x-request-timeout", "0", 5),
        (true, "x-request-timeout", "soon", 5),
        (false, "x-request-timeout", "2", 5),
        (false, "grpc-timeout", "2S", 5),
    ] {
        let seen = Arc::new(Mutex::new(None));
        let see = seen.clone();
        let handler = service_fn(move |request: Request<Empty<Bytes>>| {
            *see.lock().unwrap() = request.extensions().get::<Deadline>().map(Deadline::remaining);
            pending::<Answered>()
        });
        let mut request = request();
        request.headers_mut().insert(name, HeaderValue::from_static(value));
        let start = Instant::now();
        let layer = TimeoutLayer::new(T).trust_client(trust);
        let response = layer.layer(handler).oneshot(request).await.unwrap();
        let limit = Duration::from_secs(seconds);
        assert_eq!(start.elapsed(), limit, "{name}: {value}, trusted: {trust}");
        assert_eq!(*seen.lock().unwrap(), Some(limit), "the handler knows of it");
        assert_eq!(response.extensions().get::<Elapsed>().map(Elapsed::limit), Some(limit), "so does the answer");
    }
    // Also where the server itself has no limit.
    let mut request = request();
    request.headers_mut().insert("x-request-timeout", HeaderValue::from_static("2"));
    let start = Instant::now();
    let layer = TimeoutLayer::new(None).trust_client(true);
    assert_eq!(layer.layer(takes(T)).oneshot(request).await.unwrap().status(), 503);
    assert_eq!(start.elapsed(), 2 * SECOND);
}

/// Answers with the milliseconds that are left: by the extension, by the thread, and by the thread after an await.
async fn what_is_left(request: Request<Empty<Bytes>>) -> Answered {
    let left = |deadline: Option<Deadline>| deadline.map(|deadline| deadline.remaining().as_millis());
    let shown = left(request.extensions().get().copied());
    let found = left(Deadline::current());
    sleep(MS).await;
    let later = left(Deadline::current());
    let spawned = tokio::spawn(async move { left(Deadline::current()) }).await.unwrap();
    assert_eq!(spawned, None, "a spawned task is on nobody's clock");
    Ok(Response::new(Full::new(Bytes::from(format!("{shown:?} {found:?} {later:?}")))))
}

#[tokio::test(start_paused = true)]
async fn a_handler_can_read_its_deadline() {
    let service = TimeoutLayer::new(T).layer(service_fn(what_is_left));
    assert_eq!(text(service.oneshot(request()).await.unwrap()).await, "Some(5000) Some(5000) Some(4999)");

    let service = TimeoutLayer::new(T).extension(false).layer(service_fn(what_is_left));
    assert_eq!(text(service.oneshot(request()).await.unwrap()).await, "None Some(5000) Some(4999)");

    let service = TimeoutLayer::new(None).layer(service_fn(what_is_left));
    let all = Duration::MAX.as_millis();
    assert_eq!(
        text(service.oneshot(request()).await.unwrap()).await,
        format!("Some({all}) Some({all}) Some({all})"),
        "without a limit there is a deadline all the same"
    );
    assert!(Deadline::current().is_none());
}

#[tokio::test(start_paused = true)]
async fn of_two_timeouts_the_earlier_counts() {
    for (outer, inner, earlier) in [(5, 7, "outer"), (7, 5, "inner")] {
        let outer = TimeoutLayer::new(outer * SECOND).message("outer");
        let inner = TimeoutLayer::new(inner * SECOND).message("inner");
        let service = outer.layer(inner.layer(service_fn(what_is_left)));
        assert_eq!(
            text(service.oneshot(request()).await.unwrap()).await,
            "Some(5000) Some(5000) Some(4999)",
            "the deadline is that of the earlier"
        );
        let start = Instant::now();
        let response = outer.layer(inner.layer(takes(60 * SECOND))).oneshot(request()).await.unwrap();
        assert_eq!(start.elapsed(), T);
        assert_eq!(text(response).await, earlier, "whose time is up answers");
    }
    // The inner one starts a second later.
    let inner = TimeoutLayer::new(7 * SECOND).layer(service_fn(what_is_left));
    let slow = service_fn(move |request| {
        let inner = inner.clone();
        async move {
            sleep(SECOND).await;
            inner.oneshot(request).await
        }
    });
    let response = TimeoutLayer::new(T).layer(slow).oneshot(request()).await.unwrap();
    assert_eq!(text(response).await, "Some(4000) Some(4000) Some(3999)");
}

#[test]
fn a_handler_that_is_ready_at_once_costs_no_allocation() {
    fn allocations<A>(layer: &TimeoutLayer<A>) -> u64
    where
        A: Answer<Elapsed> + Clone,
    {
        let route = RouteTimeoutLayer::off().layer(service_fn(|_| ready(ok("done"))));
        let mut service = layer.layer(route);
        let request = request();
        let measured = allocation_counter::measure(|| {
            let response = service.call(request).now_or_never().expect("ready at once").unwrap();
            assert_eq!(response.status(), 200);
        });
        measured.count_total
    }
    let layer = TimeoutLayer::new(T).trust_client(true);
    assert!(allocations(&layer) > 0, "the extension is what allocates");
    assert_eq!(allocations(&layer.extension(false)), 0, "nothing else does, also with a limit of the route's own");
}
