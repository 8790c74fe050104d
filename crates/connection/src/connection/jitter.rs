//! A tenth up or down, so that connections that were opened together do not end together.

use std::{
    hash::{BuildHasher, RandomState},
    time::Duration,
};

/// `limit`, give or take a tenth.
pub(super) fn around(limit: u64) -> u64 {
    let tenth = limit / 10;
    // From 0 to 2 * tenth; a limit near the end of the numbers is not worth spreading.
    let spread = random() % tenth.saturating_mul(2).saturating_add(1).max(1);
    (limit - tenth).saturating_add(spread)
}

pub(super) fn around_time(limit: Duration) -> Duration {
    let millis = u64::try_from(limit.as_millis()).unwrap_or(u64::MAX);
    Duration::from_millis(around(millis))
}

/// The standard library's hasher is keyed at random; that is all the randomness needed here.
fn random() -> u64 {
    RandomState::new().hash_one(0_u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn within_a_tenth_and_not_all_alike() {
        let values: Vec<_> = (0..1000).map(|_| around(1000)).collect();
        assert!(values.iter().all(|value| (900..=1100).contains(value)));
        assert!(values.iter().any(|value| *value < 950) && values.iter().any(|value| *value > 1050));
        for small in 0..10 {
            assert_eq!(around(small), small, "too small to spread");
        }
        assert!(around(u64::MAX) > u64::MAX / 2, "no overflow");
    }
}
