//! The order to end: given once, forced once, and nobody sleeps through either.

use crate::sync::{AtomicBool, OnceLock, Ordering, watch};

/// The order, with its cause.
pub(crate) struct Order<C> {
    /// Set once: that is the order.
    cause: OnceLock<C>,
    forced: AtomicBool,
    /// Says that one of the two above has changed. It carries no value, and is no `Notify`, because its list of waiters
    /// is in several pieces with a lock each: a thousand streams wait for the same order.
    changed: watch::Sender<()>,
}

impl<C> Order<C> {
    pub(crate) fn new() -> Self {
        Self { cause: OnceLock::new(), forced: AtomicBool::new(false), changed: watch::Sender::new(()) }
    }

    /// Gives it. Whether it was the first time.
    pub(crate) fn give(&self, cause: C) -> bool {
        let first = self.cause.set(cause).is_ok();
        if first {
            self.changed.send_replace(());
        }
        first
    }

    /// Forces it, once it was given. Whether it was the first time.
    pub(crate) fn force(&self) -> bool {
        // Release: who sees the force sees the order. Pairs with the load in `is_forced`.
        let first = !self.forced.swap(true, Ordering::Release);
        if first {
            self.changed.send_replace(());
        }
        first
    }

    pub(crate) fn cause(&self) -> Option<&C> {
        self.cause.get()
    }

    pub(crate) fn is_given(&self) -> bool {
        self.cause().is_some()
    }

    pub(crate) fn is_forced(&self) -> bool {
        self.forced.load(Ordering::Acquire)
    }

    /// Waits until it is given.
    pub(crate) async fn given(&self) {
        self.wait(Self::is_given).await;
    }

    /// Waits until it is forced.
    pub(crate) async fn forced(&self) {
        self.wait(Self::is_forced).await;
    }

    async fn wait(&self, until: impl Fn(&Self) -> bool) {
        if until(self) {
            return;
        }
        let mut changed = self.changed.subscribe();
        // Subscribed before looking again: what changes in between is seen as a change.
        while !until(self) {
            changed.changed().await.expect("the sender is in `self`");
        }
    }
}

/// Counts the signals to end, of which the second forces.
#[cfg(unix)]
#[derive(Debug, Default)]
pub(crate) struct Signalled {
    /// Whether one has come. Not read off the order: the first signal after the program's own decision (an operator's
    /// drain, then the service manager's `SIGTERM`) must not force.
    once: bool,
}

/// What a signal to end has done.
#[cfg(unix)]
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Effect {
    /// It has given the order.
    Given,
    /// The order had been given, and is what it was.
    GivenBefore,
    /// It has forced.
    Forced,
    /// All had been said.
    ForcedBefore,
}

#[cfg(unix)]
impl Signalled {
    pub(crate) fn signal<C>(&mut self, order: &Order<C>, cause: C) -> Effect {
        match std::mem::replace(&mut self.once, true) {
            false if order.give(cause) => Effect::Given,
            false => Effect::GivenBefore,
            true if order.force() => Effect::Forced,
            true => Effect::ForcedBefore,
        }
    }
}
