use std::{
    pin::Pin,
    task::{Context, Poll},
};

use tokio::time::{Instant, Sleep, sleep_until};

use crate::lend;

/// Waits for an instant on the timer of the surrounding task, or on a `Sleep` of its own where nobody lends one.
///
/// Make it for nothing, and poll it only after the work has been polled and was not ready: a handler that answers on
/// its first poll then costs no timer at all.
#[derive(Debug, Default)]
pub struct Alarm {
    /// Boxed: an alarm is a part of futures and bodies that are moved about, and a `Sleep` is 14 words that it rarely needs.
    own: Option<Pin<Box<Sleep>>>,
}

impl Alarm {
    /// An alarm that has not asked for anything yet: no allocation, nothing registered.
    #[must_use]
    pub const fn new() -> Self {
        Self { own: None }
    }

    /// Ready once `at` has come; otherwise the task is woken then.
    ///
    /// `at` may differ from call to call; the last one counts.
    pub fn poll_until(mut self: Pin<&mut Self>, cx: &mut Context<'_>, at: Instant) -> Poll<()> {
        if Instant::now() >= at {
            return Poll::Ready(());
        }
        if lend::borrow(cx, at) {
            return Poll::Pending;
        }
        match &mut self.own {
            Some(sleep) => {
                if sleep.deadline() != at {
                    sleep.as_mut().reset(at);
                }
                sleep.as_mut().poll(cx)
            }
            own @ None => own.insert(Box::pin(sleep_until(at))).as_mut().poll(cx),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{future::poll_fn, pin::pin, time::Duration};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn without_a_lender_it_has_a_timer_of_its_own() {
        let at = Instant::now() + Duration::from_secs(3);
        let mut alarm = pin!(Alarm::new());
        poll_fn(|cx| alarm.as_mut().poll_until(cx, at)).await;
        assert_eq!(Instant::now(), at);
        assert!(alarm.own.is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn the_last_instant_counts() {
        let start = Instant::now();
        for (first, last) in [(10, 2), (2, 10)] {
            let begin = Instant::now();
            let mut alarm = pin!(Alarm::new());
            let mut polls = 0;
            poll_fn(|cx| {
                polls += 1;
                let seconds = if polls == 1 { first } else { last };
                let poll = alarm.as_mut().poll_until(cx, begin + Duration::from_secs(seconds));
                if polls == 1 {
                    cx.waker().wake_by_ref();
                }
                poll
            })
            .await;
            assert_eq!(begin.elapsed().as_secs(), last);
        }
        assert_eq!(start.elapsed().as_secs(), 12);
    }

    #[tokio::test(start_paused = true)]
    async fn an_instant_in_the_past_is_ready_without_a_timer() {
        let mut alarm = pin!(Alarm::new());
        poll_fn(|cx| alarm.as_mut().poll_until(cx, Instant::now())).await;
        assert!(alarm.own.is_none());
    }
}
