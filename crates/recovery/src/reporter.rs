//! The thread that gives names to the addresses of a backtrace, so that no worker has to.

use std::{
    collections::VecDeque,
    sync::{
        Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use crate::report::Addressed;

/// Waits until every panic that was caught before this call has been written to the log, or until `timeout` is over.
///
/// `true` if all were written. Reports with a backtrace are written by a thread of their own, a moment after the panic;
/// a process that ends in that moment loses them. So a server calls this before it exits. It blocks the calling thread
/// and returns at once when nothing is waiting.
#[must_use = "whether reports are still to be written"]
pub fn flush(timeout: Duration) -> bool {
    REPORTER.flush(timeout)
}

/// Has it written on the reporter's thread; on this one and without its backtrace if that is not possible.
pub(crate) fn submit(report: Box<Addressed>) {
    if let Err((mut report, reason)) = REPORTER.submit(report) {
        report.omit_backtrace(reason);
        report.write();
    }
}

/// Whether a backtrace that is captured now has a chance to be printed.
///
/// Asked by the panic hook, which must not wait for a lock. It keeps a flood of panics cheap: std has one lock for
/// capturing and for naming, so while reports are being written a capture may have to wait for one.
pub(crate) fn has_room() -> bool {
    // A hint: the queue itself decides under its lock.
    !REPORTER.full.load(Relaxed)
}

/// What a report says in the place of its backtrace.
pub(crate) const NO_ROOM: &str = "left out: 64 reports were waiting for theirs";
const NO_THREAD: &str = "left out: the system has no thread to print it on";

/// Reports that wait for their backtrace. With 0.2 ms for one (but 90 ms for the first) more than that are a flood, in
/// which one backtrace is like the other.
const MAX_WAITING: usize = 64;

static REPORTER: Reporter = Reporter::new();

struct Reporter {
    queue: Mutex<Queue>,
    full: AtomicBool,
    submitted: Condvar,
    written: Condvar,
}

struct Queue {
    waiting: VecDeque<Box<Addressed>>,
    /// The thread is there: started with the first report, never ended.
    running: bool,
    /// How many reports were ever put in, and how many of them were written.
    taken: u64,
    written: u64,
}

impl Reporter {
    const fn new() -> Self {
        Self {
            queue: Mutex::new(Queue { waiting: VecDeque::new(), running: false, taken: 0, written: 0 }),
            full: AtomicBool::new(false),
            submitted: Condvar::new(),
            written: Condvar::new(),
        }
    }

    fn submit(&'static self, report: Box<Addressed>) -> Result<(), (Box<Addressed>, &'static str)> {
        let mut queue = self.lock();
        if !queue.running {
            let thread = std::thread::Builder::new().name("graceful-panics".into());
            if thread.spawn(|| self.run()).is_err() {
                return Err((report, NO_THREAD));
            }
            queue.running = true;
        }
        if queue.waiting.len() == MAX_WAITING {
            return Err((report, NO_ROOM));
        }
        queue.waiting.push_back(report);
        queue.taken += 1;
        self.full.store(queue.waiting.len() == MAX_WAITING, Relaxed);
        self.submitted.notify_one();
        Ok(())
    }

    fn run(&self) {
        let mut queue = self.lock();
        loop {
            if let Some(report) = queue.waiting.pop_front() {
                self.full.store(false, Relaxed);
                drop(queue);
                report.write();
                queue = self.lock();
                queue.written += 1;
                self.written.notify_all();
            } else {
                queue = self.submitted.wait(queue).unwrap_or_else(PoisonError::into_inner);
            }
        }
    }

    fn flush(&self, timeout: Duration) -> bool {
        let queue = self.lock();
        // Reports are written in their order, so later ones do not prolong the wait.
        let all = queue.taken;
        let waited = self.written.wait_timeout_while(queue, timeout, |queue| queue.written < all);
        !waited.unwrap_or_else(PoisonError::into_inner).1.timed_out()
    }

    /// Never held while foreign code runs, so there is nothing half done behind a poisoned lock.
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_queue_is_bounded_whatever_the_hint_said() {
        // No thread takes from it.
        static REPORTER: Reporter = Reporter::new();
        REPORTER.lock().running = true;
        for i in 0..MAX_WAITING {
            assert!(!REPORTER.full.load(Relaxed), "room for {i}");
            assert!(REPORTER.submit(Box::new(Addressed::to_nobody())).is_ok());
        }
        assert!(REPORTER.full.load(Relaxed), "the hook need not capture another one");
        let refused = REPORTER.submit(Box::new(Addressed::to_nobody()));
        assert_eq!(refused.expect_err("full").1, NO_ROOM, "a worker that came too late has its report back");
        assert!(!REPORTER.flush(Duration::ZERO), "and nothing was written");
    }
}
