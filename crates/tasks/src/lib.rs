//! Every live connection, request and task by name: waited for at the end, listed with the place where it waits, checked
//! for leaks, and watched.
//!
//! tokio's tasks are anonymous: a bare `tokio::spawn` is not waited for at shutdown, its panic vanishes with the handle,
//! and nobody can say what a server that hangs is waiting for. Here each piece of work is an [`Entry`] in a
//! [`Registry`], with its kind, a label, what started it and where, its age, how often and how long it ran. Entries are
//! guards: they end when they are dropped, on completion, panic and abort alike.
//!
//! It works on stable Rust and an ordinary tokio, with no `--cfg`, and knows nothing of HTTP.
//!
//! # Tasks that outlive what started them
//!
//! ```
//! use std::time::Duration;
//! use graceful_tasks::Registry;
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() {
//! // In a handler: answer now, send the mail after.
//! graceful_tasks::spawn_named("mail", async {
//!     // It keeps the request's span, and its panic would be logged.
//!     tokio::select! {
//!         () = tokio::time::sleep(Duration::from_millis(5)) => { /* sent */ }
//!         () = graceful_tasks::cancelled() => { /* told to stop: put it back into the queue */ }
//!     }
//! });
//!
//! // At shutdown: wait, then tell, then drop.
//! let registry = Registry::current();
//! let idle = async || tokio::time::timeout(Duration::from_secs(5), registry.idle()).await.is_ok();
//! if !idle().await {
//!     registry.cancel_all();
//!     if !idle().await {
//!         let _aborting = registry.abort_all();
//!         assert!(idle().await);
//!     }
//! }
//! # }
//! ```
//!
//! # What waits where
//!
//! ```
//! use std::time::Duration;
//! use graceful_tasks::Registry;
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() {
//! // A layer or a server lists what it runs; a label is kept as it is, and rendered when somebody asks.
//! let registry = Registry::new();
//! let requests = registry.kind::<&str>("request");
//! let request = requests.spawn("GET /slow", tokio::time::sleep(Duration::from_secs(3600)));
//! # tokio::task::yield_now().await;
//!
//! // One line for each group: "1 request, sleep at …, oldest 1.0s, from src/lib.rs:10:24"
//! println!("{}", registry.dump().await);
//! // Each entry with its stacks, as Go prints goroutines:
//! println!("{:#}", registry.dump().await);
//! # assert!(registry.dump().await.to_string().contains("1 request, sleep"));
//! # request.abort();
//! # }
//! ```
//!
//! The stack of an `.await` exists only while it is polled. So a [dump](Registry::dump) wakes each entry once, and polls
//! it with a waker that notes who clones it: whatever returns `Pending` has to keep such a clone, and makes it at the
//! very place where it waits. That holds for any future, of tokio, hyper or yours, and costs nothing until somebody
//! asks. Its bounds:
//!
//! - What runs is not asked: it is listed with its thread. A native stack of that thread is a profiler's to take.
//! - Futures in a `FuturesUnordered`, `JoinSet` or `join_all` of many have wakers of their own: the stack ends there,
//!   unless they are entries themselves.
//! - What has woken itself (`yield_now`) keeps no waker, and neither does what will never be woken (`pending()`).
//! - Function names need unwind tables and symbols; files and lines need `debug = "line-tables-only"`.
//!
//! # Leaks
//!
//! [`leak_checked`] runs a test and fails if it leaves anything behind; [`LeakCheck`] has an ignore list, a time of
//! grace and a guard form.
//!
//! # Growth and stuck workers
//!
//! [`Watchdog`].
//!
//! # What it costs
//!
//! An entry is a place in a slab that is used again: no allocation once the slab has grown, one clock read and two short
//! locks of a shard that its thread has mostly for itself. Measured on a two-core virtual machine whose clock takes
//! 23 ns a read: 72 ns for an entry, 61 ns for a poll of one (two reads), 102 ns for an entry that is made, polled once
//! and dropped within the poll of another; the same with ten thousand others alive. `cargo bench -p graceful-tasks` tells.
//! The memory of the largest number of entries that there ever was is kept, some 300 bytes each.
//!
//! What is a part of a poll that is timed anyway, as a request in its connection, costs less: a [`Part`] looks at the
//! clock only if it has to wait, and a [`Seat`] lists one such piece of work after the other without a lock. A request of
//! `graceful`, with the poll of its connection, pays some 600 instructions for being listed, no allocation, and two looks at
//! the clock, of that poll.
//!
//! # When not to use it
//!
//! For the children of one future, which end with it: that is a `tokio::task::JoinSet`. For the order of a shutdown:
//! that is `graceful-shutdown`, which waits on this.
// `forbid` but for one module: see there.
#![deny(unsafe_code)]

mod claim;
mod clock;
mod dump;
mod entry;
mod inbox;
mod kind;
mod leak;
mod live;
mod local;
mod registry;
mod seat;
mod shard;
mod shared;
mod spawn;
mod stack;
mod sync;
mod thread;
mod token;
mod trace;
mod watchdog;

pub use self::claim::Claim;
pub use self::clock::Moment;
pub use self::dump::DumpLimits;
pub use self::entry::{Entry, Part, Tracked};
pub use self::kind::Kind;
pub use self::leak::{LeakCheck, LeakGuard, Leaks, leak_checked};
pub use self::live::{Dump, Group, Live, State, Waits};
pub use self::local::{AroundGuard, lately, now, time_is};
pub use self::registry::{AbortGuard, DefaultGuard, KindStats, Registry, Stats};
pub use self::seat::Seat;
pub use self::spawn::{spawn, spawn_blocking, spawn_named};
pub use self::stack::{Frame, Stack};
pub use self::thread::Thread;
pub use self::token::{Token, cancelled, is_cancelled};
pub use self::watchdog::{Watchdog, WatchdogThread};

use self::token::Stopping;

/// Of all that is logged here.
const TARGET: &str = "graceful::tasks";
