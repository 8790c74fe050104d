//! Which deadline counts, worked out from what the parts of a connection report. No I/O, no timer: a pure clockwork.

mod pace;
#[cfg(test)]
mod tests;

use std::time::Duration;

use tokio::time::Instant;

pub(crate) use self::pace::Pace;
use crate::{
    Settings,
    settings::deadline,
    shared::{Override, Shared},
};

/// How long an HTTP/2 peer may take to answer our GOAWAY, as in Go's server, and a client to take its 408.
const FAREWELL: Duration = Duration::from_secs(1);

/// How long a handler may compute without a pause and not have its connection's idle time begin too early.
const SYNCHRONOUS: Duration = Duration::from_millis(50);

/// What a connection looks like after it was polled.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Facts {
    pub(crate) http2: bool,
    /// Requests begun so far.
    pub(crate) started: u64,
    pub(crate) in_flight: u32,
    /// Bytes came in since the last look.
    pub(crate) read_seen: bool,
    /// HTTP/1: a part of the next head is in, though the response before it may not have been out by then.
    pub(crate) next_head: bool,
    /// A part of a request's body was handed over since the last look.
    pub(crate) body_seen: bool,
    pub(crate) write_blocked: bool,
    /// Bytes sent so far.
    pub(crate) written: u64,
    pub(crate) write_unlimited: bool,
    /// What the handler set its own write limit to.
    pub(crate) write_override: Override,
    /// HTTP/2: how many header blocks began so far (the preface counts as one), and whether the last is unfinished.
    pub(crate) header_block: (u64, bool),
    /// The client has closed its side while a request is in flight.
    pub(crate) half_closed: bool,
    pub(crate) lingering: bool,
}

impl Facts {
    pub(crate) fn of(shared: &Shared) -> Self {
        let Shared { requests, socket, .. } = shared;
        let started = requests.started();
        Self {
            http2: shared.is_http2(),
            started,
            in_flight: requests.in_flight(),
            read_seen: socket.take_read_seen(),
            next_head: socket.has_next_head(),
            body_seen: socket.take_body_seen(),
            write_blocked: socket.is_write_blocked(),
            written: socket.written(),
            write_unlimited: socket.is_write_unlimited(),
            write_override: requests.write_override(started),
            header_block: socket.header_block(),
            half_closed: socket.is_half_closed() && requests.in_flight() > 0,
            lingering: socket.is_lingering(),
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
    Slow,
    HalfClosed,
    Idle,
    Closing,
}

#[derive(Debug)]
pub(crate) struct Clock {
    phase: Phase,
    since: Instant,
    /// It is idle, since a while after `since`: see [`rest`](Self::rest).
    rests: bool,
    started: u64,
    /// How fast the peer takes the response.
    pace: Pace,
    /// HTTP/2: the unfinished header block, by number, and since when.
    block: Option<(u64, Instant)>,
    /// Since when the client's side is closed and nothing went out to it, and how much had gone out then.
    half_closed: Option<(Instant, u64)>,
}

impl Clock {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            phase: Phase::Head,
            since: now,
            rests: false,
            started: 0,
            pace: Pace::default(),
            block: None,
            half_closed: None,
        }
    }

    pub(crate) const fn phase(&self) -> Phase {
        self.phase
    }

    const fn enter(&mut self, phase: Phase, now: Instant) {
        self.phase = phase;
        self.since = now;
        self.rests = false;
    }

    /// The connection was asked to end; what is left of it has `FAREWELL` to go.
    pub(crate) const fn close(&mut self, now: Instant) {
        self.enter(Phase::Closing, now);
    }

    /// The HTTP/2 preface is in: no stream yet is idle.
    pub(crate) const fn preface(&mut self, now: Instant) {
        self.enter(Phase::Idle, now);
    }

    /// The short way through [`observe`](Self::observe) and [`deadline`](Self::deadline), for an HTTP/1 connection whose
    /// last poll took in a request and sent all of its response, as most do: the time, as far as it is known. It is idle
    /// then, until [`idle_deadline`](Self::idle_deadline).
    ///
    /// It does not read the clock. The request has begun within that poll, so the response ended later than that, by what
    /// the handler has computed without a pause; `SYNCHRONOUS` makes up for it.
    pub(crate) fn rest(&mut self, shared: &Shared) -> Option<Instant> {
        let Shared { requests, socket, .. } = shared;
        let started = requests.started();
        if started == self.started
            || requests.in_flight() > 0
            || shared.is_http2()
            || socket.has_next_head()
            || socket.is_write_blocked()
            || socket.is_lingering()
            || shared.is_close_wanted()
            || matches!(self.phase, Phase::Closing | Phase::Lingering)
        {
            return None;
        }
        socket.take_read_seen();
        socket.take_body_seen();
        let began = graceful_tasks::lately().unwrap_or_else(Instant::now);
        *self = Self {
            phase: Phase::Idle,
            since: began,
            rests: true,
            started,
            pace: Pace::from(socket.written()),
            block: None,
            half_closed: None,
        };
        Some(began)
    }

    /// Until when it may be idle. From one rest to the next it only moves later.
    pub(crate) fn idle_deadline(&self, settings: &Settings) -> Option<Instant> {
        let since = if self.rests { self.since + SYNCHRONOUS } else { self.since };
        deadline(since, settings.idle)
    }

    /// Takes in what the last poll did.
    pub(crate) fn observe(&mut self, now: Instant, facts: Facts) {
        let begun = facts.started != self.started;
        self.started = facts.started;
        if begun && !facts.http2 {
            self.pace.restart(facts.written);
        }
        match self.phase {
            // On its way before the client knew: it is answered like any other.
            Phase::Closing if facts.http2 && facts.in_flight > 0 => self.enter(Phase::Active, now),
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
                    if !facts.write_blocked {
                        self.enter(if facts.next_head { Phase::Head } else { Phase::Idle }, now);
                    } else if begun {
                        self.enter(Phase::Active, now);
                    }
                } else if phase == Phase::Idle && facts.next_head {
                    self.enter(Phase::Head, now);
                }
            }
        }
        if facts.write_blocked {
            self.pace.wait(now, facts.written);
        } else {
            self.pace.go(now);
        }
        self.block = match (facts.header_block, self.block) {
            ((_, false), _) => None,
            ((number, true), Some((same, since))) if same == number => Some((number, since)),
            ((number, true), _) => Some((number, now)),
        };
        // As long as it takes what we send, it is there.
        self.half_closed = match self.half_closed {
            _ if !facts.half_closed || facts.write_blocked => None,
            Some((since, written)) if written == facts.written => Some((since, written)),
            _ => Some((now, facts.written)),
        };
    }

    /// The deadline that comes first, and whose it is.
    pub(crate) fn deadline(&self, settings: &Settings, facts: Facts) -> Option<(Instant, Limit)> {
        let phase = match self.phase {
            Phase::Head => deadline(self.since, settings.read_header).map(|at| (at, Limit::Header)),
            // HTTP/2 responses have their deadlines in their streams.
            Phase::Active if facts.http2 => None,
            Phase::Active => match facts.write_override {
                Override::None if facts.write_unlimited => None,
                Override::None => deadline(self.since, settings.write),
                Override::Until(at) => at,
            }
            .map(|at| (at, Limit::Write)),
            Phase::Idle => self.idle_deadline(settings).map(|at| (at, Limit::Idle)),
            Phase::Closing => deadline(self.since, Some(FAREWELL)).map(|at| (at, Limit::Closing)),
            // Lingering cannot be without end, also where the setting is off.
            Phase::Lingering => {
                deadline(self.since, settings.linger).or(Some(self.since)).map(|at| (at, Limit::Closing))
            }
        };
        let slow = self.pace.deadline(settings.write_stall, settings.min_write_rate).map(|at| (at, Limit::Slow));
        let block =
            self.block.and_then(|(_, since)| deadline(since, settings.read_header)).map(|at| (at, Limit::Header));
        let half_closed = self
            .half_closed
            .map(|(since, _)| (deadline(since, settings.half_close_grace).unwrap_or(since), Limit::HalfClosed));
        [phase, slow, block, half_closed].into_iter().flatten().min_by_key(|(at, _)| *at)
    }
}
