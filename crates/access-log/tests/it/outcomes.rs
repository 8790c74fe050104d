//! Each way a request can end, on a plain stack.

use std::{convert::Infallible, future::pending, io, time::Duration};

use bytes::Bytes;
use futures_util::FutureExt;
use graceful_access_log::{AccessLogLayer, RequestBody, ResponseBody};
use http::{Method, Request, Response, StatusCode, header::CONTENT_LENGTH};
use http_body_util::{BodyExt, Empty, Full};
use tower::{Layer, ServiceExt, service_fn};
use tracing::Level;

use crate::{
    body::{
        Script,
        Step::{Data, Error, Trailers, Wait},
    },
    capture::Capture,
};

type Logged = Response<ResponseBody<Script>>;

/// What a service inside an access log answers to a request with this method.
async fn answer(method: Method, response: Response<Script>) -> Logged {
    let mut response = Some(response);
    let service = service_fn(move |_: Request<RequestBody<Empty<Bytes>>>| {
        let response = response.take().expect("one request");
        async move { Ok::<_, Infallible>(response) }
    });
    let request = Request::builder().method(method).uri("/").body(Empty::new()).expect("a request");
    AccessLogLayer::new().layer(service).oneshot(request).await.expect("infallible")
}

async fn get(body: Script) -> Logged {
    answer(Method::GET, Response::new(body)).await
}

fn with_status(status: u16, body: Script) -> Response<Script> {
    Response::builder().status(status).body(body).expect("a response")
}

fn with_content_length(length: &str, body: Script) -> Response<Script> {
    Response::builder().header(CONTENT_LENGTH, length).body(body).expect("a response")
}

#[tokio::test]
async fn a_body_of_unknown_length_is_complete_at_its_end() {
    let mut log = Capture::new();
    let mut response = get(Script::new([Data("hello"), Data(" world")])).await;
    for _ in 0..2 {
        response.frame().await.expect("a frame").expect("no error");
        log.none();
    }
    assert!(response.frame().await.is_none());
    let event = log.only();
    assert_eq!(event.outcome(), (200, "complete"), "the record ends with the end that was handed over");
    assert_eq!(event.bytes(), (0, 11, None), "an unknown length is left out");
    assert!(response.frame().await.is_none(), "the end may be asked for again");
    drop(response);
    log.none();
}

#[tokio::test]
async fn the_content_length_makes_a_body_complete_though_its_end_is_never_asked_for() {
    let mut log = Capture::new();
    let mut response =
        answer(Method::GET, with_content_length("11", Script::new([Data("hello"), Data(" world"), Wait]))).await;
    for _ in 0..2 {
        response.frame().await.expect("a frame").expect("no error");
    }
    log.none();
    drop(response);
    let event = log.only();
    assert_eq!(event.outcome(), (200, "complete"), "as hyper does it: no poll after the last byte, then a drop");
    assert_eq!(event.bytes(), (0, 11, Some(11)));
}

#[tokio::test]
async fn so_does_an_exact_size_hint() {
    let mut log = Capture::new();
    let mut response = get(Script::new([Data("hello"), Wait]).with_length(5)).await;
    response.frame().await.expect("a frame").expect("no error");
    drop(response);
    let event = log.only();
    assert_eq!(event.outcome(), (200, "complete"));
    assert_eq!(event.bytes(), (0, 5, Some(5)), "the length was known with the head");
}

#[tokio::test]
async fn so_does_a_last_frame_that_is_said_to_be_the_last() {
    let mut log = Capture::new();
    let mut response = get(Script::new([Data("hello")]).telling_end()).await;
    response.frame().await.expect("a frame").expect("no error");
    drop(response);
    assert_eq!(log.only().outcome(), (200, "complete"));
}

#[tokio::test]
async fn so_do_trailers() {
    let mut log = Capture::new();
    let mut response = get(Script::new([Data("hello"), Trailers, Wait])).await;
    for _ in 0..2 {
        response.frame().await.expect("a frame").expect("no error");
    }
    drop(response);
    let event = log.only();
    assert_eq!(event.outcome(), (200, "complete"), "nothing can follow trailers");
    assert_eq!(event.bytes(), (0, 5, None), "trailers are no bytes of the body");
}

#[tokio::test]
async fn a_response_without_a_body_on_the_wire_is_complete_with_its_head() {
    let mut log = Capture::new();
    for (method, status) in [(Method::HEAD, 200), (Method::GET, 204), (Method::GET, 304), (Method::HEAD, 500)] {
        let response = answer(method.clone(), with_status(status, Script::untouchable(5))).await;
        let event = log.only();
        assert_eq!(event.outcome(), (status.into(), "complete"), "{method} {status}: no server polls this body");
        assert_eq!(event.bytes(), (0, 0, Some(0)), "{method} {status}: and none of it is sent");
        drop(response);
        log.none();
    }
}

#[tokio::test]
async fn an_empty_body_is_complete_with_its_head() {
    let mut log = Capture::new();
    let response = get(Script::new([]).telling_end()).await;
    assert_eq!(log.only().outcome(), (200, "complete"));
    drop(response);
    log.none();
    // Empty, and only its length says so.
    drop(get(Script::new([Wait]).with_length(0)).await);
    assert_eq!(log.only().outcome(), (200, "complete"));
}

#[tokio::test]
async fn a_body_that_is_dropped_before_its_end_is_truncated() {
    for known in [false, true] {
        let mut log = Capture::new();
        let script = Script::new([Data("hello"), Data(" world")]);
        let mut response = get(if known { script.with_length(11) } else { script }).await;
        response.frame().await.expect("a frame").expect("no error");
        drop(response);
        let event = log.only();
        assert_eq!(event.outcome(), (200, "truncated"), "length known: {known}");
        assert_eq!(event.bytes(), (0, 5, known.then_some(11)));
    }
}

#[tokio::test]
async fn a_body_that_is_never_polled_is_truncated() {
    let mut log = Capture::new();
    drop(get(Script::untouchable(5)).await);
    let event = log.only();
    assert_eq!(event.outcome(), (200, "truncated"));
    assert_eq!(event.bytes(), (0, 0, Some(5)));
}

#[tokio::test]
async fn a_body_shorter_than_its_content_length_is_truncated() {
    let mut log = Capture::new();
    let response = answer(Method::GET, with_content_length("11", Script::new([Data("hello")]).telling_end())).await;
    response.into_body().collect().await.expect("no error");
    let event = log.only();
    assert_eq!(event.outcome(), (200, "truncated"), "the client waits for what does not come");
    assert_eq!(event.bytes(), (0, 5, Some(11)));
}

#[tokio::test]
async fn a_content_length_that_is_none_is_an_unknown_length() {
    let mut log = Capture::new();
    let response = answer(Method::GET, with_content_length("five", Script::new([Data("hello")]))).await;
    response.into_body().collect().await.expect("no error");
    let event = log.only();
    assert_eq!(event.outcome(), (200, "complete"));
    assert_eq!(event.bytes(), (0, 5, None));
}

#[tokio::test]
async fn an_error_of_the_body_ends_the_record() {
    let mut log = Capture::new();
    let mut response = get(Script::new([Data("hello"), Error])).await;
    response.frame().await.expect("a frame").expect("no error yet");
    response.frame().await.expect("a frame").expect_err("the error passes through");
    let event = log.only();
    assert_eq!(event.outcome(), (200, "body_error"), "the status is the one that was sent");
    assert_eq!(event.bytes(), (0, 5, None));
    assert!(response.frame().await.is_none());
    drop(response);
    log.none();
}

#[tokio::test(start_paused = true)]
async fn a_client_that_leaves_before_the_head_is_a_499() {
    for polled in [true, false] {
        let mut log = Capture::new();
        let service = service_fn(|_: Request<_>| pending::<Result<Response<Script>, Infallible>>());
        let request = Request::new(Full::new(Bytes::from_static(b"upload")));
        let mut future = Box::pin(AccessLogLayer::new().layer(service).oneshot(request));
        if polled {
            assert!(future.as_mut().now_or_never().is_none());
        } else {
            // `oneshot` calls the service with its first poll: this request never got there.
            drop(future);
            log.none();
            continue;
        }
        tokio::time::advance(Duration::from_millis(1500)).await;
        drop(future);
        let event = log.only();
        assert_eq!(event.outcome(), (499, "client_gone"));
        assert_eq!(event.level, Level::INFO, "a client that leaves is no fault of the server");
        assert_eq!(event.float("ttfb_ms"), None, "there was no first byte");
        assert_eq!(event.float("duration_ms"), Some(1500.0));
        assert_eq!(event.bytes(), (0, 0, None));
    }
}

#[tokio::test]
async fn a_future_that_is_never_polled_has_its_record() {
    use tower::Service;
    let mut log = Capture::new();
    let mut service =
        AccessLogLayer::new().layer(service_fn(|_: Request<_>| pending::<Result<Response<Script>, Infallible>>()));
    drop(service.call(Request::new(Empty::<Bytes>::new())));
    assert_eq!(log.only().outcome(), (499, "client_gone"));
}

#[tokio::test(start_paused = true)]
async fn what_a_layer_inside_answers_is_an_answer() {
    let mut log = Capture::new();
    // As a timeout: drops the handler, and answers itself.
    let service = service_fn(|_: Request<RequestBody<Empty<Bytes>>>| async {
        let handler = pending::<Response<Full<Bytes>>>();
        let response = tokio::time::timeout(Duration::from_secs(30), handler).await.unwrap_or_else(|_| {
            let mut response = Response::new(Full::from("handler timed out"));
            *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
            response
        });
        Ok::<_, Infallible>(response)
    });
    let response = AccessLogLayer::new().layer(service).oneshot(Request::new(Empty::new())).await.expect("infallible");
    response.into_body().collect().await.expect("infallible");
    let event = log.only();
    assert_eq!(event.outcome(), (503, "complete"), "an inner timeout or limit is an answer like any other");
    assert_eq!(event.level, Level::WARN, "a 5xx is a warning");
    assert_eq!(event.float("ttfb_ms"), Some(30_000.0));
    assert_eq!(event.bytes(), (0, 17, Some(17)));
}

#[tokio::test]
async fn an_upgrade_ends_the_record_with_the_head() {
    for (method, status) in [(Method::GET, 101), (Method::CONNECT, 200), (Method::CONNECT, 204)] {
        let mut log = Capture::new();
        let response = answer(method.clone(), with_status(status, Script::untouchable(5))).await;
        let event = log.only();
        assert_eq!(event.outcome(), (status.into(), "upgraded"), "{method} {status}");
        assert_eq!(event.bytes(), (0, 0, None), "{method} {status}: what follows is not HTTP");
        drop(response);
        log.none();
    }
}

#[tokio::test]
async fn a_refused_connect_is_a_plain_answer() {
    let mut log = Capture::new();
    let response = answer(Method::CONNECT, with_status(407, Script::new([Data("no")]))).await;
    response.into_body().collect().await.expect("no error");
    assert_eq!(log.only().outcome(), (407, "complete"));
}

#[tokio::test]
async fn an_error_of_the_service_is_a_500_without_an_answer() {
    let mut log = Capture::new();
    let service = service_fn(|_: Request<RequestBody<Empty<Bytes>>>| async {
        Err::<Response<Script>, _>(io::Error::other("out of order"))
    });
    let error = AccessLogLayer::new().layer(service).oneshot(Request::new(Empty::new())).await.expect_err("fails");
    assert_eq!(error.to_string(), "out of order", "the error passes through");
    let event = log.only();
    assert_eq!(event.outcome(), (500, "body_error"), "not the client's fault");
    assert_eq!(event.level, Level::WARN);
    assert_eq!(event.float("ttfb_ms"), None, "no head left this layer");
}

#[tokio::test(start_paused = true)]
async fn time_runs_to_the_drop_of_a_body_that_is_at_its_end() {
    let mut log = Capture::new();
    let mut response = get(Script::new([Data("hello")]).with_length(5).telling_end()).await;
    response.frame().await.expect("a frame").expect("no error");
    // As hyper does under HTTP/2, when the client's window has no room for the chunk.
    tokio::time::advance(Duration::from_millis(700)).await;
    drop(response);
    let event = log.only();
    assert_eq!((event.float("ttfb_ms"), event.float("duration_ms")), (Some(0.0), Some(700.0)));
}

#[tokio::test]
async fn bytes_in_are_those_that_were_read() {
    for (frames_read, bytes_in) in [(0, 0), (1, 5), (2, 11), (usize::MAX, 11)] {
        let mut log = Capture::new();
        let service = service_fn(async |request: Request<RequestBody<Script>>| {
            let mut body = request.into_body();
            for _ in 0..frames_read {
                if body.frame().await.is_none() {
                    break;
                }
            }
            Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new()))
        });
        let request = Request::new(Script::new([Data("hello"), Data(" world"), Trailers]));
        drop(AccessLogLayer::new().layer(service).oneshot(request).await.expect("infallible"));
        assert_eq!(log.only().unsigned("bytes_in"), Some(bytes_in), "{frames_read} frames were read");
    }
}

#[tokio::test]
async fn bytes_in_are_counted_to_the_end_of_the_record_wherever_they_are_read() {
    let mut log = Capture::new();
    // The response's body is the request's: what is read is read after the head.
    let echo = service_fn(async |request: Request<RequestBody<Script>>| {
        Ok::<_, Infallible>(Response::new(request.into_body()))
    });
    let request = Request::new(Script::new([Data("hello"), Data(" world")]));
    let response = AccessLogLayer::new().layer(echo).oneshot(request).await.expect("infallible");
    response.into_body().collect().await.expect("no error");
    assert_eq!(log.only().bytes(), (11, 11, None));
}
