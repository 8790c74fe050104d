//! What a thread knows by itself: its number, what it is polling, and the identities that it gives out.

use std::{
    cell::{Cell, RefCell},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    task::Waker,
};

use crate::{Registry, Thread};

/// Which waker: its data and its functions. Good for comparing with a waker that is alive.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct WakerId(usize, usize);

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
}

/// All that is touched for every entry, without a destructor: a thread-local that has one costs a look at its state.
struct Local {
    /// 0: not asked for yet.
    thread: Cell<u32>,
    next_id: Cell<u64>,
    current: Cell<Current>,
    /// Changes when a poll begins or ends. No two threads have the same.
    turn: Cell<u64>,
    /// The entry for which the waker of the one around it is being cloned.
    into: Cell<u64>,
}

thread_local! {
    static LOCAL: Local = const {
        Local {
            thread: Cell::new(0),
            next_id: Cell::new(0),
            current: Cell::new(Current { entry: 0, registry: 0, waker: WakerId(0, 0) }),
            turn: Cell::new(0),
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
    LOCAL.with(|local| local.current.get())
}

/// Sets what is polled from here on, and gives what was.
pub(crate) fn set_current(current: Current) -> Current {
    LOCAL.with(|local| {
        local.turn.set(local.turn.get() + 1);
        local.current.replace(current)
    })
}

/// The poll that this thread is in, if it is in one of an entry's; 0 otherwise.
pub(crate) fn turn() -> u64 {
    LOCAL.with(|local| if local.current.get().entry == 0 { 0 } else { local.turn.get() })
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
            local.turn.set(u64::from(number) << 40);
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
