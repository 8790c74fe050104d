use std::{
    any::Any,
    fmt::{self, Display},
    panic::Location,
    sync::Arc,
    thread::available_parallelism,
};

use tokio::task::JoinHandle;

use crate::{
    Entry, Registry, Seat, Tracked,
    entry::Figures,
    local,
    seat::Seats,
    shard::{Found, Shard},
    shared::{KindShared, Shared},
    spawn,
};

/// One kind of live work in a [`Registry`], as `connection` or `request`: where its entries are made.
///
/// `L` is what tells one entry from another: the address of a client, the method and the path of a request. It is kept
/// as it is, without an allocation, and rendered only when somebody asks. It is cloned then, while a lock is held that
/// new entries need: let a clone be cheap (an `Arc`, a `Bytes`).
///
/// Keep it where entries are made, as in a layer; to ask for it anew each time takes a lock. Clones are the same kind.
pub struct Kind<L> {
    inner: Arc<Inner<L>>,
    registry: Registry,
}

pub(crate) struct Inner<L> {
    shared: Arc<KindShared>,
    /// As many as a power of two; each is used by its own threads, mostly.
    shards: Box<[Arc<Shard<L>>]>,
    /// As many.
    seats: Box<[Arc<Seats<L>>]>,
}

impl<L: Display + Clone + Send + 'static> Inner<L> {
    pub(crate) fn new(name: &'static str, registry: &Arc<Shared>) -> Self {
        let shared = Arc::new(KindShared::new(name));
        let shards = (0..shards()).map(|_| Shard::new(Arc::clone(&shared), Arc::clone(registry))).collect();
        let seats = (0..self::shards()).map(|_| Seats::new(&shared, registry)).collect();
        Self { shared, shards, seats }
    }

    pub(crate) fn enter(&self, label: L, place: &'static Location<'static>) -> Entry {
        let shard = &self.shards[local::thread() as usize & (self.shards.len() - 1)];
        Entry::new(shard.enter(local::next_id(), label, local::current().entry, place))
    }

    fn seat(&self, label: L, place: &'static Location<'static>) -> Seat {
        self.seats[local::thread() as usize & (self.seats.len() - 1)].seat(label, place)
    }
}

/// Twice as many as processors, so that two workers seldom meet.
fn shards() -> usize {
    (available_parallelism().map_or(4, std::num::NonZero::get) * 2).next_power_of_two().clamp(4, 64)
}

impl<L: Display + Clone + Send + 'static> Kind<L> {
    pub(crate) const fn new(inner: Arc<Inner<L>>, registry: Registry) -> Self {
        Self { inner, registry }
    }

    /// Lists a piece of work, until the entry is dropped. The place is the caller's.
    #[track_caller]
    pub fn enter(&self, label: L) -> Entry {
        self.inner.enter(label, Location::caller())
    }

    /// A place for one piece of work after the other, all with this label and from this place, the caller's.
    #[track_caller]
    pub fn seat(&self, label: L) -> Seat {
        self.inner.seat(label, Location::caller())
    }

    /// Lists `future` until it is dropped, wherever it runs. The place is the caller's.
    #[track_caller]
    pub fn track<F>(&self, label: L, future: F) -> Tracked<F> {
        Tracked::new(self.enter(label), future)
    }

    /// Runs `future` in a task of its own: as [`spawn`](crate::spawn()), of this kind.
    ///
    /// # Panics
    ///
    /// If it is not called from within a tokio runtime.
    #[track_caller]
    pub fn spawn<F>(&self, label: L, future: F) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        self.spawn_as(self.enter(label), future)
    }

    /// As [`spawn`](Self::spawn), with an entry of this kind that was made before: for a future that has to know it.
    ///
    /// # Panics
    ///
    /// If it is not called from within a tokio runtime.
    #[track_caller]
    pub fn spawn_as<F>(&self, entry: Entry, future: F) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        spawn::start(&self.registry, entry, future)
    }

    /// The registry that it is part of.
    #[must_use]
    pub const fn registry(&self) -> &Registry {
        &self.registry
    }
}

impl<L> Kind<L> {
    /// What it was named.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.inner.shared.name
    }
}

impl<L: Send + 'static> Kind<L> {
    /// How many live.
    #[must_use]
    pub fn len(&self) -> usize {
        self.inner.tally().0
    }

    /// Whether none lives.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        idle_at_some_moment(|| self.inner.tally())
    }

    /// Waits until none lives, if only for a moment. Cancel-safe; nothing is polled by the clock.
    pub async fn idle(&self) {
        wait(&self.inner.shared, || self.is_empty()).await;
    }
}

impl<L> Clone for Kind<L> {
    fn clone(&self) -> Self {
        Self { inner: Arc::clone(&self.inner), registry: self.registry.clone() }
    }
}

impl<L> fmt::Debug for Kind<L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { inner, registry: _ } = self;
        f.debug_struct("Kind").field("name", &inner.shared.name).finish_non_exhaustive()
    }
}

/// A kind, whatever its labels are.
pub(crate) trait AnyKind: Send + Sync {
    fn shared(&self) -> &KindShared;
    /// How many live, and how many were ever entered.
    fn tally(&self) -> (usize, u64);
    fn find(&self, found: &mut Vec<Found>, wanted: &dyn Fn(&Figures) -> bool);
    fn into_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync>;
}

impl<L: Send + 'static> Inner<L> {
    fn tally(&self) -> (usize, u64) {
        let shards = self.shards.iter().map(|shard| shard.tally());
        let seats = self.seats.iter().map(|seats| seats.tally());
        shards.chain(seats).fold((0, 0), |(a, b), (c, d)| (a + c, b + d))
    }
}

impl<L: Display + Clone + Send + 'static> AnyKind for Inner<L> {
    fn shared(&self) -> &KindShared {
        &self.shared
    }

    fn tally(&self) -> (usize, u64) {
        Self::tally(self)
    }

    fn find(&self, found: &mut Vec<Found>, wanted: &dyn Fn(&Figures) -> bool) {
        self.shards.iter().for_each(|shard| shard.find(found, wanted));
        self.seats.iter().for_each(|seats| seats.find(found, wanted));
    }

    fn into_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync> {
        self
    }
}

/// Whether there was a moment at which nothing lived, given a sum over shards that are looked at one after the other.
///
/// One look is not enough: work in a shard yet to be looked at may start other work in one already looked at, and end.
/// If between two looks nothing was entered anywhere, then it was so when the first one ended: what was zero in it had
/// only been able to shrink.
pub(crate) fn idle_at_some_moment(tally: impl Fn() -> (usize, u64)) -> bool {
    loop {
        let (live, entered) = tally();
        if live > 0 {
            return false;
        }
        // Another turn is only for somebody who enters and leaves all the time, in between.
        if tally().1 == entered {
            return true;
        }
    }
}

/// Waits until `is_idle`, which a kind that becomes empty may make true.
pub(crate) async fn wait(kind: &KindShared, is_idle: impl Fn() -> bool) {
    let _waiting = Waiting::new(kind);
    loop {
        // Made before the look: from then on it hears of every shard that becomes empty, polled or not.
        let notified = kind.idle.notified();
        if is_idle() {
            return;
        }
        notified.await;
    }
}

struct Waiting<'a>(&'a KindShared);

impl<'a> Waiting<'a> {
    fn new(kind: &'a KindShared) -> Self {
        kind.wait();
        Self(kind)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.wait_no_more();
    }
}

#[cfg(test)]
mod tests {
    use std::cell::{Cell, RefCell};

    use super::*;

    /// Two shards, and what happens to them, step by step; each step is what is done under one lock.
    struct Model {
        shards: [(usize, u64); 2],
        steps: Vec<(usize, bool)>,
    }

    impl Model {
        fn step(&mut self) {
            if self.steps.is_empty() {
                return;
            }
            let (shard, enters) = self.steps.remove(0);
            let (live, entered) = &mut self.shards[shard];
            if enters {
                *live += 1;
                *entered += 1;
            } else {
                *live -= 1;
            }
        }
    }

    /// Whether anybody sees idleness, in any of the ways in which `steps` can fall between the looks at single shards.
    fn ever_idle(begin: [(usize, u64); 2], steps: &[(usize, bool)]) -> bool {
        const LOOKS: u32 = 8;
        let ways = (steps.len() as u64 + 1).pow(LOOKS);
        let mut ever = false;
        // The digits of `way` say how many steps come before each look.
        let mut way = 0;
        while way < ways {
            let model = RefCell::new(Model { shards: begin, steps: steps.to_vec() });
            let digits = Cell::new(way);
            ever |= idle_at_some_moment(|| {
                let look = |shard: usize| {
                    let before = digits.get() % (steps.len() as u64 + 1);
                    digits.set(digits.get() / (steps.len() as u64 + 1));
                    (0..before).for_each(|_| model.borrow_mut().step());
                    model.borrow().shards[shard]
                };
                let ((a, b), (c, d)) = (look(0), look(1));
                (a + c, b + d)
            });
            way += 1;
        }
        ever
    }

    #[test]
    fn work_that_is_handed_on_is_never_idle_in_any_interleaving() {
        let (enters, leaves) = (true, false);
        let handed_on = [(1, enters), (0, leaves), (0, enters), (1, leaves)];
        assert!(!ever_idle([(1, 1), (0, 0)], &handed_on));
        let the_other_way = [(0, enters), (1, leaves), (1, enters), (0, leaves)];
        assert!(!ever_idle([(0, 0), (1, 1)], &the_other_way));
        assert!(ever_idle([(1, 1), (0, 0)], &[(0, leaves)]), "and what is over is seen to be");
        assert!(ever_idle([(1, 1), (0, 0)], &[(0, leaves), (1, enters)]), "also if it was for a moment only");
    }
}
