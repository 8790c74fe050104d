//! A part of a kind's entries: a slab whose places are used again, under a lock of its own.

use std::{
    fmt::{self, Display, Write},
    panic::{AssertUnwindSafe, Location, catch_unwind},
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
};

use tokio::{sync::oneshot, task::AbortHandle};

use crate::{
    entry::{Core, Figures, Wake},
    local,
    shared::{KindShared, Shared},
    trace::Answer,
};

/// Entries that threads with the same number (modulo the shards) have made. Aligned, so that two workers do not share a
/// cache line.
#[repr(align(128))]
pub(crate) struct Shard<L> {
    slab: Mutex<Slab<L>>,
    kind: Arc<KindShared>,
    shared: Arc<Shared>,
    this: Weak<Self>,
}

struct Slab<L> {
    slots: Vec<Slot<L>>,
    free: Vec<u32>,
    live: usize,
    /// Of all time.
    entered: u64,
}

struct Slot<L> {
    /// Made once, then used by one entry after the other.
    core: Arc<Core>,
    live: Option<About<L>>,
}

/// What does not change while an entry lives, and is not in its core.
struct About<L> {
    label: L,
    place: &'static Location<'static>,
    /// For what was spawned.
    abort: Option<AbortHandle>,
}

/// An entry as a dump finds it.
pub(crate) struct Found {
    pub(crate) core: Arc<Core>,
    pub(crate) id: u64,
    pub(crate) kind: &'static str,
    pub(crate) label: Label,
    pub(crate) place: &'static Location<'static>,
    pub(crate) abort: Option<AbortHandle>,
    pub(crate) figures: Figures,
}

/// A label, to be rendered when no lock of a shard is held.
///
/// In a lock of its own, which nobody else ever takes: labels need not be shareable between threads, but a dump that is
/// under way has to be.
pub(crate) struct Label(Mutex<Box<dyn Display + Send>>);

impl Label {
    pub(crate) fn new(label: impl Display + Send + 'static) -> Self {
        Self(Mutex::new(Box::new(label)))
    }

    /// The label's `Display` is foreign code: if it fails or panics, that must not cost the list, or the shutdown that
    /// asks for it.
    pub(crate) fn render(&self) -> String {
        let label = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut text = String::new();
        match catch_unwind(AssertUnwindSafe(|| write!(text, "{label}"))) {
            Ok(Ok(())) => text,
            Ok(Err(fmt::Error)) | Err(_) => "(its label cannot be shown)".into(),
        }
    }
}

/// What an entry needs of where it is listed, whatever the label's type.
pub(crate) trait Home: Send + Sync {
    /// Ends the entry in `index`; or the seat.
    fn leave(&self, index: u32);
    /// Puts a question to the entry `id`, and gives who makes it answer. `None` if it has ended or is being
    /// polled.
    fn ask(&self, index: u32, id: u64, answer: oneshot::Sender<Answer>) -> Option<Wake>;
    fn set_abort(&self, index: u32, id: u64, abort: AbortHandle);
    fn describe(&self, index: u32) -> Option<(Box<dyn Display + Send>, &'static Location<'static>)>;
}

impl<L> Shard<L> {
    pub(crate) fn new(kind: Arc<KindShared>, shared: Arc<Shared>) -> Arc<Self> {
        let slab = Mutex::new(Slab { slots: Vec::new(), free: Vec::new(), live: 0, entered: 0 });
        Arc::new_cyclic(|this| Self { slab, kind, shared, this: Weak::clone(this) })
    }

    fn lock(&self) -> MutexGuard<'_, Slab<L>> {
        // Foreign code under the lock is the clone of a label; if that panics, nothing is half done.
        self.slab.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many live, and how many were ever entered.
    pub(crate) fn tally(&self) -> (usize, u64) {
        let slab = self.lock();
        (slab.live, slab.entered)
    }
}

impl<L: Display + Clone + Send + 'static> Shard<L> {
    pub(crate) fn enter(&self, id: u64, label: L, parent: u64, place: &'static Location<'static>) -> Arc<Core> {
        let born = local::entered();
        let about = About { label, place, abort: None };
        let mut slab = self.lock();
        let index = match slab.free.pop() {
            Some(index) => index,
            None => self.grow(&mut slab),
        };
        slab.live += 1;
        slab.entered += 1;
        let slot = &mut slab.slots[index as usize];
        slot.core.begin(id, parent, born);
        slot.live = Some(about);
        Arc::clone(&slot.core)
    }

    #[cold]
    fn grow(&self, slab: &mut Slab<L>) -> u32 {
        let index = u32::try_from(slab.slots.len()).expect("four thousand million entries do not fit into memory");
        let home: Weak<Self> = Weak::clone(&self.this);
        let core = Arc::new(Core::new(index, home, Arc::clone(&self.shared), None));
        slab.slots.push(Slot { core, live: None });
        index
    }

    /// Appends what lives and is wanted, in steps, so that nobody waits for the lock for long.
    pub(crate) fn find(&self, found: &mut Vec<Found>, wanted: &dyn Fn(&Figures) -> bool) {
        let mut next = 0;
        loop {
            found.reserve(STEP);
            let slab = self.lock();
            let end = slab.slots.len().min(next + STEP);
            for Slot { core, live } in &slab.slots[next..end] {
                let Some(About { label, place, abort }) = live else { continue };
                let figures = core.figures();
                if !wanted(&figures) {
                    continue;
                }
                found.push(Found {
                    core: Arc::clone(core),
                    id: core.id(),
                    kind: self.kind.name,
                    label: Label::new(label.clone()),
                    place,
                    abort: abort.clone(),
                    figures,
                });
            }
            if end == slab.slots.len() {
                return;
            }
            next = end;
        }
    }
}

impl<L: Display + Clone + Send + 'static> Home for Shard<L> {
    fn leave(&self, index: u32) {
        let (about, kept, empty) = {
            let mut slab = self.lock();
            let Some(slot) = slab.slots.get_mut(index as usize) else { return };
            let about = slot.live.take();
            // Under the lock: afterwards the core may be somebody else's.
            let kept = slot.core.end();
            slab.live -= 1;
            slab.free.push(index);
            (about, kept, slab.live == 0)
        };
        // Foreign code: only now, without the lock, and with the books in order if it panics.
        if empty {
            self.kind.is_emptier();
        }
        drop((about, kept));
    }

    fn ask(&self, index: u32, id: u64, answer: oneshot::Sender<Answer>) -> Option<Wake> {
        let slab = self.lock();
        slab.slots.get(index as usize)?.core.put(id, answer)
    }

    fn set_abort(&self, index: u32, id: u64, abort: AbortHandle) {
        let mut slab = self.lock();
        let Some(Slot { core, live: Some(about) }) = slab.slots.get_mut(index as usize) else { return };
        if core.id() == id {
            about.abort = Some(abort);
        }
    }

    fn describe(&self, index: u32) -> Option<(Box<dyn Display + Send>, &'static Location<'static>)> {
        let slab = self.lock();
        let about = slab.slots.get(index as usize)?.live.as_ref()?;
        Some((Box::new(about.label.clone()), about.place))
    }
}

/// Slots looked at under one lock: some 20 µs.
pub(crate) const STEP: usize = 128;
