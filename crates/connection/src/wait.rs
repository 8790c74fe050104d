//! A deadline and the registry's signal, watched over what comes before HTTP: a proxy's header, a TLS handshake.

use std::{
    error::Error,
    fmt,
    future::poll_fn,
    pin::{Pin, pin},
    task::{Poll, ready},
    time::Duration,
};

use graceful_timer::TaskTimer;
use pin_project::pin_project;
use tokio::time::Instant;

use crate::{
    CloseReason, Place,
    connection::{NEWCOMER, SETTLE},
    settings::{deadline, earlier},
    shared::Shared,
    told::Signal,
};

impl Place {
    /// Waits for something that comes before HTTP, as the header of a proxy, for `limit` (`None` or zero: without one) from
    /// now.
    ///
    /// A [force](crate::Registry::force) ends the wait at once, and a [drain](crate::Registry::drain) 20 ms later, or when the
    /// connection is 250 ms old: what is on its way is still read.
    ///
    /// # Errors
    ///
    /// Which of them ended it. The socket is to be closed then, and the registry has the reason.
    pub async fn wait_for<F: Future>(&self, limit: Option<Duration>, future: F) -> Result<F::Output, Interrupted> {
        let shared = self.shared();
        let watch = pin!(Watch::new(shared, deadline(Instant::now(), limit)));
        let waited = watch.over(SETTLE, future).await;
        if let Err(interrupted) = &waited {
            shared.set_reason(match (interrupted, shared.signal()) {
                (Interrupted::Elapsed, _) => CloseReason::HeaderTimeout,
                (Interrupted::Shutdown, Signal::Force) => CloseReason::Forced,
                (Interrupted::Shutdown, _) => CloseReason::Drained,
            });
        }
        waited
    }
}

/// What ended a wait that did not end by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Interrupted {
    /// Its time was over.
    Elapsed,
    /// The server is shutting down.
    Shutdown,
}

impl fmt::Display for Interrupted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Elapsed => "it did not come in time",
            Self::Shutdown => "the server is shutting down",
        })
    }
}

impl Error for Interrupted {}

#[pin_project]
pub(crate) struct Watch<'a> {
    shared: &'a Shared,
    deadline: Option<Instant>,
    /// When the signal to drain was seen.
    draining: Option<Instant>,
    #[pin]
    timer: TaskTimer,
}

impl<'a> Watch<'a> {
    pub(crate) const fn new(shared: &'a Shared, deadline: Option<Instant>) -> Self {
        Self { shared, deadline, draining: None, timer: TaskTimer::new() }
    }

    /// Waits for `future` until the deadline, until the signal to force, and for `grace` after the signal to drain; but not
    /// before the client had the time to say something.
    pub(crate) async fn over<F: Future>(
        mut self: Pin<&mut Self>,
        grace: Duration,
        future: F,
    ) -> Result<F::Output, Interrupted> {
        let mut future = pin!(future);
        poll_fn(|cx| {
            let mut this = self.as_mut().project();
            // Stored first, looked at after: see `Told::raise`.
            this.shared.listen(cx.waker());
            let signal = this.shared.signal();
            if signal == Signal::Force {
                return Poll::Ready(Err(Interrupted::Shutdown));
            }
            if let Poll::Ready(output) = this.timer.as_mut().lend(cx, |cx| future.as_mut().poll(cx)) {
                return Poll::Ready(Ok(output));
            }
            loop {
                let now = Instant::now();
                let leave = (signal == Signal::Drain)
                    .then(|| *this.draining.get_or_insert(now))
                    .and_then(|since| since.checked_add(grace))
                    .map(|leave| leave.max(this.shared.opened + NEWCOMER));
                let due = earlier(*this.deadline, leave);
                if due.is_some_and(|due| due <= now) {
                    return Poll::Ready(Err(match leave {
                        Some(leave) if leave <= now => Interrupted::Shutdown,
                        _ => Interrupted::Elapsed,
                    }));
                }
                ready!(this.timer.as_mut().poll_until(cx, now, due));
            }
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use super::*;
    use crate::Registry;

    const SECOND: Duration = Duration::from_secs(1);

    /// How a wait for nothing ends, after how long, and what the registry says of it.
    async fn ended(
        registry: &Registry,
        limit: Option<Duration>,
        meanwhile: impl Future<Output = ()>,
    ) -> (Interrupted, Duration, Option<CloseReason>) {
        let place = registry.open(None);
        let start = Instant::now();
        let (waited, ()) = tokio::join!(place.wait_for(limit, pending::<()>()), meanwhile);
        (waited.expect_err("it never comes"), start.elapsed(), place.shared().reason())
    }

    #[tokio::test(start_paused = true)]
    async fn what_comes_is_given() {
        let place = Registry::new().open(None);
        assert_eq!(place.wait_for(Some(SECOND), ready(7)).await, Ok(7));
        assert_eq!(place.shared().reason(), None, "it goes on");
    }

    #[tokio::test(start_paused = true)]
    async fn it_ends_at_its_limit() {
        let (interrupted, took, reason) = ended(&Registry::new(), Some(SECOND), ready(())).await;
        assert_eq!((interrupted, reason), (Interrupted::Elapsed, Some(CloseReason::HeaderTimeout)));
        assert!(took >= SECOND && took < SECOND * 11 / 10, "{took:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn force_ends_it_at_once_and_a_drain_after_a_last_look() {
        for limit in [None, Some(60 * SECOND)] {
            let registry = Registry::new();
            let drain = async {
                tokio::time::sleep(SECOND).await;
                registry.drain();
            };
            let (interrupted, took, reason) = ended(&registry, limit, drain).await;
            assert_eq!((interrupted, reason), (Interrupted::Shutdown, Some(CloseReason::Drained)));
            assert!(took >= SECOND + SETTLE && took < SECOND * 11 / 10, "{took:?}");

            let (_, took, _) = ended(&registry, limit, ready(())).await;
            assert!(took >= NEWCOMER && took < SECOND, "one that is opened later is told as well: {took:?}");

            let registry = Registry::new();
            let force = async {
                tokio::time::sleep(SECOND).await;
                registry.force();
            };
            let (interrupted, took, reason) = ended(&registry, limit, force).await;
            assert_eq!((interrupted, took, reason), (Interrupted::Shutdown, SECOND, Some(CloseReason::Forced)));
        }
    }
}
