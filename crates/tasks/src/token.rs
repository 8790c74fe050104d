use std::fmt;

use crate::Registry;

/// How far a registry's order to stop has gone. Only ever raised, but for the end of a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stopping {
    No,
    Told,
    Aborted,
}

/// The order to stop, as work of one [`Registry`] sees it. Clones are the same order.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// # let registry = graceful_tasks::Registry::new();
/// let token = registry.token();
/// let worker = registry.spawn_named("worker", async move {
///     loop {
///         tokio::select! {
///             () = token.cancelled() => break "finishing",
///             () = std::future::pending() => { /* work */ }
///         }
///     }
/// });
/// registry.cancel_all();
/// assert_eq!(worker.await.unwrap(), "finishing");
/// # }
/// ```
#[derive(Clone)]
pub struct Token {
    registry: Registry,
}

impl Token {
    pub(crate) const fn new(registry: Registry) -> Self {
        Self { registry }
    }

    /// Whether the order was given.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.registry.stopping() != Stopping::No
    }

    /// Waits for the order; ends at once if it was given. Cancel-safe.
    pub async fn cancelled(&self) {
        if self.is_cancelled() {
            return;
        }
        let mut stopping = self.registry.inner.stopping.subscribe();
        // It cannot fail: the sender is in `self`.
        let _ = stopping.wait_for(|stopping| *stopping != Stopping::No).await;
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Token").field("is_cancelled", &self.is_cancelled()).finish()
    }
}

/// Waits until the [current](Registry::current) registry tells its work to stop; ends at once if it has. Cancel-safe.
///
/// In a spawned task this is the order to that task.
pub async fn cancelled() {
    Registry::current().token().cancelled().await;
}

/// Whether the [current](Registry::current) registry has told its work to stop: for a loop that does not wait, as in
/// [`spawn_blocking`](crate::spawn_blocking).
#[must_use]
pub fn is_cancelled() -> bool {
    Registry::current().token().is_cancelled()
}
