use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError,
    atomic::{
        AtomicU32, AtomicU64,
        Ordering::{AcqRel, Acquire, Relaxed},
    },
};

use http::{Method, Uri};
use tokio::time::Instant;

use super::Flag;

/// The requests of one connection.
#[derive(Debug)]
pub(crate) struct Requests {
    /// Between their head and the end of their response's body.
    in_flight: AtomicU32,
    started: AtomicU64,
    /// How many there may be.
    max: AtomicU64,
    /// What is in flight, by the number it began with, so that a shutdown can name what it waits for. Uncontended: one
    /// entry for HTTP/1, the streams of one connection for HTTP/2.
    live: Mutex<Vec<(u64, Live)>>,
    /// A handler has moved a limit of its own: only then is it worth looking among `live`.
    overridden: Flag,
}

/// A request in flight.
#[derive(Clone, Debug)]
pub(crate) struct Live {
    pub(crate) method: Method,
    pub(crate) uri: Uri,
    pub(crate) route: Option<Arc<str>>,
    pub(crate) since: Instant,
    read: Override,
    write: Override,
}

/// A limit that a handler has moved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Override {
    /// It has not.
    #[default]
    None,
    /// To then; `None` lifts it.
    Until(Option<Instant>),
}

impl Default for Requests {
    fn default() -> Self {
        Self {
            in_flight: AtomicU32::new(0),
            started: AtomicU64::new(0),
            max: AtomicU64::new(u64::MAX),
            live: Mutex::new(Vec::new()),
            overridden: Flag::default(),
        }
    }
}

impl Live {
    pub(crate) const fn new(method: Method, uri: Uri, since: Instant) -> Self {
        Self { method, uri, route: None, since, read: Override::None, write: Override::None }
    }
}

impl Requests {
    pub(crate) fn in_flight(&self) -> u32 {
        self.in_flight.load(Acquire)
    }

    pub(crate) fn started(&self) -> u64 {
        self.started.load(Relaxed)
    }

    pub(crate) fn set_max(&self, max: u64) {
        self.max.store(max, Relaxed);
    }

    /// Whether the last request that the connection may carry has begun.
    pub(crate) fn is_last(&self) -> bool {
        self.started() >= self.max.load(Relaxed)
    }

    /// Gives the number of the request, and whether it is the only one.
    pub(super) fn begin(&self, live: Live) -> (u64, bool) {
        // Requests begin in the connection's own task only.
        let number = self.started() + 1;
        self.started.store(number, Relaxed);
        self.lock().push((number, live));
        (number, self.in_flight.fetch_add(1, AcqRel) == 0)
    }

    /// Says whether it was the last one in flight.
    pub(super) fn end(&self, number: u64) -> bool {
        let ended = {
            let mut live = self.lock();
            live.iter().position(|(other, _)| *other == number).map(|at| live.swap_remove(at))
        };
        // Outside the lock: it frees a part of hyper's buffer.
        drop(ended);
        // AcqRel: whoever sees zero also sees all that the request did.
        self.in_flight.fetch_sub(1, AcqRel) == 1
    }

    pub(crate) fn list(&self) -> Vec<Live> {
        self.lock().iter().map(|(_, live)| live.clone()).collect()
    }

    pub(crate) fn read_override(&self, number: u64) -> Override {
        self.find(number, |live| live.read)
    }

    pub(crate) fn write_override(&self, number: u64) -> Override {
        self.find(number, |live| live.write)
    }

    pub(crate) fn override_read(&self, number: u64, until: Option<Instant>) {
        self.change(number, |live| live.read = Override::Until(until));
        self.overridden.set();
    }

    pub(crate) fn override_write(&self, number: u64, until: Option<Instant>) {
        self.change(number, |live| live.write = Override::Until(until));
        self.overridden.set();
    }

    pub(crate) fn set_route(&self, number: u64, route: Arc<str>) {
        self.change(number, |live| live.route = Some(route));
    }

    fn find(&self, number: u64, limit: impl Fn(&Live) -> Override) -> Override {
        if !self.overridden.get() {
            return Override::None;
        }
        self.lock().iter().find(|(other, _)| *other == number).map_or(Override::None, |(_, live)| limit(live))
    }

    fn change(&self, number: u64, change: impl FnOnce(&mut Live)) {
        if let Some((_, live)) = self.lock().iter_mut().find(|(other, _)| *other == number) {
            change(live);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<(u64, Live)>> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
