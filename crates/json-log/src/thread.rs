//! The thread that writes.

use std::{
    io::{self, ErrorKind},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, atomic::Ordering::Relaxed},
    thread,
    time::Duration,
};

use crate::{
    Format,
    output::{Sink, take_over},
    queue::Lines,
    time::now,
    writer::Shared,
};

/// How long it rests after a batch, so that the next is worth a system call. Nobody waits longer for a line to appear.
const REST: Duration = Duration::from_millis(20);

/// The pauses before it tries again what has failed: from the first, doubled as long as nothing is taken, up to the last.
const PAUSES: (Duration, Duration) = (Duration::from_millis(1), Duration::from_secs(1));

pub(crate) struct WriterThread {
    shared: Arc<Shared>,
    sink: Sink,
    format: Format,
    spare: Vec<Lines>,
    /// What is left of a line that a pipe took half of before its reader went: goes first, if there is another reader.
    torn: Vec<u8>,
    /// What is being written, and how many bytes of it are.
    batch: Lines,
    done: usize,
    /// How long it waits if the next write fails.
    pause: Duration,
    /// Up to which count of lost lines the log tells of them.
    told: u64,
    /// The count before, while the last line of the batch is the one that tells.
    telling: Option<u64>,
    gone: bool,
}

impl WriterThread {
    pub(crate) fn new(shared: Arc<Shared>, sink: Sink, format: Format) -> Self {
        Self {
            spare: shared.queue.spare(),
            batch: shared.queue.batch(),
            shared,
            sink,
            format,
            torn: Vec::new(),
            done: 0,
            pause: PAUSES.0,
            told: 0,
            telling: None,
            gone: false,
        }
    }

    pub(crate) fn run(mut self) {
        self.shared.queue.written_by_this_thread();
        loop {
            // Read before the lines are taken: all that was logged before a flush is then among them.
            let (flushes, closed) = self.take_orders();
            let result = self.write_batch().and_then(|()| {
                self.next_batch();
                self.write_batch()
            });
            match result {
                Ok(()) => {
                    self.shared.flushed(flushes);
                    if closed {
                        return;
                    }
                    if self.batch.is_empty() {
                        self.shared.queue.sleep();
                    } else {
                        thread::park_timeout(REST);
                    }
                }
                // Nobody logs any more, and nobody waits: what cannot be written is not written. An output that would
                // block is only to be waited for, as one that blocks.
                Err(error) if closed && error.kind() != ErrorKind::WouldBlock => return,
                Err(_) => {
                    thread::park_timeout(self.pause);
                    self.pause = (self.pause * 2).min(PAUSES.1);
                }
            }
        }
    }

    fn take_orders(&self) -> (u64, bool) {
        let orders = self.shared.orders();
        (orders.flushes, orders.closed)
    }

    /// Goes on in another file, if there is one.
    fn change_file(&mut self) {
        let Some(file) = self.shared.orders().file.take() else { return };
        // Here, and not where it is opened: it may be the file of before, and a line that this thread was just writing
        // would be cut off as half a line, with all that came behind it. Nor are we one who writes to it now.
        self.sink = Box::new(io::sink());
        if take_over(&file).is_err() {
            self.shared.errors.fetch_add(1, Relaxed);
        }
        self.go_on_in(Box::new(file));
    }

    fn go_on_in(&mut self, sink: Sink) {
        self.sink = sink;
        // What the old file has of a line is no line. The new one gets all of it.
        self.torn.clear();
        self.done = self.batch.start_of(self.batch.complete_within(self.done));
    }

    /// Takes what has come in, and tells what was lost meanwhile.
    fn next_batch(&mut self) {
        self.batch.clear();
        self.done = 0;
        self.telling = None;
        self.shared.queue.take(&mut self.spare, &mut self.batch);
        let dropped = self.shared.queue.dropped();
        // While the reader of a pipe is gone, there is nobody to tell.
        if dropped > self.told && !(self.gone && self.batch.is_empty()) {
            let mut line = Vec::new();
            self.format.loss(dropped - self.told, &mut line);
            self.batch.push(now(), &line);
            self.telling = Some(self.told);
            self.told = dropped;
        }
    }

    /// Writes the batch to its end.
    ///
    /// # Errors
    ///
    /// If the output cannot take it now. What is left, half a line perhaps, waits in the batch; new lines wait in the
    /// queue as long as that has room. But if the reader of a pipe is gone, nothing waits for another one.
    fn write_batch(&mut self) -> io::Result<()> {
        // Not before the lines are taken: what was logged after `reopen` goes to the new file.
        self.change_file();
        while self.done < self.batch.text.len() {
            let rest = if self.torn.is_empty() { &self.batch.text[self.done..] } else { &self.torn };
            // The sink may be the user's.
            let result = catch_unwind(AssertUnwindSafe(|| self.sink.write(rest)))
                .unwrap_or_else(|_| Err(io::Error::other("the output panicked")));
            let error = match result {
                Ok(0) => ErrorKind::WriteZero.into(),
                Ok(bytes) => {
                    let bytes = bytes.min(rest.len());
                    self.wrote(bytes);
                    continue;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => error,
            };
            self.shared.errors.fetch_add(1, Relaxed);
            if error.kind() != ErrorKind::BrokenPipe {
                return Err(error);
            }
            self.lose_batch();
        }
        Ok(())
    }

    fn wrote(&mut self, bytes: usize) {
        self.gone = false;
        // A pipe that does not block takes a part, fails, and has room again at once.
        self.pause = PAUSES.0;
        if !self.torn.is_empty() {
            self.torn.drain(..bytes);
            return;
        }
        let before = self.users_lines_done();
        self.done += bytes;
        self.shared.written.fetch_add((self.users_lines_done() - before) as u64, Relaxed);
    }

    /// The reader of a pipe is gone: what it has not got is lost.
    fn lose_batch(&mut self) {
        self.gone = true;
        let complete = self.batch.complete_within(self.done);
        self.shared.queue.drop_lines((self.users_lines() - self.users_lines_done()) as u64);
        if let Some(told_before) = self.telling.take()
            && complete < self.batch.len()
        {
            self.told = told_before;
        }
        if self.torn.is_empty() && self.done > self.batch.start_of(complete) {
            self.torn = self.batch.text[self.done..self.batch.start_of(complete + 1)].to_vec();
        }
        self.batch.clear();
        self.done = 0;
    }

    /// The lines of the batch without the one that tells of losses.
    fn users_lines(&self) -> usize {
        self.batch.len() - usize::from(self.telling.is_some())
    }

    fn users_lines_done(&self) -> usize {
        self.batch.complete_within(self.done).min(self.users_lines())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::output::open_file;

    /// Takes `room` bytes, then is full.
    #[derive(Clone, Default)]
    struct Disk(Arc<Mutex<(Vec<u8>, usize)>>);

    impl Disk {
        fn with_room(room: usize) -> Self {
            Self(Arc::new(Mutex::new((Vec::new(), room))))
        }

        fn text(&self) -> String {
            String::from_utf8(self.0.lock().unwrap().0.clone()).unwrap()
        }
    }

    impl io::Write for Disk {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let (text, room) = &mut *self.0.lock().unwrap();
            if *room == 0 {
                return Err(ErrorKind::StorageFull.into());
            }
            let taken = bytes.len().min(*room);
            text.extend_from_slice(&bytes[..taken]);
            *room -= taken;
            Ok(taken)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_line_that_a_full_disk_cut_is_written_anew_to_another_file() {
        let shared = Arc::new(Shared::new(1_000, None));
        let (full, empty) = (Disk::with_room(8), Disk::with_room(100));
        let mut thread = WriterThread::new(Arc::clone(&shared), Box::new(full.clone()), Format::Json);
        for line in ["one\n", "two-and-more\n", "three\n"] {
            shared.queue.push(now(), line.as_bytes());
        }
        thread.next_batch();
        assert!(thread.write_batch().is_err());
        assert!(thread.write_batch().is_err(), "it stays full");
        thread.go_on_in(Box::new(empty.clone()));
        thread.write_batch().unwrap();
        assert_eq!((full.text().as_str(), empty.text().as_str()), ("one\ntwo-", "two-and-more\nthree\n"));
        assert_eq!(shared.written.load(Relaxed), 3, "each line counts once");
        assert_eq!((shared.queue.dropped(), shared.errors.load(Relaxed)), (0, 2));
    }

    #[test]
    fn what_is_logged_after_a_file_was_opened_goes_there() {
        let path = std::env::temp_dir().join(format!("graceful-json-log-{}-next", std::process::id()));
        let shared = Arc::new(Shared::new(1_000, None));
        let before = Disk::with_room(100);
        let mut thread = WriterThread::new(Arc::clone(&shared), Box::new(before.clone()), Format::Json);
        thread.take_orders();
        // While the thread is between the two.
        shared.orders().file = Some(open_file(&path).unwrap());
        shared.queue.push(now(), b"after\n");
        thread.next_batch();
        thread.write_batch().unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        assert_eq!((before.text().as_str(), text.as_str()), ("", "after\n"));
    }

    #[test]
    fn a_line_that_a_full_disk_cut_is_completed_when_there_is_room() {
        let shared = Arc::new(Shared::new(1_000, None));
        let disk = Disk::with_room(6);
        let mut thread = WriterThread::new(Arc::clone(&shared), Box::new(disk.clone()), Format::Json);
        shared.queue.push(now(), b"one-and-two\n");
        thread.next_batch();
        assert!(thread.write_batch().is_err());
        disk.0.lock().unwrap().1 = 100;
        thread.write_batch().unwrap();
        assert_eq!(disk.text(), "one-and-two\n");
    }
}
