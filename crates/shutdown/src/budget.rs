use std::time::Duration;

use tokio::time::Instant;

/// The time that a whole shutdown may take: one deadline for all of it.
///
/// The connections come first and may be many and stuck; the database comes last and must not pay for that. So each
/// [phase](crate::Phase) that has hooks keeps a [slice](Self::slice) in reserve: a sixth of the whole, at most 5 s.
/// Whatever comes before must end when the slices of those after it begin:
///
/// | of 30 s, with hooks in both phases | ends at the latest after |
/// |---|---|
/// | connections | 20 s = 30 − 2 × 5 |
/// | workers | 25 s = 30 − 5 |
/// | resources | 30 s |
///
/// Time that one does not use is there for all that follow. A phase without hooks reserves nothing.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Budget {
    /// What slices are of.
    total: Duration,
    deadline: Instant,
}

impl Budget {
    /// `total` from now on; `None` for as long as it takes (a second signal still forces).
    #[must_use]
    pub fn new(total: impl Into<Option<Duration>>) -> Self {
        // Some thirty years, as tokio's own: an instant beyond the clock's range would be a panic.
        let total = total.into().map_or(FAR, |total| total.min(FAR));
        Self { total, deadline: Instant::now() + total }
    }

    /// The same deadline for a shutdown that waits first, as for a load balancer to look elsewhere: the slices are of what is
    /// left `delay` from the beginning on, so that what comes before the first phase has its part of that.
    #[must_use]
    pub fn after(self, delay: Duration) -> Self {
        Self { total: self.total.saturating_sub(delay), ..self }
    }

    /// The instant that bounds all.
    #[must_use]
    pub const fn deadline(&self) -> Instant {
        self.deadline
    }

    /// What is left until then.
    #[must_use]
    pub fn remaining(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }

    /// What each phase that has hooks keeps in reserve: a sixth of the whole, at most 5 s.
    #[must_use]
    pub fn slice(&self) -> Duration {
        (self.total / 6).min(Duration::from_secs(5))
    }

    /// When that must have ended which has `phases` after it.
    pub(crate) fn end_before(&self, phases: u32) -> Instant {
        self.deadline - self.slice() * phases
    }
}

const FAR: Duration = Duration::from_secs(60 * 60 * 24 * 365 * 30);

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_slices() {
        let start = Instant::now();
        for (total, slice, connections, workers) in
            [(30_000, 5_000, 20_000, 25_000), (60_000, 5_000, 50_000, 55_000), (600, 100, 400, 500), (0, 0, 0, 0)]
        {
            let budget = Budget::new(Duration::from_millis(total));
            assert_eq!(budget.slice().as_millis(), slice);
            let after = |phases| budget.end_before(phases).duration_since(start).as_millis();
            assert_eq!((after(2), after(1), after(0)), (connections, workers, u128::from(total)));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_first_divides_the_rest() {
        let start = Instant::now();
        let budget = Budget::new(Duration::from_secs(30)).after(Duration::from_secs(24));
        assert_eq!(budget.slice(), Duration::from_secs(1));
        let after = |phases| budget.end_before(phases).duration_since(start).as_secs();
        assert_eq!((after(3), after(2), after(0)), (27, 28, 30), "the deadline is the same");
        assert_eq!(budget.after(Duration::MAX).slice(), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn no_limit_and_huge_limits_do_not_overflow() {
        for total in [None, Some(Duration::MAX)] {
            let budget = Budget::new(total);
            assert!(budget.remaining() > Duration::from_secs(60 * 60 * 24 * 365));
            assert_eq!(budget.slice(), Duration::from_secs(5));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_passed_deadline_leaves_nothing() {
        let budget = Budget::new(Duration::from_secs(1));
        tokio::time::advance(Duration::from_secs(2)).await;
        assert_eq!(budget.remaining(), Duration::ZERO);
    }
}
