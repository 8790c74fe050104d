//! The last word of a program, which must not keep it.

use std::{sync::mpsc, thread, time::Duration};

/// How long there is to say it.
const PATIENCE: Duration = Duration::from_millis(500);

/// Says something on a thread of its own, and waits for that a little while.
///
/// A handler that is stuck in the middle of a line has the lock of standard error, if nobody reads that; a subscriber may
/// be stuck in the same way. Who waited for it would be the next.
pub(crate) fn say(what: impl FnOnce() + Send + 'static) {
    let (said, is_said) = mpsc::channel::<()>();
    let spawned = thread::Builder::new().name("last-word".into()).spawn(move || {
        what();
        drop(said);
    });
    if spawned.is_ok() {
        // Nothing is ever sent: it ends when `said` is dropped, by a panic too.
        let _ = is_said.recv_timeout(PATIENCE);
    }
}

/// A line for whoever started the program.
pub(crate) fn on_stderr(line: &str) {
    #[expect(clippy::print_stderr, reason = "the last word of a program, for whoever started it")]
    {
        eprintln!("{line}");
    }
}
