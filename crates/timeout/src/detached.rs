use std::{
    any::Any,
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    task::{Context, Poll},
};

use tokio::runtime::Handle;
use tracing::{Instrument, Span};

/// Runs what is left of a handler whose caller has gone. Implemented for closures.
///
/// It is called while a future is being dropped: it must not block or panic. It is cloned for each request.
pub trait SpawnDetached: Clone + Send + 'static {
    /// Sees to it that `rest` is polled to its end. To drop it is to stop the handler.
    fn spawn(&self, rest: DetachedHandler);
}

impl<F> SpawnDetached for F
where
    F: Fn(DetachedHandler) + Clone + Send + 'static,
{
    fn spawn(&self, rest: DetachedHandler) {
        self(rest);
    }
}

/// Spawns on the tokio runtime of the thread: the default of [`DetachLayer`](crate::DetachLayer).
#[derive(Clone, Copy, Debug)]
pub struct TokioSpawn(());

impl TokioSpawn {
    pub(crate) const fn new() -> Self {
        Self(())
    }
}

impl SpawnDetached for TokioSpawn {
    fn spawn(&self, rest: DetachedHandler) {
        match Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn(rest)),
            // A drop cannot report otherwise, and must not panic as `tokio::spawn` would.
            Err(_) => tracing::warn!("handler stopped: it was dropped where no runtime could run it on"),
        }
    }
}

/// What is left of a handler: a future to be polled to its end. It does not panic.
#[must_use = "to drop it is to stop the handler"]
pub struct DetachedHandler(Pin<Box<dyn Future<Output = ()> + Send>>);

impl DetachedHandler {
    pub(crate) fn new<F: Future + Send + 'static>(handler: Pin<Box<F>>, span: Span) -> Self {
        Self(Box::pin(Rest { handler: Some(handler) }.instrument(span)))
    }
}

impl Future for DetachedHandler {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.0.as_mut().poll(cx)
    }
}

impl fmt::Debug for DetachedHandler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DetachedHandler").finish_non_exhaustive()
    }
}

/// A handler whose answer nobody reads, with its panics caught.
struct Rest<F> {
    handler: Option<Pin<Box<F>>>,
}

impl<F: Future> Future for Rest<F> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let Some(handler) = &mut self.handler else {
            return Poll::Ready(());
        };
        // Unwind safe: what has panicked is dropped and never looked at again. The answer is dropped inside, as its
        // body is the handler's code too.
        match catch_unwind(AssertUnwindSafe(|| handler.as_mut().poll(cx).map(drop))) {
            Ok(Poll::Pending) => return Poll::Pending,
            Ok(Poll::Ready(())) => {}
            Err(payload) => log(payload),
        }
        let handler = self.handler.take();
        if let Err(payload) = catch_unwind(AssertUnwindSafe(|| drop(handler))) {
            log(payload);
        }
        Poll::Ready(())
    }
}

fn log(payload: Box<dyn Any + Send>) {
    let text = match (payload.downcast_ref::<&str>(), payload.downcast_ref::<String>()) {
        (Some(text), _) => text,
        (_, Some(text)) => text.as_str(),
        _ => "not a text",
    };
    tracing::error!(panic = text, place = "detached handler", "panic");
    // A payload can be any type, with a `Drop` that panics in turn.
    if let Err(second) = catch_unwind(AssertUnwindSafe(|| drop(payload))) {
        std::mem::forget(second);
    }
}
