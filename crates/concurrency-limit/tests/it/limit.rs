//! The handle: live changes, sharing, numbers.

use std::time::Duration;

use futures_util::{FutureExt, poll};
use graceful_concurrency_limit::{ConcurrencyLimitLayer, Limit};
use tower::{Layer, Service};

use crate::support::{Work, get};

const LONG: Duration = Duration::from_secs(3600);

#[tokio::test(start_paused = true)]
async fn raised_it_lets_in_those_that_wait() {
    let work = Work::new();
    let layer = ConcurrencyLimitLayer::new(1).max_wait(LONG);
    let mut service = layer.layer(work.service());
    let tasks: Vec<_> = (0..5).map(|i| tokio::spawn(service.call(get(&format!("/{i}"))))).collect();
    tokio::task::yield_now().await;
    assert_eq!(work.started(), ["/0"]);
    layer.limit().set(4);
    tokio::task::yield_now().await;
    assert_eq!(work.started(), ["/0", "/1", "/2", "/3"], "woken, as many as fit, in their order");
    let stats = layer.limit().stats();
    assert_eq!((stats.limit, stats.in_flight, stats.queued), (4, 4, 1));
    work.finish(5);
    for task in tasks {
        assert_eq!(task.await.expect("no panic").expect("infallible").status(), 200);
    }
    assert_eq!(layer.limit().stats().admitted_after_wait, 4);
}

#[tokio::test(start_paused = true)]
async fn lowered_it_lets_those_in_flight_end() {
    let work = Work::new();
    let layer = ConcurrencyLimitLayer::new(3).max_wait(LONG);
    let mut service = layer.layer(work.service());
    let mut calls: Vec<_> = (0..3).map(|_| Box::pin(service.call(get("/old")))).collect();
    for call in &mut calls {
        assert!(poll!(call).is_pending());
    }
    layer.limit().set(1);
    let stats = layer.limit().stats();
    assert_eq!((stats.limit, stats.in_flight), (1, 3), "nothing is taken from those in flight");
    let mut waits = Box::pin(service.call(get("/new")));
    for left in [2, 1] {
        drop(calls.pop());
        assert!(poll!(&mut waits).is_pending(), "{left} in flight is no less than the limit");
        assert_eq!(work.started().len(), 3);
    }
    drop(calls);
    assert!(poll!(&mut waits).is_pending());
    assert_eq!(work.started().len(), 4, "let in below the limit");
}

#[tokio::test(start_paused = true)]
async fn zero_lets_nobody_in() {
    let work = Work::new();
    let layer = ConcurrencyLimitLayer::new(0);
    let mut service = layer.layer(work.service());
    assert_eq!(service.call(get("/")).await.expect("infallible").status(), 503);
    assert!(work.started().is_empty());
    let mut waits = Box::pin(service.call(get("/")));
    assert!(poll!(&mut waits).is_pending());
    layer.limit().set(1);
    work.finish(1);
    assert_eq!(waits.await.expect("infallible").status(), 200, "unless the limit is raised in time");
}

#[tokio::test]
async fn the_largest_limit_is_no_limit() {
    let work = Work::new();
    let layer = ConcurrencyLimitLayer::new(usize::MAX);
    let mut service = layer.layer(work.service());
    let calls: Vec<_> = (0..1000).map(|_| service.call(get("/"))).collect();
    for limit in [0, usize::MAX, 1, usize::MAX] {
        layer.limit().set(limit);
        assert_eq!(layer.limit().stats().in_flight, 1000, "nothing overflows at {limit}");
    }
    assert_eq!(layer.limit().stats().limit, usize::MAX / 8, "the largest there is");
    drop(calls);
    assert_eq!(layer.limit().stats().in_flight, 0);
}

#[tokio::test(start_paused = true)]
async fn layers_share_a_limit() {
    let work = Work::new();
    let limit = Limit::new(1);
    let patient = ConcurrencyLimitLayer::from_limit(limit.clone()).max_wait(LONG);
    let hasty = ConcurrencyLimitLayer::from_limit(limit.clone()).max_queue(1);
    let inside = patient.layer(work.service()).call(get("/in"));
    let mut first = Box::pin(hasty.layer(work.service()).call(get("/first")));
    assert!(poll!(&mut first).is_pending(), "the place is taken, whoever took it");
    let refused = hasty.layer(work.service()).call(get("/")).now_or_never().expect("at once").expect("infallible");
    assert_eq!(refused.status(), 503, "the queue is as long as this layer lets it be");
    let mut second = Box::pin(patient.layer(work.service()).call(get("/second")));
    assert!(poll!(&mut second).is_pending(), "and the other one's may be longer");
    assert_eq!(limit.stats().queued, 2);
    drop(inside);
    work.finish(1);
    drop(first.await);
    assert!(poll!(&mut second).is_pending());
    assert_eq!(work.started(), ["/first", "/second"], "one queue for all");
}

#[tokio::test]
async fn clones_and_repeated_layers_are_one_limit() {
    let work = Work::new();
    let layer = ConcurrencyLimitLayer::new(2).max_queue(0);
    let mut first = layer.layer(work.service());
    let mut clone = first.clone();
    let mut again = layer.clone().layer(work.service());
    let calls = [first.call(get("/")), clone.call(get("/"))];
    assert_eq!(again.call(get("/")).await.expect("infallible").status(), 503);
    assert_eq!(layer.limit().stats().in_flight, 2);
    drop(calls);
}

#[tokio::test(start_paused = true)]
async fn every_request_that_waits_is_counted_once() {
    let work = Work::new();
    let layer = ConcurrencyLimitLayer::new(1).max_queue(3);
    let limit = layer.limit();
    let mut service = layer.layer(work.service());
    let inside = service.call(get("/"));
    let mut waits = Box::pin(service.call(get("/")));
    assert!(poll!(&mut waits).is_pending());
    let too_long = service.call(get("/"));
    drop(service.call(get("/")));
    tokio::time::advance(Duration::from_millis(50)).await;
    drop(inside);
    assert!(poll!(&mut waits).is_pending());
    assert_eq!(too_long.await.expect("infallible").status(), 503);
    let stats = limit.stats();
    assert_eq!((stats.admitted_after_wait, stats.abandoned, stats.rejected_timed_out), (1, 1, 1));
    assert_eq!((stats.in_flight, stats.queued, stats.rejected_queue_full), (1, 0, 0));
}
