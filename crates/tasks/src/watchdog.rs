use std::{
    collections::{HashMap, HashSet},
    convert::Infallible,
    fmt,
    future::poll_fn,
    io,
    pin::pin,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    task::Poll,
    time::Duration,
};

use tokio::{
    runtime::{Builder, Handle},
    sync::oneshot,
    time::{Instant, sleep},
};

use crate::{
    Registry, TARGET,
    clock::{self, nanos},
    live::escaped,
    local,
    shard::Found,
};

/// Warns when live work grows beyond a mark, and when a poll does not come back.
///
/// *Growth*: more entries, or more tasks on the runtime, than [`high_water`](Self::high_water). One warning, with the
/// most numerous groups; the next one when the number has been below four fifths of the mark meanwhile, and a minute has
/// passed.
///
/// *Stuck*: a poll of an entry that takes longer than [`stuck_after`](Self::stuck_after), because it computes or blocks;
/// meanwhile its worker runs nothing else. One warning for each such poll, while it lasts, at most one every ten seconds,
/// which says how many it stands for. Plain `tokio::spawn`s are not seen. What is spawned as blocking may block.
///
/// Both are counted in [`Stats`](crate::Stats), whether they are logged or not.
///
/// # Which form
///
/// [`watch`](Self::watch) is a future: it costs no thread, and sees a stuck worker as long as *another* one is free to
/// poll it. If all are stuck, nothing is logged; afterwards, [`Stats::long_polls`](crate::Stats::long_polls) says that
/// there was something. [`watch_on_thread`](Self::watch_on_thread) has a thread of its own, and sees it even then.
#[derive(Debug)]
#[must_use = "it does nothing until it watches"]
pub struct Watchdog {
    registry: Registry,
    runtime: Option<Handle>,
    high_water: Option<usize>,
    stuck_after: Option<Duration>,
    /// Not above the mark since the last warning of growth.
    armed: bool,
    grown_again: Option<Instant>,
    /// The polls that were counted, while they last: entry and begin.
    stuck: HashSet<(u64, u64)>,
    stuck_again: Option<Instant>,
    /// Counted, but not logged yet.
    unsaid: usize,
}

/// What it counted.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    stuck_polls: AtomicU64,
    high_water: AtomicU64,
}

impl Counters {
    pub(crate) fn stuck_polls(&self) -> u64 {
        self.stuck_polls.load(Relaxed)
    }

    pub(crate) fn high_water(&self) -> u64 {
        self.high_water.load(Relaxed)
    }
}

impl Watchdog {
    /// Watches `registry` with a mark of 50,000 and a bound of 1 s; and the tasks of the runtime that it is made on, if
    /// any.
    pub fn new(registry: &Registry) -> Self {
        Self {
            registry: registry.clone(),
            runtime: Handle::try_current().ok(),
            high_water: Some(50_000),
            stuck_after: Some(Duration::from_secs(1)),
            armed: true,
            grown_again: None,
            stuck: HashSet::new(),
            stuck_again: None,
            unsaid: 0,
        }
    }

    /// Watches the tasks of this runtime.
    pub fn runtime(mut self, runtime: Handle) -> Self {
        self.runtime = Some(runtime);
        self
    }

    /// The number of entries, and of tasks, that is too much; `None` for no mark. Something above what the limits of the
    /// server allow: each connection, request and spawned task is one.
    pub fn high_water(mut self, mark: impl Into<Option<usize>>) -> Self {
        self.high_water = mark.into();
        self
    }

    /// How long a poll may take; `None` for no bound. It is also what counts as a
    /// [long poll](Registry::set_long_poll). Looked at about twice in that time, at least every 10 ms and at most every
    /// second.
    pub fn stuck_after(mut self, bound: impl Into<Option<Duration>>) -> Self {
        self.stuck_after = bound.into();
        self
    }

    /// Watches as long as it is polled.
    pub async fn watch(mut self) -> Infallible {
        if let Some(bound) = self.stuck_after {
            self.registry.set_long_poll(bound);
        }
        let every = self.stuck_after.unwrap_or(LONGEST_TICK).div_f32(2.0).clamp(SHORTEST_TICK, LONGEST_TICK);
        loop {
            sleep(every).await;
            self.look();
        }
    }

    /// Watches on a thread of its own, until what this gives is dropped.
    ///
    /// The log's subscriber is the global default: a thread has no other.
    ///
    /// # Errors
    ///
    /// If the thread or its timer cannot be made.
    pub fn watch_on_thread(self) -> io::Result<WatchdogThread> {
        let runtime = Builder::new_current_thread().enable_time().build()?;
        let (stop, stopped) = oneshot::channel::<Infallible>();
        let watch = async move {
            let (mut watch, mut stopped) = (pin!(self.watch()), pin!(stopped));
            poll_fn(|cx| match watch.as_mut().poll(cx) {
                Poll::Ready(never) => match never {},
                Poll::Pending => stopped.as_mut().poll(cx).map(drop),
            })
            .await;
        };
        std::thread::Builder::new().name("graceful-watchdog".into()).spawn(move || runtime.block_on(watch))?;
        Ok(WatchdogThread { _stop: stop })
    }

    fn look(&mut self) {
        let now = Instant::now();
        self.look_for_growth(now);
        self.look_for_stuck(now);
    }

    fn look_for_growth(&mut self, now: Instant) {
        let Some(mark) = self.high_water else { return };
        let live = self.registry.len();
        let tasks = self.runtime.as_ref().map(|runtime| runtime.metrics().num_alive_tasks());
        let most = live.max(tasks.unwrap_or(0));
        if most <= mark {
            self.armed |= most <= mark / 5 * 4;
            return;
        }
        if !std::mem::take(&mut self.armed) {
            return;
        }
        self.registry.inner.watched.high_water.fetch_add(1, Relaxed);
        if self.grown_again.is_some_and(|again| now < again) {
            return;
        }
        self.grown_again = Some(now + GROWN_AGAIN);
        let groups = self.registry.snapshot().groups();
        let top: Vec<_> = groups.iter().take(TOP).map(ToString::to_string).collect();
        let top = top.join("; ");
        tracing::warn!(target: TARGET, live, tasks, mark, groups = groups.len(), top, "live work above the high-water mark");
    }

    fn look_for_stuck(&mut self, now: Instant) {
        let Some(bound) = self.stuck_after else { return };
        let before = clock::now().saturating_sub(nanos(bound));
        let mut found = self.registry.find_those(|figures| figures.running != 0);
        // Of entries in one another, which are polled on one thread, the innermost is the one to look at: it began last.
        let mut innermost: HashMap<u32, (u64, u64)> = HashMap::new();
        for Found { id, figures, .. } in &found {
            let last = innermost.entry(figures.thread).or_default();
            *last = (*last).max((figures.running, *id));
        }
        found.retain(|Found { id, kind, figures, .. }| {
            figures.running <= before
                && *kind != Registry::BLOCKING
                && innermost.get(&figures.thread) == Some(&(figures.running, *id))
        });
        let key = |found: &Found| (found.id, found.figures.running);
        let fresh: Vec<_> = found.iter().filter(|found| !self.stuck.contains(&key(found))).collect();
        let stuck_polls = &self.registry.inner.watched.stuck_polls;
        stuck_polls.fetch_add(fresh.len() as u64, Relaxed);
        self.unsaid += fresh.len();
        if let Some(first) = fresh.first()
            && self.stuck_again.is_none_or(|again| now >= again)
        {
            self.stuck_again = Some(now + STUCK_AGAIN);
            warn_of(first, clock::now(), std::mem::take(&mut self.unsaid) - 1);
        }
        self.stuck = found.iter().map(key).collect();
    }
}

fn warn_of(stuck: &Found, now: u64, others: usize) {
    let running = Duration::from_nanos(now.saturating_sub(stuck.figures.running));
    let thread = local::thread_info(stuck.figures.thread).map(tracing::field::display);
    let label = stuck.label.render();
    tracing::warn!(
        target: TARGET,
        kind = stuck.kind,
        id = stuck.id,
        label = %escaped(&label),
        thread,
        running = ?running,
        spawned_at = %stuck.place,
        others,
        "a poll does not come back: its worker runs nothing else"
    );
}

/// Of [`Watchdog::watch_on_thread`]: the thread ends soon after this is dropped.
#[must_use = "the thread ends when it is dropped"]
pub struct WatchdogThread {
    _stop: oneshot::Sender<Infallible>,
}

impl fmt::Debug for WatchdogThread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WatchdogThread").finish_non_exhaustive()
    }
}

const TOP: usize = 10;
const GROWN_AGAIN: Duration = Duration::from_secs(60);
const STUCK_AGAIN: Duration = Duration::from_secs(10);
const SHORTEST_TICK: Duration = Duration::from_millis(10);
const LONGEST_TICK: Duration = Duration::from_secs(1);
