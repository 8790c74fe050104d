//! What a refused client is told.

use std::{error::Error, time::Duration};

use bytes::Bytes;
use futures_util::FutureExt;
use graceful_answer::{Answer, Cause, ProblemDetails};
use graceful_concurrency_limit::{ConcurrencyLimitLayer, Overloaded, Reason};
use http::{Response, StatusCode};
use http_body::Body;
use http_body_util::BodyExt;
use tower::{Layer, Service};

use crate::support::{Answered, Work, get};

async fn refused<A: Answer<Overloaded>>(layer: ConcurrencyLimitLayer<A>) -> Answered {
    layer.limit().set(0);
    let response = layer.layer(Work::new().service()).call(get("/")).await.expect("infallible");
    let (head, body) = response.into_parts();
    assert!(body.size_hint().exact().is_some(), "a request without a body has an answer of known length");
    Response::from_parts(head, body.collect().await.expect("infallible").to_bytes())
}

#[tokio::test(start_paused = true)]
async fn by_default_503_server_busy() {
    for max_queue in [0, 1] {
        let response = refused(ConcurrencyLimitLayer::new(0).max_queue(max_queue)).await;
        assert_eq!(response.status(), 503);
        assert_eq!(response.headers()["retry-after"], "1");
        assert_eq!(response.headers()["content-type"], "text/plain; charset=utf-8");
        assert_eq!(response.body(), "server busy");
    }
}

#[tokio::test(start_paused = true)]
async fn retry_after_can_be_set_and_switched_off() {
    let response = refused(ConcurrencyLimitLayer::new(0).retry_after(Duration::from_millis(2500))).await;
    assert_eq!(response.headers()["retry-after"], "3", "rounded up");
    let response = refused(ConcurrencyLimitLayer::new(0).retry_after(None)).await;
    assert!(!response.headers().contains_key("retry-after"));
}

#[tokio::test(start_paused = true)]
async fn an_answer_of_ones_own_knows_the_reason() {
    let answer = |overloaded: &Overloaded| {
        let text: &[u8] = match overloaded.reason() {
            Reason::QueueFull => b"full",
            Reason::WaitedTooLong => b"too long",
            _ => b"?",
        };
        let mut response = Response::new(Bytes::copy_from_slice(text));
        *response.status_mut() = StatusCode::TOO_MANY_REQUESTS;
        response
    };
    let response = refused(ConcurrencyLimitLayer::new(0).max_queue(0).answer(answer)).await;
    assert_eq!((response.status(), &response.body()[..]), (StatusCode::TOO_MANY_REQUESTS, &b"full"[..]));
    let response = refused(ConcurrencyLimitLayer::new(0).answer(answer)).await;
    assert_eq!(response.body(), "too long");
}

#[tokio::test(start_paused = true)]
async fn the_other_options_survive_a_new_answer() {
    let layer =
        ConcurrencyLimitLayer::new(7).max_queue(0).retry_after(Duration::from_secs(9)).answer(ProblemDetails::new());
    assert_eq!(layer.limit().stats().limit, 7);
    let response = refused(layer).await;
    assert_eq!(response.headers()["content-type"], "application/problem+json");
    assert_eq!(response.headers()["retry-after"], "9");
}

#[tokio::test]
async fn a_panic_of_the_answer_takes_no_place() {
    let layer = ConcurrencyLimitLayer::new(0).max_queue(0);
    let limit = layer.limit();
    let layer = layer.answer(|_: &Overloaded| -> Response<Bytes> { panic!("in the answer") });
    let call = layer.layer(Work::new().service()).call(get("/"));
    assert!(std::panic::AssertUnwindSafe(call).catch_unwind().await.is_err());
    assert_eq!((limit.stats().in_flight, limit.stats().queued), (0, 0));
}

#[tokio::test]
async fn the_cause_is_an_error_with_different_words_for_log_and_client() {
    let (send, receive) = std::sync::mpsc::channel();
    let layer = ConcurrencyLimitLayer::new(0).max_queue(0).answer(move |overloaded: &Overloaded| {
        let _ = send.send(overloaded.clone());
        Response::default()
    });
    drop(layer.layer(Work::new().service()).call(get("/")).await);
    let overloaded = receive.try_recv().expect("the answer was asked");
    assert_eq!(overloaded.status(), 503);
    assert_eq!(overloaded.message(), "server busy");
    assert_eq!(Cause::retry_after(&overloaded), Some(Duration::from_secs(1)));
    let error: &dyn Error = &overloaded;
    assert_eq!(error.to_string(), "too many requests in flight, and the queue is full");
    assert!(error.source().is_none());
}
