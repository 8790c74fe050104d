use std::{
    borrow::Cow,
    error::Error,
    fmt,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    time::Duration,
};

use tokio::{
    runtime::{Builder, Handle},
    time::{Instant, sleep},
};

use crate::{DumpLimits, Live, Registry, dump, local, registry::DefaultGuard, shard::Found};

/// Runs `test` on a runtime of its own, and fails if anything that it started is still alive at the end.
///
/// [`LeakCheck::run`] with the default settings, as a panic:
///
/// ```should_panic
/// graceful_tasks::leak_checked(async {
///     graceful_tasks::spawn_named("forgotten", std::future::pending::<()>());
/// });
/// ```
///
/// # Panics
///
/// If something is left: with what it is, where it was started and where it waits.
#[track_caller]
pub fn leak_checked<F: Future>(test: F) -> F::Output {
    match LeakCheck::new().run(test) {
        Ok(output) => output,
        Err(leaks) => panic!("{leaks}"),
    }
}

/// Looks whether a test leaves anything behind, as uber-go/goleak does.
///
/// The test gets a [`Registry`] of its own, as the [current](Registry::current) one of its threads: what other tests of
/// the same process do is not seen, and what the code under test lists or spawns without naming a registry is. Tasks of
/// plain `tokio::spawn` are counted, but nothing more is known of them.
#[derive(Clone, Debug)]
#[must_use = "it does nothing until it is run or started"]
pub struct LeakCheck {
    grace: Duration,
    kinds: Vec<Cow<'static, str>>,
    labels: Vec<Cow<'static, str>>,
    untracked: usize,
}

impl LeakCheck {
    /// Nothing is ignored, and there is half a second of grace.
    pub const fn new() -> Self {
        Self { grace: Duration::from_millis(500), kinds: Vec::new(), labels: Vec::new(), untracked: 0 }
    }

    /// How long the test's work may take to end by itself when the test is over: 500 ms. A clean test does not wait.
    pub const fn grace(mut self, grace: Duration) -> Self {
        self.grace = grace;
        self
    }

    /// Ignores work of this kind.
    pub fn ignore_kind(mut self, kind: impl Into<Cow<'static, str>>) -> Self {
        self.kinds.push(kind.into());
        self
    }

    /// Ignores work with this label, as the name of a spawned task.
    pub fn ignore_label(mut self, label: impl Into<Cow<'static, str>>) -> Self {
        self.labels.push(label.into());
        self
    }

    /// Ignores so many tasks of plain `tokio::spawn`: those of a library that is not under test.
    pub const fn ignore_untracked(mut self, tasks: usize) -> Self {
        self.untracked = tasks;
        self
    }

    /// Runs `test` on a single-threaded runtime of its own.
    ///
    /// # Errors
    ///
    /// [`Leaks`] if anything is left after the time of grace.
    ///
    /// # Panics
    ///
    /// If the test panics, or no runtime can be made.
    pub fn run<F: Future>(self, test: F) -> Result<F::Output, Leaks> {
        self.run_on(Builder::new_current_thread().enable_all(), test)
    }

    /// Runs `test` on a runtime that `builder` makes: with more threads, or a paused clock. The hooks for the start and
    /// the end of a thread are taken.
    ///
    /// # Errors
    ///
    /// [`Leaks`] if anything is left after the time of grace.
    ///
    /// # Panics
    ///
    /// If the test panics, or no runtime can be made, or it has no timers.
    pub fn run_on<F: Future>(self, builder: &mut Builder, test: F) -> Result<F::Output, Leaks> {
        let registry = Registry::new();
        let of_threads = registry.clone();
        let runtime = builder
            .on_thread_start(move || drop(local::set_default_registry(Some(of_threads.clone()))))
            .on_thread_stop(|| drop(local::set_default_registry(None)))
            .build()
            .expect("a runtime for the test");
        let _default = registry.set_default();
        // Pinned here, for it may be large: without optimization each call from here on would have a copy of it on the stack.
        let test = Box::pin(test);
        let checked = catch_unwind(AssertUnwindSafe(|| {
            let output = runtime.block_on(test);
            runtime.block_on(self.check(&registry, 0)).map(|()| output)
        }));
        // Not a drop, even if the test panicked: that would wait for a blocking task that was left behind.
        runtime.shutdown_timeout(Duration::from_millis(100));
        checked.unwrap_or_else(|panic| resume_unwind(panic))
    }

    /// Begins in the middle of a test that has a runtime already.
    ///
    /// From here on, what is started on this thread and by what was started since is watched; end it with
    /// [`LeakGuard::assert_none`]. On a runtime with several threads [`run_on`](Self::run_on) sees more.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime.
    pub fn start(self) -> LeakGuard {
        let registry = Registry::new();
        let default = registry.set_default();
        LeakGuard { check: Some(self), before: alive(), registry, _default: default }
    }

    async fn check(&self, registry: &Registry, before: usize) -> Result<(), Leaks> {
        let until = Instant::now() + self.grace;
        // By the clock: the runtime does not tell when a task ends.
        while self.look(&registry.find(), before).is_err() && Instant::now() < until {
            sleep(Duration::from_millis(2)).await;
        }
        let Err(Leaks { untracked, .. }) = self.look(&registry.find(), before) else { return Ok(()) };
        let dump = registry.ask_all(DumpLimits::default()).await;
        let survivors: Vec<_> = dump.entries.into_iter().filter(|live| self.counts(live.kind, &live.label)).collect();
        // The last of them may have ended while it was asked.
        if survivors.is_empty() && untracked == 0 { Ok(()) } else { Err(Leaks { survivors, untracked }) }
    }

    /// Without the survivors' names.
    fn look(&self, found: &[Found], before: usize) -> Result<(), Leaks> {
        let untracked = alive().saturating_sub(before + dump::tasks(found) + self.untracked);
        let survives = found.iter().any(|found| self.counts(found.kind, &found.label.render()));
        if survives || untracked > 0 { Err(Leaks { survivors: Vec::new(), untracked }) } else { Ok(()) }
    }

    fn counts(&self, kind: &str, label: &str) -> bool {
        !self.kinds.iter().any(|ignored| ignored == kind) && !self.labels.iter().any(|ignored| ignored == label)
    }
}

impl Default for LeakCheck {
    fn default() -> Self {
        Self::new()
    }
}

fn alive() -> usize {
    Handle::current().metrics().num_alive_tasks()
}

/// A [`LeakCheck`] within a test.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// use graceful_tasks::LeakCheck;
///
/// let leaks = LeakCheck::new().ignore_label("metrics").start();
/// graceful_tasks::spawn_named("worker", async { /* ends */ });
/// leaks.assert_none().await;
/// # }
/// ```
///
/// Dropped without being asked, it looks once, without grace, and panics if something is left; not while the thread is
/// panicking already.
#[derive(Debug)]
#[must_use = "end it with `assert_none`"]
pub struct LeakGuard {
    /// Until it was asked.
    check: Option<LeakCheck>,
    before: usize,
    registry: Registry,
    _default: DefaultGuard,
}

impl LeakGuard {
    /// The registry that is watched, for code that wants to be told which one to use.
    #[must_use]
    pub const fn registry(&self) -> &Registry {
        &self.registry
    }

    /// Waits until nothing is left, for the time of grace at most.
    ///
    /// # Panics
    ///
    /// If something is left.
    pub async fn assert_none(self) {
        if let Err(leaks) = self.check().await {
            panic!("{leaks}");
        }
    }

    /// Waits until nothing is left, for the time of grace at most.
    ///
    /// # Errors
    ///
    /// [`Leaks`] if something is left.
    pub async fn check(mut self) -> Result<(), Leaks> {
        match self.check.take() {
            Some(check) => check.check(&self.registry, self.before).await,
            None => Ok(()),
        }
    }
}

impl Drop for LeakGuard {
    fn drop(&mut self) {
        let Some(check) = self.check.take() else { return };
        if std::thread::panicking() || Handle::try_current().is_err() {
            return;
        }
        if let Err(Leaks { untracked, .. }) = check.look(&self.registry.find(), self.before) {
            let mut survivors = self.registry.snapshot().entries;
            survivors.retain(|live| check.counts(live.kind, &live.label));
            panic!("{}", Leaks { survivors, untracked });
        }
    }
}

/// What was left behind.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Leaks {
    /// What the registry knows, oldest first, with the places where it waits.
    pub survivors: Vec<Live>,
    /// Tasks of plain `tokio::spawn`.
    pub untracked: usize,
}

impl fmt::Display for Leaks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { survivors, untracked } = self;
        write!(f, "{} left behind", survivors.len() + untracked)?;
        for live in survivors {
            write!(f, "\n{live:#}")?;
        }
        match untracked {
            0 => Ok(()),
            n => write!(f, "\n{n} of plain tokio::spawn: spawn through the registry to see which"),
        }
    }
}

impl Error for Leaks {}
