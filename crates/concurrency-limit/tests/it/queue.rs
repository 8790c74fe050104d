//! Who waits, how many, how long, and who is next.

use std::{convert::Infallible, time::Duration};

use futures_util::{FutureExt, poll};
use graceful_concurrency_limit::ConcurrencyLimitLayer;
use http::{Request, Response};
use http_body_util::{Empty, Full};
use tokio::time::Instant;
use tower::{Layer, Service};

use crate::support::{Work, get};

const LONG: Duration = Duration::from_secs(3600);

#[tokio::test(start_paused = true)]
async fn first_come_first_served() {
    let work = Work::new();
    let mut service = ConcurrencyLimitLayer::new(1).max_wait(LONG).layer(work.service());
    // Polled in another order than they came.
    let mut calls: Vec<_> = (0..6).map(|i| Some(Box::pin(service.call(get(&format!("/{i}")))))).collect();
    for i in [5, 0, 3, 1, 2, 4] {
        assert!(poll!(calls[i].as_mut().expect("not done")).is_pending());
    }
    for (i, call) in calls.iter_mut().enumerate() {
        work.finish(1);
        let response = call.take().expect("not done").await.expect("infallible");
        assert_eq!(response.status(), 200);
        assert_eq!(work.started().len(), i + 1, "one after the other");
        drop(response);
    }
    assert_eq!(work.started(), ["/0", "/1", "/2", "/3", "/4", "/5"], "in the order of the calls");
}

#[tokio::test(start_paused = true)]
async fn a_newcomer_does_not_overtake_one_whose_turn_it_is() {
    let work = Work::new();
    let mut service = ConcurrencyLimitLayer::new(1).max_wait(LONG).layer(work.service());
    let first = service.call(get("/first"));
    let mut second = Box::pin(service.call(get("/second")));
    assert!(poll!(&mut second).is_pending());
    drop(first);
    // The place is the second one's now, though it has not been polled since.
    let mut third = Box::pin(service.call(get("/third")));
    assert!(poll!(&mut third).is_pending());
    assert!(poll!(&mut second).is_pending());
    assert_eq!(work.started(), ["/second"]);
}

#[tokio::test(start_paused = true)]
async fn the_queue_is_bounded() {
    let work = Work::new();
    let layer = ConcurrencyLimitLayer::new(2).max_queue(3).max_wait(LONG);
    let mut service = layer.layer(work.service());
    let taken: Vec<_> = (0..5).map(|_| service.call(get("/"))).collect();
    for _ in 0..2 {
        let refused = service.call(get("/")).now_or_never().expect("at once").expect("infallible");
        assert_eq!(refused.status(), 503, "the fourth in the queue is refused, without waiting");
    }
    let stats = layer.limit().stats();
    assert_eq!((stats.in_flight, stats.queued, stats.rejected_queue_full), (2, 3, 2));
    drop(taken);
    assert!(service.call(get("/")).now_or_never().is_none(), "and let in when there is room again");
    assert_eq!(work.started().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_longer_than_the_bound() {
    let work = Work::new();
    let layer = ConcurrencyLimitLayer::new(1).max_wait(Duration::from_millis(250));
    let mut service = layer.layer(work.service());
    let inside = service.call(get("/"));
    let start = Instant::now();
    let refused = service.call(get("/")).await.expect("infallible");
    assert_eq!(refused.status(), 503);
    let waited = start.elapsed();
    assert!((250..=252).contains(&waited.as_millis()), "waited {waited:?}");
    let stats = layer.limit().stats();
    assert_eq!((stats.in_flight, stats.queued, stats.rejected_timed_out), (1, 0, 1));
    drop(inside);
}

#[tokio::test(start_paused = true)]
async fn the_default_is_the_bounded_wait_of_the_go_document() {
    let work = Work::new();
    let mut service = ConcurrencyLimitLayer::new(1).layer(work.service());
    let inside = service.call(get("/"));
    let start = Instant::now();
    assert_eq!(service.call(get("/")).await.expect("infallible").status(), 503);
    let waited = start.elapsed();
    assert!((100..=102).contains(&waited.as_millis()), "waited {waited:?}");
    drop(inside);
}

#[tokio::test(start_paused = true)]
async fn the_wait_counts_from_the_call() {
    let work = Work::new();
    let mut service = ConcurrencyLimitLayer::new(1).layer(work.service());
    let inside = service.call(get("/"));
    let late = service.call(get("/"));
    tokio::time::advance(Duration::from_secs(1)).await;
    assert!(late.now_or_never().is_some(), "polled for the first time when its time was over");
    drop(inside);
}

#[tokio::test(start_paused = true)]
async fn a_place_that_comes_with_the_end_of_the_wait_is_taken() {
    let work = Work::new();
    let layer = ConcurrencyLimitLayer::new(1);
    let mut service = layer.layer(work.service());
    let inside = service.call(get("/in"));
    let mut waits = Box::pin(service.call(get("/waits")));
    assert!(poll!(&mut waits).is_pending());
    tokio::time::advance(Duration::from_secs(1)).await;
    drop(inside);
    work.finish(1);
    assert_eq!(waits.await.expect("infallible").status(), 200, "the place wins the tie");
    assert_eq!(layer.limit().stats().rejected_timed_out, 0);
}

#[tokio::test(start_paused = true)]
async fn one_that_waited_too_long_makes_room_in_the_queue() {
    let work = Work::new();
    let layer = ConcurrencyLimitLayer::new(1).max_queue(1);
    let mut service = layer.layer(work.service());
    let inside = service.call(get("/"));
    for _ in 0..3 {
        assert_eq!(service.call(get("/")).await.expect("infallible").status(), 503);
    }
    assert_eq!(layer.limit().stats().rejected_timed_out, 3, "each had the queue to itself");
    drop(inside);
}

#[tokio::test(start_paused = true)]
async fn no_wait_and_no_queue_refuse_at_once() {
    for layer in [ConcurrencyLimitLayer::new(1).max_wait(Duration::ZERO), ConcurrencyLimitLayer::new(1).max_queue(0)] {
        let work = Work::new();
        let mut service = layer.layer(work.service());
        let inside = service.call(get("/"));
        let refused = service.call(get("/")).now_or_never().expect("at once").expect("infallible");
        assert_eq!(refused.status(), 503);
        assert_eq!(layer.limit().stats().rejected_queue_full, 1);
        drop(inside);
        assert!(service.call(get("/")).now_or_never().is_none(), "let in");
        assert_eq!(work.started().len(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_wait_without_bound_does_not_overflow_the_clock() {
    for wait in [Duration::MAX, Duration::from_secs(u64::MAX / 4), Duration::from_secs(1 << 40)] {
        let work = Work::new();
        let mut service = ConcurrencyLimitLayer::new(1).max_wait(wait).layer(work.service());
        let inside = service.call(get("/"));
        let mut waits = Box::pin(service.call(get("/")));
        assert!(poll!(&mut waits).is_pending());
        tokio::time::advance(Duration::from_secs(1_000_000)).await;
        assert!(poll!(&mut waits).is_pending());
        drop(inside);
        work.finish(1);
        assert_eq!(waits.await.expect("infallible").status(), 200);
    }
}

/// Runs outside of any runtime: a timer that were made would panic.
#[test]
fn a_free_place_needs_no_timer() {
    let mut service = ConcurrencyLimitLayer::new(1).layer(tower::service_fn(|_: Request<Empty<bytes::Bytes>>| async {
        Ok::<_, Infallible>(Response::new(Full::new(bytes::Bytes::new())))
    }));
    let response = service.call(get("/")).now_or_never().expect("ready").expect("infallible");
    let refused = ConcurrencyLimitLayer::new(0).max_queue(0).layer(Work::new().service()).call(get("/")).now_or_never();
    assert_eq!(response.status(), 200);
    assert_eq!(refused.expect("ready").expect("infallible").status(), 503, "nor does a refusal");
}
