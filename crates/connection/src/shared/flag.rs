use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

/// A bit that one part of a connection leaves for another. It orders nothing.
#[derive(Debug, Default)]
pub(super) struct Flag(AtomicBool);

impl Flag {
    pub(super) fn get(&self) -> bool {
        self.0.load(Relaxed)
    }

    pub(super) fn set(&self) {
        self.put(true);
    }

    /// Nearly always it has the value already, and a load is cheaper than a store to a line that others read.
    pub(super) fn put(&self, value: bool) {
        if self.get() != value {
            self.0.store(value, Relaxed);
        }
    }

    /// Clears it, and says whether it was set. What is set meanwhile is seen at the next look.
    pub(super) fn take(&self) -> bool {
        let set = self.get();
        if set {
            self.put(false);
        }
        set
    }
}
