use std::sync::atomic::Ordering;

use crate::Shutdown;

/// Whether new requests should be sent here: what a readiness probe (`/readyz`) answers. Clones are the same flag.
///
/// Ready from the start, so that a program with nothing to warm up needs to do nothing; never again once the shutdown has
/// begun, whatever is set.
///
/// ```
/// # use graceful_shutdown::Shutdown;
/// let shutdown = Shutdown::new();
/// let readiness = shutdown.readiness();
/// readiness.set_ready(false); // until the cache is filled
/// readiness.set_ready(true);
/// assert!(readiness.is_ready());
/// shutdown.trigger();
/// assert!(!readiness.is_ready());
/// ```
#[derive(Clone, Debug)]
pub struct Readiness {
    shutdown: Shutdown,
}

impl Readiness {
    pub(crate) const fn new(shutdown: Shutdown) -> Self {
        Self { shutdown }
    }

    /// Says whether the program is ready.
    pub fn set_ready(&self, ready: bool) {
        self.shutdown.ready_flag().store(ready, Ordering::Relaxed);
    }

    /// Whether the program is ready and not shutting down.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.shutdown.ready_flag().load(Ordering::Relaxed) && !self.shutdown.is_triggered()
    }
}
