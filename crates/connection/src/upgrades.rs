//! How many sockets may be upgraded at once.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::Relaxed},
};

/// A cap of their own: upgraded sockets live for hours, under no HTTP limit, and must not use up everything else.
#[derive(Clone, Debug, Default)]
pub(crate) struct Upgrades {
    taken: Arc<AtomicUsize>,
}

/// A place among them, given back when dropped.
#[derive(Debug)]
pub(crate) struct UpgradePlace {
    taken: Arc<AtomicUsize>,
}

impl Upgrades {
    /// A place for a request that asks for an upgrade, before its handler runs: once it has answered 101 it is too late
    /// to refuse.
    pub(crate) fn admit(&self, max: usize) -> Option<UpgradePlace> {
        let more = |taken: usize| (taken < max).then_some(taken + 1);
        self.taken.fetch_update(Relaxed, Relaxed, more).ok()?;
        Some(UpgradePlace { taken: Arc::clone(&self.taken) })
    }
}

impl Drop for UpgradePlace {
    fn drop(&mut self) {
        self.taken.fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_given_back_once() {
        let upgrades = Upgrades::default();
        let one = upgrades.admit(1).expect("a place");
        assert!(upgrades.admit(1).is_none(), "taken");
        drop(one);
        assert!(upgrades.admit(1).is_some());
        assert!(upgrades.admit(0).is_none(), "none at all");
    }
}
