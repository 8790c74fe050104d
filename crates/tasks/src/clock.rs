//! Time as a number, to be kept in atomics.

use std::{sync::OnceLock, time::Duration};

use tokio::time::Instant;

/// Nanoseconds since a moment before all that is looked at, from 1: 0 is never.
pub(crate) fn now() -> u64 {
    at(Instant::now())
}

/// As [`now`], for a time that is known.
#[inline]
pub(crate) fn at(at: Instant) -> u64 {
    /// Before the first look, because a clock that is paused stands still at an earlier time.
    static EPOCH: OnceLock<Instant> = OnceLock::new();
    let epoch = *EPOCH.get_or_init(|| {
        let now = Instant::now();
        now.checked_sub(BEFORE).unwrap_or(now)
    });
    nanos(at.saturating_duration_since(epoch)).saturating_add(1)
}

pub(crate) fn nanos(duration: Duration) -> u64 {
    duration.as_secs().saturating_mul(1_000_000_000).saturating_add(u64::from(duration.subsec_nanos()))
}

const BEFORE: Duration = Duration::from_secs(24 * 60 * 60);
