//! The event's fields, and which events are written.

use std::{
    convert::Infallible,
    net::SocketAddr,
    panic::AssertUnwindSafe,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use futures_util::FutureExt;
use graceful_access_log::{AccessLogLayer, MatchedRoute, Outcome, Record, RefusedRequest, RequestBody, tell_route};
use http::{HeaderValue, Method, Request, Response, StatusCode, Version, header::USER_AGENT};
use http_body_util::{BodyExt, Empty, Full};
use tower::{Layer, ServiceExt, service_fn};
use tracing::Level;

use crate::capture::{Capture, Captured, Value};

type Received = Request<RequestBody<Full<Bytes>>>;

fn peer() -> SocketAddr {
    "[2001:db8::1]:4711".parse().expect("an address")
}

async fn handler(mut request: Received) -> Result<Response<Full<Bytes>>, Infallible> {
    if let Some(route) = request.extensions().get::<MatchedRoute>() {
        assert_eq!(route.get(), None, "nobody has said it yet");
        route.set("/users/{id}");
        route.set("/the/first/call/counts");
        assert_eq!(route.get(), Some("/users/{id}"));
    }
    let status = request
        .headers()
        .get("x-status")
        .map_or(200, |status| status.to_str().expect("text").parse().expect("a status"));
    request.body_mut().collect().await.expect("infallible");
    tokio::time::advance(Duration::from_micros(1_234)).await;
    Ok(Response::builder().status(status).body(Full::from("hello")).expect("a response"))
}

async fn log_of(layer: AccessLogLayer, request: http::request::Builder) -> Option<Captured> {
    let mut log = Capture::new();
    let request = request.body(Full::from("hi")).expect("a request");
    let response = layer.layer(service_fn(handler)).oneshot(request).await.expect("infallible");
    tokio::time::advance(Duration::from_nanos(7_000_999)).await;
    response.into_body().collect().await.expect("infallible");
    log.next_if_any()
}

#[tokio::test(start_paused = true)]
async fn every_field_has_its_name_and_type() {
    let layer = AccessLogLayer::new().route_cell(true).peer(|extensions| extensions.get::<SocketAddr>().copied());
    let request = Request::put("/users/7?token=secret").header(USER_AGENT, "curl/8.5.0").extension(peer());
    let event = log_of(layer, request).await.expect("a record");
    assert_eq!((event.level, event.name), (Level::INFO, "access"));
    let text = |text: &str| Value::Str(text.to_owned());
    let expected = [
        ("message", text("access")),
        ("method", text("PUT")),
        ("path", text("/users/7")),
        ("route", text("/users/{id}")),
        ("version", text("HTTP/1.1")),
        ("status", Value::Unsigned(200)),
        ("duration_ms", Value::Float(8.234)),
        ("ttfb_ms", Value::Float(1.234)),
        ("bytes_in", Value::Unsigned(2)),
        ("bytes", Value::Unsigned(5)),
        ("bytes_expected", Value::Unsigned(5)),
        ("peer", text("[2001:db8::1]:4711")),
        ("user_agent", text("curl/8.5.0")),
        ("outcome", text("complete")),
    ];
    assert_eq!(event.fields, expected.into_iter().collect(), "these and no others");
}

#[tokio::test(start_paused = true)]
async fn what_does_not_apply_is_left_out() {
    // Asked for, and not there.
    let layer = AccessLogLayer::new().peer(|extensions| extensions.get::<SocketAddr>().copied());
    let event = log_of(layer, Request::get("/users/7")).await.expect("a record");
    for field in ["route", "peer", "user_agent"] {
        assert!(!event.fields.contains_key(field), "{field} does not apply: neither null nor empty");
    }
    let event = log_of(AccessLogLayer::new(), Request::connect("example.com:443").header("x-status", 407)).await;
    assert!(!event.expect("a record").fields.contains_key("path"), "the target of CONNECT has no path");
}

#[tokio::test(start_paused = true)]
async fn a_query_is_logged_only_if_asked_for() {
    for (query, path) in [(false, "/a"), (true, "/a?token=secret")] {
        let event = log_of(AccessLogLayer::new().query(query), Request::get("/a?token=secret")).await;
        assert_eq!(event.expect("a record").str("path"), Some(path));
    }
}

#[tokio::test(start_paused = true)]
async fn versions_have_the_names_of_their_protocols() {
    for (version, name) in [
        (Version::HTTP_09, "HTTP/0.9"),
        (Version::HTTP_10, "HTTP/1.0"),
        (Version::HTTP_11, "HTTP/1.1"),
        (Version::HTTP_2, "HTTP/2"),
        (Version::HTTP_3, "HTTP/3"),
    ] {
        let event = log_of(AccessLogLayer::new(), Request::get("/").version(version)).await.expect("a record");
        assert_eq!(event.str("version"), Some(name));
    }
}

#[tokio::test(start_paused = true)]
async fn the_clients_texts_are_bounded() {
    let method = Method::from_bytes("M".repeat(60_000).as_bytes()).expect("a method");
    let request = Request::builder()
        .method(method)
        .uri(format!("/{}", "p".repeat(60_000)))
        .header(USER_AGENT, "u".repeat(60_000));
    let event = log_of(AccessLogLayer::new(), request).await.expect("a record");
    for (field, length) in [("method", 32), ("path", 1024), ("user_agent", 256)] {
        assert_eq!(event.str(field).expect(field).len(), length, "{field}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_clients_texts_cannot_steer_a_terminal() {
    let raw = HeaderValue::from_bytes(b"caf\xc3\xa9 \x9b2J\t\xff").expect("a header value");
    let request = Request::get("/caf\u{e9}\u{9b}2J").header(USER_AGENT, raw);
    let event = log_of(AccessLogLayer::new(), request).await.expect("a record");
    assert_eq!(event.str("user_agent"), Some(r"caf\xc3\xa9 \x9b2J\t\xff"), "not UTF-8, and logged all the same");
    assert_eq!(event.str("path"), Some(r"/caf\xc3\xa9\xc2\x9b2J"));

    let long = HeaderValue::from_bytes(&[0xff; 60_000]).expect("a header value");
    let event = log_of(AccessLogLayer::new(), Request::get("/").header(USER_AGENT, long)).await.expect("a record");
    assert_eq!(event.str("user_agent").expect("escaped").len(), 256, "the limit holds for what is written");
}

#[tokio::test(start_paused = true)]
async fn a_5xx_is_a_warning() {
    for (status, level) in [(499, Level::INFO), (500, Level::WARN), (503, Level::WARN), (404, Level::INFO)] {
        let event = log_of(AccessLogLayer::new(), Request::get("/").header("x-status", status)).await;
        assert_eq!(event.expect("a record").level, level, "{status}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_filter_sees_the_whole_record_and_decides() {
    let seen = Arc::new(Mutex::new(0));
    let see = Arc::clone(&seen);
    let layer = AccessLogLayer::new()
        .route_cell(true)
        .peer(|extensions| extensions.get::<SocketAddr>().copied())
        .filter(move |record: &Record| {
            assert_eq!(record.method(), Method::GET);
            assert_eq!((record.path(), record.query()), ("/healthz", Some("a=b")));
            assert_eq!(record.route(), Some("/users/{id}"));
            assert_eq!(record.version(), Version::HTTP_11);
            assert_eq!(record.duration(), Duration::from_nanos(1_234_000 + 7_000_999));
            assert_eq!(record.ttfb(), Some(Duration::from_micros(1_234)));
            assert_eq!((record.bytes_in(), record.bytes(), record.bytes_expected()), (2, 5, Some(5)));
            assert_eq!(record.peer(), Some(peer()));
            assert_eq!(record.user_agent().expect("a user agent"), "probe");
            assert_eq!(record.outcome(), Outcome::Complete);
            *see.lock().expect("not poisoned: an assertion above would end the test below") += 1;
            record.status() != StatusCode::OK
        });
    for (status, written) in [(200, false), (500, true)] {
        let request =
            Request::get("/healthz?a=b").header(USER_AGENT, "probe").header("x-status", status).extension(peer());
        let event = log_of(layer.clone(), request).await;
        assert_eq!(event.is_some(), written, "{status}");
    }
    assert_eq!(*seen.lock().expect("not poisoned"), 2, "asked once a record");
}

#[tokio::test(start_paused = true)]
async fn only_what_is_listened_to_is_written() {
    for (level, statuses) in [(Level::INFO, vec![200, 500]), (Level::WARN, vec![500]), (Level::ERROR, vec![])] {
        let mut log = Capture::up_to(level);
        for status in [200, 500] {
            let request = Request::get("/").header("x-status", status).body(Full::from("hi")).expect("a request");
            let service = AccessLogLayer::new().layer(service_fn(handler));
            service.oneshot(request).await.expect("infallible").into_body().collect().await.expect("infallible");
        }
        let written: Vec<_> = std::iter::from_fn(|| log.next_if_any()).map(|event| event.outcome().0).collect();
        assert_eq!(written, statuses, "{level}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_subscriber_of_a_single_level_or_field_is_heard() {
    let mut log = Capture::by(|meta| *meta.level() == Level::INFO && meta.fields().field("outcome").is_some());
    let service = AccessLogLayer::new().layer(service_fn(async |_: Request<RequestBody<Empty<Bytes>>>| {
        Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new()))
    }));
    service.oneshot(Request::new(Empty::new())).await.expect("infallible");
    assert_eq!(log.only().outcome(), (200, "complete"), "the check asks what the event will ask");
}

#[test]
fn what_was_refused_has_the_same_names_and_leaves_out_what_is_not_known() {
    let mut capture = Capture::new();
    RefusedRequest::new(StatusCode::REQUEST_TIMEOUT, "header_timeout").bytes(7).peer(Some(peer())).write();
    let Captured { level, name, fields, .. } = capture.only();
    assert_eq!((level, name), (Level::INFO, "access"));
    let names: Vec<_> = fields.keys().copied().collect();
    assert_eq!(names, ["bytes", "message", "outcome", "peer", "reason", "status"]);
    assert_eq!(fields["outcome"], Value::Str("refused".to_owned()));

    let request = Request::get("/p\u{e4}th?query").header(USER_AGENT, "me").body(()).expect("a request");
    RefusedRequest::new(StatusCode::SERVICE_UNAVAILABLE, "too_many_upgrades")
        .head(request.method(), request.uri(), request.version(), request.headers())
        .write();
    let Captured { level, fields, .. } = capture.only();
    assert_eq!(level, Level::WARN, "as for every 5xx");
    for (field, value) in [("method", "GET"), ("path", "/p\\xc3\\xa4th"), ("version", "HTTP/1.1"), ("user_agent", "me")]
    {
        let (Value::Str(text) | Value::Shown(text)) = &fields[field] else { panic!("{field} is text") };
        assert_eq!(text, value, "{field}");
    }
}

/// Asks `handler`, with an access log around it and another one around that.
async fn ask<F: Future<Output = ()>>(handler: impl Fn() -> F + Clone) {
    let service = service_fn(move |_: Request<RequestBody<RequestBody<Empty<Bytes>>>>| {
        let work = handler();
        async {
            work.await;
            Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new()))
        }
    });
    let service = AccessLogLayer::new().layer(AccessLogLayer::new().layer(service));
    drop(service.oneshot(Request::new(Empty::new())).await.expect("infallible"));
}

fn routes(log: &mut Capture) -> Vec<Option<Value>> {
    std::iter::from_fn(|| log.next_if_any()).map(|mut record| record.fields.remove("route")).collect()
}

#[tokio::test]
async fn the_route_may_be_told_without_a_cell() {
    let route = |route: &str| Some(Value::Str(route.to_owned()));
    let mut log = Capture::new();
    tell_route("/nobody/listens");
    ask(|| async {}).await;
    assert_eq!(routes(&mut log), [None, None]);
    ask(|| {
        tell_route("/in/the/call");
        async {}
    })
    .await;
    assert_eq!(routes(&mut log), [route("/in/the/call"), route("/in/the/call")], "each log around hears it");
    ask(|| async {
        tokio::task::yield_now().await;
        tell_route("/first");
        tell_route("/second");
        tokio::task::yield_now().await;
        tell_route("/third");
    })
    .await;
    assert_eq!(routes(&mut log), [route("/first"), route("/first")], "the first one counts");
}

#[tokio::test]
async fn nobody_hears_the_route_of_another_request() {
    let mut log = Capture::new();
    // They take turns on the thread: the one that tells nothing ends last.
    let tells = ask(|| async {
        tokio::task::yield_now().await;
        tell_route("/one");
    });
    let is_silent = ask(|| async {
        tokio::task::yield_now().await;
        tokio::task::yield_now().await;
    });
    tokio::join!(tells, is_silent);
    let one = Some(Value::Str("/one".to_owned()));
    assert_eq!(routes(&mut log), [one.clone(), one, None, None]);

    let panics = ask(|| async {
        tell_route("/one");
        panic!("and leaves nothing behind");
    });
    AssertUnwindSafe(panics).catch_unwind().await.expect_err("a panic");
    routes(&mut log);
    tell_route("/nobody/listens");
    ask(|| async {}).await;
    assert_eq!(routes(&mut log), [None, None]);
}
