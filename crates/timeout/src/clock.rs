//! The time of one request, and the thread-local through which a route inside sets its own limit.

use std::{cell::Cell, time::Duration};

use http::{Method, Request};
use tokio::time::Instant;

use crate::Deadline;

/// How long something may take, in nanoseconds. One word, as it is copied with every poll.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Limit(u64);

impl Limit {
    /// Later than every other limit.
    pub(crate) const NONE: Self = Self(u64::MAX);

    /// As good as never, and near enough for every addition: `Instant` and tokio's timer both overflow at the far end
    /// of what a `Duration` can say. Tokio cuts its own timeouts to the same thirty years.
    pub(crate) const NEVER: Duration = Duration::from_secs(30 * 365 * 24 * 60 * 60);

    /// Zero is no limit: it never means "at once".
    pub(crate) fn new(limit: Option<Duration>) -> Self {
        limit
            .filter(|limit| !limit.is_zero() && *limit < Self::NEVER)
            .and_then(|limit| u64::try_from(limit.as_nanos()).ok())
            .map_or(Self::NONE, Self)
    }

    pub(crate) fn duration(self) -> Option<Duration> {
        (self != Self::NONE).then(|| Duration::from_nanos(self.0))
    }
}

/// One request's time at one timeout.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    start: Instant,
    /// When the timeout gives up on the handler.
    limit: Limit,
    /// How long the client waits, if it said so and is believed: no route can wait longer.
    patience: Limit,
    /// What a timeout further out leaves us. That one enforces it; the handler has to know of it all the same.
    outer: Limit,
    /// Whether the request carries this clock's [`Deadline`].
    shown: bool,
    /// Whether the request is a `HEAD`.
    head: bool,
}

impl Clock {
    /// Starts now.
    pub(crate) fn start(limit: Limit, patience: Limit) -> Self {
        Self {
            start: Instant::now(),
            limit: limit.min(patience),
            patience,
            outer: Limit::NONE,
            shown: false,
            head: false,
        }
    }

    /// Takes note of the method and of the deadline of a timeout further out, and shows this one's to the handler if `show`.
    pub(crate) fn attach<B>(&mut self, request: &mut Request<B>, show: bool) {
        self.head = request.method() == Method::HEAD;
        let extensions = request.extensions_mut();
        self.shown = show;
        if !show {
            self.outer = extensions.get::<Deadline>().map_or(Limit::NONE, |outer| outer.left_at(self.start));
        } else if let Some(outer) = extensions.insert(self.deadline()) {
            // In its place, and not asked for before: as a rule there is none, and a look at the table costs as much as
            // all the rest of this.
            self.outer = outer.left_at(self.start);
            extensions.insert(self.deadline());
        }
    }

    /// When the timeout gives up on the handler, and after how long that is.
    pub(crate) fn end(&self) -> Option<(Instant, Duration)> {
        self.limit.duration().map(|limit| (self.start + limit, limit))
    }

    pub(crate) const fn is_of_head(&self) -> bool {
        self.head
    }

    pub(crate) fn deadline(&self) -> Deadline {
        Deadline { start: self.start, limit: self.limit.min(self.outer) }
    }

    fn is_of<B>(&self, request: &Request<B>) -> bool {
        !self.shown || request.extensions().get::<Deadline>().is_some_and(|shown| shown.start == self.start)
    }
}

thread_local! {
    /// The clock of the innermost timeout that is calling or polling its handler on this thread.
    static CURRENT: Cell<Option<Clock>> = const { Cell::new(None) };
}

/// Lends a clock to what runs as long as this lives. Then it is back, also after a panic, with a limit that was set there.
///
/// A guard and no closure, for into that a request would have to be moved. In the clock's place is the one outside.
#[derive(Debug)]
#[must_use = "it lends the clock as long as it lives"]
pub(crate) struct Inside<'a>(&'a mut Option<Clock>);

#[inline]
pub(crate) fn enter(clock: &mut Option<Clock>) -> Inside<'_> {
    CURRENT.with(|current| *clock = current.replace(*clock));
    Inside(clock)
}

impl Drop for Inside<'_> {
    #[inline]
    fn drop(&mut self) {
        CURRENT.with(|current| *self.0 = current.replace(*self.0));
    }
}

pub(crate) fn current() -> Option<Clock> {
    CURRENT.get()
}

/// Gives `request` a limit of its own, counted from the start of the timeout around it.
///
/// `false` if there is none within reach: nobody polls us, or somebody does, but for another request. (A handler may
/// send requests of its own to a service in the same process; what that one's routes say is no business of ours.)
pub(crate) fn override_limit<B>(request: &mut Request<B>, limit: Limit) -> bool {
    let Some(mut clock) = CURRENT.get().filter(|clock| clock.is_of(request)) else {
        return false;
    };
    clock.limit = limit.min(clock.patience);
    CURRENT.set(Some(clock));
    if clock.shown
        && let Some(shown) = request.extensions_mut().get_mut::<Deadline>()
    {
        *shown = clock.deadline();
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zero_and_for_ever_are_no_limit() {
        for none in [Duration::ZERO, Limit::NEVER, Duration::MAX] {
            assert_eq!(Limit::new(Some(none)).duration(), None, "{none:?}");
        }
        assert_eq!(Limit::new(None).duration(), None);
        for some in [Duration::from_nanos(1), Duration::from_secs(30), Limit::NEVER - Duration::from_nanos(1)] {
            assert_eq!(Limit::new(Some(some)).duration(), Some(some));
            assert!(Limit::new(Some(some)) < Limit::NONE, "none is later than any");
        }
    }

    #[test]
    fn a_panic_inside_leaves_no_clock_behind() {
        let mut clock = Some(Clock::start(Limit::NONE, Limit::NONE));
        let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let _inside = enter(&mut clock);
            panic!("inside")
        }));
        assert!(caught.is_err());
        assert!(clock.is_some(), "whose it is has it back");
        assert!(current().is_none(), "the thread serves other requests after this one");
    }

    #[test]
    fn a_request_that_shows_another_clock_is_another_request() {
        let mut clock = Clock::start(Limit::NONE, Limit::NONE);
        let mut ours = Request::new(());
        clock.attach(&mut ours, true);
        let mut other = Request::new(());
        other.extensions_mut().insert(Deadline { start: clock.start + Duration::from_nanos(1), limit: Limit::NONE });
        let mut clock = Some(clock);
        let _inside = enter(&mut clock);
        assert!(!override_limit(&mut other, Limit::NONE));
        assert!(!override_limit(&mut Request::new(()), Limit::NONE), "so is one that shows none");
        assert!(override_limit(&mut ours, Limit::NONE));
    }

    #[test]
    fn clocks_nest() {
        let second = Limit::new(Some(Duration::from_secs(1)));
        let start = || Some(Clock::start(second, Limit::NONE));
        let (mut outer, mut inner) = (start(), start());
        let inside_outer = enter(&mut outer);
        let inside_inner = enter(&mut inner);
        assert!(override_limit(&mut Request::new(()), Limit::NONE));
        drop(inside_inner);
        assert!(current().is_some_and(|clock| clock.end().is_some()), "the outer clock is back, and untouched");
        drop(inside_outer);
        assert!(inner.is_some_and(|clock| clock.end().is_none()), "an override goes to the innermost");
    }
}
