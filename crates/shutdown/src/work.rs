//! Live work at the end: told, waited for, named, aborted.

use std::time::Duration;

use graceful_tasks::{Dump, Live, Registry};
use tokio::time::{Instant, timeout};

use crate::{Budget, Late, Look, Shutdown, Step, Why};

impl Shutdown {
    /// When [`end_work`](Self::end_work) should begin at the latest, for that and each phase after it to have a slice of
    /// `budget`. Without such work, what comes before may go on until [`phases_start_by`](Self::phases_start_by).
    #[must_use]
    pub fn work_ends_from(&self, budget: Budget) -> Instant {
        self.phases_start_by(budget) - budget.slice()
    }

    /// Tells the work of `registry` to end, and waits for that of the kinds that `waits_for` chooses: until
    /// [`phases_start_by`](Self::phases_start_by), or until force is used. What is left then is named, with the place
    /// where it waits, and aborted. `None` if there was nothing to wait for.
    ///
    /// A blocking task that has begun cannot be aborted: it is named, and left behind.
    pub async fn end_work(
        &self,
        registry: &Registry,
        waits_for: impl Fn(&str) -> bool,
        budget: Budget,
    ) -> Option<Step> {
        let begin = Instant::now();
        let stats = registry.stats();
        let before: usize = stats.kinds.iter().filter(|kind| waits_for(kind.kind)).map(|kind| kind.live).sum();
        registry.cancel_all();
        let mut step = Step::new("tasks");
        let mut look = Look::at(registry);
        if let Some(why) = look.wait(self, registry.idle_of(&waits_for), self.phases_start_by(budget)).await {
            let left = registry.snapshot();
            // Not what a hook spawns later.
            let _aborting = registry.abort_all();
            let (_, dump) = tokio::join!(timeout(ABORTED, registry.idle_of(&waits_for)), look.end(ABORTED));
            let late = left.entries.iter().filter(|live| waits_for(live.kind));
            step.late = late.map(|live| Late::of(live, why.clone()).place_in(&dump, live.id)).collect();
        }
        step.took = begin.elapsed();
        step.finished = before.saturating_sub(step.late.len());
        (before > 0 || !step.late.is_empty()).then_some(step)
    }
}

impl Late {
    /// A piece of live work that did not end by itself: its kind, label, place of spawn and age.
    #[must_use]
    pub fn of(live: &Live, why: Why) -> Self {
        let late = Self::new(live.kind, why);
        let late = if live.label.is_empty() { late } else { late.with("name", &live.label) };
        late.with("from", live.spawned_at).age(live.age)
    }

    /// Says what the entry `id` did, and where, if `dump` knows.
    #[must_use]
    pub fn place_in(self, dump: &Dump, id: u64) -> Self {
        match dump.place(id) {
            Some(place) => self.place(place),
            None => self,
        }
    }
}

/// For tasks that are dropped: they only have to be polled once more.
const ABORTED: Duration = Duration::from_millis(200);
