//! Which deadline counts, worked out from what the parts of a connection report. No I/O, no timer: a pure clockwork.

use std::time::Duration;

use tokio::time::Instant;

use crate::{Settings, settings::deadline, shared::Shared};

/// How long an HTTP/2 peer may take to answer our GOAWAY, and a client to take its 408.
const FAREWELL: Duration = Duration::from_secs(5);

/// What a connection looks like after it was polled.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Facts {
    pub(crate) http2: bool,
    /// Requests begun so far.
    pub(crate) started: u64,
    pub(crate) in_flight: u32,
    /// Bytes came in since the last look.
    pub(crate) read_seen: bool,
    /// A part of a request's body was handed over since the last look.
    pub(crate) body_seen: bool,
    pub(crate) write_blocked: bool,
    /// Bytes sent so far.
    pub(crate) written: u64,
    pub(crate) write_unlimited: bool,
    pub(crate) lingering: bool,
}

impl Facts {
    pub(crate) fn of(shared: &Shared) -> Self {
        Self {
            http2: shared.is_http2(),
            started: shared.started(),
            in_flight: shared.in_flight(),
            read_seen: shared.take_read_seen(),
            body_seen: shared.take_body_seen(),
            write_blocked: shared.is_write_blocked(),
            written: shared.written(),
            write_unlimited: shared.is_write_unlimited(),
            lingering: shared.is_lingering(),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Waiting for a request head, or in the middle of one.
    Head,
    /// A request is in flight, or the last of its response.
    Active,
    Idle,
    /// Asked to end: GOAWAY, or a last answer, is out.
    Closing,
    /// Reading on so that the client gets its answer.
    Lingering,
}

/// Which limit a deadline comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Limit {
    Header,
    Write,
    Stall,
    Idle,
    Closing,
}

#[derive(Debug)]
pub(crate) struct Clock {
    phase: Phase,
    since: Instant,
    started: u64,
    /// When the peer last took a byte, and how many it had taken, while there is more to send.
    blocked: Option<(Instant, u64)>,
}

impl Clock {
    pub(crate) const fn new(now: Instant) -> Self {
        Self { phase: Phase::Head, since: now, started: 0, blocked: None }
    }

    pub(crate) const fn phase(&self) -> Phase {
        self.phase
    }

    fn enter(&mut self, phase: Phase, now: Instant) {
        self.phase = phase;
        self.since = now;
    }

    /// The connection was asked to end; what is left of it has `FAREWELL` to go.
    pub(crate) fn close(&mut self, now: Instant) {
        self.enter(Phase::Closing, now);
    }

    /// The HTTP/2 preface is in: no stream yet is idle.
    pub(crate) fn preface(&mut self, now: Instant) {
        self.enter(Phase::Idle, now);
    }

    /// Takes in what the last poll did.
    pub(crate) fn observe(&mut self, now: Instant, facts: Facts) {
        let begun = facts.started != self.started;
        self.started = facts.started;
        match self.phase {
            Phase::Closing | Phase::Lingering => {
                if facts.lingering && self.phase == Phase::Closing {
                    self.enter(Phase::Lingering, now);
                }
            }
            _ if facts.lingering => self.enter(Phase::Lingering, now),
            phase => {
                if facts.in_flight > 0 && (begun || facts.body_seen || phase != Phase::Active) {
                    self.enter(Phase::Active, now);
                } else if facts.in_flight == 0 && (begun || phase == Phase::Active) {
                    // The body was handed over, but its bytes are not out yet: still the response's time.
                    if facts.write_blocked {
                        if begun {
                            self.enter(Phase::Active, now);
                        }
                    } else {
                        self.enter(Phase::Idle, now);
                    }
                } else if phase == Phase::Idle && facts.read_seen && !facts.http2 {
                    self.enter(Phase::Head, now);
                }
            }
        }
        self.blocked = match self.blocked {
            _ if !facts.write_blocked => None,
            Some((since, written)) if written == facts.written => Some((since, written)),
            _ => Some((now, facts.written)),
        };
    }

    /// The deadline that comes first, and whose it is.
    pub(crate) fn deadline(&self, settings: &Settings, facts: Facts) -> Option<(Instant, Limit)> {
        let phase = match self.phase {
            Phase::Head => deadline(self.since, settings.read_header).map(|at| (at, Limit::Header)),
            // HTTP/2 responses have their deadlines in their streams.
            Phase::Active if facts.http2 || facts.write_unlimited => None,
            Phase::Active => deadline(self.since, settings.write).map(|at| (at, Limit::Write)),
            Phase::Idle => deadline(self.since, settings.idle).map(|at| (at, Limit::Idle)),
            Phase::Closing => deadline(self.since, Some(FAREWELL)).map(|at| (at, Limit::Closing)),
            // Lingering cannot be without end, also where the setting is off.
            Phase::Lingering => {
                deadline(self.since, settings.linger).or(Some(self.since)).map(|at| (at, Limit::Closing))
            }
        };
        let stall =
            self.blocked.and_then(|(since, _)| deadline(since, settings.write_stall)).map(|at| (at, Limit::Stall));
        match (phase, stall) {
            (Some(phase), Some(stall)) => Some(if stall.0 < phase.0 { stall } else { phase }),
            (one, other) => one.or(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    const QUIET: Facts = Facts {
        http2: false,
        started: 0,
        in_flight: 0,
        read_seen: false,
        body_seen: false,
        write_blocked: false,
        written: 0,
        write_unlimited: false,
        lingering: false,
    };

    fn settings() -> Settings {
        Settings {
            read_header: Some(5 * SECOND),
            write: Some(60 * SECOND),
            write_stall: Some(30 * SECOND),
            idle: Some(120 * SECOND),
            linger: Some(5 * SECOND),
            ..Settings::default()
        }
    }

    /// Feeds facts at seconds, and gives the deadline in seconds after the last of them.
    fn after(steps: &[(u32, Facts)]) -> Option<(u64, Limit)> {
        let start = Instant::now();
        let mut clock = Clock::new(start);
        let mut last = QUIET;
        for &(at, facts) in steps {
            clock.observe(start + at * SECOND, facts);
            last = facts;
        }
        clock.deadline(&settings(), last).map(|(at, limit)| ((at - start).as_secs(), limit))
    }

    #[test]
    fn the_first_head_counts_from_accept_whatever_drips_in() {
        let drip = Facts { read_seen: true, ..QUIET };
        assert_eq!(after(&[]), Some((5, Limit::Header)));
        assert_eq!(after(&[(1, drip), (2, drip), (4, drip)]), Some((5, Limit::Header)));
    }

    #[test]
    fn each_request_has_its_own_write_clock() {
        let first = Facts { started: 1, in_flight: 1, read_seen: true, ..QUIET };
        let second = Facts { started: 2, ..first };
        assert_eq!(after(&[(1, first)]), Some((61, Limit::Write)));
        assert_eq!(after(&[(1, first), (30, first)]), Some((61, Limit::Write)), "not restarted by more polls");
        assert_eq!(after(&[(1, first), (30, second)]), Some((90, Limit::Write)), "the next request begins anew");
    }

    #[test]
    fn the_write_clock_begins_when_the_request_is_in() {
        let begun = Facts { started: 1, in_flight: 1, ..QUIET };
        let body = Facts { body_seen: true, ..begun };
        assert_eq!(after(&[(1, begun), (50, body)]), Some((110, Limit::Write)), "an upload is not the response's time");
        assert_eq!(after(&[(1, begun), (50, body), (55, begun)]), Some((110, Limit::Write)), "one that stops is");
    }

    #[test]
    fn a_request_that_began_and_ended_in_one_poll_is_idle() {
        let done = Facts { started: 1, read_seen: true, ..QUIET };
        assert_eq!(after(&[(1, done)]), Some((121, Limit::Idle)));
    }

    #[test]
    fn the_idle_clock_ends_with_the_first_byte() {
        let done = Facts { started: 1, read_seen: true, ..QUIET };
        let quiet = Facts { started: 1, ..QUIET };
        let byte = Facts { read_seen: true, ..quiet };
        assert_eq!(after(&[(1, done), (100, quiet)]), Some((121, Limit::Idle)));
        assert_eq!(after(&[(1, done), (100, byte)]), Some((105, Limit::Header)));
        assert_eq!(
            after(&[(1, done), (100, byte), (103, byte)]),
            Some((105, Limit::Header)),
            "a drip restarts nothing"
        );
    }

    #[test]
    fn bytes_on_http2_are_not_a_head() {
        let done = Facts { http2: true, started: 1, read_seen: true, ..QUIET };
        assert_eq!(after(&[(1, done), (50, done)]), Some((121, Limit::Idle)), "a ping is not activity");
    }

    #[test]
    fn a_response_ends_with_its_last_byte_not_with_its_body() {
        let active = Facts { started: 1, in_flight: 1, ..QUIET };
        let blocked = Facts { in_flight: 0, write_blocked: true, ..active };
        let flushed = Facts { write_blocked: false, ..blocked };
        assert_eq!(after(&[(0, active), (50, blocked)]), Some((60, Limit::Write)));
        assert_eq!(after(&[(0, active), (50, blocked), (55, flushed)]), Some((175, Limit::Idle)));
    }

    #[test]
    fn a_stalled_reader_is_cut_from_its_last_byte() {
        let unlimited = Facts { started: 1, in_flight: 1, write_unlimited: true, ..QUIET };
        let blocked = Facts { write_blocked: true, written: 10, ..unlimited };
        let more = Facts { written: 11, ..blocked };
        assert_eq!(after(&[(0, unlimited)]), None, "no total limit");
        assert_eq!(after(&[(0, blocked), (20, blocked)]), Some((30, Limit::Stall)));
        assert_eq!(after(&[(0, blocked), (20, more)]), Some((50, Limit::Stall)), "progress restarts it");
        assert_eq!(after(&[(0, blocked), (20, unlimited)]), None, "nothing to send is no stall");
    }

    #[test]
    fn lingering_is_bounded() {
        let linger = Facts { started: 1, lingering: true, ..QUIET };
        assert_eq!(after(&[(10, linger), (12, linger)]), Some((15, Limit::Closing)));
    }
}
