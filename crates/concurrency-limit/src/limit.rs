use crate::{
    gate::{Entry, Gate, Permit},
    sync::Arc,
};

/// A handle on a limit: to change it while the server runs, to read it, to share it between layers.
///
/// Clones are handles on the same limit. Get one from [`ConcurrencyLimitLayer::limit`], or make one first and give it to
/// as many layers as should share it, with [`ConcurrencyLimitLayer::from_limit`].
///
/// ```
/// use graceful_concurrency_limit::{ConcurrencyLimitLayer, Limit};
///
/// let limit = Limit::new(64);
/// let api = ConcurrencyLimitLayer::from_limit(limit.clone());
/// let admin = ConcurrencyLimitLayer::from_limit(limit.clone()).max_queue(0);
///
/// limit.set(32); // from a signal handler, a control loop, a debug port
/// assert_eq!(limit.stats().limit, 32);
/// ```
///
/// [`ConcurrencyLimitLayer::limit`]: crate::ConcurrencyLimitLayer::limit
/// [`ConcurrencyLimitLayer::from_limit`]: crate::ConcurrencyLimitLayer::from_limit
#[derive(Clone, Debug)]
pub struct Limit {
    gate: Arc<Gate>,
}

impl Limit {
    /// At most `max_in_flight` requests at once.
    ///
    /// With 0 nobody is let in: a request waits its time, and is refused unless [`set`](Self::set) raises the limit
    /// first. Anything above `usize::MAX / 8` is taken as that, which no machine can reach.
    #[must_use]
    pub fn new(max_in_flight: usize) -> Self {
        Self { gate: Gate::new(max_in_flight) }
    }

    /// Changes the limit, at once and for all layers that share it.
    ///
    /// Raising it lets in those that wait, first come, first served. Lowering it takes nothing from those in flight:
    /// they end as they would have, and nobody is let in until fewer than `max_in_flight` are left.
    pub fn set(&self, max_in_flight: usize) {
        self.gate.set(max_in_flight);
    }

    /// What goes on, and what was refused so far.
    ///
    /// It takes the lock of the queue for a moment, so it is for a scrape, not for every request.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let look = self.gate.look();
        Stats {
            limit: look.limit,
            in_flight: look.inside,
            queued: look.waiting,
            admitted_after_wait: look.counts.admitted_after_wait,
            rejected_queue_full: look.counts.line_full,
            rejected_timed_out: look.counts.timed_out,
            abandoned: look.counts.abandoned,
        }
    }

    #[inline]
    pub(crate) fn try_enter(&self) -> Option<Permit> {
        Gate::try_enter(&self.gate)
    }

    #[cold]
    pub(crate) fn enter(&self, max_queue: usize) -> Entry {
        Gate::enter(&self.gate, max_queue)
    }
}

/// The numbers of a [`Limit`] at one moment; they fit one another.
///
/// The last four count from when the limit was made. Requests that found a free place are not counted: that would cost
/// each of them a second atomic operation, and whatever counts all requests anyway (an access log, a metrics layer) knows
/// the rest by subtraction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// How many may be in flight.
    pub limit: usize,
    /// How many are, up to the end of their response's body. More than `limit` for a while after that was lowered.
    pub in_flight: usize,
    /// How many wait.
    pub queued: usize,
    /// Let in after waiting.
    pub admitted_after_wait: u64,
    /// Refused because the queue was full, or there is none.
    pub rejected_queue_full: u64,
    /// Refused because no place became free in time.
    pub rejected_timed_out: u64,
    /// Gone while they waited: the client left, or whatever drove the request dropped it.
    pub abandoned: u64,
}
