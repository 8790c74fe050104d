//! Who is there, what they were told, and when the last has gone.

use std::{collections::BTreeMap, sync::Arc};

use crate::{
    sync::{Mutex, MutexGuard, Notify, PoisonError},
    told::Signal,
};

/// A list of those who are to hear of each signal, also if they come after it.
pub(crate) struct Roll<T> {
    inside: Mutex<Inside<T>>,
    /// Told when the last one has gone.
    empty: Notify,
}

struct Inside<T> {
    /// By number, which counts up: the oldest first.
    members: BTreeMap<u64, Arc<T>>,
    /// What those who come from now on are told at once.
    signal: Signal,
}

/// One who hears of signals.
pub(crate) trait Hears {
    fn hear(&self, signal: Signal);
}

impl<T: Hears> Roll<T> {
    pub(crate) fn new() -> Self {
        Self { inside: Mutex::new(Inside { members: BTreeMap::new(), signal: Signal::None }), empty: Notify::new() }
    }

    /// Takes in one whom nobody knows yet.
    pub(crate) fn enter(&self, number: u64, member: Arc<T>) {
        let mut inside = self.inside();
        if inside.signal > Signal::None {
            // Nobody is woken by it.
            member.hear(inside.signal);
        }
        inside.members.insert(number, member);
    }

    pub(crate) fn leave(&self, number: u64) {
        let (gone, last) = {
            let mut inside = self.inside();
            let gone = inside.members.remove(&number);
            (gone, inside.members.is_empty())
        };
        // Foreign code may run with its end: not under the lock.
        drop(gone);
        if last {
            self.empty.notify_waiters();
        }
    }

    pub(crate) fn tell(&self, signal: Signal) {
        let members = {
            let mut inside = self.inside();
            inside.signal = inside.signal.max(signal);
            inside.members.values().cloned().collect::<Vec<_>>()
        };
        for member in members {
            member.hear(signal);
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.inside().members.len()
    }

    /// All of them, the oldest first.
    pub(crate) fn members(&self) -> Vec<Arc<T>> {
        self.inside().members.values().cloned().collect()
    }

    /// Waits until nobody is there. It can be dropped and called again at any time.
    pub(crate) async fn emptied(&self) {
        loop {
            let notified = self.empty.notified();
            tokio::pin!(notified);
            // Registered before the look, so that the last to go between the two is not missed.
            notified.as_mut().enable();
            if self.len() == 0 {
                return;
            }
            notified.await;
        }
    }

    fn inside(&self) -> MutexGuard<'_, Inside<T>> {
        // Nothing that can panic runs under the lock but an allocation failure.
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
