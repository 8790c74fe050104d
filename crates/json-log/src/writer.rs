use std::{
    fmt,
    fs::File,
    io,
    path::PathBuf,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    thread,
    time::Duration,
};

use tracing_subscriber::fmt::MakeWriter;

use crate::{Format, LogGuard, Output, output::open_file, queue::Queue, thread::WriterThread, time::now};

/// Where lines are handed over: a bounded buffer in memory, and a thread that writes it out.
///
/// Made by [`LogConfig::open`](crate::LogConfig::open). Clones share one buffer and one thread; the thread ends when the
/// last clone is dropped, after it has written what was left. See the [crate docs](crate) for what happens when the
/// output is slow, full or gone.
///
/// It is a [`MakeWriter`], too, so that other formats of `tracing-subscriber` can use it: each *call* of `write` is one
/// line to it, kept or dropped whole, as the `fmt` layer calls it.
#[derive(Clone)]
pub struct LogWriter {
    owner: Arc<Owner>,
}

/// What the clones share. When it is dropped nobody can log any more.
struct Owner(Arc<Shared>);

pub(crate) struct Shared {
    pub(crate) queue: Queue,
    /// For the writer's thread, which reads them between two writes.
    orders: Mutex<Orders>,
    flushed: Condvar,
    pub(crate) written: AtomicU64,
    pub(crate) errors: AtomicU64,
    path: Option<PathBuf>,
}

#[derive(Default)]
pub(crate) struct Orders {
    /// How many flushes were asked for, and up to which of them all is written.
    pub(crate) flushes: u64,
    flushed: u64,
    /// The file to go on with.
    pub(crate) file: Option<File>,
    pub(crate) closed: bool,
}

/// What became of the lines so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct LogStats {
    /// Lines that the output took whole.
    pub written: u64,
    /// Lines that are lost: there was no room for them, or the reader of a pipe was gone.
    ///
    /// `written + dropped` is what was logged, but for what still waits: after a [`flush`](LogWriter::flush) nothing does.
    pub dropped: u64,
    /// Writes that failed, each new try counted. A disk that is full for a minute is some 70 of them.
    pub errors: u64,
}

/// Not all that was logged could be written in time. The lines still wait, and are written when the output lets them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct NotFlushed;

impl LogWriter {
    pub(crate) fn open(output: Output, capacity: usize, format: Format) -> io::Result<Self> {
        let path = match &output {
            Output::File(path) => Some(path.clone()),
            _ => None,
        };
        let sink = output.open()?;
        let shared = Arc::new(Shared::new(capacity, path));
        let writer = WriterThread::new(Arc::clone(&shared), sink, format);
        thread::Builder::new().name("log".into()).spawn(move || writer.run())?;
        Ok(Self { owner: Arc::new(Owner(shared)) })
    }

    fn shared(&self) -> &Shared {
        &self.owner.0
    }

    /// Takes a line, or drops it.
    #[inline]
    pub(crate) fn push(&self, time: Duration, line: &[u8]) {
        self.shared().queue.push(time, line);
    }

    /// Waits until all that was logged before is written, or until `timeout` is over.
    ///
    /// It blocks the thread. Call it before [`std::process::exit`], which runs no destructor and so no [`LogGuard`].
    ///
    /// # Errors
    ///
    /// If something is not written in time: the output is slow, full or gone.
    pub fn flush(&self, timeout: Duration) -> Result<(), NotFlushed> {
        let shared = self.shared();
        let mut orders = shared.orders();
        orders.flushes += 1;
        let ours = orders.flushes;
        shared.queue.wake();
        let orders = shared
            .flushed
            .wait_timeout_while(orders, timeout, |orders| orders.flushed < ours)
            .unwrap_or_else(PoisonError::into_inner)
            .0;
        if orders.flushed < ours { Err(NotFlushed) } else { Ok(()) }
    }

    /// A guard that [flushes](Self::flush), for at most `timeout`, when it is dropped.
    #[must_use = "it flushes when it is dropped: at once, if it is not kept"]
    pub fn guard(&self, timeout: Duration) -> LogGuard {
        LogGuard::new(self.clone(), timeout)
    }

    /// Opens the file of [`Output::File`] again: after `logrotate` has moved it away, when SIGHUP says so.
    ///
    /// The file is opened here; the writer goes on with it at the next line. A line that had only begun in the old file
    /// is written anew. With any other output there is nothing to do.
    ///
    /// # Errors
    ///
    /// If the file cannot be opened. Lines then still go to the old one.
    pub fn reopen(&self) -> io::Result<()> {
        let shared = self.shared();
        if let Some(path) = &shared.path {
            let file = open_file(path)?;
            shared.orders().file = Some(file);
            shared.queue.wake();
        }
        Ok(())
    }

    /// What became of the lines so far.
    #[must_use]
    pub fn stats(&self) -> LogStats {
        let shared = self.shared();
        LogStats {
            written: shared.written.load(Relaxed),
            dropped: shared.queue.dropped(),
            errors: shared.errors.load(Relaxed),
        }
    }
}

impl Shared {
    pub(crate) fn new(capacity: usize, path: Option<PathBuf>) -> Self {
        Self {
            queue: Queue::new(capacity),
            orders: Mutex::default(),
            flushed: Condvar::new(),
            written: AtomicU64::new(0),
            errors: AtomicU64::new(0),
            path,
        }
    }

    pub(crate) fn orders(&self) -> MutexGuard<'_, Orders> {
        self.orders.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All that was logged before flush number `flush` was asked for is written.
    pub(crate) fn flushed(&self, flush: u64) {
        let mut orders = self.orders();
        if orders.flushed < flush {
            orders.flushed = flush;
            self.flushed.notify_all();
        }
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        let Self(shared) = self;
        shared.orders().closed = true;
        shared.queue.wake();
    }
}

impl<'a> MakeWriter<'a> for LogWriter {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

/// Each call is one line. It takes all, always: a line for which there is no room is dropped and counted.
impl io::Write for LogWriter {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.push(now(), line);
        Ok(line.len())
    }

    /// Does nothing: the writer's thread does not wait to be told. [`LogWriter::flush`] with a timeout waits.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl fmt::Debug for LogWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { owner: _ } = self;
        f.debug_struct("LogWriter").field("stats", &self.stats()).finish_non_exhaustive()
    }
}

impl fmt::Display for NotFlushed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the log is not written out in time")
    }
}

impl std::error::Error for NotFlushed {}
