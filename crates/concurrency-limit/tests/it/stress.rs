//! Many threads, and everything at once: calls, ends, drops at any poll, waits that end, a limit that changes.

use std::{convert::Infallible, time::Duration};

use bytes::Bytes;
use futures_util::{future::join_all, poll};
use graceful_concurrency_limit::ConcurrencyLimitLayer;
use http::{Request, Response};
use http_body_util::{BodyExt, Empty, Full};
use tower::{Layer, Service, service_fn};

use crate::support::{Work, get};

const TASKS: u64 = 16;
const REQUESTS: u64 = 2_000;
const HIGHEST: usize = 4;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn everything_at_once() {
    let work = Work::new();
    let layer = ConcurrencyLimitLayer::new(HIGHEST).max_queue(6).max_wait(Duration::from_millis(1));
    let limit = layer.limit();
    let handler = {
        let work = work.clone();
        service_fn(move |_: Request<Empty<Bytes>>| {
            let inside = work.begin("");
            async move {
                tokio::task::yield_now().await;
                drop(inside);
                Ok::<_, Infallible>(Response::new(Full::new(Bytes::from_static(b"done"))))
            }
        })
    };
    let service = layer.layer(handler);

    let tasks = (0..TASKS).map(|task| {
        let mut service = service.clone();
        tokio::spawn(async move {
            let mut dice = Dice(task);
            let (mut served, mut refused, mut dropped) = (0, 0, 0);
            for _ in 0..REQUESTS {
                let mut call = Box::pin(service.call(get("/")));
                // Half of the clients leave after a few polls, wherever their requests are just then.
                let mut patience = (dice.throw(2) == 0).then(|| dice.throw(6));
                let response = loop {
                    if let std::task::Poll::Ready(response) = poll!(&mut call) {
                        break Some(response.expect("infallible"));
                    }
                    match &mut patience {
                        None => break Some(call.await.expect("infallible")),
                        Some(0) => break None,
                        Some(polls) => *polls -= 1,
                    }
                    tokio::task::yield_now().await;
                };
                match response {
                    None => dropped += 1,
                    Some(response) if response.status() == 503 => refused += 1,
                    Some(response) => {
                        served += 1;
                        if dice.throw(2) == 0 {
                            drop(response.collect().await);
                        }
                    }
                }
            }
            (served, refused, dropped)
        })
    });
    let tasks: Vec<_> = tasks.collect();
    let operator = {
        let limit = limit.clone();
        tokio::spawn(async move {
            let mut dice = Dice(99);
            loop {
                limit.set(usize::try_from(dice.throw(HIGHEST as u64 + 1)).expect("small"));
                tokio::task::yield_now().await;
            }
        })
    };

    let mut sums = (0, 0, 0);
    for task in join_all(tasks).await {
        let (served, refused, dropped) = task.expect("no panic");
        sums = (sums.0 + served, sums.1 + refused, sums.2 + dropped);
    }
    operator.abort();
    let stats = limit.stats();
    assert!(work.most() <= HIGHEST, "never more than the highest limit: {}", work.most());
    assert_eq!((stats.in_flight, stats.queued), (0, 0), "all places are back: {stats:?}");
    assert_eq!(stats.rejected_queue_full + stats.rejected_timed_out, sums.1, "every refusal is counted once");
    assert_eq!(sums.0 + sums.1 + sums.2, TASKS * REQUESTS);
    let happened = [sums.0, sums.1, sums.2, stats.admitted_after_wait, stats.rejected_queue_full, stats.abandoned];
    assert!(happened.iter().all(|&n| n > 0), "it all happened: {sums:?} {stats:?}");

    limit.set(1);
    let last = service.clone().call(get("/")).await.expect("infallible");
    assert_eq!(last.status(), 200, "and the gate still works");
}

/// The same throws in every run (Knuth's MMIX constants).
struct Dice(u64);

impl Dice {
    fn throw(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }
}
