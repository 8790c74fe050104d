use std::{
    fmt,
    sync::{Arc, atomic::AtomicBool},
};

use tokio::time::Instant;

use crate::{Budget, Cause, HookContext, Phase, Readiness, Report, TARGET, hooks::Hooks, order::Order, phases};

/// The order to end: given once, seen everywhere. Clones are the same order.
///
/// To look whether it was given costs one atomic read; a handler may do so in every turn of a loop.
///
/// ```
/// # use graceful_shutdown::Shutdown;
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// # let shutdown = Shutdown::new(); shutdown.trigger_with("done");
/// # let mut events = std::future::pending::<()>();
/// # let mut events = std::pin::pin!(events);
/// // A handler that streams until the end:
/// loop {
///     tokio::select! {
///         () = shutdown.triggered() => break,
///         event = &mut events => { /* send it */ }
///     }
/// }
/// assert_eq!(shutdown.cause().expect("triggered").to_string(), "done");
/// # }
/// ```
///
/// See the [crate docs](crate).
#[derive(Clone)]
pub struct Shutdown {
    shared: Arc<Shared>,
}

struct Shared {
    order: Order<Cause>,
    ready: AtomicBool,
    hooks: Hooks,
}

impl Shutdown {
    /// No order yet.
    #[must_use]
    pub fn new() -> Self {
        Self { shared: Arc::new(Shared { order: Order::new(), ready: AtomicBool::new(true), hooks: Hooks::default() }) }
    }

    /// Gives the order. From any thread, inside of a runtime or not, before or after anything has started; only the first
    /// time counts.
    pub fn trigger(&self) {
        self.trigger_with("the program's own decision");
    }

    /// Gives the order, and says why: a [`Sig`](crate::Sig), or the program's own words.
    ///
    /// Logs `shutdown signal` with the field `signal`, or `shutdown triggered` with the field `cause`.
    pub fn trigger_with(&self, cause: impl Into<Cause>) {
        let cause = cause.into();
        // Before the log, which may block on a full pipe.
        if self.order().give(cause.clone()) {
            log_given(&cause);
        }
    }

    /// Whether the order was given.
    #[must_use]
    pub fn is_triggered(&self) -> bool {
        self.order().is_given()
    }

    /// Why it was given; `None` if it was not.
    #[must_use]
    pub fn cause(&self) -> Option<&Cause> {
        self.order().cause()
    }

    /// Waits for the order; ends at once if it was given. Cancel-safe.
    pub async fn triggered(&self) {
        self.order().given().await;
    }

    /// Gives the order with force: nobody waits for anybody any longer. Gives the order itself too, if it was not given.
    ///
    /// Logs `shutdown forced`, the first time.
    pub fn force(&self) {
        self.trigger_with("forced by the program");
        if self.order().force() {
            tracing::warn!(target: TARGET, "shutdown forced");
        }
    }

    /// Whether the order was given with force.
    #[must_use]
    pub fn is_forced(&self) -> bool {
        self.order().is_forced()
    }

    /// Waits for force; ends at once if it was used. Cancel-safe.
    pub async fn forced(&self) {
        self.order().forced().await;
    }

    /// Whether new requests should be sent here: for the answer to a readiness probe.
    #[must_use]
    pub fn readiness(&self) -> Readiness {
        Readiness::new(self.clone())
    }

    /// Registers what is to be done in `phase`. `name` is for the log and the [`Report`].
    ///
    /// The hook runs exactly once, in [`run_phases`](Self::run_phases), however the shutdown was triggered and however
    /// often. It is polled at least once, also if the deadline has passed or force was used. At the end of its phase's
    /// time its future is dropped, and so it is on force, after one more poll in which it sees
    /// [`HookContext::is_forced`]. If it panics, the others go on.
    ///
    /// A hook must not block its thread: it would stop the others and the clock. Blocking work belongs into
    /// `tokio::task::spawn_blocking`, awaited in the hook.
    ///
    /// One that is registered when its phase has already begun never runs; it is dropped, with a warning. One that is
    /// registered after [`phases_start_by`](Self::phases_start_by) was asked has no reserved slice.
    pub fn on_shutdown<F, Fut>(&self, phase: Phase, name: impl Into<String>, hook: F)
    where
        F: FnOnce(HookContext) -> Fut + Send + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        self.shared.hooks.add(phase, name.into(), hook);
    }

    /// When [`run_phases`](Self::run_phases) should begin at the latest, for each phase to have its slice of `budget`:
    /// until then, connections may drain.
    #[must_use]
    pub fn phases_start_by(&self, budget: Budget) -> Instant {
        budget.end_before(self.shared.hooks.phases_from(None))
    }

    /// Runs all hooks, phase by phase, and returns by the deadline of `budget`.
    ///
    /// Gives the order if nobody has: workers wait for it. Meant to be called once, when the connections are drained.
    /// If it is dropped half-way, the hooks that were running are dropped too, and the next call goes on with the next
    /// phase; a call beside another returns at once with an empty report.
    pub async fn run_phases(&self, budget: Budget) -> Report {
        self.trigger();
        phases::run(self, &self.shared.hooks, budget).await
    }

    pub(crate) fn order(&self) -> &Order<Cause> {
        &self.shared.order
    }

    pub(crate) fn ready_flag(&self) -> &AtomicBool {
        &self.shared.ready
    }
}

pub(crate) fn log_given(cause: &Cause) {
    match cause {
        Cause::Signal(signal) => tracing::info!(target: TARGET, %signal, "shutdown signal"),
        cause @ Cause::Programmatic(_) => tracing::info!(target: TARGET, %cause, "shutdown triggered"),
    }
}

impl Default for Shutdown {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Shutdown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Shared { order, ready, hooks } = &*self.shared;
        f.debug_struct("Shutdown")
            .field("cause", &order.cause())
            .field("forced", &order.is_forced())
            .field("ready", ready)
            .field("hooks", hooks)
            .finish()
    }
}
