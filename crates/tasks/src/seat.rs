//! A place that one piece of work after the other takes: without a lock, and without a label to be moved.

use std::{
    fmt::{self, Display},
    panic::Location,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{
            AtomicU64,
            Ordering::{Relaxed, SeqCst},
        },
    },
};

use tokio::{sync::oneshot, task::AbortHandle};

use crate::{
    Entry,
    entry::{Core, Figures, Wake},
    local,
    shard::{Found, Home, Label, STEP},
    shared::{KindShared, Shared},
    trace::Answer,
};

/// A place for pieces of work of which there is one at a time, as the requests of a connection: each is listed while it
/// lasts, without a lock, and without its label being moved.
///
/// Made by [`Kind::seat`](crate::Kind::seat), with the label of all of them: what tells them apart is to be looked up by the
/// label when it is cloned or rendered. It is not listed while nothing has it.
#[must_use = "it is for entries"]
pub struct Seat {
    core: Arc<Core>,
}

impl Seat {
    /// Lists a piece of work, until the entry is dropped; that may be after the seat. `None` while another one has the seat.
    #[inline]
    pub fn enter(&mut self) -> Option<Entry> {
        let core = &self.core;
        // Nobody else enters: this is the only one who may.
        (core.id() == 0).then(|| {
            core.sit(local::next_id(), local::current().entry, local::entered());
            Entry::new(Arc::clone(core))
        })
    }
}

impl fmt::Debug for Seat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { core } = self;
        f.debug_struct("Seat").field("entry", &core.id()).finish_non_exhaustive()
    }
}

/// How many entries some seats have had, and how many have left them. Written for each entry; aligned, so that two workers
/// do not share a cache line.
#[repr(align(128))]
pub(crate) struct Tally {
    entered: AtomicU64,
    left: AtomicU64,
    kind: Arc<KindShared>,
}

impl Tally {
    /// Relaxed: `left` orders what it counts.
    #[inline]
    pub(crate) fn enter(&self) {
        self.entered.fetch_add(1, Relaxed);
    }

    /// Sequentially consistent, as are the look at who waits in `is_emptier` and, the other way round, the raise of that in
    /// `KindShared::wait` and the look at this in `look`: of one who leaves and one who waits, at least one sees the other.
    #[inline]
    pub(crate) fn leave(&self) {
        self.left.fetch_add(1, SeqCst);
        self.kind.is_emptier();
    }

    /// How many live, and how many were ever entered.
    ///
    /// What left is looked at first: so no more can be seen to have left than to have entered, and none that lives is
    /// missed.
    fn look(&self) -> (usize, u64) {
        let left = self.left.load(SeqCst);
        let entered = self.entered.load(SeqCst);
        (usize::try_from(entered - left).unwrap_or(usize::MAX), entered)
    }
}

/// The seats of a kind that threads with the same number (modulo how many of these there are) have made.
pub(crate) struct Seats<L> {
    list: Mutex<List<L>>,
    tally: Arc<Tally>,
    shared: Arc<Shared>,
    this: Weak<Self>,
}

struct List<L> {
    seats: Vec<Option<Listed<L>>>,
    free: Vec<u32>,
}

struct Listed<L> {
    /// Held by the seat and by its entry: the list lets go when both have.
    core: Weak<Core>,
    label: L,
    place: &'static Location<'static>,
    /// For what was spawned, with its entry's number.
    abort: Option<(u64, AbortHandle)>,
}

impl<L> Seats<L> {
    pub(crate) fn new(kind: &Arc<KindShared>, shared: &Arc<Shared>) -> Arc<Self> {
        let tally = Tally { entered: AtomicU64::new(0), left: AtomicU64::new(0), kind: Arc::clone(kind) };
        Arc::new_cyclic(|this| Self {
            list: Mutex::new(List { seats: Vec::new(), free: Vec::new() }),
            tally: Arc::new(tally),
            shared: Arc::clone(shared),
            this: Weak::clone(this),
        })
    }

    /// How many live, and how many were ever entered.
    pub(crate) fn tally(&self) -> (usize, u64) {
        self.tally.look()
    }

    fn lock(&self) -> MutexGuard<'_, List<L>> {
        // Foreign code under the lock is the clone of a label; if that panics, nothing is half done.
        self.list.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<L: Display + Clone + Send + 'static> Seats<L> {
    pub(crate) fn seat(&self, label: L, place: &'static Location<'static>) -> Seat {
        let mut list = self.lock();
        let index = list.free.pop().unwrap_or_else(|| {
            list.seats.push(None);
            u32::try_from(list.seats.len() - 1).expect("four thousand million seats do not fit into memory")
        });
        let home: Weak<Self> = Weak::clone(&self.this);
        let core = Arc::new(Core::new(index, home, Arc::clone(&self.shared), Some(Arc::clone(&self.tally))));
        list.seats[index as usize] = Some(Listed { core: Arc::downgrade(&core), label, place, abort: None });
        Seat { core }
    }

    /// As of a shard.
    pub(crate) fn find(&self, found: &mut Vec<Found>, wanted: &dyn Fn(&Figures) -> bool) {
        let mut next = 0;
        loop {
            found.reserve(STEP);
            // To be dropped without the lock: the last one to have a core takes the lock then.
            let mut held = Vec::with_capacity(STEP);
            let list = self.lock();
            let end = list.seats.len().min(next + STEP);
            for listed in list.seats[next..end].iter().flatten() {
                if let Some(core) = listed.core.upgrade() {
                    found.extend(self.find_in(listed, &core).filter(|found| wanted(&found.figures)));
                    held.push(core);
                }
            }
            if end == list.seats.len() {
                return;
            }
            next = end;
        }
    }

    /// The entry that has a seat. It may come and go meanwhile: then another look is taken.
    fn find_in(&self, listed: &Listed<L>, core: &Arc<Core>) -> Option<Found> {
        let Listed { core: _, label, place, abort } = listed;
        loop {
            let id = core.id();
            if id == 0 {
                return None;
            }
            let (figures, label) = (core.figures(), label.clone());
            if core.is_still(id) {
                return Some(Found {
                    core: Arc::clone(core),
                    id,
                    kind: self.tally.kind.name,
                    label: Label::new(label),
                    place,
                    abort: abort.as_ref().filter(|(of, _)| *of == id).map(|(_, abort)| abort.clone()),
                    figures,
                });
            }
        }
    }
}

impl<L: Display + Clone + Send + 'static> Home for Seats<L> {
    fn leave(&self, index: u32) {
        let listed = {
            let mut list = self.lock();
            let Some(listed) = list.seats.get_mut(index as usize).map(Option::take) else { return };
            list.free.push(index);
            listed
        };
        // Foreign code: only now, without the lock.
        drop(listed);
    }

    /// Not through here: see `Core::ask`.
    fn ask(&self, _: u32, _: u64, _: oneshot::Sender<Answer>) -> Option<Wake> {
        None
    }

    fn set_abort(&self, index: u32, id: u64, abort: AbortHandle) {
        let former = {
            let mut list = self.lock();
            let Some(Some(listed)) = list.seats.get_mut(index as usize) else { return };
            listed.abort.replace((id, abort))
        };
        drop(former);
    }

    fn describe(&self, index: u32) -> Option<(Box<dyn Display + Send>, &'static Location<'static>)> {
        let list = self.lock();
        let listed = list.seats.get(index as usize)?.as_ref()?;
        Some((Box::new(listed.label.clone()), listed.place))
    }
}
