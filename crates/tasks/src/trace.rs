//! Where a future waits: it is polled once with a waker that notes who clones it.
//!
//! A future that returns `Pending` has to keep a clone of the waker it was polled with, and it makes that clone within
//! its poll. So the stack at the time of the clone is the stack of the await, for any future there is, and costs nothing
//! until somebody asks.
//!
//! The only unsafe code of the crate: a waker whose `clone` can be hooked has to have its own table of functions.
//! `std::task::Wake` does not do: there, a clone is one of the `Arc`, and nobody is told.
#![expect(unsafe_code, reason = "a `RawWaker`, and an unwinding that takes no lock")]

use std::{
    mem::ManuallyDrop,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
    task::{RawWaker, RawWakerVTable, Waker},
    time::Duration,
};

use tokio::time::Instant;

use crate::local;

/// What an entry answers to the question where it waits.
#[derive(Debug, Default)]
pub(crate) struct Answer {
    /// One for each clone, in order: several for a `select!` or a `join!`.
    pub(crate) stacks: Vec<RawStack>,
    /// Clones beyond the bounds.
    pub(crate) missed: usize,
}

/// Return addresses, innermost first, from the clone of the waker up to the poll of the entry.
#[derive(Debug)]
pub(crate) struct RawStack {
    pub(crate) addresses: Vec<usize>,
    /// The entry that the clone was made for, if it leads into another one; or 0.
    pub(crate) into: u64,
}

/// A waker that wakes another one, and notes where it is cloned during one poll.
pub(crate) struct Tapped {
    tap: Arc<Tap>,
    waker: Waker,
}

impl Tapped {
    /// `entry` is who is polled.
    pub(crate) fn new(entry: u64, waker: &Waker) -> Self {
        let tap = Arc::new(Tap {
            // If this is the tap of an entry around, it notes that the way leads to us.
            inner: local::clone_into(entry, || waker.clone()),
            open: AtomicBool::new(true),
            thread: local::thread(),
            top: AtomicUsize::new(0),
            until: Instant::now() + LONG_ENOUGH,
            answer: Mutex::default(),
        });
        Self { waker: waker_of(Arc::clone(&tap)), tap }
    }

    /// To be polled with. `top` is an address in the stack frame that polls: stacks are followed up to there.
    pub(crate) fn waker(&self, top: usize) -> &Waker {
        self.tap.top.store(top, Relaxed);
        &self.waker
    }

    /// What was noted.
    pub(crate) fn answer(self) -> Answer {
        std::mem::take(&mut *self.tap.answer.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for Tapped {
    fn drop(&mut self) {
        // A leaf keeps its clone until it is polled again, perhaps for hours: nothing is noted any more, and the notes go.
        self.tap.open.store(false, Relaxed);
    }
}

struct Tap {
    inner: Waker,
    /// During the poll. Only read on the thread that polls.
    open: AtomicBool,
    thread: u32,
    /// An address in the stack frame that polls.
    top: AtomicUsize,
    until: Instant,
    answer: Mutex<Answer>,
}

impl Tap {
    fn note(&self) {
        // A clone by another thread is no await; one after the poll is none either.
        if local::thread() != self.thread || !self.open.load(Relaxed) {
            return;
        }
        let mut answer = self.answer.lock().unwrap_or_else(PoisonError::into_inner);
        let enough = answer.stacks.len() >= MOST_STACKS || Instant::now() >= self.until;
        if enough && !answer.stacks.is_empty() {
            answer.missed += 1;
            return;
        }
        let stack = RawStack { addresses: addresses(self.top.load(Relaxed)), into: local::cloned_into() };
        answer.stacks.push(stack);
    }
}

/// The return addresses below `top`, innermost first.
fn addresses(top: usize) -> Vec<usize> {
    let mut addresses = Vec::with_capacity(32);
    let note = |frame: &backtrace::Frame| {
        // Stacks grow down: a frame above `top` is not of the poll. Null where the unwinder does not know.
        if frame.sp().addr() > top || addresses.len() >= MOST_FRAMES {
            return false;
        }
        addresses.push(frame.ip().expose_provenance());
        true
    };
    // The safe function takes a lock that another thread's `resolve` may hold for 100 ms, while this is a worker.
    #[cfg(unix)]
    // SAFETY: what is not synchronized is the use of dbghelp, and that is on Windows. Elsewhere this is
    // `_Unwind_Backtrace` and nothing else, which any number of threads may be in at once, as they are when several panic;
    // the crate's own `Backtrace` and std's hold their locks for printing. `note` does not panic: it pushes to a vector.
    unsafe {
        backtrace::trace_unsynchronized(note);
    }
    #[cfg(not(unix))]
    backtrace::trace(note);
    addresses
}

fn waker_of(tap: Arc<Tap>) -> Waker {
    // SAFETY: the contract of `RawWaker`, for the functions of `TABLE`:
    // - `data` is always an `Arc<Tap>` that went through `Arc::into_raw`, and stands for one reference: `raw` makes it so,
    //   and is the only one to name `TABLE`.
    // - `clone` adds a reference and gives it to the new `RawWaker`; `wake` and `drop` take the one that they stand for
    //   away; `wake_by_ref` neither adds nor takes one.
    // - they are thread-safe: `Tap` is `Send` and `Sync`, which `assert_send_sync` proves, and an `Arc` of it is so, too.
    // - the unwinding of a panic out of any of them leaves the count of references right: those that only look hold the
    //   `Arc` in a `ManuallyDrop`, those that consume hold it in a plain local.
    unsafe { Waker::from_raw(raw(tap)) }
}

fn raw(tap: Arc<Tap>) -> RawWaker {
    RawWaker::new(Arc::into_raw(tap).cast(), &TABLE)
}

static TABLE: RawWakerVTable = RawWakerVTable::new(clone, wake, wake_by_ref, drop_waker);

/// # Safety
///
/// `data` comes from [`raw`], and the reference that it stands for has not been taken away.
unsafe fn borrow(data: *const ()) -> ManuallyDrop<Arc<Tap>> {
    // SAFETY: `data` is from `Arc::into_raw::<Tap>`, says the caller, and its reference is still there; it stays there,
    // because the `Arc` made here is never dropped.
    ManuallyDrop::new(unsafe { Arc::from_raw(data.cast()) })
}

/// # Safety
///
/// As for [`borrow`]; and the caller uses `data` no more.
unsafe fn take(data: *const ()) -> Arc<Tap> {
    // SAFETY: `data` is from `Arc::into_raw::<Tap>`, and its reference is handed over, says the caller.
    unsafe { Arc::from_raw(data.cast()) }
}

/// # Safety
///
/// As for all four: the contract of [`RawWakerVTable`], called with the data of a `RawWaker` made by [`raw`].
unsafe fn clone(data: *const ()) -> RawWaker {
    // SAFETY: a waker's data is good until it is dropped or woken by value.
    let tap = unsafe { borrow(data) };
    tap.note();
    raw(Arc::clone(&tap))
}

/// # Safety
///
/// See [`clone`].
unsafe fn wake(data: *const ()) {
    // SAFETY: `Waker::wake` consumes the waker without dropping it: its reference is ours now.
    let tap = unsafe { take(data) };
    tap.inner.wake_by_ref();
}

/// # Safety
///
/// See [`clone`].
unsafe fn wake_by_ref(data: *const ()) {
    // SAFETY: a waker's data is good until it is dropped or woken by value.
    let tap = unsafe { borrow(data) };
    tap.inner.wake_by_ref();
}

/// # Safety
///
/// See [`clone`].
unsafe fn drop_waker(data: *const ()) {
    // SAFETY: a waker is dropped once, and not used after: its reference is ours now.
    drop(unsafe { take(data) });
}

const _: () = {
    const fn assert_send_sync<T: Send + Sync>() {}
    assert_send_sync::<Tap>();
};

/// Of one poll: a `join!` of many branches would hold up the worker.
const MOST_STACKS: usize = 16;

/// Of one stack: what is deeper loses its outer end.
const MOST_FRAMES: usize = 128;

/// A stack takes some 2 to 20 µs. One is always taken.
const LONG_ENOUGH: Duration = Duration::from_micros(500);

#[cfg(test)]
mod tests {
    use std::{
        pin::pin,
        sync::atomic::Ordering::SeqCst,
        task::{Context, Wake},
    };

    use super::*;

    fn poll<R>(entry: u64, waker: &Waker, poll: impl FnOnce(&mut Context<'_>) -> R) -> (R, Answer) {
        let here = 0u8;
        let tapped = Tapped::new(entry, waker);
        let polled = poll(&mut Context::from_waker(tapped.waker(std::ptr::from_ref(&here).addr())));
        (polled, tapped.answer())
    }

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, SeqCst);
        }
    }

    fn counted() -> (Arc<Count>, Waker) {
        let count = Arc::new(Count::default());
        (Arc::clone(&count), Waker::from(count))
    }

    #[test]
    fn a_clone_is_noted_and_wakes_the_real_waker() {
        let (count, waker) = counted();
        let (kept, answer) = poll(1, &waker, |cx| cx.waker().clone());
        assert_eq!(answer.stacks.len(), 1, "one clone, one stack");
        assert!(!answer.stacks[0].addresses.is_empty());
        kept.wake_by_ref();
        assert_eq!(count.0.load(SeqCst), 1);
        let other = kept.clone();
        kept.wake();
        drop(other);
        assert_eq!(count.0.load(SeqCst), 2, "wake by value wakes as well");
        drop(waker);
        assert_eq!(Arc::strong_count(&count), 1, "and nothing keeps the real waker");
    }

    #[test]
    fn clones_after_the_poll_and_on_other_threads_are_not_noted() {
        let (count, waker) = counted();
        let (kept, answer) = poll(1, &waker, |cx| {
            let waker = cx.waker();
            std::thread::scope(|s| {
                s.spawn(|| drop(waker.clone()));
            });
            cx.waker().clone()
        });
        assert_eq!(answer.stacks.len(), 1, "only that of the thread that polls");
        let threads: Vec<_> = (0..4)
            .map(|_| {
                let kept = kept.clone();
                std::thread::spawn(move || {
                    for _ in 0..20 {
                        let clone = kept.clone();
                        clone.wake_by_ref();
                        clone.wake();
                    }
                })
            })
            .collect();
        threads.into_iter().for_each(|thread| thread.join().expect("no panic"));
        assert_eq!(count.0.load(SeqCst), 160);
        drop((kept, waker));
        assert_eq!(Arc::strong_count(&count), 1, "every reference was given back");
    }

    #[test]
    fn a_poll_that_panics_gives_everything_back() {
        let (count, waker) = counted();
        let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            poll(1, &waker, |cx| {
                let _kept = cx.waker().clone();
                panic!("inside");
            })
        }));
        assert!(caught.is_err());
        drop(waker);
        assert_eq!(Arc::strong_count(&count), 1);
    }

    #[test]
    fn many_branches_are_bounded() {
        let (_, waker) = counted();
        let ((), answer) = poll(1, &waker, |cx| (0..100).for_each(|_| drop(cx.waker().clone())));
        assert!(!answer.stacks.is_empty() && answer.stacks.len() <= MOST_STACKS);
        assert_eq!(answer.stacks.len() + answer.missed, 100, "what is not taken is counted");
    }

    #[test]
    fn a_tap_in_a_tap_says_where_the_way_leads() {
        let (_, waker) = counted();
        let (inner, outer) = poll(1, &waker, |cx| poll(2, cx.waker(), |cx| drop(cx.waker().clone())).1);
        assert_eq!(outer.stacks[0].into, 2, "the outer entry waits for the inner one");
        assert_eq!(inner.stacks[0].into, 0);
    }

    #[test]
    #[cfg_attr(miri, ignore = "its unwinder knows no stack pointers")]
    fn a_stack_ends_at_the_poll() {
        #[inline(never)]
        fn deep(depth: u32, waker: &Waker) -> usize {
            match depth {
                0 => poll(1, waker, |cx| drop(cx.waker().clone())).1.stacks[0].addresses.len(),
                _ => std::hint::black_box(deep(depth - 1, waker)),
            }
        }
        let (_, waker) = counted();
        assert_eq!(deep(0, &waker), deep(40, &waker), "what is above costs nothing");
    }

    #[test]
    fn a_future_that_wakes_itself_is_woken() {
        let (count, waker) = counted();
        let mut yields = pin!(std::future::poll_fn(|cx| {
            cx.waker().wake_by_ref();
            std::task::Poll::<()>::Pending
        }));
        let (polled, answer) = poll(1, &waker, |cx| yields.as_mut().poll(cx));
        assert!(polled.is_pending());
        assert!(answer.stacks.is_empty(), "it keeps no waker: it is about to run");
        assert_eq!(count.0.load(SeqCst), 1);
    }
}
