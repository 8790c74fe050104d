//! What a connection is told, and by whom it hears of it.

use std::task::Waker;

use crate::sync::{AtomicU8, Mutex, Ordering, PoisonError};

/// What the registry asks of a connection. Only ever raised.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Signal {
    None,
    /// The next answer is the last; nothing is closed for it.
    Retire,
    Drain,
    Force,
}

/// A side of an upgraded socket; reader and writer may be two tasks.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Side {
    Read,
    Write,
}

/// The signal to a connection, and who is woken by it.
#[derive(Debug)]
pub(crate) struct Told {
    signal: AtomicU8,
    /// The connection's own task. Kept, not taken, by a wake: a second signal must get through as well.
    task: Mutex<Option<Waker>>,
    /// Reader and writer of an upgraded socket, which no longer runs in the connection's task.
    upgraded: [Mutex<Option<Waker>>; 2],
}

impl Told {
    pub(crate) fn new() -> Self {
        Self {
            signal: AtomicU8::new(Signal::None as u8),
            task: Mutex::new(None),
            upgraded: [Mutex::new(None), Mutex::new(None)],
        }
    }

    pub(crate) fn signal(&self) -> Signal {
        match self.signal.load(Ordering::Acquire) {
            0 => Signal::None,
            1 => Signal::Retire,
            2 => Signal::Drain,
            _ => Signal::Force,
        }
    }

    /// Raises the signal, then wakes whoever runs the socket. Pairs with [`listen`](Self::listen) and
    /// [`listen_upgraded`](Self::listen_upgraded): they store a waker first and look at the signal after, so one of the
    /// two sides always sees the other.
    pub(crate) fn raise(&self, signal: Signal) {
        self.signal.fetch_max(signal as u8, Ordering::AcqRel);
        self.wake();
        for waker in &self.upgraded {
            wake(waker);
        }
    }

    pub(crate) fn wake(&self) {
        wake(&self.task);
    }

    pub(crate) fn listen(&self, waker: &Waker) {
        store(&self.task, waker);
    }

    pub(crate) fn listen_upgraded(&self, side: Side, waker: &Waker) {
        store(&self.upgraded[side as usize], waker);
    }
}

fn wake(slot: &Mutex<Option<Waker>>) {
    // Cloned, so that no foreign code runs under the lock.
    let waker = slot.lock().unwrap_or_else(PoisonError::into_inner).clone();
    if let Some(waker) = waker {
        waker.wake();
    }
}

fn store(slot: &Mutex<Option<Waker>>, waker: &Waker) {
    let mut slot = slot.lock().unwrap_or_else(PoisonError::into_inner);
    if !slot.as_ref().is_some_and(|stored| stored.will_wake(waker)) {
        *slot = Some(waker.clone());
    }
}
