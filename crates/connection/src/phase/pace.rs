//! How fast a peer moves: the stall limit and the minimum rate, for either direction.

use std::time::Duration;

use tokio::time::Instant;

use crate::{
    MinRate,
    settings::{deadline, earlier},
};

/// Counts the time that we wait for a peer, and what it moves meanwhile.
///
/// Time in which the peer is not waited for, because the application has nothing for it or does not ask, does not count:
/// a peer is never blamed for that.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Pace {
    /// Since when it is waited for, when it last moved a byte, and how many it had moved then.
    waiting: Option<(Instant, Instant, u64)>,
    /// How long it was waited for before that.
    before: Duration,
    /// How many bytes it had moved when counting began.
    base: u64,
}

impl Pace {
    /// Begins to count, when the peer has moved so much.
    pub(crate) const fn from(moved: u64) -> Self {
        Self { waiting: None, before: Duration::ZERO, base: moved }
    }

    /// Begins to count anew, as for another request.
    pub(crate) const fn restart(&mut self, moved: u64) {
        *self = Self::from(moved);
    }

    /// The peer is waited for; `moved` is what it has moved in all.
    pub(crate) fn wait(&mut self, now: Instant, moved: u64) {
        match &mut self.waiting {
            None => self.waiting = Some((now, now, moved)),
            Some((_, progress, seen)) if *seen != moved => {
                *progress = now;
                *seen = moved;
            }
            Some(_) => {}
        }
    }

    /// The peer is not waited for.
    pub(crate) fn go(&mut self, now: Instant) {
        if let Some((since, ..)) = self.waiting.take() {
            self.before += now.saturating_duration_since(since);
        }
    }

    /// When the peer is too slow, if it moves nothing until then.
    pub(crate) fn deadline(&self, stall: Option<Duration>, rate: Option<MinRate>) -> Option<Instant> {
        let (since, progress, moved) = self.waiting?;
        let stalled = deadline(progress, stall);
        let slow = rate.and_then(|rate| {
            // What it moved earlier buys time, but never unlimited silence: the grace counts from its last byte.
            let allowed = rate.grace.saturating_add(rate.time_for(moved - self.base)).saturating_sub(self.before);
            let by_rate = since.checked_add(allowed)?;
            Some(deadline(progress, Some(rate.grace)).map_or(by_rate, |silent| by_rate.min(silent)))
        });
        earlier(stalled, slow)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn rate() -> Option<MinRate> {
        MinRate::new(100, 5 * SECOND)
    }

    fn seconds(start: Instant, at: Option<Instant>) -> Option<f64> {
        at.map(|at| (at - start).as_secs_f64())
    }

    #[test]
    fn nobody_is_blamed_while_not_waited_for() {
        let start = Instant::now();
        let mut pace = Pace::default();
        assert_eq!(pace.deadline(Some(SECOND), rate()), None);
        pace.wait(start, 0);
        pace.go(start + SECOND);
        assert_eq!(pace.deadline(Some(SECOND), rate()), None);
    }

    #[test]
    fn a_silent_peer_has_the_grace() {
        let start = Instant::now();
        let mut pace = Pace::default();
        pace.wait(start, 0);
        assert_eq!(seconds(start, pace.deadline(None, rate())), Some(5.0));
        assert_eq!(seconds(start, pace.deadline(Some(3 * SECOND), rate())), Some(3.0), "the earlier one counts");
    }

    #[test]
    fn a_peer_at_the_rate_goes_on_and_one_below_it_is_cut() {
        for (bytes_a_second, cut) in [(100, None), (150, None), (50, Some(9.0))] {
            let start = Instant::now();
            let mut pace = Pace::default();
            let mut ended = None;
            for second in 0..1000_u32 {
                let now = start + second * SECOND;
                if pace.deadline(None, rate()).is_some_and(|at| at <= now) {
                    ended = seconds(start, pace.deadline(None, rate()));
                    break;
                }
                pace.wait(now, u64::from(second * bytes_a_second));
            }
            assert_eq!(ended, cut, "{bytes_a_second} B/s with 100 B/s asked for");
        }
    }

    #[test]
    fn earlier_bytes_do_not_buy_silence() {
        let start = Instant::now();
        let mut pace = Pace::default();
        pace.wait(start, 0);
        pace.wait(start + SECOND, 300_000_000);
        assert_eq!(seconds(start, pace.deadline(None, rate())), Some(6.0), "the grace, from its last byte");
    }

    #[test]
    fn time_not_waited_does_not_count() {
        let start = Instant::now();
        let mut pace = Pace::default();
        pace.wait(start, 0);
        pace.go(start + 2 * SECOND);
        pace.wait(start + 100 * SECOND, 0);
        assert_eq!(seconds(start, pace.deadline(None, rate())), Some(103.0), "three of the five seconds are left");
    }

    #[test]
    fn another_request_begins_anew() {
        let start = Instant::now();
        let mut pace = Pace::default();
        pace.wait(start, 0);
        pace.restart(500);
        pace.wait(start + 10 * SECOND, 500);
        assert_eq!(seconds(start, pace.deadline(None, rate())), Some(15.0));
    }
}
