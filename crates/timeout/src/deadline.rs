use std::time::Duration;

use tokio::time::Instant;

use crate::clock::{self, Limit};

/// When a handler's time is up, for the handler to read.
///
/// A handler that knows how long its client will wait can hand that on: to a database, to the next service, to
/// [`tokio::time::timeout_at`]. The timeout puts one in the request's extensions; with axum a handler takes it as
/// `Extension<Deadline>`. Deeper down, and without the extension, [`Deadline::current`] finds it.
///
/// It is there also where there is no limit, so that a handler need not ask twice: what is left is then
/// [`Duration::MAX`].
///
/// # Examples
///
/// ```
/// use axum::Extension;
/// use graceful_timeout::Deadline;
/// # async fn query() -> String { String::new() }
///
/// async fn report(Extension(deadline): Extension<Deadline>) -> String {
///     // Half of the time for the query, the rest to say something without it.
///     match tokio::time::timeout(deadline.remaining() / 2, query()).await {
///         Ok(rows) => rows,
///         Err(_) => "no figures today".to_owned(),
///     }
/// }
/// # let _: axum::Router = axum::Router::new().route("/", axum::routing::get(report));
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Deadline {
    /// When the clock that it shows started: tells which clock that is.
    pub(crate) start: Instant,
    pub(crate) limit: Limit,
}

impl Deadline {
    /// The deadline of the request that is being handled by the running code, if a timeout is around it.
    ///
    /// It is known wherever the timeout polls: in the handler and in all that it calls and awaits, but not in tasks and
    /// threads that it spawns. Those need a copy. It costs no allocation, unlike the request extension.
    #[must_use]
    pub fn current() -> Option<Self> {
        clock::current().map(|clock| clock.deadline())
    }

    /// The instant at which the time is up; thirty years ahead where there is no limit.
    #[must_use]
    pub fn at(&self) -> Instant {
        self.start + self.limit.duration().unwrap_or(Limit::NEVER)
    }

    /// How much time is left: zero when it is up, [`Duration::MAX`] where there is no limit.
    #[must_use]
    pub fn remaining(&self) -> Duration {
        self.left(Instant::now()).unwrap_or(Duration::MAX)
    }

    /// Whether the time is up.
    ///
    /// A handler can see `true` here if it blocked, or if it runs on detached ([`DetachLayer`](crate::DetachLayer)).
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.remaining().is_zero()
    }

    fn left(&self, now: Instant) -> Option<Duration> {
        self.limit.duration().map(|limit| limit.saturating_sub(now.saturating_duration_since(self.start)))
    }

    /// The limit of something that starts `now` and ends with this.
    pub(crate) fn left_at(&self, now: Instant) -> Limit {
        // A limit of zero would be none.
        Limit::new(self.left(now).map(|left| left.max(Duration::from_nanos(1))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_is_left_shrinks_to_zero_and_stays_there() {
        let start = Instant::now();
        let deadline = Deadline { start, limit: Limit::new(Some(Duration::from_secs(2))) };
        assert_eq!(deadline.remaining(), Duration::from_secs(2));
        assert!(!deadline.is_over());
        tokio::time::advance(Duration::from_secs(2)).await;
        assert_eq!(deadline.remaining(), Duration::ZERO);
        assert!(deadline.is_over(), "at the instant itself the time is up");
        tokio::time::advance(Duration::from_secs(2)).await;
        assert_eq!(deadline.remaining(), Duration::ZERO);
        assert_eq!(deadline.at(), start + Duration::from_secs(2));
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_limit_there_is_always_time() {
        let deadline = Deadline { start: Instant::now(), limit: Limit::NONE };
        assert_eq!(deadline.remaining(), Duration::MAX);
        assert!(!deadline.is_over());
        // Neither overflows in tokio's timer.
        let work = || tokio::time::sleep(Limit::NEVER / 30);
        tokio::time::timeout(deadline.remaining(), work()).await.expect("in time");
        tokio::time::timeout_at(deadline.at(), work()).await.expect("in time");
    }

    #[tokio::test(start_paused = true)]
    async fn what_it_leaves_to_a_later_start() {
        let second = Duration::from_secs(1);
        let start = Instant::now();
        let deadline = Deadline { start, limit: Limit::new(Some(2 * second)) };
        assert_eq!(deadline.left_at(start + second).duration(), Some(second));
        for over in [2, 3] {
            let left = deadline.left_at(start + over * second).duration();
            assert_eq!(left, Some(Duration::from_nanos(1)), "a deadline that is over does not become none");
        }
        assert_eq!(Deadline { start, limit: Limit::NONE }.left_at(start + second), Limit::NONE);
    }

    #[test]
    fn outside_of_every_timeout_there_is_none() {
        assert!(Deadline::current().is_none());
    }
}
