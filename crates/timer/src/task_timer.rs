use std::{
    pin::{Pin, pin},
    task::{Context, Poll},
};

use pin_project::pin_project;
use tokio::{
    task::coop::unconstrained,
    time::{Instant, Sleep, sleep_until},
};

use crate::lend::{self, Loan, Task};

/// The one timer of a task, owned by the future that the task runs.
///
/// It is made when it is first needed, and touched only when a deadline is *earlier* than the one it is armed for: a
/// deadline that moves later, as an idle deadline does with every request, costs nothing. The stale timer goes off once
/// and is armed anew.
///
/// Use it in two steps in each poll: [`lend`](Self::lend) it while polling what it wraps, then say with
/// [`poll_until`](Self::poll_until) what the wrapper itself waits for.
#[pin_project]
#[derive(Debug, Default)]
pub struct TaskTimer {
    #[pin]
    sleep: Option<Sleep>,
    /// For when `sleep` is registered; `None` if it is not, or not with this task's waker.
    armed: Option<Instant>,
    loan: Loan,
}

impl TaskTimer {
    /// A timer that is not armed: no allocation, nothing registered.
    #[must_use]
    pub const fn new() -> Self {
        Self { sleep: None, armed: None, loan: Loan::none() }
    }

    /// Runs `poll` with this timer lent to every [`Alarm`](crate::Alarm) that it polls with the waker of `cx`.
    ///
    /// Loans nest: what is polled inside borrows from the innermost lender.
    pub fn lend<R>(self: Pin<&mut Self>, cx: &mut Context<'_>, poll: impl FnOnce(&mut Context<'_>) -> R) -> R {
        let this = self.project();
        let task = Some(Task::of(cx.waker()));
        if this.loan.task != task {
            this.loan.task = task;
            // The registered timer would wake the task's former waker, of which it holds a clone.
            *this.armed = None;
        }
        lend::lend(this.loan, || poll(cx))
    }

    /// For when the timer is armed, if that is still to come, and is no later than what was asked for inside
    /// [`lend`](Self::lend).
    ///
    /// Who knows by this that it will be woken early enough need not work out a deadline for
    /// [`poll_until`](Self::poll_until). To be asked after [`lend`](Self::lend), in the same poll: that is where another
    /// waker is noticed. `now` is as there.
    #[must_use]
    #[inline]
    pub fn armed(&self, now: Instant) -> Option<Instant> {
        self.armed.filter(|armed| now < *armed && self.loan.wanted.is_none_or(|wanted| *armed <= wanted))
    }

    /// Waits until `own` or the earliest instant that was asked for inside [`lend`](Self::lend), whichever comes first.
    ///
    /// `now` is the time, which the caller has had to read anyway. It may be as old as the poll that this is called in, and
    /// no older: the timer may have gone off before that, and would be taken for armed.
    ///
    /// `Ready` means that one of the two has come: poll what is wrapped again, work out the next deadline, and ask
    /// again. After `Pending` the task will be woken in time. Only the earliest borrowed instant is kept, and it is kept
    /// until it has come; a borrower that wants a later one asks again whenever it is polled, as [`Alarm`](crate::Alarm)
    /// does.
    pub fn poll_until(self: Pin<&mut Self>, cx: &mut Context<'_>, now: Instant, own: Option<Instant>) -> Poll<()> {
        let mut this = self.project();
        let wanted = &mut this.loan.wanted;
        let at = match (own, *wanted) {
            (Some(own), Some(wanted)) => own.min(wanted),
            (one, other) => match one.or(other) {
                Some(at) => at,
                None => return Poll::Pending,
            },
        };
        if at <= now {
            if wanted.is_some_and(|wanted| wanted <= now) {
                *wanted = None;
            }
            return Poll::Ready(());
        }
        if this.armed.is_some_and(|armed| now < armed && armed <= at) {
            return Poll::Pending;
        }
        match this.sleep.as_mut().as_pin_mut() {
            Some(sleep) => sleep.reset(at),
            None => this.sleep.set(Some(sleep_until(at))),
        }
        *this.armed = Some(at);
        match this.sleep.as_pin_mut() {
            // Where what was polled has used up the task's budget, a timer says no more than that, and is not registered:
            // it would be taken for armed, and never go off.
            Some(sleep) => pin!(unconstrained(sleep)).poll(cx),
            None => Poll::Pending,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{future::poll_fn, pin::pin, time::Duration};

    use futures_util::stream::{FuturesUnordered, StreamExt};
    use tokio::task::coop::consume_budget;
    use tokio_test::task;

    use super::*;
    use crate::Alarm;

    const SECOND: Duration = Duration::from_secs(1);

    /// A task that lends its timer to one alarm: gives the deadline the timer is armed for, after one poll.
    fn poll_once(
        timer: &mut task::Spawn<TaskTimer>,
        alarm: Pin<&mut Alarm>,
        at: Instant,
        own: Option<Instant>,
    ) -> Poll<()> {
        timer.enter(|cx, mut timer| {
            let _ = timer.as_mut().lend(cx, |cx| alarm.poll_until(cx, at));
            timer.as_mut().poll_until(cx, Instant::now(), own)
        })
    }

    #[tokio::test(start_paused = true)]
    async fn the_earlier_of_own_and_borrowed_wakes() {
        for (own, borrowed) in [(5, 3), (3, 5)] {
            let start = Instant::now();
            let mut timer = task::spawn(TaskTimer::new());
            let mut alarm = pin!(Alarm::new());
            let poll = poll_once(&mut timer, alarm.as_mut(), start + borrowed * SECOND, Some(start + own * SECOND));
            assert!(poll.is_pending());
            tokio::time::sleep(3 * SECOND - Duration::from_millis(1)).await;
            assert!(!timer.is_woken(), "not before the earlier of the two");
            tokio::time::sleep(Duration::from_millis(2)).await;
            assert!(timer.is_woken(), "at the earlier of the two");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_borrower_that_is_not_polled_again_still_gets_its_wake() {
        let start = Instant::now();
        let mut timer = task::spawn(TaskTimer::new());
        let mut alarm = pin!(Alarm::new());
        assert!(poll_once(&mut timer, alarm.as_mut(), start + SECOND, None).is_pending());
        // The task is polled for another reason and does not get as far as the alarm.
        let poll = timer.enter(|cx, mut timer| {
            timer.as_mut().lend(cx, |_| ());
            timer.as_mut().poll_until(cx, Instant::now(), Some(start + 10 * SECOND))
        });
        assert!(poll.is_pending());
        tokio::time::sleep(SECOND + Duration::from_millis(2)).await;
        assert!(timer.is_woken(), "a borrowed instant is kept until it has come");
    }

    #[tokio::test(start_paused = true)]
    async fn a_deadline_that_moves_later_leaves_the_timer_alone() {
        let start = Instant::now();
        let mut timer = task::spawn(TaskTimer::new());
        for i in 1..100 {
            let poll = timer.enter(|cx, mut t| t.as_mut().poll_until(cx, Instant::now(), Some(start + i * SECOND)));
            assert!(poll.is_pending());
        }
        assert_eq!(timer.enter(|_, t| t.armed), Some(start + SECOND), "armed once, for the first deadline");
        tokio::time::sleep(SECOND + Duration::from_millis(2)).await;
        assert!(timer.is_woken(), "the stale timer goes off once");
        let poll = timer.enter(|cx, mut t| t.as_mut().poll_until(cx, Instant::now(), Some(start + 100 * SECOND)));
        assert!(poll.is_pending());
        assert_eq!(timer.enter(|_, t| t.armed), Some(start + 100 * SECOND), "and is armed anew");
    }

    #[tokio::test(start_paused = true)]
    async fn what_it_is_armed_for_is_said_as_long_as_it_will_do() {
        let start = Instant::now();
        let mut timer = task::spawn(TaskTimer::new());
        let mut alarm = pin!(Alarm::new());
        assert_eq!(timer.enter(|_, t| t.armed(start)), None, "it was never armed");
        let poll = timer.enter(|cx, mut t| {
            t.as_mut().lend(cx, |_| ());
            t.as_mut().poll_until(cx, start, Some(start + 5 * SECOND))
        });
        assert!(poll.is_pending());
        assert_eq!(timer.enter(|_, t| t.armed(start)), Some(start + 5 * SECOND));
        assert_eq!(timer.enter(|_, t| t.armed(start + 5 * SECOND)), None, "that has come");
        let mut borrow = |seconds| {
            let poll = timer.enter(|cx, t| t.lend(cx, |cx| alarm.as_mut().poll_until(cx, start + seconds * SECOND)));
            assert!(poll.is_pending());
            timer.enter(|_, t| t.armed(start))
        };
        assert_eq!(borrow(7), Some(start + 5 * SECOND), "early enough for the borrower");
        assert_eq!(borrow(3), None, "too late for the borrower");
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_wanted_is_nothing_armed() {
        let mut timer = task::spawn(TaskTimer::new());
        assert!(timer.enter(|cx, mut t| t.as_mut().poll_until(cx, Instant::now(), None)).is_pending());
        assert!(timer.enter(|_, t| t.sleep.is_none()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_past_deadline_is_ready_at_once_and_not_forever() {
        let start = Instant::now();
        let mut timer = task::spawn(TaskTimer::new());
        let mut alarm = pin!(Alarm::new());
        assert!(poll_once(&mut timer, alarm.as_mut(), start + SECOND, None).is_pending());
        tokio::time::advance(2 * SECOND).await;
        timer.enter(|cx, mut t| {
            assert!(t.as_mut().poll_until(cx, Instant::now(), None).is_ready(), "the borrowed instant has come");
            assert!(t.as_mut().poll_until(cx, Instant::now(), None).is_pending(), "it is told once");
        });
    }

    #[tokio::test(start_paused = true)]
    async fn a_poll_that_has_no_budget_left_arms_it_all_the_same() {
        for again in [false, true] {
            let start = Instant::now();
            let mut timer = pin!(TaskTimer::new());
            let mut polls = 0;
            let waited = poll_fn(|cx| {
                polls += 1;
                let waits_until = start + if again && polls > 1 { 1 } else { 2 } * SECOND;
                if polls == if again { 2 } else { 1 } {
                    // All of it, for this poll.
                    while pin!(consume_budget()).poll(cx).is_ready() {}
                }
                let poll = timer.as_mut().poll_until(cx, Instant::now(), Some(waits_until));
                if again && polls == 1 {
                    cx.waker().wake_by_ref();
                }
                poll
            });
            tokio::time::timeout(100 * SECOND, waited).await.expect("it was polled again");
            assert!(start.elapsed() <= 3 * SECOND, "it was woken for it");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_new_waker_arms_the_timer_anew() {
        let start = Instant::now();
        let mut timer = Box::pin(TaskTimer::new());
        // The same future is polled by one task, then by another, as one that is moved between tasks.
        let mut tasks = [task::spawn(()), task::spawn(())];
        for task in &mut tasks {
            task.enter(|cx, _| {
                timer.as_mut().lend(cx, |_| ());
                assert!(timer.as_mut().poll_until(cx, Instant::now(), Some(start + SECOND)).is_pending());
            });
        }
        tokio::time::sleep(SECOND + Duration::from_millis(2)).await;
        assert!(tasks[1].is_woken(), "the waker of the last poll counts");
    }

    #[tokio::test(start_paused = true)]
    async fn another_waker_does_not_borrow() {
        let start = Instant::now();
        let mut timer = pin!(TaskTimer::new());
        let mut alarms = FuturesUnordered::new();
        alarms.push(Box::pin(async move {
            let mut alarm = pin!(Alarm::new());
            poll_fn(|cx| alarm.as_mut().poll_until(cx, start + SECOND)).await;
        }));
        poll_fn(|cx| timer.as_mut().lend(cx, |cx| alarms.poll_next_unpin(cx))).await;
        assert!(start.elapsed() >= SECOND, "the alarm had a timer of its own");
        assert!(timer.loan.wanted.is_none(), "and borrowed nothing");
    }

    #[test]
    fn a_panic_inside_returns_the_loan() {
        let mut loan = Loan { task: Some(Task::of(std::task::Waker::noop())), wanted: None };
        let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            lend::lend(&mut loan, || panic!("inside"));
        }));
        assert!(caught.is_err());
        assert!(loan.task.is_some(), "the lender has its loan back");
        let cx = Context::from_waker(std::task::Waker::noop());
        assert!(!lend::borrow(&cx, Instant::now()), "and nobody can borrow any more");
    }
}
