mod jitter;
mod turn;

use std::{
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker, ready},
    time::Duration,
};

use graceful_timer::TaskTimer;
use pin_project::pin_project;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::Instant,
};

use self::turn::Turn;
use crate::{
    CloseReason, ConnectionControl, ConnectionState, Ended, Place, Settings, current,
    io::CountedIo,
    phase::{Clock, Facts, Limit, Phase},
    protocol::Protocol,
    registry::Entry,
    service::{HttpService, Tracked},
    settings::{deadline, earlier},
    shared::Shared,
    told::Signal,
};

/// How long an idle connection is still served after the signal to drain. tokio's view of a socket lags behind the
/// kernel's: a request may be there that nobody has seen yet (measured: without this, 37 of 100 such requests are lost).
pub(crate) const SETTLE: Duration = Duration::from_millis(20);

/// How old a connection must be for its silence to mean anything. The first request comes right behind the handshake, and
/// its client, unlike one whose connection has served before, does not try again elsewhere.
pub(crate) const NEWCOMER: Duration = Duration::from_millis(250);

/// One connection, from accept to close. Spawn it.
///
/// It resolves to how it [`Ended`], which may be before the socket closes: an upgraded one lives on with whoever took
/// it. Dropping it at any time closes the socket and drops what is in flight.
#[pin_project]
pub struct Connection<T, S: HttpService> {
    protocol: Protocol<T, S>,
    #[pin]
    timer: TaskTimer,
    clock: Clock,
    /// What the timer was armed for when the connection last came to rest: that was early enough.
    resting: Option<Instant>,
    shared: Arc<Shared>,
    /// Lent to what is polled.
    control: Option<ConnectionControl>,
    settings: Arc<Settings>,
    /// The task that the shared cell wakes.
    waker: Option<Waker>,
    /// The signal to drain came: until when the socket is watched for a request that is already there.
    settle: Option<Instant>,
    turn: Turn,
    /// Why the connection was asked to end.
    closing: Option<CloseReason>,
    /// Since when the client can send its first request.
    began: Instant,
    /// When it has grown old.
    retire: Option<Instant>,
    /// The last to go.
    entry: Arc<Entry>,
}

impl<T, S: HttpService> Connection<T, S> {
    /// Serves `io` with `service`.
    ///
    /// `place` comes from [`Registry::open`](crate::Registry::open). The header deadline counts from here.
    pub fn new(io: T, place: Place, service: S, settings: Arc<Settings>) -> Self {
        let shared = Arc::clone(place.shared());
        let entry = Arc::clone(place.entry());
        let service = Tracked::new(service, Arc::clone(&entry), place.upgrades(), Arc::clone(&settings));
        let now = Instant::now();
        if let Some(max) = settings.max_requests {
            shared.requests.set_max(jitter::around(max).max(1));
        }
        Self {
            protocol: Protocol::Sniff { io: CountedIo::new(io, place, &settings), service },
            timer: TaskTimer::new(),
            clock: Clock::new(now),
            resting: None,
            began: now,
            retire: settings.max_age.and_then(|age| deadline(now, Some(jitter::around_time(age)))),
            control: Some(ConnectionControl::of_each(Arc::clone(&shared))),
            shared,
            settings,
            waker: None,
            settle: None,
            turn: Turn::default(),
            closing: None,
            entry,
        }
    }

    /// Puts `value` into the extensions of every request that the service gets on this connection, as who its client is.
    /// Each request has a clone of its own, at less than half of what it costs to insert one.
    ///
    /// Of two values of a type the later one counts.
    #[must_use]
    pub fn extension<V: Clone + Send + Sync + 'static>(mut self, value: V) -> Self {
        match &mut self.protocol {
            Protocol::Sniff { service, .. } => service.give(value),
            _ => debug_assert!(false, "before its first poll it speaks nothing yet"),
        }
        self
    }
}

impl<T, S> Future for Connection<T, S>
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    S: HttpService,
{
    type Output = Ended;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Ended> {
        let mut this = self.project();
        // Where it was not spawned by its registry, there is no entry around its requests.
        let _around = this.entry.kinds().requests.registry().around(cx);
        if !this.waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            this.shared.listen(cx.waker());
            *this.waker = Some(cx.waker().clone());
        }
        if this.shared.is_http2() && this.turn.is_left_to_others(this.shared) {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        loop {
            // Looked at after the waker is stored: see `Told::raise`.
            match this.shared.signal() {
                Signal::Force => return Poll::Ready(end(this.protocol, this.shared, CloseReason::Forced)),
                Signal::Drain if this.closing.is_none() => {
                    *this.closing = Some(CloseReason::Drained);
                    let settled = Instant::now() + SETTLE;
                    let is_new = this.shared.requests.started() == 0;
                    *this.settle = Some(if is_new { settled.max(*this.began + NEWCOMER) } else { settled });
                }
                Signal::Drain | Signal::Retire | Signal::None => {}
            }

            let was_http2 = this.shared.is_http2();
            let polled = this
                .timer
                .as_mut()
                .lend(cx, |cx| current::lend(this.control, || this.protocol.poll(cx, this.settings)));
            if let Poll::Ready(result) = polled {
                return Poll::Ready(finished(this.protocol, this.shared, result, *this.closing));
            }

            if this.closing.is_none()
                && this.retire.is_none()
                && let Some(now) = this.clock.rest(this.shared)
            {
                let armed = this.timer.armed(now);
                // The idle deadline has only moved later since.
                if armed.is_some() && armed == *this.resting {
                    return Poll::Pending;
                }
                let waits = this.timer.as_mut().poll_until(cx, now, this.clock.idle_deadline(this.settings));
                *this.resting = this.timer.armed(now).filter(|_| waits.is_pending());
                ready!(waits);
                continue;
            }
            let now = Instant::now();
            graceful_tasks::time_is(now);
            if this.shared.is_http2() && !was_http2 {
                this.clock.preface(now);
                if this.shared.requests.started() == 0 {
                    this.shared.set_state(ConnectionState::Idle);
                }
            }
            let facts = Facts::of(this.shared);
            this.clock.observe(now, facts);
            report_state(this.shared, this.clock.phase(), facts);

            // HTTP/2 needs no last look: its GOAWAY says what is still served. But the first request is waited for, as it
            // would have to be made on another connection.
            let settled =
                this.settle.is_some_and(|at| at <= now || facts.in_flight > 0 || (facts.http2 && facts.started > 0));
            let retired =
                this.closing.is_none() && (this.shared.is_close_wanted() || this.retire.is_some_and(|at| at <= now));
            if settled || retired {
                *this.settle = None;
                this.closing.get_or_insert(CloseReason::Retired);
                this.protocol.graceful_shutdown();
                if facts.http2 && facts.in_flight == 0 {
                    this.clock.close(now);
                }
                continue;
            }
            if facts.http2 && this.closing.is_some() && this.settle.is_none() && this.clock.phase() == Phase::Idle {
                // The last stream is over; a peer that answers nothing is not waited for as an idle one.
                this.clock.close(now);
            }

            let due = this.clock.deadline(this.settings, facts);
            if let Some((_, limit)) = due.filter(|(at, _)| *at <= now) {
                let reason = match limit {
                    Limit::Idle => {
                        this.closing.get_or_insert(CloseReason::IdleTimeout);
                        this.protocol.graceful_shutdown();
                        this.clock.close(now);
                        continue;
                    }
                    Limit::Header if this.shared.socket.has_unread_head() && this.protocol.say_request_timeout() => {
                        *this.closing = Some(CloseReason::HeaderTimeout);
                        this.clock.close(now);
                        continue;
                    }
                    Limit::Header => CloseReason::HeaderTimeout,
                    Limit::Write => CloseReason::WriteTimeout,
                    Limit::Slow => CloseReason::WriteStalled,
                    Limit::HalfClosed => CloseReason::HalfClosed,
                    Limit::Closing => this.closing.unwrap_or_else(|| lingered(this.shared)),
                };
                return Poll::Ready(end(this.protocol, this.shared, reason));
            }
            let retire = this.retire.filter(|_| this.closing.is_none());
            let next = earlier(due.map(|(at, _)| at), earlier(*this.settle, retire));
            ready!(this.timer.as_mut().poll_until(cx, now, next));
        }
    }
}

/// What a connection ended for that read on until its client had the answer: to a body that nobody wanted, or to bytes
/// that are no request.
fn lingered(shared: &Shared) -> CloseReason {
    if shared.socket.has_unread_body() { CloseReason::Done } else { CloseReason::BadRequest }
}

/// A head on its way in is activity, as in Go; the requests themselves report theirs.
fn report_state(shared: &Shared, phase: Phase, facts: Facts) {
    if phase == Phase::Head && facts.read_seen && facts.in_flight == 0 {
        shared.set_state(ConnectionState::Active);
    }
}

/// Closes the socket, and drops what is in flight.
fn end<T, S: HttpService>(protocol: &mut Protocol<T, S>, shared: &Shared, reason: CloseReason) -> Ended {
    // Said first: the socket's end tells the observer.
    shared.set_reason(reason);
    *protocol = Protocol::Gone;
    Ended::because(reason).after(shared.requests.started())
}

/// The protocol has come to its end by itself.
fn finished<T, S: HttpService>(
    protocol: &mut Protocol<T, S>,
    shared: &Shared,
    result: Result<(), Ended>,
    closing: Option<CloseReason>,
) -> Ended {
    let http1 = matches!(protocol, Protocol::Http1(_));
    let upgraded = http1 && result.is_ok() && shared.socket.is_upgrading();
    let ended = match (result, closing) {
        (Err(ended), None) => ended,
        (Ok(()), None) if shared.is_close_wanted() => Ended::because(CloseReason::Retired),
        (Ok(()), None) => Ended::because(CloseReason::Done),
        (_, Some(reason)) => Ended::because(reason),
    };
    if !upgraded {
        shared.set_reason(ended.reason);
    }
    *protocol = Protocol::Gone;
    // The protocol is gone, the socket is not: somebody took it over.
    if upgraded && shared.socket.is_open() {
        shared.set_reason(CloseReason::Upgraded);
        shared.set_state(ConnectionState::Upgraded);
        return Ended::because(CloseReason::Upgraded).after(shared.requests.started());
    }
    ended.after(shared.requests.started())
}

impl<T, S: HttpService> fmt::Debug for Connection<T, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            protocol: _,
            timer: _,
            clock,
            resting: _,
            shared,
            control: _,
            settings: _,
            waker: _,
            settle: _,
            turn: _,
            closing,
            began: _,
            retire: _,
            entry: _,
        } = self;
        f.debug_struct("Connection")
            .field("id", &shared.id)
            .field("peer", &shared.peer())
            .field("state", &shared.state())
            .field("clock", clock)
            .field("closing", closing)
            .finish_non_exhaustive()
    }
}
