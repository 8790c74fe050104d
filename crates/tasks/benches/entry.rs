//! What an entry costs: `cargo bench -p graceful-tasks`.
//!
//! The tests' tokio has a clock that can be paused, and is slower by that: the crate docs have the numbers without.

use std::{
    future::{pending, ready},
    hint::black_box,
    pin::pin,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use divan::{Bencher, counter::ItemsCount};
use graceful_tasks::{Kind, Part, Registry};
use tokio::runtime::Runtime;

fn main() {
    divan::main();
}

/// As a request's: two things that are shared.
#[derive(Clone)]
struct Label(&'static str, Arc<str>);

impl std::fmt::Display for Label {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.0, self.1)
    }
}

fn kind() -> (Kind<Label>, Label) {
    (Registry::new().kind("request"), Label("GET", "/users/7".into()))
}

/// Made and gone.
#[divan::bench(threads = [1, 2])]
fn entry(bencher: Bencher<'_, '_>) {
    let (kind, label) = kind();
    bencher.counter(ItemsCount::new(1_usize)).bench(|| kind.enter(black_box(&label).clone()));
}

/// As above, but the label: what the entry itself costs.
#[divan::bench]
fn entry_without_label(bencher: Bencher<'_, '_>) {
    let kind = Registry::new().kind::<&str>("request");
    bencher.counter(ItemsCount::new(1_usize)).bench(|| kind.enter(black_box("GET")));
}

/// A poll of an entry within the poll of another.
#[divan::bench]
fn poll(bencher: Bencher<'_, '_>) {
    let (kind, label) = kind();
    let mut outer = kind.enter(label.clone());
    let mut inner = kind.enter(label);
    let mut cx = Context::from_waker(Waker::noop());
    outer.poll(&mut cx, |cx| {
        bencher.counter(ItemsCount::new(1_usize)).bench_local(|| inner.poll(cx, |_| black_box(1)));
    });
}

/// What a request pays inside a connection: made, polled once, gone.
#[divan::bench]
fn request(bencher: Bencher<'_, '_>) {
    let (kind, label) = kind();
    let mut connection = kind.enter(label.clone());
    let mut cx = Context::from_waker(Waker::noop());
    connection.poll(&mut cx, |cx| {
        bencher.counter(ItemsCount::new(1_usize)).bench_local(|| {
            let request = pin!(kind.track(black_box(&label).clone(), ready(1)));
            matches!(request.poll(cx), Poll::Ready(1))
        });
    });
}

/// As above, in a seat, and polled twice as a part: the future and the body.
#[divan::bench]
fn request_in_a_seat(bencher: Bencher<'_, '_>) {
    let (kind, label) = kind();
    let mut connection = kind.enter(label.clone());
    let mut seat = kind.seat(label);
    let mut cx = Context::from_waker(Waker::noop());
    connection.poll(&mut cx, |cx| {
        bencher.counter(ItemsCount::new(1_usize)).bench_local(|| {
            let mut request = seat.enter();
            for _ in 0..2 {
                let part = Part::begin(request.as_mut(), cx);
                black_box(part.waker());
                part.end(false);
            }
        });
    });
}

/// With ten thousand others alive.
#[divan::bench]
fn entry_among_ten_thousand(bencher: Bencher<'_, '_>) {
    let (kind, label) = kind();
    let _others: Vec<_> = (0..10_000).map(|_| kind.enter(label.clone())).collect();
    bencher.counter(ItemsCount::new(1_usize)).bench(|| kind.enter(black_box(&label).clone()));
}

/// A spawned task, beside tokio's own below.
#[divan::bench]
fn spawn(bencher: Bencher<'_, '_>) {
    let runtime = runtime();
    let registry = Registry::new();
    bencher.bench(|| runtime.block_on(async { registry.spawn(ready(1)).await.ok() }));
}

#[divan::bench]
#[expect(clippy::disallowed_methods, reason = "it is what `spawn` is compared with")]
fn tokio_spawn(bencher: Bencher<'_, '_>) {
    let runtime = runtime();
    bencher.bench(|| runtime.block_on(async { tokio::spawn(ready(1)).await.ok() }));
}

/// The stacks of a thousand tasks at one place.
#[divan::bench(sample_count = 20, sample_size = 1)]
fn dump_of_a_thousand(bencher: Bencher<'_, '_>) {
    let runtime = runtime();
    let registry = Registry::new();
    let mut limits = graceful_tasks::DumpLimits::default();
    limits.again_after = std::time::Duration::ZERO;
    runtime.block_on(async {
        let keeps = || std::future::poll_fn(|cx| black_box(Poll::<()>::Pending.map(|()| drop(cx.waker().clone()))));
        for _ in 0..1000 {
            registry.spawn(async move {
                keeps().await;
                pending::<()>().await;
            });
        }
        tokio::task::yield_now().await;
    });
    bencher.bench(|| runtime.block_on(registry.dump_within(limits)).entries.len());
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
}
