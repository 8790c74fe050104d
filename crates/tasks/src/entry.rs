//! One piece of live work: its guard, and the cell that a dump reads while the guard's owner runs.

use std::{
    fmt,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{
            AtomicBool, AtomicU32, AtomicU64,
            Ordering::{Acquire, Relaxed, Release},
        },
    },
    task::{Context, Poll, Waker},
};

use pin_project::pin_project;
use tokio::sync::oneshot;

use crate::{
    local::{self, Current, WakerId},
    shard::Home,
    shared::Shared,
    trace::{self, Answer},
};

/// A piece of live work, as long as it is not dropped.
///
/// Move it along with the work: from the call into the future, from there into the response's body. Whoever has it polls
/// the work [through it](Self::poll), if there is something to poll; that is how a dump knows what runs, and where the
/// rest waits. An entry that is never polled is just listed.
///
/// Made by [`Kind::enter`](crate::Kind::enter).
#[must_use = "it ends when it is dropped"]
pub struct Entry {
    core: Arc<Core>,
    /// The waker that the core keeps a clone of; the default if none. While the clone lives, no other waker has its
    /// identity.
    listens: WakerId,
    /// The poll that this thread was in when the entry was made; 0 for none, and after the first poll.
    fresh: u64,
}

impl Entry {
    pub(crate) fn new(core: Arc<Core>) -> Self {
        Self { core, listens: WakerId::default(), fresh: local::turn() }
    }

    /// Counts from 1, never used again in this process. What is entered while another is polled has that as its parent.
    #[must_use]
    pub fn id(&self) -> u64 {
        self.core.id()
    }

    /// Polls the work: counts it, says that it runs and on which thread, and hands on a context in which a dump can see
    /// where the work waits.
    ///
    /// It fits any poll function, as `poll_frame` of a body. If `poll` panics, the entry is not running any more, and
    /// can be polled again.
    pub fn poll<R>(&mut self, cx: &mut Context<'_>, poll: impl FnOnce(&mut Context<'_>) -> R) -> R {
        let waker = WakerId::of(cx.waker());
        let core = &*self.core;
        let mut running = Running::new(core, &mut self.fresh, waker);
        // Inside the poll of another entry with the same waker, both are one task: to wake that one wakes this one.
        if running.outer.waker != waker && self.listens != waker {
            core.listen(cx.waker());
            self.listens = waker;
        }
        // Acquire: pairs with the store in `ask`. One that comes later comes with a wake, and so with another poll.
        if core.asked.load(Acquire) {
            running.counts = false;
            return core.answer(cx, poll);
        }
        poll(cx)
    }

    /// Runs what is not a future: counts it as one poll.
    pub(crate) fn run<R>(&mut self, work: impl FnOnce() -> R) -> R {
        let mut running = Running::new(&self.core, &mut self.fresh, WakerId::default());
        running.may_block = true;
        work()
    }

    pub(crate) fn core(&self) -> &Core {
        &self.core
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        // Gone if the registry is: then there is no list to be taken off.
        if let Some(home) = self.core.home.upgrade() {
            home.leave(self.core.index, self.listens != WakerId::default());
        }
    }
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { core, listens: _, fresh: _ } = self;
        f.debug_struct("Entry").field("id", &core.id()).finish_non_exhaustive()
    }
}

/// While a poll lasts, also if it ends in a panic.
struct Running<'a> {
    core: &'a Core,
    outer: Current,
    begun: u64,
    counts: bool,
    may_block: bool,
}

impl<'a> Running<'a> {
    fn new(core: &'a Core, fresh: &mut u64, waker: WakerId) -> Self {
        // Made in the very poll that this poll is part of, and nobody else was polled since: no time has passed.
        let fresh = std::mem::take(fresh);
        let begun = if fresh != 0 && fresh == local::turn() { core.idle.load(Relaxed) } else { core.shared.now() };
        core.thread.store(local::thread(), Relaxed);
        // Release: who sees that it runs sees where. Pairs with the load in `figures`.
        core.running.store(begun, Release);
        let outer = local::set_current(Current { entry: core.id(), registry: core.shared.id, waker });
        Self { core, outer, begun, counts: true, may_block: false }
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        let Self { core, outer, begun, counts, may_block } = self;
        local::set_current(*outer);
        let now = core.shared.now();
        let took = now.saturating_sub(*begun);
        // One writer, the owner of the entry: a load and a store instead of a read-modify-write.
        core.busy.store(core.busy.load(Relaxed) + took, Relaxed);
        if *counts {
            core.polls.store(core.polls.load(Relaxed) + 1, Relaxed);
            // A poll that a dump asked for does not end a wait.
            core.idle.store(now, Relaxed);
        }
        core.running.store(0, Release);
        if !*may_block {
            core.shared.polled_for(took);
        }
    }
}

/// What outlives the entry: it is used for one after the other. All that says "under the shard's lock" runs while the
/// core belongs to the entry that it is meant for.
pub(crate) struct Core {
    /// 0: nobody's. Written under the shard's lock.
    id: AtomicU64,
    index: u32,
    home: Weak<dyn Home>,
    shared: Arc<Shared>,
    /// When the poll that it is in began; 0 if it is in none. This and the next four have one writer, the entry's owner.
    running: AtomicU64,
    /// When the last one ended, or the entry was made.
    idle: AtomicU64,
    thread: AtomicU32,
    polls: AtomicU64,
    busy: AtomicU64,
    /// There is a question among what is kept.
    asked: AtomicBool,
    kept: Mutex<Kept>,
}

/// What is seldom touched. Locked after the shard, or alone.
#[derive(Default)]
pub(crate) struct Kept {
    waker: Option<Waker>,
    /// The tokio task that stored the waker.
    task: Option<tokio::task::Id>,
    question: Option<oneshot::Sender<Answer>>,
}

/// Who makes an entry answer.
pub(crate) enum Wake {
    /// This waker.
    Own(Waker),
    /// That of the entry around it, in whose task it runs.
    Outer,
}

/// What a dump reads of an entry.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Figures {
    pub(crate) running: u64,
    pub(crate) thread: u32,
    pub(crate) idle: u64,
    pub(crate) polls: u64,
    pub(crate) busy: u64,
}

impl Core {
    pub(crate) fn new(index: u32, home: Weak<dyn Home>, shared: Arc<Shared>) -> Self {
        Self {
            id: AtomicU64::new(0),
            index,
            home,
            shared,
            running: AtomicU64::new(0),
            idle: AtomicU64::new(0),
            thread: AtomicU32::new(0),
            polls: AtomicU64::new(0),
            busy: AtomicU64::new(0),
            asked: AtomicBool::new(false),
            kept: Mutex::default(),
        }
    }

    pub(crate) fn id(&self) -> u64 {
        self.id.load(Relaxed)
    }

    pub(crate) fn shared(&self) -> &Shared {
        &self.shared
    }

    pub(crate) const fn index(&self) -> u32 {
        self.index
    }

    pub(crate) fn home(&self) -> Option<Arc<dyn Home>> {
        self.home.upgrade()
    }

    /// Under the shard's lock.
    pub(crate) fn begin(&self, id: u64, born: u64) {
        self.id.store(id, Relaxed);
        self.running.store(0, Relaxed);
        self.idle.store(born, Relaxed);
        self.polls.store(0, Relaxed);
        self.busy.store(0, Relaxed);
    }

    /// Under the shard's lock; gives what is to be dropped without it.
    pub(crate) fn end(&self, listens: bool) -> Option<Kept> {
        self.id.store(0, Relaxed);
        // Relaxed: it is set under the shard's lock.
        (listens || self.asked.load(Relaxed)).then(|| {
            self.asked.store(false, Relaxed);
            std::mem::take(&mut *self.kept())
        })
    }

    /// Under the shard's lock. `None` if it is running: its worker may be stuck in it.
    pub(crate) fn ask(&self, answer: oneshot::Sender<Answer>) -> Option<Wake> {
        if self.running.load(Relaxed) != 0 {
            return None;
        }
        let mut kept = self.kept();
        let former = kept.question.replace(answer);
        // Release: pairs with the load in `Entry::poll`.
        self.asked.store(true, Release);
        let wake = kept.waker.clone().map_or(Wake::Outer, Wake::Own);
        drop(kept);
        // Of a dump that was given up: nobody listens.
        drop(former);
        Some(wake)
    }

    #[cold]
    fn answer<R>(&self, cx: &Context<'_>, poll: impl FnOnce(&mut Context<'_>) -> R) -> R {
        self.asked.store(false, Relaxed);
        let question = self.kept().question.take();
        let (polled, answer) = trace::poll(self.id(), cx.waker(), |tapped| {
            // What is polled inside compares its waker with this one.
            local::set_current(Current { waker: WakerId::of(tapped.waker()), ..local::current() });
            poll(tapped)
        });
        if let Some(question) = question {
            // Nobody may be waiting any more.
            let _ = question.send(answer);
        }
        polled
    }

    /// Only when the waker is another one than before: for most entries once.
    #[cold]
    fn listen(&self, waker: &Waker) {
        let waker = waker.clone();
        let task = tokio::task::try_id();
        let former = {
            let mut kept = self.kept();
            kept.task = task;
            kept.waker.replace(waker)
        };
        drop(former);
    }

    /// `None` if it has none, or runs in the task of the entry around it.
    pub(crate) fn waker(&self) -> Option<Waker> {
        self.kept().waker.clone()
    }

    pub(crate) fn task(&self) -> Option<tokio::task::Id> {
        self.kept().task
    }

    pub(crate) fn figures(&self) -> Figures {
        loop {
            // Acquire: pairs with the store in `Running::new`, so that thread and poll belong together.
            let running = self.running.load(Acquire);
            let figures = Figures {
                running,
                thread: self.thread.load(Acquire),
                idle: self.idle.load(Acquire),
                polls: self.polls.load(Acquire),
                busy: self.busy.load(Acquire),
            };
            if self.running.load(Relaxed) == running {
                return figures;
            }
        }
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        // Foreign code under the lock is the clone of a waker, before which nothing is half done.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A future whose work is an [`Entry`], until it is dropped.
///
/// Made by [`Kind::track`](crate::Kind::track).
#[pin_project]
#[must_use = "futures do nothing unless polled"]
pub struct Tracked<F> {
    // Dropped before the entry: what it drops is still its work.
    #[pin]
    future: F,
    entry: Entry,
}

impl<F> Tracked<F> {
    /// Polls `future` through `entry`.
    pub const fn new(entry: Entry, future: F) -> Self {
        Self { future, entry }
    }

    /// The entry.
    pub const fn entry(&self) -> &Entry {
        &self.entry
    }
}

impl<F: Future> Future for Tracked<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        this.entry.poll(cx, |cx| this.future.poll(cx))
    }
}

impl<F> fmt::Debug for Tracked<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { future: _, entry } = self;
        f.debug_struct("Tracked").field("entry", entry).finish_non_exhaustive()
    }
}
