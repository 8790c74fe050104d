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
    let since = at.saturating_duration_since(epoch());
    // Cannot wrap: no process is 584 years old.
    since.as_secs().wrapping_mul(1_000_000_000).wrapping_add(u64::from(since.subsec_nanos())) + 1
}

/// Before the first look, because a clock that is paused stands still at an earlier time.
#[inline]
fn epoch() -> Instant {
    static EPOCH: OnceLock<Instant> = OnceLock::new();
    *EPOCH.get_or_init(|| {
        let now = Instant::now();
        now.checked_sub(BEFORE).unwrap_or(now)
    })
}

/// An instant as a number that an atomic can hold: of [`Entry::since`](crate::Entry::since). Good within this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(pub(crate) u64);

impl Moment {
    /// What [`to_bits`](Self::to_bits) gave.
    #[must_use]
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// The number. Later moments have greater ones.
    #[must_use]
    pub const fn to_bits(self) -> u64 {
        self.0
    }

    /// The instant.
    #[must_use]
    pub fn instant(self) -> Instant {
        let Self(nanos) = self;
        let epoch = epoch();
        epoch.checked_add(Duration::from_nanos(nanos.saturating_sub(1))).unwrap_or(epoch)
    }
}

pub(crate) fn nanos(duration: Duration) -> u64 {
    duration.as_secs().saturating_mul(1_000_000_000).saturating_add(u64::from(duration.subsec_nanos()))
}

const BEFORE: Duration = Duration::from_secs(24 * 60 * 60);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_the_instant_that_it_was_made_of() {
        let now = Instant::now();
        let moment = Moment(at(now));
        assert_eq!(Moment::from_bits(moment.to_bits()).instant(), now);
        assert!(Moment(at(now + Duration::from_nanos(1))) > moment);
    }
}
