//! What a thread knows by itself: its number, what it is polling, and the identities that it gives out.

use std::{
    cell::{Cell, RefCell},
    marker::PhantomData,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    task::Waker,
};

use tokio::time::Instant;

use crate::{Registry, Thread, clock};

/// Which waker: its data and its functions. Good for comparing with a waker that is alive.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct WakerId(pub(crate) usize, pub(crate) usize);

impl WakerId {
    pub(crate) fn of(waker: &Waker) -> Self {
        Self(waker.data().addr(), std::ptr::from_ref(waker.vtable()).addr())
    }
}

/// What this thread is polling.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Current {
    /// The innermost entry; 0 for none.
    pub(crate) entry: u64,
    /// Its registry; 0 for none.
    pub(crate) registry: u64,
    /// What it is polled with: an entry inside that is polled with the same runs in the same task.
    pub(crate) waker: WakerId,
    /// Whether a dump knows how to wake that task; if it does not, the entry inside has to listen.
    pub(crate) listens: bool,
}

/// How good the time is that a thread knows, within the poll of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Known {
    /// Something was polled since: it is good enough for a part of the same poll.
    Roughly,
    /// The poll began then, and nothing else was polled in it.
    Begin,
    /// A poll ended then, and nothing was polled since.
    Event,
    /// It was looked up, as an instant too, or an entry was made then, and nothing was polled since.
    Looked,
    /// The poll itself said so, and was to end, or to make an entry, right after.
    Told,
}

/// All that is touched for every entry, without a destructor: a thread-local that has one costs a look at its state.
struct Local {
    /// 0: not asked for yet.
    thread: Cell<u32>,
    next_id: Cell<u64>,
    // What is polled: see `Current`.
    entry: Cell<u64>,
    registry: Cell<u64>,
    waker: Cell<WakerId>,
    listens: Cell<bool>,
    /// What time it was last known to be, within the poll of an entry or [`Registry::around`]; 0 outside.
    at: Cell<u64>,
    known: Cell<Known>,
    /// Of the last look at the clock for a begin.
    began: Cell<Option<Instant>>,
    /// The entry for which the waker of the one around it is being cloned.
    into: Cell<u64>,
}

impl Local {
    fn current(&self) -> Current {
        Current {
            entry: self.entry.get(),
            registry: self.registry.get(),
            waker: self.waker.get(),
            listens: self.listens.get(),
        }
    }

    fn set_current(&self, Current { entry, registry, waker, listens }: Current) {
        self.entry.set(entry);
        self.registry.set(registry);
        self.waker.set(waker);
        self.listens.set(listens);
    }

    /// Whether what the time is may be kept.
    fn is_inside(&self) -> bool {
        self.registry.get() != 0
    }

    fn look(&self) -> u64 {
        let now = Instant::now();
        self.began.set(Some(now));
        clock::at(now)
    }

    fn set(&self, at: u64, known: Known) {
        self.at.set(at);
        self.known.set(known);
    }
}

thread_local! {
    static LOCAL: Local = const {
        Local {
            thread: Cell::new(0),
            next_id: Cell::new(0),
            entry: Cell::new(0),
            registry: Cell::new(0),
            waker: Cell::new(WakerId(0, 0)),
            listens: Cell::new(false),
            at: Cell::new(0),
            known: Cell::new(Known::Roughly),
            began: Cell::new(None),
            into: Cell::new(0),
        }
    };
    static PLACE: RefCell<Option<Place>> = const { RefCell::new(None) };
    static DEFAULT: RefCell<Option<Registry>> = const { RefCell::new(None) };
}

/// An identity that no other entry of this process has had.
pub(crate) fn next_id() -> u64 {
    /// Given out in blocks, so that threads do not fight over one counter.
    static BLOCKS: AtomicU64 = AtomicU64::new(0);
    const BLOCK: u64 = 1024;
    LOCAL.with(|local| {
        let mut id = local.next_id.get();
        if id % BLOCK == 0 {
            id = BLOCKS.fetch_add(BLOCK, Relaxed);
        }
        local.next_id.set(id + 1);
        // From 1: 0 is nobody.
        id + 1
    })
}

pub(crate) fn current() -> Current {
    LOCAL.with(Local::current)
}

/// What is polled inside compares its waker with this one from here on.
pub(crate) fn set_waker(waker: WakerId) {
    LOCAL.with(|local| local.waker.set(waker));
}

/// Begins a poll at a time that is known or, else, looked up; gives that, and what was polled before.
///
/// Nothing else was polled since it was known: no time has passed. `roughly`: what was known before in the poll around
/// this one will do.
#[inline]
pub(crate) fn begin(current: Current, roughly: bool) -> (u64, Current) {
    LOCAL.with(|local| {
        let outer = local.current();
        let at = match local.known.get() {
            Known::Event | Known::Looked | Known::Told => local.at.get(),
            // What is polled inside begins later than what is around it.
            _ if roughly && local.at.get() != 0 => local.at.get() + 1,
            _ => local.look(),
        };
        local.set(at, if outer.entry == 0 { Known::Begin } else { Known::Roughly });
        local.set_current(current);
        (at, outer)
    })
}

/// Ends a poll, back to what was polled before, and gives the time. `None`, unless it is `wanted`.
#[inline]
pub(crate) fn end(outer: Current, wanted: bool) -> Option<u64> {
    LOCAL.with(|local| {
        local.set_current(outer);
        end_in(local, wanted)
    })
}

/// What is polled around a part.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Around {
    pub(crate) entry: u64,
    /// Roughly the time.
    pub(crate) begun: u64,
    pub(crate) thread: u32,
    /// As of [`Current`].
    pub(crate) listens: bool,
}

/// Begins the poll of an entry inside that of another one of the same registry, with the same waker; `None` if it is not
/// so.
#[inline]
pub(crate) fn begin_part(registry: u64, entry: u64, waker: WakerId) -> Option<Around> {
    LOCAL.with(|local| {
        if local.registry.get() != registry || local.waker.get() != waker {
            return None;
        }
        let begun = match local.at.get() {
            0 => local.look(),
            // What is polled inside begins later than what is around it.
            at => at + 1,
        };
        local.set(begun, Known::Roughly);
        let outer = local.entry.replace(entry);
        Some(Around { entry: outer, begun, thread: local.thread.get(), listens: local.listens.get() })
    })
}

/// As [`end`], of what [`begin_part`] began.
#[inline]
pub(crate) fn end_part(outer: u64, wanted: bool) -> Option<u64> {
    LOCAL.with(|local| {
        local.entry.set(outer);
        end_in(local, wanted)
    })
}

#[inline]
fn end_in(local: &Local, wanted: bool) -> Option<u64> {
    let now = wanted.then(|| if local.known.get() == Known::Told { local.at.get() } else { clock::now() });
    match now {
        _ if !local.is_inside() => local.set(0, Known::Roughly),
        Some(now) => local.set(now, Known::Event),
        None => local.known.set(Known::Roughly),
    }
    now
}

/// Of [`Registry::around`]: until it is dropped.
#[must_use = "it lasts until it is dropped"]
#[derive(Debug)]
pub struct AroundGuard {
    outer: Option<Current>,
    /// It belongs to the thread that it was made on.
    thread: PhantomData<*const ()>,
}

/// As the begin of a poll of an entry of `registry` that nobody knows how to wake; nothing in the poll of a real one with
/// the same waker.
#[inline]
pub(crate) fn around(registry: u64, waker: WakerId) -> AroundGuard {
    LOCAL.with(|local| {
        let is_there = local.registry.get() == registry && local.waker.get() == waker;
        let outer = (!is_there).then(|| {
            let outer = local.current();
            // The number of the thread is known to whom parts ask.
            thread();
            local.set_current(Current { registry, waker, listens: false, ..outer });
            outer
        });
        AroundGuard { outer, thread: PhantomData }
    })
}

impl Drop for AroundGuard {
    #[inline]
    fn drop(&mut self) {
        if let Some(outer) = self.outer {
            LOCAL.with(|local| {
                local.set_current(outer);
                if !local.is_inside() {
                    local.set(0, Known::Roughly);
                }
            });
        }
    }
}

/// What time it is, for an entry that is made: known if it was asked for, or told, and nothing was polled since.
pub(crate) fn entered() -> u64 {
    LOCAL.with(|local| {
        let (at, known) = match local.known.get() {
            Known::Event => (local.at.get(), Known::Event),
            Known::Looked | Known::Told => (local.at.get(), Known::Looked),
            Known::Begin | Known::Roughly => (local.look(), Known::Looked),
        };
        if local.is_inside() {
            local.set(at, known);
        }
        at
    })
}

/// The time, for whoever makes entries in a poll: what this last gave in it or, else, when that began, if nothing was polled
/// in it since. It saves a look at the clock.
#[must_use]
pub fn now() -> Instant {
    LOCAL.with(|local| match (local.known.get(), local.began.get()) {
        (Known::Begin | Known::Looked | Known::Told, Some(began)) => {
            local.known.set(Known::Looked);
            began
        }
        _ => {
            let now = Instant::now();
            if local.is_inside() {
                local.began.set(Some(now));
                local.set(clock::at(now), Known::Looked);
            }
            now
        }
    })
}

/// What [`now`] last gave within the poll that this is called in, or when that began, if that is later: the time, without a
/// look at the clock, for who can do with less. `None` outside of polls.
#[must_use]
pub fn lately() -> Option<Instant> {
    LOCAL.with(|local| local.began.get().filter(|_| local.at.get() != 0))
}

/// Tells the entry that is being polled what time it is, to save it a look at the clock.
///
/// For whoever has just looked, right before the poll comes to its end. Outside of polls it does nothing.
pub fn time_is(at: Instant) {
    LOCAL.with(|local| {
        if local.is_inside() {
            local.began.set(Some(at));
            local.set(clock::at(at), Known::Told);
        }
    });
}

/// Runs `clone`, which clones the waker of the entry around `into` on behalf of `into`.
pub(crate) fn clone_into<R>(into: u64, clone: impl FnOnce() -> R) -> R {
    LOCAL.with(|local| {
        local.into.set(into);
        let cloned = clone();
        local.into.set(0);
        cloned
    })
}

pub(crate) fn cloned_into() -> u64 {
    LOCAL.with(|local| local.into.get())
}

/// This thread's number, from 1; small, because those of threads that ended are used again. 0 when the thread is at its
/// end.
pub(crate) fn thread() -> u32 {
    LOCAL.with(|local| match local.thread.get() {
        0 => register(local),
        number => number,
    })
}

/// Who had the number; `None` if the thread is gone.
pub(crate) fn thread_info(number: u32) -> Option<Thread> {
    let index = (number as usize).checked_sub(1)?;
    lock_threads().get(index).cloned().flatten()
}

/// The registry that [`Registry::set_default`] chose for this thread.
pub(crate) fn default_registry() -> Option<Registry> {
    DEFAULT.try_with(|default| default.borrow().clone()).ok().flatten()
}

pub(crate) fn set_default_registry(registry: Option<Registry>) -> Option<Registry> {
    DEFAULT.try_with(|default| default.replace(registry)).ok().flatten()
}

static THREADS: Mutex<Vec<Option<Thread>>> = Mutex::new(Vec::new());

fn lock_threads() -> std::sync::MutexGuard<'static, Vec<Option<Thread>>> {
    THREADS.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cold]
fn register(local: &Local) -> u32 {
    let info = Thread::current();
    PLACE
        .try_with(|place| {
            let index = {
                let mut threads = lock_threads();
                let index = threads.iter().position(Option::is_none).unwrap_or_else(|| {
                    threads.push(None);
                    threads.len() - 1
                });
                threads[index] = Some(info);
                index
            };
            let number = u32::try_from(index + 1).unwrap_or(u32::MAX);
            *place.borrow_mut() = Some(Place { index });
            local.thread.set(number);
            number
        })
        .unwrap_or(0)
}

/// Gives the number back when the thread ends.
struct Place {
    index: usize,
}

impl Drop for Place {
    fn drop(&mut self) {
        LOCAL.with(|local| local.thread.set(0));
        lock_threads()[self.index] = None;
    }
}
