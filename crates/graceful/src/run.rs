//! From `main` to the exit code.

use std::{
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    process::ExitCode,
    time::Duration,
};

use crate::{Error, last_resort, last_word};

/// Runs a program's main future on a multi-threaded runtime, and turns its end into an exit code: 0, or
/// [`Error::exit_code`], with a line on standard error.
///
/// What `#[tokio::main]` lacks is the end: dropping a runtime waits for every thread that is in the middle of something,
/// so one handler that blocks keeps a process alive for ever, however bounded its shutdown was. This does not wait. And
/// if every worker thread is blocked, no deadline can fire and no signal is seen; a thread beside the runtime then ends
/// the process 1 s after the shutdown's deadline, with exit code 3.
///
/// ```no_run
/// use std::process::ExitCode;
///
/// use axum::{Router, routing::get};
///
/// fn main() -> ExitCode {
///     graceful::main(async {
///         let app = Router::new().route("/", get(async || "hello"));
///         graceful::serve("127.0.0.1:8080", app).await
///     })
/// }
/// ```
pub fn main<T>(program: impl Future<Output = Result<T, Error>>) -> ExitCode {
    last_resort::watch();
    let result =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(Error::Runtime).and_then(|runtime| {
            let program = Box::pin(program);
            let result = catch_unwind(AssertUnwindSafe(|| runtime.block_on(program)));
            // Not a drop, after a panic neither: see above.
            runtime.shutdown_timeout(LEFT_BEHIND);
            // The guard of the log went with the program; what was dropped after it has logged, too.
            let _ = graceful_json_log::flush(LAST_LINES);
            result.unwrap_or_else(|panic| resume_unwind(panic))
        });
    match result {
        Ok(_) => ExitCode::SUCCESS,
        Err(error) => {
            let line = format!("error: {error:?}");
            last_word::say(move || last_word::on_stderr(&line));
            error.into()
        }
    }
}

/// For threads that are about to finish; the others are left behind when the process ends.
const LEFT_BEHIND: Duration = Duration::from_millis(200);

/// For the lines of what was dropped with the runtime, if somebody reads them.
const LAST_LINES: Duration = Duration::from_millis(500);
