//! How many sockets may be upgraded at once.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::Relaxed},
};

use graceful_answer::Cause;
use http::StatusCode;

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
    pub(crate) fn admit(&self, max: usize) -> Result<UpgradePlace, TooManyUpgrades> {
        let more = |taken: usize| (taken < max).then_some(taken + 1);
        match self.taken.fetch_update(Relaxed, Relaxed, more) {
            Ok(_) => Ok(UpgradePlace { taken: Arc::clone(&self.taken) }),
            Err(_) => Err(TooManyUpgrades),
        }
    }
}

impl Drop for UpgradePlace {
    fn drop(&mut self) {
        self.taken.fetch_sub(1, Relaxed);
    }
}

/// There are as many upgraded sockets as there may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TooManyUpgrades;

impl Cause for TooManyUpgrades {
    fn status(&self) -> StatusCode {
        StatusCode::SERVICE_UNAVAILABLE
    }

    fn message(&self) -> &str {
        "too many upgraded connections"
    }

    fn retry_after(&self) -> Option<std::time::Duration> {
        Some(std::time::Duration::from_secs(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_given_back_once() {
        let upgrades = Upgrades::default();
        let one = upgrades.admit(1).expect("a place");
        assert_eq!(upgrades.admit(1).expect_err("taken"), TooManyUpgrades);
        drop(one);
        assert!(upgrades.admit(1).is_ok());
        assert!(upgrades.admit(0).is_err(), "none at all");
    }
}
