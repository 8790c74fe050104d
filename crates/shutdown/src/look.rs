//! A look at who is late, and where.

use std::{
    fmt,
    pin::{Pin, pin},
    sync::Arc,
    time::Duration,
};

use graceful_tasks::{Dump, DumpLimits, Registry};
use tokio::{
    task::coop::unconstrained,
    time::{Instant, sleep_until, timeout, timeout_at},
};

use crate::{Shutdown, Why};

/// A look at live work that is about to be cut off: it is asked where it waits before, while it still can answer, and
/// the answer is read after, so that nobody has to wait for it.
///
/// ```
/// use std::time::Duration;
/// use graceful_shutdown::{Look, Shutdown, Why};
/// use graceful_tasks::Registry;
/// use tokio::time::Instant;
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// let (shutdown, registry) = (Shutdown::new(), Registry::new());
/// let stuck = registry.spawn_named("stuck", tokio::time::sleep(Duration::from_secs(3600)));
///
/// let cut = Instant::now() + Duration::from_millis(200);
/// let mut look = Look::at(&registry);
/// let why = look.wait(&shutdown, registry.idle(), cut).await;
/// assert_eq!(why, Some(Why::Deadline));
/// let id = registry.snapshot().entries[0].id;
/// stuck.abort();
/// let dump = look.end(Duration::from_secs(5)).await;
/// assert!(dump.place(id).is_some_and(|place| place.starts_with("sleep")));
/// # }
/// ```
#[must_use = "it does nothing unless it is awaited"]
pub struct Look<'a> {
    dump: Pin<Box<dyn Future<Output = Arc<Dump>> + Send + 'a>>,
    seen: Option<Arc<Dump>>,
}

impl<'a> Look<'a> {
    /// A look at all that lives in `registry`.
    pub fn at(registry: &'a Registry) -> Self {
        let mut limits = DumpLimits::default();
        limits.budget = ANSWERS;
        limits.asked = MOST;
        limits.again_after = Duration::ZERO;
        Self { dump: Box::pin(registry.dump_within(limits)), seen: None }
    }

    /// Waits for `done`; `None` if it is. Until `cut` at the latest, or shortly after force was used: then it says which of
    /// the two.
    ///
    /// The work is asked shortly before `cut`.
    pub async fn wait(&mut self, shutdown: &Shutdown, done: impl Future<Output = ()>, cut: Instant) -> Option<Why> {
        let mut done = pin!(done);
        let left = cut.saturating_duration_since(Instant::now());
        let asks = async {
            // Outside of tokio's cooperative budget, which somebody who always has something to do uses up.
            unconstrained(sleep_until(cut - BEFORE.min(left / 4))).await;
            unconstrained(timeout_at(cut, self.ask())).await.ok();
            unconstrained(sleep_until(cut)).await;
        };
        let why = tokio::select! {
            biased;
            () = &mut done => return None,
            () = shutdown.forced() => Why::Forced,
            () = asks => Why::Deadline,
        };
        if why == Why::Forced {
            let _ = timeout(ANSWERS, self.ask()).await;
        }
        Some(why)
    }

    /// What was seen, within `patience`; nothing if that takes longer.
    pub async fn end(&mut self, patience: Duration) -> Arc<Dump> {
        let _ = timeout(patience, self.ask()).await;
        self.seen.take().unwrap_or_default()
    }

    async fn ask(&mut self) {
        if self.seen.is_none() {
            self.seen = Some(self.dump.as_mut().await);
        }
    }
}

impl fmt::Debug for Look<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { dump: _, seen } = self;
        f.debug_struct("Look").field("seen", &seen.is_some()).finish_non_exhaustive()
    }
}

/// For the answers; what has not answered by then has lost its worker to somebody who is stuck.
const ANSWERS: Duration = Duration::from_millis(100);

/// How long before the cut the work is asked, if there is that much time: the names are looked up meanwhile, for which
/// the debug information has to be read.
const BEFORE: Duration = Duration::from_secs(1);

/// How many are asked, oldest first.
const MOST: usize = 1000;
