//! A shutdown that always returns: signals, ordered phases, one deadline, and a report of who was late.
//!
//! [`Shutdown`] is the order to end. Clone it into whatever must know: handlers, workers, the accept loop. It is given by
//! a [signal](Signals) or by the program, once; given with force, nobody waits any longer. What must be done in order at
//! the end is registered as a hook of a [`Phase`]; all phases and whatever comes before them share one [`Budget`], and
//! the [`Report`] says how long each took and who did not make it.
//!
//! It knows nothing of HTTP and starts no task of its own: the program's main future drives it.
//!
//! # Example
//!
//! ```
//! use std::time::Duration;
//! use graceful_shutdown::{Budget, Phase, Shutdown};
//! # #[cfg(unix)] use graceful_shutdown::Signals;
//!
//! # #[cfg(not(unix))] fn main() {}
//! # #[cfg(unix)]
//! #[tokio::main]
//! async fn main() -> std::io::Result<()> {
//!     // Before anything else: from here on, no signal kills the process in the middle of its work.
//!     let mut signals = Signals::install()?;
//!     let shutdown = Shutdown::new();
//!
//!     // A worker that ends when it is told, and is waited for; then the database, when nobody needs it any more.
//!     let worker = tokio::spawn({
//!         let shutdown = shutdown.clone();
//!         async move { shutdown.triggered().await /* … then finish what is queued */ }
//!     });
//!     shutdown.on_shutdown(Phase::Workers, "queue", |_| async move {
//!         let _ = worker.await;
//!     });
//!     shutdown.on_shutdown(Phase::Resources, "database", |context| async move {
//!         // A pool that closes within the time that is left.
//!         let _at_most = context.remaining();
//!     });
//!
//!     let serve = async {
//! #       shutdown.trigger();
//!         shutdown.triggered().await; // in place of an accept loop
//!         let budget = Budget::new(Duration::from_secs(30));
//!         // Connections may use the time until `shutdown.phases_start_by(budget)`; then:
//!         shutdown.run_phases(budget).await
//!     };
//!     // The signals are watched to the very end: a second one forces.
//!     let report = tokio::select! {
//!         report = serve => report,
//!         never = signals.watch(&shutdown) => match never {},
//!     };
//!     println!("{report}");
//!     assert!(report.is_clean());
//!     Ok(())
//! }
//! ```
//!
//! # When not to use it
//!
//! For cancelling one request or one task among others: that is a `tokio_util::sync::CancellationToken`. There is one
//! `Shutdown` a process, and no way back from it.
//!
//! # The order of a shutdown
//!
//! 1. The order is given: [`Readiness`] turns false, [`Shutdown::triggered`] ends everywhere.
//! 2. The server finishes what is in flight, until [`Shutdown::phases_start_by`] at the latest.
//! 3. Live work that nobody waited for yet, as that of [`graceful_tasks::spawn()`], is told and waited for:
//!    [`Shutdown::end_work`].
//! 4. [`Phase::Workers`]: what works in the background finishes and stops.
//! 5. [`Phase::Resources`]: what everyone else needed is closed.
//!
//! Within a phase the hooks run side by side; a phase begins when all of the one before have ended, were late, or died.
//! The [deadline arithmetic](Budget) makes sure that the late ones do not take the time of those after them.
//!
//! What it logs, it logs on the target `graceful::shutdown`.
#![forbid(unsafe_code)]

mod budget;
mod cause;
mod hooks;
mod look;
mod order;
mod phases;
mod readiness;
mod report;
mod shutdown;
#[cfg(unix)]
mod signals;
mod sync;
mod work;

#[cfg(test)]
mod tests;

pub use self::budget::Budget;
pub use self::cause::{Cause, Sig};
pub use self::hooks::{HookContext, Phase};
pub use self::look::Look;
pub use self::readiness::Readiness;
pub use self::report::{Late, Report, Step, Why};
pub use self::shutdown::Shutdown;
#[cfg(unix)]
pub use self::signals::Signals;

const TARGET: &str = "graceful::shutdown";
