use std::{io, panic, sync::OnceLock, thread, time::Duration};

use tracing::{Dispatch, callsite, dispatcher};
use tracing_subscriber::{fmt, layer::SubscriberExt, registry};

use crate::{FilterError, Format, InitError, JsonSubscriber, LiveFilter, LogConfig, LogStats, LogWriter, NotFlushed};

/// Logs for the whole program, as `config` says. To be called once, first in `main`.
///
/// Keep the guard to the end of `main`: what waits is written when it is dropped. Where the program ends otherwise,
/// [flush](flush()) before: `process::exit` runs no destructors. A panic that ends the program (on the thread
/// that calls this, or on any with `panic = "abort"`) flushes by itself, for at most 1 s.
///
/// # Errors
///
/// If the filter cannot be read, if the output cannot be opened, or if there is a global subscriber already.
pub fn init(config: LogConfig) -> Result<(LogHandle, LogGuard), InitError> {
    let filter = LiveFilter::new(&config.filter).map_err(InitError::Filter)?;
    if LOG.get().is_some() {
        // Before the file is opened: it may be the one that is being written to.
        return Err(InitError::AlreadySet);
    }
    let (format, colours, timeout) = (config.format, config.colours(), config.flush_timeout);
    let writer = config.open().map_err(InitError::Output)?;
    let dispatch = match format {
        Format::Json => JsonSubscriber::new(writer.clone()).into_dispatch(filter.clone()),
        Format::Pretty => {
            let pretty = fmt::layer().with_ansi(colours).with_writer(writer.clone());
            Dispatch::new(registry().with(filter.clone()).with(pretty))
        }
    };
    if dispatcher::set_global_default(dispatch).is_err() {
        // Our filter had its say in what is on at all.
        callsite::rebuild_interest_cache();
        return Err(InitError::AlreadySet);
    }
    let _ = LOG.set(writer.clone());
    flush_on_last_panic(writer.clone());
    let guard = writer.guard(timeout);
    Ok((LogHandle { writer, filter }, guard))
}

/// Waits until all is written that was logged before by way of [`init`]. If that was not called there is nothing to wait for.
///
/// As [`LogHandle::flush`], for whoever ends the process and has no handle.
///
/// # Errors
///
/// If it is not written in time.
pub fn flush(timeout: Duration) -> Result<(), NotFlushed> {
    LOG.get().map_or(Ok(()), |log| log.flush(timeout))
}

/// That of `init`, which there is once.
static LOG: OnceLock<LogWriter> = OnceLock::new();

/// What can be done with a log while the program runs. Clones are the same log.
#[derive(Clone, Debug)]
pub struct LogHandle {
    writer: LogWriter,
    filter: LiveFilter,
}

impl LogHandle {
    /// Changes what is let through. See [`LiveFilter::set`].
    ///
    /// # Errors
    ///
    /// If the filter cannot be read. The one before then stays.
    pub fn set_filter(&self, directives: &str) -> Result<(), FilterError> {
        self.filter.set(directives)
    }

    /// What is let through.
    #[must_use]
    pub fn filter(&self) -> String {
        self.filter.to_string()
    }

    /// Opens the file again. See [`LogWriter::reopen`].
    ///
    /// # Errors
    ///
    /// If the file cannot be opened. Lines then still go to the old one.
    pub fn reopen(&self) -> io::Result<()> {
        self.writer.reopen()
    }

    /// Waits until all that was logged before is written. See [`LogWriter::flush`].
    ///
    /// # Errors
    ///
    /// If it is not written in time.
    pub fn flush(&self, timeout: Duration) -> Result<(), NotFlushed> {
        self.writer.flush(timeout)
    }

    /// What became of the lines so far.
    #[must_use]
    pub fn stats(&self) -> LogStats {
        self.writer.stats()
    }
}

/// Writes out what waits when it is dropped, at the end of `main` and when a panic unwinds through it.
///
/// It waits for at most its timeout, however the output behaves. Lines may be logged after it, too; whether they are
/// written depends on how long the process still lives.
#[derive(Debug)]
#[must_use = "it flushes when it is dropped: at once, if it is not kept"]
pub struct LogGuard {
    writer: LogWriter,
    timeout: Duration,
}

impl LogGuard {
    pub(crate) const fn new(writer: LogWriter, timeout: Duration) -> Self {
        Self { writer, timeout }
    }
}

impl Drop for LogGuard {
    fn drop(&mut self) {
        // Nobody is left to tell that something could not be written.
        let _ = self.writer.flush(self.timeout);
    }
}

/// Flushes after a panic that the process does not outlive, behind the hook that is there.
///
/// Not after the others: a handler's panic is an answer to a request, and its thread goes on.
fn flush_on_last_panic(writer: LogWriter) {
    const PATIENCE: Duration = Duration::from_secs(1);
    let main = thread::current().id();
    let before = panic::take_hook();
    panic::set_hook(Box::new(move |panic| {
        before(panic);
        if cfg!(panic = "abort") || thread::current().id() == main {
            let _ = writer.flush(PATIENCE);
        }
    }));
}
