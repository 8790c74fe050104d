//! A deadline and the registry's signal, watched over what a handshake waits for.

use std::{
    future::poll_fn,
    pin::{Pin, pin},
    task::{Poll, ready},
    time::Duration,
};

use graceful_timer::TaskTimer;
use pin_project::pin_project;
use tokio::time::Instant;

use super::HandshakeError;
use crate::shared::{Shared, Signal};

#[pin_project]
pub(super) struct Watch<'a> {
    shared: &'a Shared,
    deadline: Option<Instant>,
    /// When the signal to drain was seen.
    draining: Option<Instant>,
    #[pin]
    timer: TaskTimer,
}

impl<'a> Watch<'a> {
    pub(super) const fn new(shared: &'a Shared, deadline: Option<Instant>) -> Self {
        Self { shared, deadline, draining: None, timer: TaskTimer::new() }
    }

    /// Waits for `future` until the deadline, until the signal to force, and for `grace` after the signal to drain.
    pub(super) async fn over<F: Future>(
        mut self: Pin<&mut Self>,
        grace: Duration,
        future: F,
    ) -> Result<F::Output, HandshakeError> {
        let mut future = pin!(future);
        poll_fn(|cx| {
            let mut this = self.as_mut().project();
            // Stored first, looked at after: see `Shared::raise`.
            this.shared.listen(cx.waker());
            let signal = this.shared.signal();
            if signal == Signal::Force {
                return Poll::Ready(Err(HandshakeError::Shutdown));
            }
            if let Poll::Ready(output) = this.timer.as_mut().lend(cx, |cx| future.as_mut().poll(cx)) {
                return Poll::Ready(Ok(output));
            }
            loop {
                let now = Instant::now();
                let leave = (signal == Signal::Drain)
                    .then(|| *this.draining.get_or_insert(now))
                    .and_then(|since| since.checked_add(grace));
                let due = match (*this.deadline, leave) {
                    (Some(deadline), Some(leave)) => Some(deadline.min(leave)),
                    (one, other) => one.or(other),
                };
                if due.is_some_and(|due| due <= now) {
                    return Poll::Ready(Err(match leave {
                        Some(leave) if leave <= now => HandshakeError::Shutdown,
                        _ => HandshakeError::Timeout,
                    }));
                }
                ready!(this.timer.as_mut().poll_until(cx, now, due));
            }
        })
        .await
    }
}
