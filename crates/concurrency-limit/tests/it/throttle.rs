//! What chi's tests for its `Throttle` middleware ask for (`middleware/throttle_test.go`), on a paused clock.

use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use graceful_concurrency_limit::{ConcurrencyLimitLayer, Overloaded, Reason};
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Empty, Full};
use tokio::{
    task::JoinHandle,
    time::{Instant, sleep, timeout},
};
use tower::{Layer, Service, service_fn};

use crate::support::{Answered, get};

/// What chi answers: 429, and different texts for the two reasons.
fn chi(overloaded: &Overloaded) -> Response<Bytes> {
    let text: &[u8] = match overloaded.reason() {
        Reason::QueueFull => b"server capacity exceeded",
        _ => b"timed out while waiting",
    };
    let mut response = Response::new(Bytes::copy_from_slice(text));
    *response.status_mut() = StatusCode::TOO_MANY_REQUESTS;
    response
}

/// `n` clients at once, on handlers that take `work`.
fn clients<A: graceful_answer::Answer<Overloaded>>(
    layer: &ConcurrencyLimitLayer<A>,
    n: usize,
    work: Duration,
) -> Vec<JoinHandle<Answered>> {
    let mut service = layer.layer(service_fn(move |_: Request<Empty<Bytes>>| async move {
        sleep(work).await;
        Ok::<_, std::convert::Infallible>(Response::new(Full::new(Bytes::from_static(b"Hello world!"))))
    }));
    (0..n)
        .map(|_| {
            let call = service.call(get("/"));
            tokio::spawn(async move {
                let (head, body) = call.await.expect("infallible").into_parts();
                Response::from_parts(head, body.collect().await.expect("infallible").to_bytes())
            })
        })
        .collect()
}

async fn all(clients: Vec<JoinHandle<Answered>>, status: StatusCode, text: &str) {
    for response in join_all(clients).await {
        let response = response.expect("no panic");
        assert_eq!(response.status(), status);
        assert_eq!(response.body(), text);
    }
}

const fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

#[tokio::test(start_paused = true)]
async fn backlog() {
    let layer = ConcurrencyLimitLayer::new(10).max_queue(50).max_wait(secs(10)).answer(chi);
    let start = Instant::now();
    all(clients(&layer, 40, secs(1)), StatusCode::OK, "Hello world!").await;
    assert_eq!(start.elapsed().as_secs(), 4, "four batches of ten");
}

#[tokio::test(start_paused = true)]
async fn client_timeout() {
    let layer = ConcurrencyLimitLayer::new(10).max_queue(50).max_wait(secs(10)).answer(chi);
    let mut clients = clients(&layer, 30, secs(5));
    assert!(timeout(secs(3), join_all(&mut clients)).await.is_err(), "nobody is answered in 3 s");
    for client in &clients {
        client.abort();
    }
    tokio::task::yield_now().await;
    let stats = layer.limit().stats();
    assert_eq!((stats.in_flight, stats.queued), (0, 0), "clients that gave up hold nothing");
}

#[tokio::test(start_paused = true)]
async fn trigger_gateway_timeout() {
    let layer = ConcurrencyLimitLayer::new(50).max_queue(100).max_wait(secs(5)).answer(chi);
    let first = clients(&layer, 50, secs(10));
    sleep(secs(1)).await;
    let second = clients(&layer, 50, secs(10));
    all(second, StatusCode::TOO_MANY_REQUESTS, "timed out while waiting").await;
    all(first, StatusCode::OK, "Hello world!").await;
}

#[tokio::test(start_paused = true)]
async fn maximum() {
    let layer = ConcurrencyLimitLayer::new(10).max_queue(10).max_wait(secs(5)).answer(chi);
    let first = clients(&layer, 20, secs(3));
    sleep(secs(2)).await;
    let start = Instant::now();
    all(clients(&layer, 20, secs(3)), StatusCode::TOO_MANY_REQUESTS, "server capacity exceeded").await;
    assert_eq!(start.elapsed(), Duration::ZERO, "refused at once");
    all(first, StatusCode::OK, "Hello world!").await;
}

#[tokio::test(start_paused = true)]
async fn retry_after() {
    let layer = ConcurrencyLimitLayer::new(5).max_queue(0).retry_after(secs(3600));
    let responses = join_all(clients(&layer, 10, secs(1))).await;
    let (ok, refused): (Vec<_>, Vec<_>) =
        responses.into_iter().map(|response| response.expect("no panic")).partition(|r| r.status() == 200);
    assert_eq!((ok.len(), refused.len()), (5, 5));
    for response in refused {
        assert_eq!(response.status(), 503);
        assert_eq!(response.headers()["retry-after"], "3600");
    }
}

#[tokio::test(start_paused = true)]
async fn custom_status_code() {
    let layer = ConcurrencyLimitLayer::new(1).max_queue(0).answer(chi);
    let responses = join_all(clients(&layer, 5, secs(1))).await;
    let statuses: Vec<_> =
        responses.into_iter().map(|response| response.expect("no panic").status().as_u16()).collect();
    assert_eq!(statuses, [200, 429, 429, 429, 429]);
}
