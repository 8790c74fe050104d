//! Work that outlives what started it, without being lost.

use std::{
    any::Any,
    borrow::Cow,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    pin::Pin,
    sync::atomic::Ordering::Relaxed,
    task::{Context, Poll},
};

use pin_project::pin_project;
use tokio::task::{AbortHandle, JoinHandle};
use tracing::{Instrument, Span, instrument::Instrumented};

use crate::{Entry, Registry, Stopping};

/// Runs `future` in a task of its own, for work that outlives its request.
///
/// Unlike with a bare `tokio::spawn`, the task is listed in the [current](Registry::current) registry: with the place
/// that spawned it, what it was spawned from, and where it waits. It runs in the current tracing span. A shutdown can
/// [wait](Registry::idle) for it, [tell](crate::cancelled) it and, in the end, [abort](Registry::abort_all) it. If it
/// panics, that is logged, whether anybody looks at the handle or not; the handle gives the panic as tokio's does.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// // In a handler: the answer does not wait for this, the shutdown does.
/// let sent = graceful_tasks::spawn(async { "sent" });
/// # assert_eq!(sent.await.unwrap(), "sent");
/// # }
/// ```
///
/// # Panics
///
/// If it is not called from within a tokio runtime.
#[track_caller]
pub fn spawn<F>(future: F) -> JoinHandle<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    Registry::current().spawn(future)
}

/// As [`spawn`], with a name for lists and logs.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// let queue = graceful_tasks::spawn_named("queue", async {
///     loop {
///         tokio::select! {
///             // At shutdown, when every request is answered: what is left is put back.
///             () = graceful_tasks::cancelled() => break "put back",
///             () = tokio::time::sleep(std::time::Duration::from_secs(1)) => { /* work */ }
///         }
///     }
/// });
/// # tokio::task::yield_now().await;
/// # graceful_tasks::Registry::global().cancel_all();
/// # assert_eq!(queue.await.unwrap(), "put back");
/// # }
/// ```
///
/// # Panics
///
/// If it is not called from within a tokio runtime.
#[track_caller]
pub fn spawn_named<F>(name: impl Into<Cow<'static, str>>, future: F) -> JoinHandle<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    Registry::current().spawn_named(name, future)
}

/// Runs `work` on a thread where it may block, listed as [`spawn`] lists tasks.
///
/// Once it has begun, nothing can stop it: let a long loop look at [`is_cancelled`](crate::is_cancelled).
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// let files = vec!["a", "b"];
/// let indexed = graceful_tasks::spawn_blocking("index", move || {
///     files.into_iter().take_while(|_| !graceful_tasks::is_cancelled()).count()
/// });
/// # assert_eq!(indexed.await.unwrap(), 2);
/// # }
/// ```
///
/// # Panics
///
/// If it is not called from within a tokio runtime.
#[track_caller]
pub fn spawn_blocking<F, R>(name: impl Into<Cow<'static, str>>, work: F) -> JoinHandle<R>
where
    F: FnOnce() -> R + Send + 'static,
    R: Send + 'static,
{
    Registry::current().spawn_blocking(name, work)
}

#[track_caller]
#[expect(clippy::disallowed_methods, reason = "this is the way to spawn through the registry")]
pub(crate) fn start<F>(registry: &Registry, entry: Entry, future: F) -> JoinHandle<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    let listed = Listed::new(&entry);
    let task = tokio::spawn(Spawned { future: future.instrument(Span::current()), entry });
    listed.can_be_aborted(registry, &task.abort_handle());
    task
}

#[track_caller]
pub(crate) fn start_blocking<F, R>(registry: &Registry, mut entry: Entry, work: F) -> JoinHandle<R>
where
    F: FnOnce() -> R + Send + 'static,
    R: Send + 'static,
{
    let listed = Listed::new(&entry);
    let span = Span::current();
    let task = tokio::task::spawn_blocking(move || {
        let _span = span.enter();
        entry.run(|| catch_unwind(AssertUnwindSafe(work))).unwrap_or_else(|panic| {
            report(&entry, &*panic);
            resume_unwind(panic)
        })
    });
    listed.can_be_aborted(registry, &task.abort_handle());
    task
}

/// Where the entry is listed, while it is in the task already.
struct Listed {
    home: Option<std::sync::Arc<dyn crate::shard::Home>>,
    index: u32,
    id: u64,
}

impl Listed {
    fn new(entry: &Entry) -> Self {
        Self { home: entry.core().home(), index: entry.core().index(), id: entry.id() }
    }

    fn can_be_aborted(self, registry: &Registry, abort: &AbortHandle) {
        if let Some(home) = self.home {
            home.set_abort(self.index, self.id, abort.clone());
        }
        // After it is in the list: see `Registry::abort_all`.
        if registry.stopping() == Stopping::Aborted {
            abort.abort();
        }
    }
}

#[pin_project]
struct Spawned<F> {
    // Dropped before the entry: what it drops is still its work.
    #[pin]
    future: Instrumented<F>,
    entry: Entry,
}

impl<F: Future> Future for Spawned<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        let mut future = this.future;
        // Unwind safety: after a panic the future is dropped and not polled again.
        let polled = this.entry.poll(cx, |cx| catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(cx))));
        polled.unwrap_or_else(|panic| {
            future.span().in_scope(|| report(this.entry, &*panic));
            resume_unwind(panic)
        })
    }
}

#[cold]
fn report(entry: &Entry, panic: &(dyn Any + Send)) {
    let core = entry.core();
    let Some(home) = core.home() else { return };
    let Some((name, place)) = home.describe(core.index()) else { return };
    core.shared().panics.fetch_add(1, Relaxed);
    let text = match (panic.downcast_ref::<&str>(), panic.downcast_ref::<String>()) {
        (Some(message), _) => message,
        (_, Some(message)) => message.as_str(),
        _ => "a value that is not text",
    };
    tracing::error!(target: crate::TARGET, task = %name, id = entry.id(), spawned_at = %place, panic = text, "task panicked");
}
