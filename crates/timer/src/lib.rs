//! A task's one timer, lent to whatever the task polls.
//!
//! A registered tokio timer costs some 600 instructions and a lock. A server arms one for each connection anyway; a
//! handler timeout inside it need not arm a second one. So the wrapper that a task runs in owns a [`TaskTimer`] and
//! *lends* it while it polls what it wraps; inside, an [`Alarm`] asks the lender to be polled again at an instant. Where
//! nobody lends (a spawned task, a `FuturesUnordered` with wakers of its own, plain `axum::serve`) the alarm makes a
//! `Sleep` of its own, and the code that uses it does not see the difference.
//!
//! ```
//! use std::{future::poll_fn, pin::pin, time::Duration};
//! use graceful_timer::{Alarm, TaskTimer};
//! use tokio::time::Instant;
//!
//! # #[tokio::main(flavor = "current_thread", start_paused = true)] async fn main() {
//! // Deep inside: something that must end at an instant.
//! let at = Instant::now() + Duration::from_secs(5);
//! let mut alarm = pin!(Alarm::new());
//!
//! // Outside: the task's wrapper, with a deadline of its own.
//! let own = Instant::now() + Duration::from_secs(60);
//! let mut timer = pin!(TaskTimer::new());
//! poll_fn(|cx| loop {
//!     let poll = timer.as_mut().lend(cx, |cx| alarm.as_mut().poll_until(cx, at));
//!     if poll.is_ready() {
//!         return poll;
//!     }
//!     if timer.as_mut().poll_until(cx, Instant::now(), Some(own)).is_pending() {
//!         return std::task::Poll::Pending;
//!     }
//! })
//! .await;
//! assert_eq!(Instant::now(), at);
//! # }
//! ```
#![forbid(unsafe_code)]

mod alarm;
mod lend;
mod task_timer;

pub use self::alarm::Alarm;
pub use self::task_timer::TaskTimer;
