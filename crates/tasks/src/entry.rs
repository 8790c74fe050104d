//! One piece of live work: its guard, and the cell that a dump reads while the guard's owner runs.

use std::{
    fmt,
    marker::PhantomData,
    mem::ManuallyDrop,
    pin::Pin,
    sync::{
        Arc, Weak,
        atomic::{
            AtomicU32, AtomicU64, AtomicUsize,
            Ordering::{Acquire, Relaxed, Release},
            fence,
        },
    },
    task::{Context, Poll, Waker},
};

use pin_project::pin_project;
use tokio::sync::oneshot;

use crate::{
    Moment,
    inbox::{self, Inbox},
    local::{self, Current, WakerId},
    seat::Tally,
    shard::Home,
    shared::Shared,
    trace::{Answer, Tapped},
};

/// A piece of live work, as long as it is not dropped.
///
/// Move it along with the work: from the call into the future, from there into the response's body. Whoever has it polls
/// the work [through it](Self::poll), if there is something to poll; that is how a dump knows what runs, and where the
/// rest waits. An entry that is never polled is just listed.
///
/// Made by [`Kind::enter`](crate::Kind::enter), or by [`Seat::enter`](crate::Seat::enter).
#[must_use = "it ends when it is dropped"]
pub struct Entry {
    core: Arc<Core>,
}

impl Entry {
    pub(crate) fn new(core: Arc<Core>) -> Self {
        Self { core }
    }

    /// Counts from 1, never used again in this process. What is entered while another is polled has that as its parent.
    #[must_use]
    pub fn id(&self) -> u64 {
        self.core.id()
    }

    /// When it was made.
    #[must_use]
    pub fn since(&self) -> Moment {
        Moment(self.core.born.load(Relaxed))
    }

    /// Polls the work: counts it, says that it runs and on which thread, and hands on a context in which a dump can see
    /// where the work waits.
    ///
    /// It fits any poll function, as `poll_frame` of a body. If `poll` panics, the entry is not running any more, and
    /// can be polled again.
    pub fn poll<R>(&mut self, cx: &mut Context<'_>, poll: impl FnOnce(&mut Context<'_>) -> R) -> R {
        let id = WakerId::of(cx.waker());
        let mut running = Running::new(&self.core, id, false);
        running.listen(cx.waker(), id);
        let asked = self.core.asked(cx.waker());
        // A poll that a dump asked for does not end a wait.
        running.counts = asked.is_none();
        let waker = asked.as_ref().map_or(cx.waker(), |asked| asked.waker(&asked));
        let polled = poll(&mut Context::from_waker(waker));
        if let Some(asked) = asked {
            asked.answer();
        }
        polled
    }

    /// Runs what is not a future: counts it as one poll.
    pub(crate) fn run<R>(&mut self, work: impl FnOnce() -> R) -> R {
        let mut running = Running::new(&self.core, WakerId::default(), false);
        running.may_block = true;
        work()
    }

    pub(crate) fn core(&self) -> &Core {
        &self.core
    }
}

impl Drop for Entry {
    #[inline]
    fn drop(&mut self) {
        let core = &*self.core;
        match &core.seat {
            Some(tally) => {
                core.rise();
                tally.leave();
            }
            None => core.leave(),
        }
    }
}

/// One poll of a part of what is polled around it, if the part is mostly done at once: as a request in its connection.
///
/// As [`Entry::poll`], in two halves around the poll itself, so that a big result need not be moved through. It looks at
/// the clock only if it has to wait: its time begins when the time was last known in the poll around it, and ends when it
/// waits; what is ready at once counts as soon as something has to wait after it. Without an entry it does nothing.
///
/// ```
/// use std::task::{Context, Poll};
/// use graceful_tasks::{Entry, Part};
///
/// fn poll_frame(entry: Option<&mut Entry>, cx: &mut Context<'_>) -> Poll<u8> {
///     let part = Part::begin(entry, cx);
///     let polled = poll_body(&mut Context::from_waker(part.waker()));
///     part.end(polled.is_pending());
///     polled
/// }
/// # fn poll_body(_: &mut Context<'_>) -> Poll<u8> { Poll::Ready(7) }
/// # let entry = &mut graceful_tasks::Registry::new().kind::<&str>("request").enter("r");
/// # assert!(poll_frame(Some(entry), &mut Context::from_waker(std::task::Waker::noop())).is_ready());
/// ```
#[must_use = "the part is being polled until it ends"]
pub struct Part<'a> {
    /// What is polled.
    core: Option<&'a Core>,
    /// The entry around it.
    outer: u64,
    /// Boxed: rare. It is small by that, and so costs less.
    rare: Option<Box<Rare<'a>>>,
    waker: &'a Waker,
    /// What a thread polls is known to the thread.
    thread: PhantomData<*const ()>,
}

/// Of a part that is polled otherwise than most.
#[derive(Default)]
struct Rare<'a> {
    /// It is not polled within the poll of an entry of its registry, or not with the same waker.
    alone: Option<Running<'a>>,
    asked: Option<Asked>,
}

impl<'a> Part<'a> {
    /// The poll begins.
    #[expect(clippy::inline_always, reason = "out of line, what it gives would go through memory: half of the cost")]
    #[inline(always)]
    pub fn begin(entry: Option<&'a mut Entry>, cx: &'a Context<'_>) -> Self {
        let mut part = Self { core: None, outer: 0, rare: None, waker: cx.waker(), thread: PhantomData };
        if let Some(entry) = entry {
            let core: &'a Core = &entry.core;
            let id = WakerId::of(part.waker);
            match local::begin_part(core.shared.id, core.id(), id) {
                Some(local::Around { entry, begun, thread, listens }) => {
                    core.runs(begun, thread);
                    part.core = Some(core);
                    part.outer = entry;
                    if !listens && core.listens() != id {
                        core.listen(part.waker, id);
                    }
                }
                None => part.begin_alone(core),
            }
            if core.inbox.is_asked() {
                part.ask(core);
            }
        }
        part
    }

    #[cold]
    fn begin_alone(&mut self, core: &'a Core) {
        let id = WakerId::of(self.waker);
        let running = Running::new(core, id, true);
        running.listen(self.waker, id);
        self.rare.get_or_insert_default().alone = Some(running);
    }

    #[cold]
    fn ask(&mut self, core: &'a Core) {
        self.rare.get_or_insert_default().asked = Some(core.answer(self.waker));
    }

    /// What to poll it with.
    #[inline]
    #[must_use]
    pub fn waker(&self) -> &Waker {
        match &self.rare {
            None => self.waker,
            Some(rare) => rare.asked.as_ref().map_or(self.waker, |asked| asked.waker(self)),
        }
    }

    /// It was polled; `waits` is whether it was pending.
    #[expect(clippy::inline_always, reason = "as `begin`")]
    #[inline(always)]
    pub fn end(self, waits: bool) {
        // `Drop` is for a panic; `stop` leaves nothing to be dropped.
        ManuallyDrop::new(self).stop(waits, true);
    }

    /// `timed`: how long it took is to be known. If it was long, that is counted with what is around it.
    #[expect(clippy::inline_always, reason = "as `begin`")]
    #[inline(always)]
    fn stop(&mut self, timed: bool, ends: bool) {
        if let Some(rare) = self.rare.take() {
            self.stop_rare(*rare, timed, ends);
        } else if let Some(core) = self.core.take() {
            core.stops(local::end_part(self.outer, timed), true);
        }
    }

    #[cold]
    fn stop_rare(&mut self, Rare { alone, asked }: Rare<'a>, timed: bool, ends: bool) {
        if let Some(core) = self.core.take() {
            core.stops(local::end_part(self.outer, timed), asked.is_none());
            local::set_waker(WakerId::of(self.waker));
        }
        if let Some(mut alone) = alone {
            (alone.timed, alone.counts) = (timed, asked.is_none());
        }
        if let Some(asked) = asked
            && ends
        {
            asked.answer();
        }
    }
}

/// After a panic.
impl Drop for Part<'_> {
    fn drop(&mut self) {
        self.stop(true, false);
    }
}

impl fmt::Debug for Part<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { core: _, outer: _, rare: _, waker: _, thread: _ } = self;
        f.debug_struct("Part").finish_non_exhaustive()
    }
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { core } = self;
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
    /// How long it took is to be known.
    timed: bool,
}

impl<'a> Running<'a> {
    #[expect(clippy::inline_always, reason = "out of line, it would be moved about: a fifth of the cost")]
    #[inline(always)]
    fn new(core: &'a Core, waker: WakerId, roughly: bool) -> Self {
        let thread = local::thread();
        let current = Current { entry: core.id(), registry: core.shared.id, waker, listens: true };
        let (begun, outer) = local::begin(current, roughly);
        core.runs(begun, thread);
        Self { core, outer, begun, counts: true, may_block: false, timed: true }
    }

    /// Inside the poll of another entry with the same waker, both are one task: to wake that one wakes this one.
    #[inline]
    fn listen(&self, waker: &Waker, id: WakerId) {
        if !(self.outer.waker == id && self.outer.listens) && self.core.listens() != id {
            self.core.listen(waker, id);
        }
    }
}

impl Drop for Running<'_> {
    #[inline]
    fn drop(&mut self) {
        let Self { core, outer, begun, counts, may_block, timed } = self;
        let now = local::end(*outer, *timed);
        if let Some(now) = now
            && !*may_block
        {
            core.shared.polled_for(now.saturating_sub(*begun));
        }
        core.stops(now, *counts);
    }
}

/// While a poll lasts that a dump has asked for.
struct Asked {
    tapped: Tapped,
    question: Option<Question>,
}

impl Asked {
    /// What to poll with; `here` is in the stack frame that does, up to which stacks are followed.
    #[cold]
    fn waker<T>(&self, here: &T) -> &Waker {
        self.tapped.waker(std::ptr::from_ref(here).addr())
    }

    #[cold]
    fn answer(self) {
        let answer = self.tapped.answer();
        if let Some(question) = self.question {
            // Nobody may be waiting any more.
            let _ = question.answer.send(answer);
        }
    }
}

/// What outlives the entry: it is used for one after the other. All that says "under the shard's lock" runs while the
/// core belongs to the entry that it is meant for. With a seat's there is no lock: there, whoever reads looks at `id`
/// before and after.
pub(crate) struct Core {
    /// 0: nobody's. Written last when an entry begins, and first when it ends.
    id: AtomicU64,
    /// What it was entered from, and when.
    parent: AtomicU64,
    born: AtomicU64,
    /// For a seat: where it is counted.
    seat: Option<Arc<Tally>>,
    index: u32,
    home: Weak<dyn Home>,
    shared: Arc<Shared>,
    /// When the poll that it is in began; 0 if it is in none. This and those up to the inbox have one writer, the entry's
    /// owner.
    running: AtomicU64,
    /// When the last one ended, or the entry was made.
    idle: AtomicU64,
    thread: AtomicU32,
    polls: AtomicU64,
    busy: AtomicU64,
    /// The waker that the inbox keeps a clone of; the default if none. While the clone lives, no other waker has its
    /// identity.
    listens: [AtomicUsize; 2],
    /// Locked after the shard, or alone.
    inbox: Inbox<Question, tokio::task::Id>,
}

/// To one entry: what has its core after it does not answer.
pub(crate) struct Question {
    entry: u64,
    answer: oneshot::Sender<Answer>,
}

/// What an entry leaves behind; the task is the tokio task that stored the waker.
pub(crate) type Kept = inbox::Kept<Question, tokio::task::Id>;

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
    pub(crate) parent: u64,
    pub(crate) born: u64,
    pub(crate) running: u64,
    pub(crate) thread: u32,
    pub(crate) idle: u64,
    pub(crate) polls: u64,
    pub(crate) busy: u64,
}

impl Core {
    /// `seat` is where it is counted, if it is a seat's.
    pub(crate) fn new(index: u32, home: Weak<dyn Home>, shared: Arc<Shared>, seat: Option<Arc<Tally>>) -> Self {
        Self {
            id: AtomicU64::new(0),
            parent: AtomicU64::new(0),
            born: AtomicU64::new(0),
            seat,
            index,
            home,
            shared,
            running: AtomicU64::new(0),
            idle: AtomicU64::new(0),
            thread: AtomicU32::new(0),
            polls: AtomicU64::new(0),
            busy: AtomicU64::new(0),
            listens: [AtomicUsize::new(0), AtomicUsize::new(0)],
            inbox: Inbox::new(),
        }
    }

    /// Acquire: pairs with the stores in `begin` and `rise`, so that who sees an entry sees its own figures.
    #[inline]
    pub(crate) fn id(&self) -> u64 {
        self.id.load(Acquire)
    }

    pub(crate) fn shared(&self) -> &Shared {
        &self.shared
    }

    /// Takes it off the list of its home, which is gone if the registry is.
    fn leave(&self) {
        if let Some(home) = self.home() {
            home.leave(self.index);
        }
    }

    pub(crate) const fn index(&self) -> u32 {
        self.index
    }

    pub(crate) fn home(&self) -> Option<Arc<dyn Home>> {
        self.home.upgrade()
    }

    /// Under the shard's lock; or by a seat, which is its only owner.
    #[inline]
    pub(crate) fn begin(&self, id: u64, parent: u64, born: u64) {
        // Pairs with the fence in `is_still`: who reads any of what follows also sees that the former one is gone.
        fence(Release);
        self.parent.store(parent, Relaxed);
        self.born.store(born, Relaxed);
        self.running.store(0, Relaxed);
        self.idle.store(born, Relaxed);
        self.polls.store(0, Relaxed);
        self.busy.store(0, Relaxed);
        self.id.store(id, Release);
    }

    /// By a seat: an entry takes it.
    #[inline]
    pub(crate) fn sit(&self, id: u64, parent: u64, born: u64) {
        if let Some(tally) = &self.seat {
            tally.enter();
        }
        self.begin(id, parent, born);
    }

    /// Whether all that was read since `id` was seen is of that entry.
    pub(crate) fn is_still(&self, id: u64) -> bool {
        fence(Acquire);
        self.id.load(Relaxed) == id
    }

    /// Under the shard's lock; gives what is to be dropped without it.
    pub(crate) fn end(&self) -> Option<Kept> {
        self.id.store(0, Release);
        let listened = self.listens() != WakerId::default();
        if listened {
            self.set_listens(WakerId::default());
        }
        // What is asked, is asked under the shard's lock, too.
        self.inbox.empty(listened)
    }

    /// Ends the entry that has the seat. The waker stays: the next one is polled with the same.
    #[inline]
    fn rise(&self) {
        self.id.store(0, Release);
        // What is put later is taken back by whoever puts it, or found out by its number: see `Question`.
        if self.inbox.is_asked() {
            drop(self.inbox.take());
        }
    }

    /// Puts a question to the entry `id`, and gives who makes it answer. `None` if it has ended, or is being polled.
    pub(crate) fn ask(&self, id: u64, answer: oneshot::Sender<Answer>) -> Option<Wake> {
        if self.seat.is_none() {
            return self.home()?.ask(self.index, id, answer);
        }
        let wake = self.put(id, answer);
        if !self.is_still(id) {
            drop(self.inbox.take());
            return None;
        }
        wake
    }

    /// As [`ask`](Self::ask), under the shard's lock. What is running is not asked: its worker may be stuck in it.
    pub(crate) fn put(&self, id: u64, answer: oneshot::Sender<Answer>) -> Option<Wake> {
        if self.id() != id || self.running.load(Relaxed) != 0 {
            return None;
        }
        Some(self.inbox.ask(Question { entry: id, answer }).map_or(Wake::Outer, Wake::Own))
    }

    /// Says that it runs from now on.
    #[inline]
    fn runs(&self, since: u64, thread: u32) {
        self.thread.store(thread, Relaxed);
        // Release: who sees that it runs sees where. Pairs with the load in `figures`.
        self.running.store(since, Release);
    }

    /// Says that it does not run any more, if it is known since when. One writer, the owner of the entry: a load and a
    /// store instead of a read-modify-write. `counts` is whether the poll ends a wait: one that a dump asked for does not.
    #[inline]
    fn stops(&self, now: Option<u64>, counts: bool) {
        let begun = self.running.load(Relaxed);
        if let Some(now) = now {
            self.busy.store(self.busy.load(Relaxed) + now.saturating_sub(begun), Relaxed);
        }
        if counts {
            self.polls.store(self.polls.load(Relaxed) + 1, Relaxed);
            self.idle.store(now.unwrap_or(begun), Relaxed);
        }
        self.running.store(0, Release);
    }

    /// Asks it, if a dump wants to know where it waits.
    #[inline]
    fn asked(&self, waker: &Waker) -> Option<Asked> {
        self.inbox.is_asked().then(|| self.answer(waker))
    }

    #[cold]
    fn answer(&self, waker: &Waker) -> Asked {
        let id = self.id();
        let question = self.inbox.take().filter(|question| question.entry == id);
        let tapped = Tapped::new(id, waker);
        // What is polled inside compares its waker with this one.
        local::set_waker(WakerId::of(tapped.waker(0)));
        Asked { tapped, question }
    }

    #[inline]
    fn listens(&self) -> WakerId {
        let [data, vtable] = &self.listens;
        WakerId(data.load(Relaxed), vtable.load(Relaxed))
    }

    fn set_listens(&self, WakerId(data, vtable): WakerId) {
        self.listens[0].store(data, Relaxed);
        self.listens[1].store(vtable, Relaxed);
    }

    /// Only when the waker is another one than before: for most entries once.
    #[cold]
    fn listen(&self, waker: &Waker, id: WakerId) {
        self.inbox.listen(waker.clone(), tokio::task::try_id());
        self.set_listens(id);
    }

    /// `None` if it has none, or runs in the task of the entry around it.
    pub(crate) fn waker(&self) -> Option<Waker> {
        self.inbox.waker()
    }

    pub(crate) fn task(&self) -> Option<tokio::task::Id> {
        self.inbox.with()
    }

    pub(crate) fn figures(&self) -> Figures {
        loop {
            // Acquire: pairs with the store in `runs`, so that thread and poll belong together.
            let running = self.running.load(Acquire);
            let figures = Figures {
                parent: self.parent.load(Relaxed),
                born: self.born.load(Relaxed),
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
}

impl Drop for Core {
    fn drop(&mut self) {
        // A seat is given back when neither it nor its entry is left; a shard keeps the others.
        if self.seat.is_some() {
            self.leave();
        }
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
