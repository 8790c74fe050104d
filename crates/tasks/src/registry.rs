use std::{
    borrow::Cow,
    collections::BTreeMap,
    fmt::{self, Display},
    marker::PhantomData,
    panic::Location,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock, Weak,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    task::Context,
    time::Duration,
};

use tokio::{sync::watch, task::JoinHandle};

use crate::{
    AroundGuard, Kind, Stopping, Token,
    dump::LastDump,
    entry::Figures,
    kind::{self, AnyKind},
    local::{self, WakerId},
    shard::Found,
    shared::Shared,
    spawn,
};

/// A list of live work, by [kind](Kind). Clones are the same list.
///
/// A process needs one, the [global](Self::global) one. What spawns or lists without being told where goes to the
/// [current](Self::current) one, which lets a test have its own: see [`LeakCheck`](crate::LeakCheck).
///
/// See the [crate docs](crate).
#[derive(Clone)]
pub struct Registry {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) shared: Arc<Shared>,
    kinds: Mutex<Vec<Arc<dyn AnyKind>>>,
    tasks: Arc<kind::Inner<Name>>,
    blocking: Arc<kind::Inner<Name>>,
    pub(crate) stopping: watch::Sender<Stopping>,
    pub(crate) claimed: AtomicBool,
    pub(crate) last_dump: tokio::sync::Mutex<LastDump>,
    pub(crate) watched: crate::watchdog::Counters,
}

/// What a spawned task is called.
pub(crate) type Name = Cow<'static, str>;

/// What a registry has counted, for metrics.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Each kind, with how many live and how many there ever were.
    pub kinds: Vec<KindStats>,
    /// Spawned tasks that panicked.
    pub panics: u64,
    /// Polls that took longer than [`Registry::set_long_poll`] says, counted when they ended.
    pub long_polls: u64,
    /// The longest of them.
    pub longest_poll: Duration,
    /// Polls that a [`Watchdog`](crate::Watchdog) saw being too long, while they lasted.
    pub stuck_polls: u64,
    /// How often a [`Watchdog`](crate::Watchdog) saw its high-water mark passed.
    pub high_water: u64,
}

/// What a registry has counted of one kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct KindStats {
    /// Its name.
    pub kind: &'static str,
    /// How many live.
    pub live: usize,
    /// How many there ever were.
    pub entered: u64,
}

static GLOBAL: OnceLock<Registry> = OnceLock::new();

/// By number, for [`Registry::current`]: a poll can leave a number in a thread-local for nothing, but not an `Arc`.
static ALL: RwLock<BTreeMap<u64, Weak<Inner>>> = RwLock::new(BTreeMap::new());

impl Registry {
    /// The kind of what [`spawn`](crate::spawn()) and [`spawn_named`](crate::spawn_named) start.
    pub const TASK: &str = "task";

    /// The kind of what [`spawn_blocking`](crate::spawn_blocking) starts.
    pub const BLOCKING: &str = "blocking";

    /// An empty list of its own, as for a test.
    #[must_use]
    pub fn new() -> Self {
        static IDS: AtomicU64 = AtomicU64::new(1);
        let shared = Arc::new(Shared::new(IDS.fetch_add(1, Relaxed)));
        let tasks = Arc::new(kind::Inner::new(Self::TASK, &shared));
        let blocking = Arc::new(kind::Inner::new(Self::BLOCKING, &shared));
        let inner = Arc::new(Inner {
            kinds: Mutex::new(vec![Arc::clone(&tasks) as _, Arc::clone(&blocking) as _]),
            tasks,
            blocking,
            stopping: watch::Sender::new(Stopping::No),
            claimed: AtomicBool::new(false),
            last_dump: tokio::sync::Mutex::default(),
            watched: crate::watchdog::Counters::default(),
            shared,
        });
        ALL.write().unwrap_or_else(PoisonError::into_inner).insert(inner.shared.id, Arc::downgrade(&inner));
        Self { inner }
    }

    /// The one of this process.
    #[must_use]
    pub fn global() -> &'static Self {
        GLOBAL.get_or_init(Self::new)
    }

    /// Where live work belongs that says nothing else: the registry of the entry that is being polled, else the
    /// [default](Self::set_default) of this thread, else the [global](Self::global) one.
    ///
    /// So all that is started from within work of one registry is in that registry, too; but not from within a bare
    /// `tokio::spawn`, which nothing is known about.
    #[must_use]
    pub fn current() -> Self {
        let of_entry = match local::current().registry {
            0 => None,
            id if GLOBAL.get().is_some_and(|global| global.inner.shared.id == id) => {
                return Self::global().clone();
            }
            id => ALL.read().unwrap_or_else(PoisonError::into_inner).get(&id).and_then(Weak::upgrade),
        };
        match of_entry {
            Some(inner) => Self { inner },
            None => local::default_registry().unwrap_or_else(|| Self::global().clone()),
        }
    }

    /// Makes this the [current](Self::current) one on this thread, outside of entries, until the guard is dropped.
    #[must_use = "it lasts as long as the guard"]
    pub fn set_default(&self) -> DefaultGuard {
        DefaultGuard { former: local::set_default_registry(Some(self.clone())), thread: PhantomData }
    }

    /// The kind `name` with labels of the type `L`; made when it is asked for the first time.
    ///
    /// A name with two types of labels is two kinds with one name.
    #[must_use]
    pub fn kind<L: Display + Clone + Send + 'static>(&self, name: &'static str) -> Kind<L> {
        let mut kinds = self.kinds();
        let known = kinds
            .iter()
            .filter(|kind| kind.shared().name == name)
            .find_map(|kind| Arc::clone(kind).into_any().downcast::<kind::Inner<L>>().ok());
        let inner = known.unwrap_or_else(|| {
            let inner = Arc::new(kind::Inner::new(name, &self.inner.shared));
            kinds.push(Arc::clone(&inner) as _);
            inner
        });
        drop(kinds);
        Kind::new(inner, self.clone())
    }

    /// As [`spawn`](crate::spawn()), in this registry.
    ///
    /// # Panics
    ///
    /// If it is not called from within a tokio runtime.
    #[track_caller]
    pub fn spawn<F>(&self, future: F) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        self.spawn_named("", future)
    }

    /// As [`spawn_named`](crate::spawn_named), in this registry.
    ///
    /// # Panics
    ///
    /// If it is not called from within a tokio runtime.
    #[track_caller]
    pub fn spawn_named<F>(&self, name: impl Into<Cow<'static, str>>, future: F) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        spawn::start(self, self.inner.tasks.enter(name.into(), Location::caller()), future)
    }

    /// As [`spawn_blocking`](crate::spawn_blocking), in this registry.
    ///
    /// # Panics
    ///
    /// If it is not called from within a tokio runtime.
    #[track_caller]
    pub fn spawn_blocking<F, R>(&self, name: impl Into<Cow<'static, str>>, work: F) -> JoinHandle<R>
    where
        F: FnOnce() -> R + Send + 'static,
        R: Send + 'static,
    {
        spawn::start_blocking(self, self.inner.blocking.enter(name.into(), Location::caller()), work)
    }

    /// Until the guard is dropped, entries of this registry that are polled with the waker of `cx` are polled as within the
    /// poll of another entry, though there may be none: they look at the clock together.
    ///
    /// For a poll in which several are made or polled; where there is an entry around, it does nothing.
    #[inline]
    pub fn around(&self, cx: &Context<'_>) -> AroundGuard {
        local::around(self.inner.shared.id, WakerId::of(cx.waker()))
    }

    /// How many entries live.
    #[must_use]
    pub fn len(&self) -> usize {
        self.kinds().iter().map(|kind| kind.tally().0).sum()
    }

    /// Whether none lives.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        are_idle(&self.kinds())
    }

    /// Waits until nothing lives, of any kind, if only for a moment. Cancel-safe; nothing is polled by the clock.
    ///
    /// It is called from outside of the registry's work, or it waits for itself.
    pub async fn idle(&self) {
        self.idle_of(|_| true).await;
    }

    /// Waits until nothing lives of the kinds whose name `waits_for` is true of. See [`idle`](Self::idle).
    pub async fn idle_of(&self, waits_for: impl Fn(&str) -> bool) {
        loop {
            // Not chosen under the lock: it is foreign code that chooses.
            let all = self.kinds().clone();
            let chosen: Vec<_> = all.iter().filter(|kind| waits_for(kind.shared().name)).cloned().collect();
            if let Some(kind) = chosen.iter().find(|kind| kind.tally().0 > 0) {
                let is_idle = || kind::idle_at_some_moment(|| kind.tally());
                kind::wait(kind.shared(), is_idle).await;
                continue;
            }
            // Held throughout: a kind that is made meanwhile would not be looked at.
            let kinds = self.kinds();
            if kinds.len() == all.len() && are_idle(&chosen) {
                return;
            }
        }
    }

    /// The order to stop, for work that ends by itself when it is told.
    #[must_use]
    pub fn token(&self) -> Token {
        Token::new(self.clone())
    }

    /// Tells all work to stop, also what is started later: [`token`](Self::token) and [`cancelled`](crate::cancelled)
    /// end. What does not listen goes on.
    pub fn cancel_all(&self) {
        self.stop(Stopping::Told);
    }

    /// Tells all work to stop, and drops what was spawned through this registry, when it next waits: what lives now, and
    /// what is spawned as long as the guard is kept.
    ///
    /// A blocking task that has begun cannot be stopped. What is only [tracked](Kind::track) or [entered](Kind::enter)
    /// is its owner's to drop.
    pub fn abort_all(&self) -> AbortGuard {
        let guard = AbortGuard { registry: self.clone() };
        self.stop(Stopping::Aborted);
        // After the stage is set: a task that is spawned meanwhile either is in the list or sees the stage.
        for found in self.find() {
            if let Some(abort) = found.abort {
                abort.abort();
            }
        }
        guard
    }

    /// What was counted, for metrics. The cost grows with the number of kinds, not with that of entries.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let kinds = self.kinds();
        let of_kind = |kind: &Arc<dyn AnyKind>| {
            let (live, entered) = kind.tally();
            KindStats { kind: kind.shared().name, live, entered }
        };
        let Shared { panics, long_polls, longest_poll, .. } = &*self.inner.shared;
        Stats {
            kinds: kinds.iter().map(of_kind).collect(),
            panics: panics.load(Relaxed),
            long_polls: long_polls.load(Relaxed),
            longest_poll: Duration::from_nanos(longest_poll.load(Relaxed)),
            stuck_polls: self.inner.watched.stuck_polls(),
            high_water: self.inner.watched.high_water(),
        }
    }

    /// From which length on a poll counts as a long one: 1 s unless set.
    pub fn set_long_poll(&self, bound: Duration) {
        self.inner.shared.set_long_poll(bound);
    }

    /// All that lives, oldest first.
    pub(crate) fn find(&self) -> Vec<Found> {
        self.find_those(|_| true)
    }

    /// All that lives and is wanted, oldest first.
    pub(crate) fn find_those(&self, wanted: impl Fn(&Figures) -> bool) -> Vec<Found> {
        let kinds = self.kinds().clone();
        let mut found = Vec::new();
        kinds.iter().for_each(|kind| kind.find(&mut found, &wanted));
        found.sort_unstable_by_key(|found| (found.figures.born, found.id));
        found
    }

    fn stop(&self, stopping: Stopping) {
        self.inner.stopping.send_if_modified(|now| {
            let more = *now < stopping;
            *now = (*now).max(stopping);
            more
        });
    }

    pub(crate) fn stopping(&self) -> Stopping {
        *self.inner.stopping.borrow()
    }

    fn kinds(&self) -> MutexGuard<'_, Vec<Arc<dyn AnyKind>>> {
        self.inner.kinds.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Registry {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { inner } = self;
        f.debug_struct("Registry").field("id", &inner.shared.id).field("live", &self.len()).finish_non_exhaustive()
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        ALL.write().unwrap_or_else(PoisonError::into_inner).remove(&self.shared.id);
    }
}

fn are_idle(kinds: &[Arc<dyn AnyKind>]) -> bool {
    let tally = || kinds.iter().map(|kind| kind.tally()).fold((0, 0), |(a, b), (c, d)| (a + c, b + d));
    kind::idle_at_some_moment(tally)
}

/// Of [`Registry::abort_all`].
#[must_use = "what is spawned when it is gone is not aborted"]
#[derive(Debug)]
pub struct AbortGuard {
    registry: Registry,
}

impl Drop for AbortGuard {
    fn drop(&mut self) {
        self.registry.inner.stopping.send_if_modified(|now| {
            let aborted = *now == Stopping::Aborted;
            if aborted {
                *now = Stopping::Told;
            }
            aborted
        });
    }
}

/// Of [`Registry::set_default`].
#[must_use = "it lasts as long as the guard"]
pub struct DefaultGuard {
    former: Option<Registry>,
    /// It belongs to the thread that it was made on.
    thread: PhantomData<*const ()>,
}

impl Drop for DefaultGuard {
    fn drop(&mut self) {
        local::set_default_registry(self.former.take());
    }
}

impl fmt::Debug for DefaultGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { former, thread: _ } = self;
        f.debug_struct("DefaultGuard").field("former", former).finish()
    }
}
