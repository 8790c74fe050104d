//! The harness of the integration tests: the examples as processes, raw clients, and what was logged.
//!
//! Nothing here waits for a fixed time. What should happen is waited for, up to [`PATIENCE`]; a test that hangs fails
//! with the name of what it waited for.
#![forbid(unsafe_code)]

mod client;
mod frames;
mod log;
mod program;

use std::time::Duration;

pub use self::client::{Answer, Client};
pub use self::frames::{Frame, Http2};
pub use self::log::{Line, Log};
pub use self::program::{Ended, Program, run_to_end, run_to_end_in};

/// How long anything may take on a machine that has other things to do.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Runs a test of servers in this process, on a runtime of its own, and fails if it leaves anything behind: a connection, a
/// request, a task.
///
/// # Panics
///
/// If something is left, with what it is, where it was started and where it waits.
#[track_caller]
pub fn leaves_nothing<F: Future>(test: F) -> F::Output {
    // What is over may have to be polled once more, on a machine that has other things to do.
    match graceful::LeakCheck::new().grace(Duration::from_secs(5)).run(test) {
        Ok(output) => output,
        Err(leaks) => panic!("{leaks}"),
    }
}

/// Waits for `future`, up to [`PATIENCE`].
///
/// # Panics
///
/// When it takes longer, with `what` in the message.
pub async fn within<F: Future>(what: &str, future: F) -> F::Output {
    match tokio::time::timeout(PATIENCE, future).await {
        Ok(output) => output,
        Err(_) => panic!("waited {PATIENCE:?} for {what}"),
    }
}
