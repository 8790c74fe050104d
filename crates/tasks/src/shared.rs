//! What all parts of one registry share, and no list of anything.

use std::{
    sync::atomic::{
        AtomicU64, AtomicUsize,
        Ordering::{Relaxed, SeqCst},
    },
    time::Duration,
};

use tokio::sync::Notify;

use crate::clock::nanos;

/// Of a registry.
#[derive(Debug)]
pub(crate) struct Shared {
    /// Never 0, never used again.
    pub(crate) id: u64,
    /// Nanoseconds after which a poll is a long one.
    long_poll: AtomicU64,
    pub(crate) long_polls: AtomicU64,
    pub(crate) longest_poll: AtomicU64,
    pub(crate) panics: AtomicU64,
}

impl Shared {
    pub(crate) fn new(id: u64) -> Self {
        Self {
            id,
            long_poll: AtomicU64::new(nanos(LONG_POLL)),
            long_polls: AtomicU64::new(0),
            longest_poll: AtomicU64::new(0),
            panics: AtomicU64::new(0),
        }
    }

    pub(crate) fn set_long_poll(&self, bound: Duration) {
        self.long_poll.store(nanos(bound), Relaxed);
    }

    pub(crate) fn polled_for(&self, took: u64) {
        if took > self.long_poll.load(Relaxed) {
            self.count_long_poll(took);
        }
    }

    #[cold]
    fn count_long_poll(&self, took: u64) {
        self.long_polls.fetch_add(1, Relaxed);
        self.longest_poll.fetch_max(took, Relaxed);
    }
}

/// Of a kind.
#[derive(Debug)]
pub(crate) struct KindShared {
    pub(crate) name: &'static str,
    /// How many wait for the kind to be idle. Whoever waits raises it *before* it looks at a shard, under that shard's
    /// lock; whoever empties the shard later has that lock after it and sees the raise. Seats have no lock: see `Tally`.
    waiting: AtomicUsize,
    /// Told when a shard or a seat becomes empty while somebody waits.
    pub(crate) idle: Notify,
}

impl KindShared {
    pub(crate) fn new(name: &'static str) -> Self {
        Self { name, waiting: AtomicUsize::new(0), idle: Notify::new() }
    }

    pub(crate) fn wait(&self) {
        self.waiting.fetch_add(1, SeqCst);
    }

    pub(crate) fn wait_no_more(&self) {
        self.waiting.fetch_sub(1, Relaxed);
    }

    /// A shard is empty, or a seat.
    #[inline]
    pub(crate) fn is_emptier(&self) {
        if self.waiting.load(SeqCst) > 0 {
            self.idle.notify_waiters();
        }
    }
}

/// As Go's and tokio's own advice has it, a task should come back within 10 to 100 µs; one that takes a thousand times
/// that holds up everybody behind it.
const LONG_POLL: Duration = Duration::from_secs(1);
