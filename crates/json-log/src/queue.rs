//! What lies between the threads that log and the one that writes.

use std::{
    sync::{
        Mutex, MutexGuard, OnceLock, PoisonError, TryLockError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    thread::Thread,
    time::Duration,
};

/// Lines that wait for the writer, bounded by bytes.
///
/// In as many shards as there are cores, so that threads seldom meet: each thread begins at its own shard and goes on to
/// the next when that is locked or full. A lock is held for one `memcpy` of a line, or for one swap of the buffers.
pub(crate) struct Queue {
    shards: Box<[Shard]>,
    room: usize,
    dropped: AtomicU64,
    asleep: AtomicBool,
    writer: OnceLock<Thread>,
}

/// On a cache line of its own, and not on its neighbour's either, which x86 fetches along.
#[repr(align(128))]
struct Shard(Mutex<Lines>);

impl Queue {
    /// Room for `capacity` bytes.
    pub(crate) fn new(capacity: usize) -> Self {
        /// A shard should hold a long line.
        const LEAST: usize = 128 << 10;
        const MOST_SHARDS: usize = 16;
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let shards = cores.min(capacity / LEAST).clamp(1, MOST_SHARDS);
        let room = capacity / shards;
        Self {
            shards: (0..shards).map(|_| Shard(Mutex::new(Lines::with_room(room)))).collect(),
            room,
            dropped: AtomicU64::new(0),
            asleep: AtomicBool::new(false),
            writer: OnceLock::new(),
        }
    }

    /// Takes a line, or drops it where there is no room. Never waits for the writer.
    #[inline]
    pub(crate) fn push(&self, time: Duration, line: &[u8]) {
        if let Some(lines) = self.home().try_lock()
            && self.fits(&lines, line)
        {
            self.append(lines, time, line);
        } else {
            self.push_anywhere(time, line);
        }
    }

    #[cold]
    fn push_anywhere(&self, time: Duration, line: &[u8]) {
        let mut met_a_lock = false;
        for shard in self.shards_from_home() {
            match shard.try_lock() {
                Some(lines) if self.fits(&lines, line) => return self.append(lines, time, line),
                Some(_) => {}
                None => met_a_lock = true,
            }
        }
        if met_a_lock {
            // Somebody copies a line or swaps a buffer: that takes less time than to call it a loss.
            for shard in self.shards_from_home() {
                let lines = shard.lock();
                if self.fits(&lines, line) {
                    return self.append(lines, time, line);
                }
            }
        }
        self.drop_lines(1);
    }

    #[inline(always)]
    fn append(&self, mut lines: MutexGuard<'_, Lines>, time: Duration, line: &[u8]) {
        let before = lines.text.len();
        lines.push(time, line);
        let after = lines.text.len();
        drop(lines);
        // The writer says that it is asleep, then looks at each shard under its lock, then sleeps. If it looked here
        // before our line was in, our lock came after its, and this load sees what it said. If after, it saw the line.
        if self.asleep.load(Relaxed) && self.asleep.swap(false, Relaxed) {
            self.wake();
        } else if before < self.room / 2 && after >= self.room / 2 {
            // It rests between two batches: this one will not wait.
            self.wake();
        }
    }

    fn fits(&self, lines: &Lines, line: &[u8]) -> bool {
        line.len() <= self.room - lines.text.len()
    }

    /// The calling thread's own.
    fn home(&self) -> &Shard {
        // Most numbers are small, and a division is slow.
        let home = home();
        self.shards.get(home).unwrap_or_else(|| &self.shards[home % self.shards.len()])
    }

    /// All shards, the calling thread's own first.
    fn shards_from_home(&self) -> impl Iterator<Item = &Shard> {
        let home = home() % self.shards.len();
        let (before, from_home) = self.shards.split_at(home);
        from_home.iter().chain(before)
    }

    /// Makes the calling thread the one to wake.
    pub(crate) fn written_by_this_thread(&self) {
        let _ = self.writer.set(std::thread::current());
    }

    pub(crate) fn wake(&self) {
        if let Some(writer) = self.writer.get() {
            writer.unpark();
        }
    }

    /// Parks the writer's thread until there is a line, or until it is woken.
    pub(crate) fn sleep(&self) {
        self.asleep.store(true, Relaxed);
        if self.shards.iter().all(|shard| shard.lock().text.is_empty()) {
            std::thread::park();
        }
        self.asleep.store(false, Relaxed);
    }

    pub(crate) fn drop_lines(&self, lines: u64) {
        self.dropped.fetch_add(lines, Relaxed);
    }

    pub(crate) fn dropped(&self) -> u64 {
        self.dropped.load(Relaxed)
    }

    /// Moves all lines to `out`, in the order of their times.
    ///
    /// All shards are locked at once. Of two lines where one was logged after the other, be it on another thread, the
    /// second is then never taken without the first.
    pub(crate) fn take(&self, spare: &mut [Lines], out: &mut Lines) {
        let mut shards: Vec<_> = self.shards.iter().map(Shard::lock).collect();
        for (shard, spare) in shards.iter_mut().zip(&mut *spare) {
            std::mem::swap(&mut **shard, spare);
        }
        drop(shards);
        merge(spare, out);
    }

    /// An empty buffer for each shard.
    pub(crate) fn spare(&self) -> Vec<Lines> {
        self.shards.iter().map(|_| self.batch()).collect()
    }

    /// An empty buffer for what is taken, which may become that of a shard.
    pub(crate) fn batch(&self) -> Lines {
        Lines::with_room(self.room)
    }
}

impl Shard {
    fn try_lock(&self) -> Option<MutexGuard<'_, Lines>> {
        match self.0.try_lock() {
            Ok(lines) => Some(lines),
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Lines> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// `{"timestamp":"…","level":"INFO","target":""}` has 68 bytes.
const SHORTEST_LINE: usize = 64;

/// Each thread has a number of its own, from zero up.
fn home() -> usize {
    static THREADS: AtomicUsize = AtomicUsize::new(0);
    thread_local!(static HOME: usize = THREADS.fetch_add(1, Relaxed));
    HOME.try_with(|home| *home).unwrap_or_default()
}

/// Lines one after the other.
#[derive(Default)]
pub(crate) struct Lines {
    pub(crate) text: Vec<u8>,
    ends: Vec<(Duration, usize)>,
}

impl Lines {
    /// All of the memory at once: the pages come when they are first written to, and nothing is ever copied to grow,
    /// which would keep a lock for longer than the copy of a line.
    fn with_room(room: usize) -> Self {
        Self { text: Vec::with_capacity(room), ends: Vec::with_capacity(room / SHORTEST_LINE) }
    }

    pub(crate) fn push(&mut self, time: Duration, line: &[u8]) {
        self.text.extend_from_slice(line);
        self.ends.push((time, self.text.len()));
    }

    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    pub(crate) fn clear(&mut self) {
        self.text.clear();
        self.ends.clear();
    }

    /// How many lines end within the first `bytes`.
    pub(crate) fn complete_within(&self, bytes: usize) -> usize {
        self.ends.partition_point(|(_, end)| *end <= bytes)
    }

    /// Where the line with this index begins.
    pub(crate) fn start_of(&self, index: usize) -> usize {
        index.checked_sub(1).and_then(|before| self.ends.get(before)).map_or(0, |(_, end)| *end)
    }
}

/// Empties `parts` into `out`. Each part is in order but for lines of the same moment.
fn merge(parts: &mut [Lines], out: &mut Lines) {
    let filled = parts.iter().filter(|part| !part.is_empty()).count();
    if filled <= 1 {
        for part in parts.iter_mut().filter(|part| !part.is_empty()) {
            if out.is_empty() {
                // Both have the room of a shard. On a machine with little to log that is all there is to do.
                std::mem::swap(part, out);
                continue;
            }
            let base = out.text.len();
            out.text.extend_from_slice(&part.text);
            out.ends.extend(part.ends.iter().map(|(time, end)| (*time, base + end)));
            part.clear();
        }
        return;
    }
    let mut next = vec![0; parts.len()];
    let head = |part: &Lines, next: usize| part.ends.get(next).map(|(time, _)| *time);
    while let Some((time, at)) =
        parts.iter().enumerate().filter_map(|(at, part)| Some((head(part, next[at])?, at))).min()
    {
        let part = &parts[at];
        let line = part.start_of(next[at])..part.start_of(next[at] + 1);
        out.push(time, &part.text[line]);
        next[at] += 1;
    }
    parts.iter_mut().for_each(Lines::clear);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn micros(micros: u64) -> Duration {
        Duration::from_micros(micros)
    }

    fn lines(of: &[(u64, &str)]) -> Lines {
        let mut lines = Lines::default();
        of.iter().for_each(|(time, line)| lines.push(micros(*time), line.as_bytes()));
        lines
    }

    #[test]
    fn shards_are_merged_by_time() {
        let mut parts =
            [lines(&[(1, "a"), (4, "d"), (6, "f")]), Lines::default(), lines(&[(2, "b"), (3, "c"), (5, "e")])];
        let mut out = Lines::default();
        merge(&mut parts, &mut out);
        assert_eq!(out.text, b"abcdef");
        assert_eq!(out.len(), 6);
        assert!(parts.iter().all(|part| part.is_empty() && part.text.is_empty()), "what was taken is gone");

        merge(&mut [lines(&[(7, "g"), (8, "hi")]), Lines::default()], &mut out);
        assert_eq!(out.text, b"abcdefghi", "a single part is taken as it is, behind what is there");
        assert_eq!((out.start_of(6), out.start_of(7), out.start_of(8)), (6, 7, 9));
        assert_eq!((out.complete_within(6), out.complete_within(8), out.complete_within(9)), (6, 7, 8));
    }

    #[test]
    fn nothing_is_allocated_under_a_lock() {
        let queue = Queue::new(1 << 20);
        let line = [b'x'; SHORTEST_LINE];
        let (mut spare, mut out) = (queue.spare(), Lines::with_room(1 << 20));
        let filled_and_taken = allocation_counter::measure(|| {
            while queue.dropped() == 0 {
                queue.push(Duration::ZERO, &line);
            }
            // The locks are held for the swap; what is merged then is the writer's alone.
            queue.shards.iter().zip(&mut spare).for_each(|(shard, spare)| std::mem::swap(&mut *shard.lock(), spare));
        });
        assert_eq!(filled_and_taken.count_total, 0, "a lock is held for a copy of a line or for a swap, and no more");
        merge(&mut spare, &mut out);
        assert_eq!(out.len(), (1 << 20) / SHORTEST_LINE, "as many lines as it has room for, at the least");
    }

    #[test]
    fn a_full_queue_drops_the_newest_and_counts() {
        let queue = Queue::new(1_000);
        for _ in 0..30 {
            queue.push(micros(1), &[b'x'; 99]);
        }
        queue.push(micros(2), &[b'y'; 10]);
        queue.push(micros(3), &[b'z'; 1]);
        let (mut spare, mut out) = (queue.spare(), Lines::default());
        queue.take(&mut spare, &mut out);
        assert_eq!(
            out.text,
            [&[b'x'; 990][..], &[b'y'; 10]].concat(),
            "every byte of the room is used, and not one more"
        );
        assert_eq!((out.len(), queue.dropped()), (11, 21));
        queue.push(micros(4), b"again");
        assert_eq!(queue.dropped(), 21, "there is room again");
        queue.push(micros(5), &[b'l'; 1_001]);
        assert_eq!(queue.dropped(), 22, "a line that never fits is a line lost, no more");
    }

    #[test]
    fn a_thread_whose_shard_is_locked_or_full_uses_another() {
        let queue = Queue::new(1 << 20);
        let held: Vec<_> = queue.shards_from_home().take(1).map(Shard::lock).collect();
        if queue.shards.len() == 1 {
            return; // one core, one shard
        }
        queue.push(micros(1), b"line");
        drop(held);
        let (mut spare, mut out) = (queue.spare(), Lines::default());
        queue.take(&mut spare, &mut out);
        assert_eq!(out.text, b"line");

        let line = vec![b'x'; queue.room / 2];
        for _ in 0..2 * queue.shards.len() {
            queue.push(micros(1), &line);
        }
        assert_eq!(queue.dropped(), 0, "one thread can use all of the room");
    }
}
