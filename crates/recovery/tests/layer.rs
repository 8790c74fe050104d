//! What the layer does for its service, without a socket.

mod support;

use std::{
    convert::Infallible,
    error::Error,
    future::{pending, ready},
    panic::{catch_unwind, panic_any, resume_unwind},
    pin::{Pin, pin},
    task::{Context, Poll},
};

use bytes::Bytes;
use graceful_answer::{AnswerBody, ProblemDetails};
use graceful_recovery::{
    Aborted, Panicked, Panics, Place, Recovery, RecoveryLayer, ResponseBody, ResponseFuture, abort,
};
use http::{HeaderValue, Request, Response, Version};
use http_body::{Body, Frame, SizeHint};
use http_body_util::{BodyExt, Full};
use tokio_test::{assert_pending, assert_ready};
use tower::{Layer, Service, ServiceExt, service_fn};
use tracing::{Instrument, Level, info_span};

use support::{Bomb, Capture};

type Empty = http_body_util::Empty<Bytes>;

fn request() -> Request<()> {
    Request::get("/orders/7?token=secret").body(()).expect("a request")
}

/// A response without a body.
fn fine<E>() -> Result<Response<Empty>, E> {
    Ok(Response::new(Empty::new()))
}

/// The answer to one request of a service behind `layer`, and the events.
async fn answered<S, A, B>(layer: &RecoveryLayer<A>, service: S) -> (Response<Bytes>, Vec<support::Seen>)
where
    S: Service<Request<()>, Response = Response<B>, Error = Infallible>,
    A: graceful_answer::Answer<Panicked>,
    B: Body<Data = Bytes>,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let (capture, _guard) = Capture::start();
    let Ok(response) = layer.layer(service).oneshot(request()).await;
    let (head, body) = response.into_parts();
    let body = body.collect().await.expect("a whole body").to_bytes();
    (Response::from_parts(head, body), capture.all())
}

fn assert_internal_error(response: &Response<Bytes>) {
    assert_eq!(response.status(), 500);
    assert_eq!(response.headers()["content-type"], "text/plain; charset=utf-8");
    assert_eq!(response.body(), "internal error", "the client reads nothing of the panic");
}

#[tokio::test]
async fn a_panic_in_call_is_a_500_and_a_full_report() {
    let layer = RecoveryLayer::new();
    let (capture, _guard) = Capture::start();
    let service = service_fn(|_: Request<()>| {
        if true {
            panic!("no {}", "table");
        }
        ready(fine::<Infallible>())
    });
    let line = line!() - 4;
    let Ok(response) = layer.layer(service).oneshot(request()).await;
    assert_eq!(response.status(), 500);

    let event = capture.one();
    assert_eq!((event.level, event.target.as_str(), event.message()), (Level::ERROR, "graceful::panic", "panic"));
    assert_eq!(event.get("panic"), Some("no table"));
    let location = event.get("location").expect("the hook saw it");
    assert!(location.contains(&format!("layer.rs:{line}:")), "file:line:col of the panic itself: {location}");
    assert_eq!(event.get("method"), Some("GET"));
    assert_eq!(event.get("path"), Some("/orders/7"), "a query may hold secrets");
    assert_eq!(event.get("where"), Some("call"));
    assert_eq!(event.get("request_id"), None, "not where it is not known");
    assert_eq!(event.get("thread"), std::thread::current().name(), "the thread that panicked");
    assert!(event.get("backtrace").is_some());
    assert_eq!((layer.panics().total(), layer.panics().at(Place::Call)), (1, 1));
}

#[tokio::test]
async fn a_panic_in_the_first_poll() {
    let layer = RecoveryLayer::new();
    let service = service_fn(async |_: Request<()>| if true { panic!("first") } else { fine() });
    let (response, events) = answered(&layer, service).await;
    assert_internal_error(&response);
    assert_eq!(events.len(), 1, "exactly once");
    assert_eq!((events[0].get("panic"), events[0].get("where")), (Some("first"), Some("future")));
    assert_eq!(layer.panics().at(Place::Future), 1);
}

#[tokio::test]
async fn a_panic_after_pending() {
    let layer = RecoveryLayer::new();
    let service = service_fn(async |_: Request<()>| {
        tokio::task::yield_now().await;
        if true { panic!("later") } else { fine() }
    });
    let (response, events) = answered(&layer, service).await;
    assert_internal_error(&response);
    assert_eq!(events.len(), 1, "exactly once");
    assert_eq!(events[0].get("where"), Some("future"));
}

#[tokio::test]
async fn a_request_without_panic_is_left_alone() {
    let layer = RecoveryLayer::new();
    let service = service_fn(async |_: Request<()>| {
        Ok::<_, Infallible>(Response::builder().status(201).header("x", "y").body(Full::from("made")).expect("valid"))
    });
    let Ok(response) = layer.layer(service).oneshot(request()).await;
    assert_eq!((response.status().as_u16(), &response.headers()["x"]), (201, &HeaderValue::from_static("y")));
    assert_eq!(response.body().size_hint().exact(), Some(4), "a known length must stay known");
    assert!(!response.body().is_end_stream());
    assert_eq!(response.into_body().collect().await.expect("whole").to_bytes(), "made");
    assert_eq!(layer.panics().total(), 0);
}

#[test]
fn a_request_without_panic_allocates_nothing() {
    let service = RecoveryLayer::new().layer(service_fn(|_: Request<()>| {
        ready(Ok::<_, Infallible>(Response::new(Full::new(Bytes::from_static(b"answer")))))
    }));
    let run = |request| {
        let mut cx = Context::from_waker(std::task::Waker::noop());
        // A clone a request, as axum and hyper-util make it.
        let mut future = pin!(service.clone().call(request));
        let Poll::Ready(Ok(response)) = future.as_mut().poll(&mut cx) else { unreachable!("it is ready") };
        let mut body = pin!(response.into_body());
        assert_eq!(body.size_hint().exact(), Some(6));
        while !body.is_end_stream() {
            assert!(body.as_mut().poll_frame(&mut cx).is_ready());
        }
    };
    let request = || Request::get(http::Uri::from_static("/orders/7")).body(()).expect("a request");
    run(request());
    let second = request();
    let measured = allocation_counter::measure(|| run(second));
    assert_eq!(measured.count_total, 0, "the free path uses the memory of the request before");
}

#[tokio::test]
async fn the_error_of_a_fallible_service_passes() {
    let service =
        RecoveryLayer::new().layer(service_fn(async |_: Request<()>| if true { Err("refused") } else { fine() }));
    assert_eq!(service.oneshot(request()).await.expect_err("an error"), "refused");
}

/// A body that goes wrong where it is told to.
#[derive(Default)]
struct Fragile {
    panics_in: &'static str,
    frames: u32,
    _bomb: Option<Bomb>,
}

impl Fragile {
    fn test(&self, place: &str) {
        assert!(self.panics_in != place, "body: {place}");
        if self.panics_in == "abort" && place == "poll_frame" {
            abort()
        }
    }
}

impl Body for Fragile {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.frames == 1 {
            self.test("poll_frame");
        }
        self.frames += 1;
        Poll::Ready((self.frames < 3).then(|| Ok(Frame::data(Bytes::from_static(b"part")))))
    }

    fn is_end_stream(&self) -> bool {
        self.test("is_end_stream");
        false
    }

    fn size_hint(&self) -> SizeHint {
        self.test("size_hint");
        SizeHint::with_exact(8)
    }
}

async fn fragile(layer: &RecoveryLayer, panics_in: &'static str) -> ResponseBody<Fragile> {
    let body = Fragile { panics_in, ..Default::default() };
    let mut body = Some(body);
    let service =
        service_fn(move |_: Request<()>| ready(Ok::<_, Infallible>(Response::new(body.take().expect("once")))));
    let Ok(response) = layer.layer(service).oneshot(request()).await;
    response.into_body()
}

#[tokio::test]
async fn a_panic_in_the_body_is_an_error_and_not_its_end() {
    let layer = RecoveryLayer::new();
    let (capture, _guard) = Capture::start();
    let mut body = fragile(&layer, "poll_frame").await;
    assert_eq!(body.frame().await.expect("a frame").expect("sound").into_data().expect("data"), "part");
    let error = body.frame().await.expect("not the end").expect_err("an error");
    let panicked = error.downcast_ref::<Panicked>().expect("the error says what happened");
    assert_eq!(panicked.place(), Place::Body);
    assert!(body.is_end_stream(), "after the error there is nothing");
    assert!(body.frame().await.is_none(), "after the error there is nothing");
    let event = capture.one();
    assert_eq!((event.get("panic"), event.get("where")), (Some("body: poll_frame"), Some("body")));
    assert_eq!(layer.panics().at(Place::Body), 1);
}

#[tokio::test]
async fn a_panic_in_what_a_body_says_of_itself_is_told_by_the_next_poll() {
    for place in ["is_end_stream", "size_hint"] {
        let layer = RecoveryLayer::new();
        let (capture, _guard) = Capture::start();
        let mut body = fragile(&layer, place).await;
        for _ in 0..2 {
            assert!(!body.is_end_stream(), "{place}: it must be polled");
            assert_eq!(body.size_hint().exact(), None, "{place}: no length is promised after a panic");
        }
        let error = body.frame().await.expect("not the end").expect_err("an error");
        assert!(error.is::<Panicked>(), "{place}");
        assert!(body.frame().await.is_none());
        assert_eq!(capture.one().get("where"), Some("body"), "{place}: reported once, however often it is asked");
    }
}

#[tokio::test]
async fn a_panic_in_the_drop_of_a_ready_future_costs_the_client_nothing() {
    struct Ready(#[expect(dead_code, reason = "dropped")] Bomb);
    impl Future for Ready {
        type Output = Result<Response<Full<Bytes>>, Infallible>;
        fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Self::Output> {
            Poll::Ready(Ok(Response::new(Full::from("answer"))))
        }
    }
    let layer = RecoveryLayer::new();
    let (response, events) = answered(&layer, service_fn(|_: Request<()>| Ready(Bomb("state")))).await;
    assert_eq!((response.status().as_u16(), &response.body()[..]), (200, &b"answer"[..]));
    assert_eq!(events.len(), 1);
    assert_eq!((events[0].get("panic"), events[0].get("where")), (Some("state"), Some("drop")));
    assert_eq!(layer.panics().at(Place::Drop), 1);
}

#[tokio::test]
async fn a_panic_in_the_drop_of_a_panicked_future_is_a_second_report() {
    struct Panics(#[expect(dead_code, reason = "dropped")] Bomb);
    impl Future for Panics {
        type Output = Result<Response<Empty>, Infallible>;
        fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Self::Output> {
            panic!("poll")
        }
    }
    let layer = RecoveryLayer::new();
    let (response, events) = answered(&layer, service_fn(|_: Request<()>| Panics(Bomb("state")))).await;
    assert_internal_error(&response);
    let told: Vec<_> = events.iter().map(|event| (event.get("panic"), event.get("where"))).collect();
    assert_eq!(told, [(Some("poll"), Some("future")), (Some("state"), Some("drop"))]);
}

#[tokio::test]
async fn a_client_that_leaves_meets_a_panic_in_the_handlers_state() {
    let layer = RecoveryLayer::new();
    let (capture, _guard) = Capture::start();
    let mut service = layer.layer(service_fn(async |_: Request<()>| {
        let _bomb = Bomb("guard of the handler");
        pending::<()>().await;
        fine::<Infallible>()
    }));
    let mut future = tokio_test::task::spawn(service.call(request()));
    assert_pending!(future.poll());
    drop(future);
    let event = capture.one();
    assert_eq!((event.get("panic"), event.get("where")), (Some("guard of the handler"), Some("drop")));
}

#[tokio::test]
async fn a_panic_in_the_drop_of_a_body_stays_inside() {
    let layer = RecoveryLayer::new();
    let (capture, _guard) = Capture::start();
    let mut body = Some(Fragile { _bomb: Some(Bomb("file")), ..Default::default() });
    let service =
        service_fn(move |_: Request<()>| ready(Ok::<_, Infallible>(Response::new(body.take().expect("once")))));
    let Ok(response) = layer.layer(service).oneshot(request()).await;
    drop(response);
    let event = capture.one();
    assert_eq!((event.get("panic"), event.get("where")), (Some("file"), Some("drop")));
}

/// A body of one frame, with which it is at its end, or of two and a `None`.
enum Parts {
    One(Full<Bytes>, #[expect(dead_code, reason = "dropped")] Bomb),
    Two(Fragile),
}

impl Body for Parts {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match self.get_mut() {
            Self::One(body, _) => Pin::new(body).poll_frame(cx),
            Self::Two(body) => Pin::new(body).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Self::One(body, _) if body.is_end_stream())
    }
}

#[tokio::test]
async fn a_body_is_dropped_at_its_end_and_a_panic_there_costs_the_client_nothing() {
    for text in ["part", "partpart"] {
        let layer = RecoveryLayer::new();
        let (capture, _guard) = Capture::start();
        let service = service_fn(move |_: Request<()>| {
            let parts = match text {
                "part" => Parts::One(Full::from(text), Bomb("file")),
                _ => Parts::Two(Fragile { _bomb: Some(Bomb("file")), ..Default::default() }),
            };
            ready(Ok::<_, Infallible>(Response::new(parts)))
        });
        let Ok(response) = layer.layer(service).oneshot(request()).await;
        let mut body = response.into_body();
        let read = (&mut body).collect().await.expect("a whole body").to_bytes();
        assert_eq!(read, text);
        let event = capture.one();
        assert_eq!(
            (event.get("panic"), event.get("where")),
            (Some("file"), Some("drop")),
            "before the server drops it"
        );
        assert!(body.is_end_stream() && body.size_hint().exact() == Some(0), "the end is the end");
        assert!(body.frame().await.is_none(), "the end is the end");
        drop(body);
        assert_eq!(layer.panics().total(), 1, "exactly once");
    }
}

#[tokio::test]
async fn a_body_and_a_future_that_both_go_wrong_once_the_head_is_there() {
    struct Ready(#[expect(dead_code, reason = "dropped")] Bomb);
    impl Future for Ready {
        type Output = Result<Response<Fragile>, Infallible>;
        fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Self::Output> {
            Poll::Ready(Ok(Response::new(Fragile { panics_in: "size_hint", ..Default::default() })))
        }
    }
    let layer = RecoveryLayer::new();
    let (capture, _guard) = Capture::start();
    let Ok(response) = layer.layer(service_fn(|_: Request<()>| Ready(Bomb("state")))).oneshot(request()).await;
    assert_eq!(response.status(), 200, "the head is the handler's");
    let error = response.into_body().collect().await.expect_err("an error");
    assert!(error.is::<Panicked>(), "{error}");
    let told: Vec<_> = capture.all().iter().map(|event| event.get("where").map(str::to_owned)).collect();
    assert_eq!(told, [Some("body".to_owned()), Some("drop".to_owned())], "each once");
}

#[tokio::test]
async fn a_payload_that_panics_when_it_is_dropped() {
    /// Its drop panics with another of its kind, without end.
    struct Endless;
    impl Drop for Endless {
        fn drop(&mut self) {
            panic_any(Endless);
        }
    }
    let layer = RecoveryLayer::new();
    let service = service_fn(async |_: Request<()>| if true { panic_any(Endless) } else { fine() });
    let (response, events) = answered(&layer, service).await;
    assert_internal_error(&response);
    let told: Vec<_> = events.iter().map(|event| (event.get("panic"), event.get("where"))).collect();
    let text = Some("non-string panic payload");
    assert_eq!(told, [(text, Some("future")), (text, Some("drop"))], "both, and no third");
    assert_eq!(layer.panics().total(), 2);
}

#[tokio::test]
async fn the_answer_can_be_another() {
    let panics = || service_fn(async |_: Request<()>| if true { panic!("x") } else { fine() });
    let (response, _) = answered(&RecoveryLayer::new().answer(ProblemDetails::new()), panics()).await;
    assert_eq!(response.headers()["content-type"], "application/problem+json");
    let closure = |panicked: &Panicked| Response::new(Bytes::from(panicked.to_string()));
    let (response, _) = answered(&RecoveryLayer::new().answer(closure), panics()).await;
    assert_eq!(response.body(), "the service panicked (future)");
}

#[tokio::test]
async fn an_answer_that_panics_is_replaced_by_plain_text() {
    let closure = |_: &Panicked| -> Response<Bytes> { panic!("no template") };
    let layer = RecoveryLayer::new().answer(closure);
    let (response, events) =
        answered(&layer, service_fn(async |_: Request<()>| if true { panic!("x") } else { fine() })).await;
    assert_internal_error(&response);
    let told: Vec<_> = events.iter().map(|event| (event.get("panic"), event.get("where"))).collect();
    assert_eq!(told, [(Some("x"), Some("future")), (Some("no template"), Some("answer"))]);
}

#[tokio::test]
async fn options_keep_the_counter() {
    let layer = RecoveryLayer::new();
    let panics: Panics = layer.panics();
    let layer = layer.backtrace(false).answer(ProblemDetails::new());
    answered(&layer, service_fn(async |_: Request<()>| if true { panic!("x") } else { fine() })).await;
    answered(&layer.clone(), service_fn(async |_: Request<()>| if true { panic!("x") } else { fine() })).await;
    assert_eq!(panics.total(), 2, "one counter for all clones and services of a layer");
}

fn assert_only_a_debug_line(layer: &RecoveryLayer<impl Sized>, capture: &Capture, place: &str) {
    let event = capture.one();
    assert_eq!((event.level, event.message()), (Level::DEBUG, "response aborted"), "an abort is no error");
    assert_eq!((event.get("where"), event.get("path")), (Some(place), Some("/orders/7")));
    assert_eq!(layer.panics().total(), 0, "an abort is not counted");
}

#[tokio::test]
async fn an_abort_before_the_head_is_a_response_that_cannot_be_sent() {
    for (version, close) in [(Version::HTTP_11, true), (Version::HTTP_2, false)] {
        let layer = RecoveryLayer::new();
        let (capture, _guard) = Capture::start();
        let mut request = request();
        *request.version_mut() = version;
        let service = service_fn(async |_: Request<()>| if true { abort() } else { fine::<Infallible>() });
        let Ok(response) = layer.layer(service).oneshot(request).await;
        assert_eq!(response.status(), 500, "for the access log, which sees it");
        assert_eq!(response.headers().contains_key("connection"), close, "HTTP/2 knows no such header");
        let mut body = response.into_body();
        assert!(!body.is_end_stream() && body.size_hint().exact().is_none(), "it must be polled");
        assert!(body.frame().await.expect("not the end").expect_err("an error").is::<Aborted>());
        assert!(body.frame().await.is_none());
        assert_only_a_debug_line(&layer, &capture, "future");
    }
}

#[tokio::test]
async fn an_abort_in_call_and_in_the_body() {
    let layer = RecoveryLayer::new();
    let (capture, _guard) = Capture::start();
    let service = service_fn(|_: Request<()>| {
        if true {
            abort()
        }
        ready(fine::<Infallible>())
    });
    let Ok(response) = layer.layer(service).oneshot(request()).await;
    assert!(response.into_body().collect().await.expect_err("an error").is::<Aborted>());
    assert_only_a_debug_line(&layer, &capture, "call");

    let (capture, _guard) = Capture::start();
    let mut body = fragile(&layer, "abort").await;
    body.frame().await.expect("a frame").expect("sound");
    assert!(body.frame().await.expect("not the end").expect_err("an error").is::<Aborted>());
    assert_only_a_debug_line(&layer, &capture, "body");
}

#[tokio::test]
async fn an_answer_may_abort() {
    let layer = RecoveryLayer::new().answer(|_: &Panicked| -> Response<Bytes> { abort() });
    let service = service_fn(async |_: Request<()>| if true { panic!("x") } else { fine::<Infallible>() });
    let Ok(response) = layer.layer(service).oneshot(request()).await;
    assert!(response.into_body().collect().await.expect_err("no answer").is::<Aborted>());
}

/// In the words of a user: deep in a handler.
#[inline(never)]
fn load_the_order(id: Option<u32>) -> u32 {
    std::hint::black_box(id.expect("order without id"))
}

#[tokio::test]
async fn the_backtrace_begins_where_it_panicked_and_is_made_off_the_worker() {
    let service = service_fn(async |_: Request<()>| {
        load_the_order(None);
        fine()
    });
    let (_, events) = answered(&RecoveryLayer::new().backtrace(true), service).await;
    let backtrace = events[0].get("backtrace").expect("a backtrace");
    let at = |name: &str| backtrace.lines().position(|line| line.contains(name));
    let panicking = at("load_the_order").unwrap_or_else(|| panic!("the panicking function is named: {backtrace}"));
    assert!(panicking <= 4, "it comes first, after `expect` at most: {backtrace}");
    let own = at("graceful_recovery::");
    assert!(own.is_none_or(|own| own > panicking), "before any frame of this crate: {backtrace}");
    for machinery in ["rust_begin_unwind", "core::panicking", "force_capture", "lang_start"] {
        assert_eq!(at(machinery), None, "{machinery} is nothing of the user's: {backtrace}");
    }
    assert_eq!(events[0].thread.as_deref(), Some("graceful-panics"), "named on the reporter's thread");
}

#[tokio::test]
async fn without_a_backtrace_the_report_is_written_at_once() {
    let (capture, _guard) = Capture::start();
    let service = service_fn(async |_: Request<()>| if true { panic!("x") } else { fine::<Infallible>() });
    let Ok(_) = RecoveryLayer::new().backtrace(false).layer(service).oneshot(request()).await;
    let events = capture.now();
    assert_eq!(events.len(), 1, "nothing to wait for");
    assert_eq!(events[0].get("backtrace"), None);
    assert!(events[0].get("location").is_some(), "the place is known all the same");
}

#[tokio::test]
async fn the_event_is_inside_the_requests_span() {
    let (capture, _guard) = Capture::start();
    let service = service_fn(async |_: Request<()>| if true { panic!("x") } else { fine::<Infallible>() });
    let Ok(_) = RecoveryLayer::new().layer(service).oneshot(request()).instrument(info_span!("request")).await;
    let event = capture.one();
    assert_eq!(event.spans, ["request"]);
    assert_eq!(event.thread.as_deref(), Some("graceful-panics"), "though another thread wrote it");
}

#[tokio::test]
async fn layered_twice_the_inner_one_reports_and_the_outer_sees_a_response() {
    let (inner, outer) = (RecoveryLayer::new(), RecoveryLayer::new());
    let service = inner.layer(service_fn(async |_: Request<()>| if true { panic!("x") } else { fine() }));
    let (response, events) = answered(&outer, service).await;
    assert_internal_error(&response);
    assert_eq!(events.len(), 1, "once, not once a layer");
    assert_eq!((inner.panics().total(), outer.panics().total()), (1, 0));
}

#[tokio::test]
async fn a_panic_that_the_application_catches_is_told_and_does_not_mix_with_the_next() {
    let service = service_fn(async |_: Request<()>| {
        let caught = catch_unwind(|| panic!("caught"));
        assert!(caught.is_err());
        if true { panic!("not caught") } else { fine() }
    });
    let layer = RecoveryLayer::new();
    let (response, events) = answered(&layer, service).await;
    assert_internal_error(&response);
    let told: Vec<_> = events.iter().map(|event| (event.level, event.get("panic").expect("text"))).collect();
    assert_eq!(told, [(Level::WARN, "caught"), (Level::ERROR, "not caught")]);
    let lines: Vec<_> = events.iter().map(|event| event.get("location").expect("a location")).collect();
    assert_ne!(lines[0], lines[1], "each with its own place");
    assert_eq!(layer.panics().total(), 1, "the one it caught is its own affair");
}

#[tokio::test]
async fn a_panic_that_was_caught_and_resumed_keeps_its_place() {
    let service = service_fn(async |_: Request<()>| {
        match catch_unwind(|| {
            if true {
                panic!("first")
            }
        }) {
            Ok(()) => fine(),
            Err(payload) => resume_unwind(payload),
        }
    });
    let (_, events) = answered(&RecoveryLayer::new(), service).await;
    assert_eq!(events.len(), 1);
    assert!(events[0].get("location").is_some());
}

#[tokio::test]
async fn a_panic_of_another_thread_that_is_resumed_here_has_no_place() {
    let service = service_fn(async |_: Request<()>| {
        // One with a place of its own, which is not the other's.
        assert!(
            catch_unwind(|| if true {
                panic!("from here")
            })
            .is_err()
        );
        if true { resume_unwind(Box::new("from afar")) } else { fine() }
    });
    let (response, events) = answered(&RecoveryLayer::new(), service).await;
    assert_internal_error(&response);
    let event = events.iter().find(|event| event.level == Level::ERROR).expect("a report");
    assert_eq!(event.get("panic"), Some("from afar"));
    assert_eq!((event.get("location"), event.get("backtrace")), (None, None), "rather none than a wrong one");
}

#[tokio::test]
async fn a_destructor_that_catches_its_own_panic_while_another_unwinds() {
    struct Careful;
    impl Drop for Careful {
        fn drop(&mut self) {
            assert!(
                catch_unwind(|| if true {
                    panic!("second")
                })
                .is_err()
            );
        }
    }
    let service = service_fn(async |_: Request<()>| {
        let _careful = Careful;
        if true { panic!("first") } else { fine() }
    });
    let (response, events) = answered(&RecoveryLayer::new(), service).await;
    assert_internal_error(&response);
    let told: Vec<_> = events.iter().map(|event| (event.level, event.get("panic").expect("text"))).collect();
    assert_eq!(told, [(Level::WARN, "second"), (Level::ERROR, "first")]);
    assert!(events.iter().all(|event| event.get("location").is_some()), "each has its own place: {events:#?}");
}

#[tokio::test]
async fn a_panic_in_a_drop_of_ours_while_another_unwinds() {
    /// Panics in its drop also while the thread unwinds.
    struct Always;
    impl Drop for Always {
        fn drop(&mut self) {
            panic!("second");
        }
    }
    let layer = RecoveryLayer::new();
    // The handler holds a response of an inner stack when it panics, as a gateway would.
    let inner = layer.layer(service_fn(async |_: Request<()>| {
        let _always = Always;
        pending::<()>().await;
        fine::<Infallible>()
    }));
    let service = service_fn(move |request: Request<()>| {
        let mut inner = inner.clone();
        async move {
            let mut held = pin!(inner.call(request));
            std::future::poll_fn(|cx| {
                assert!(held.as_mut().poll(cx).is_pending());
                Poll::Ready(())
            })
            .await;
            if true { panic!("first") } else { fine() }
        }
    });
    let (response, events) = answered(&layer, service).await;
    assert_internal_error(&response);
    let told: Vec<_> =
        events.iter().map(|event| (event.get("panic").expect("text"), event.get("where").expect("place"))).collect();
    assert_eq!(told, [("second", "drop"), ("first", "future")]);
    assert!(events.iter().all(|event| event.get("location").is_some()), "each has its own place: {events:#?}");
}

#[tokio::test]
async fn a_request_id_can_be_looked_up() {
    let layer = RecoveryLayer::new().request_id(|head| head.headers.get("x-request-id").cloned());
    let (capture, _guard) = Capture::start();
    let service = layer.layer(service_fn(async |_: Request<()>| if true { panic!("x") } else { fine::<Infallible>() }));
    let request = Request::get("/").header("x-request-id", "abc").body(()).expect("a request");
    let Ok(_) = service.oneshot(request).await;
    assert_eq!(capture.one().get("request_id"), Some("abc"));

    let layer = RecoveryLayer::new().request_id(|_| panic!("lookup"));
    let (response, events) = answered(&layer, service_fn(async |_: Request<()>| fine())).await;
    assert_internal_error(&response);
    assert_eq!(events[0].get("where"), Some("call"));
}

#[tokio::test]
async fn a_subscriber_that_panics_is_the_end_of_the_report_only() {
    for backtrace in [true, false] {
        let (_capture, _guard) = Capture::start_with(|| panic!("subscriber"));
        let layer = RecoveryLayer::new().backtrace(backtrace);
        let service = service_fn(async |_: Request<()>| if true { panic!("x") } else { fine::<Infallible>() });
        let Ok(response) = layer.layer(service).oneshot(request()).await;
        assert_eq!(response.status(), 500);
        assert!(graceful_recovery::flush(std::time::Duration::from_secs(30)), "the reporter goes on");
    }
}

/// A service that wants what the contract promises: `call` on the very clone that was ready.
#[derive(Debug, Default)]
struct Strict {
    polls: u32,
}

impl Clone for Strict {
    fn clone(&self) -> Self {
        Self::default()
    }
}

impl Service<Request<()>> for Strict {
    type Response = Response<Empty>;
    type Error = Infallible;
    type Future = std::future::Ready<Result<Response<Empty>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.polls += 1;
        if self.polls > 1 { Poll::Ready(Ok(())) } else { Poll::Pending }
    }

    fn call(&mut self, _: Request<()>) -> Self::Future {
        assert!(self.polls > 1, "called before it was ready");
        ready(fine())
    }
}

#[tokio::test]
async fn readiness_passes_through_and_stays_with_its_clone() {
    let service = RecoveryLayer::new().layer(Strict::default());
    let mut service = tokio_test::task::spawn(service);
    let ready = |service: &mut tokio_test::task::Spawn<Recovery<Strict>>| {
        service.enter(|cx, mut service| service.poll_ready(cx))
    };
    assert_pending!(ready(&mut service), "nothing is made up");
    assert_ready!(ready(&mut service)).expect("ready");
    let mut clone = tokio_test::task::spawn((*service).clone());
    assert_pending!(ready(&mut clone), "a clone is not ready because the original is");
    let Ok(response) = service.call(request()).await;
    assert_eq!(response.status(), 200, "the one that was ready is the one that is called");
}

#[test]
fn auto_traits() {
    fn holds<T: Send + Sync + Unpin + 'static>() {}
    fn clones<T: Clone>() {}
    holds::<RecoveryLayer>();
    holds::<Recovery<()>>();
    holds::<ResponseFuture<std::future::Ready<()>>>();
    holds::<ResponseBody<Full<Bytes>>>();
    holds::<Panics>();
    holds::<Panicked>();
    clones::<RecoveryLayer>();
    clones::<Recovery<()>>();
    clones::<Panics>();
    let _: AnswerBody<Empty> = AnswerBody::inner(Empty::new());
}

#[tokio::test]
async fn the_services_inside_can_be_reached() {
    let mut service = RecoveryLayer::new().layer(7);
    *service.get_mut() += 1;
    assert_eq!(*service.get_ref(), 8);
    assert!(format!("{service:?}").starts_with("Recovery { inner: 8, panics: 0"));
    assert_eq!(service.into_inner(), 8);
}
