//! What an entry allocates: nothing, once the slab has room.

use std::{
    fmt,
    hint::black_box,
    pin::pin,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use allocation_counter::measure;
use graceful_tasks::Registry;

/// As a request's: two things that are shared, and rendered when somebody asks.
#[derive(Clone)]
struct Label {
    method: &'static str,
    path: Arc<str>,
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.method, self.path)
    }
}

#[test]
fn an_entry_allocates_nothing() {
    let registry = Registry::new();
    let kind = registry.kind::<Label>("request");
    let path: Arc<str> = "/users/7".into();
    let requests = |n: usize| {
        for _ in 0..n {
            let label = Label { method: "GET", path: Arc::clone(&path) };
            let mut future = pin!(kind.track(label, std::future::ready(1)));
            let mut cx = Context::from_waker(Waker::noop());
            let _ = black_box(future.as_mut().poll(&mut cx));
        }
    };
    requests(1);
    assert_eq!(measure(|| requests(1000)).count_total, 0);
}

#[test]
fn an_entry_in_an_entry_allocates_nothing() {
    let registry = Registry::new();
    let connections = registry.kind::<u64>("connection");
    let requests = registry.kind::<u64>("request");
    let connection = connections.track(1, async {
        requests.track(0, async {}).await;
        measure_async(|| async { requests.track(1, pends_once()).await }).await
    });
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let _enter = runtime.enter();
    assert_eq!(runtime.block_on(connection), 0);
}

/// Unlike tokio's `yield_now`, whose list of tasks to wake allocates.
async fn pends_once() {
    let mut pended = false;
    std::future::poll_fn(|cx| {
        if std::mem::replace(&mut pended, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

async fn measure_async<F: Future>(work: impl FnOnce() -> F) -> u64 {
    let mut count = 0;
    let mut work = pin!(work());
    std::future::poll_fn(|cx| {
        let mut polled = Poll::Pending;
        count += measure(|| polled = work.as_mut().poll(cx).map(drop)).count_total;
        polled
    })
    .await;
    count
}

#[test]
fn what_was_used_is_used_again() {
    let registry = Registry::new();
    let kind = registry.kind::<u64>("request");
    let many: Vec<_> = (0..1000).map(|i| kind.enter(i)).collect();
    drop(many);
    let mut again = Vec::with_capacity(1000);
    let info = measure(|| again.extend((0..1000).map(|i| kind.enter(i))));
    assert_eq!(info.count_total, 0);
}
