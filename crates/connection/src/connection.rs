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

use crate::{
    CloseReason, ConnectionState, Ended, Place, Settings,
    io::CountedIo,
    phase::{Clock, Facts, Limit, Phase},
    protocol::Protocol,
    service::{HttpService, Tracked},
    shared::{Shared, Signal},
};

/// How long an idle connection is still served after the signal to drain. tokio's view of a socket lags behind the
/// kernel's: a request may be there that nobody has seen yet (measured: without this, 37 of 100 such requests are lost).
pub(crate) const SETTLE: Duration = Duration::from_millis(20);

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
    shared: Arc<Shared>,
    settings: Arc<Settings>,
    /// The task that the shared cell wakes.
    waker: Option<Waker>,
    /// The signal to drain came: until when the socket is watched for a request that is already there.
    settle: Option<Instant>,
    /// Why the connection was asked to end.
    closing: Option<CloseReason>,
}

impl<T, S: HttpService> Connection<T, S> {
    /// Serves `io` with `service`.
    ///
    /// `place` comes from [`Registry::open`](crate::Registry::open). The header deadline counts from here.
    pub fn new(io: T, place: Place, service: S, settings: Arc<Settings>) -> Self {
        let shared = Arc::clone(place.shared());
        let service = Tracked::new(service, Arc::clone(&shared), Arc::clone(&settings));
        Self {
            protocol: Protocol::Sniff { io: CountedIo::new(io, place), service },
            timer: TaskTimer::new(),
            clock: Clock::new(Instant::now()),
            shared,
            settings,
            waker: None,
            settle: None,
            closing: None,
        }
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
        if !this.waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            this.shared.listen(cx.waker());
            *this.waker = Some(cx.waker().clone());
        }
        loop {
            // Looked at after the waker is stored: see `Shared::raise`.
            match this.shared.signal() {
                Signal::Force => {
                    *this.protocol = Protocol::Gone;
                    return Poll::Ready(Ended::because(CloseReason::Forced));
                }
                Signal::Drain if this.closing.is_none() => {
                    *this.closing = Some(CloseReason::Drained);
                    *this.settle = Some(Instant::now() + SETTLE);
                }
                Signal::Drain | Signal::None => {}
            }

            let was_http2 = this.shared.is_http2();
            let polled = this.timer.as_mut().lend(cx, |cx| this.protocol.poll(cx, this.settings));
            if let Poll::Ready(result) = polled {
                let http1 = matches!(this.protocol, Protocol::Http1(_));
                *this.protocol = Protocol::Gone;
                return Poll::Ready(ended(this.shared, result, *this.closing, http1));
            }

            let now = Instant::now();
            if this.shared.is_http2() && !was_http2 {
                this.clock.preface(now);
            }
            let facts = Facts::of(this.shared);
            this.clock.observe(now, facts);
            report_state(this.shared, this.clock.phase(), facts);

            if this.settle.is_some_and(|at| at <= now || facts.in_flight > 0 || facts.http2) {
                *this.settle = None;
                this.protocol.graceful_shutdown();
                if facts.http2 && facts.in_flight == 0 {
                    this.clock.close(now);
                }
                continue;
            }

            let due = this.clock.deadline(this.settings, facts);
            if let Some((_, limit)) = due.filter(|(at, _)| *at <= now) {
                match limit {
                    Limit::Idle => {
                        this.closing.get_or_insert(CloseReason::IdleTimeout);
                        this.protocol.graceful_shutdown();
                        this.clock.close(now);
                        continue;
                    }
                    Limit::Header if this.shared.has_unread_head() && this.protocol.say_request_timeout() => {
                        *this.closing = Some(CloseReason::HeaderTimeout);
                        this.clock.close(now);
                        continue;
                    }
                    _ => {}
                }
                *this.protocol = Protocol::Gone;
                return Poll::Ready(Ended::because(match limit {
                    Limit::Header => CloseReason::HeaderTimeout,
                    Limit::Write => CloseReason::WriteTimeout,
                    Limit::Stall => CloseReason::WriteStalled,
                    Limit::Idle => CloseReason::IdleTimeout,
                    Limit::Closing => this.closing.unwrap_or(CloseReason::Done),
                }));
            }
            let next = match (due.map(|(at, _)| at), *this.settle) {
                (Some(due), Some(settle)) => Some(due.min(settle)),
                (one, other) => one.or(other),
            };
            ready!(this.timer.as_mut().poll_until(cx, next));
        }
    }
}

/// A head on its way in is activity, as in Go; the requests themselves report theirs.
fn report_state(shared: &Shared, phase: Phase, facts: Facts) {
    if phase == Phase::Head && facts.read_seen && facts.in_flight == 0 {
        shared.set_state(ConnectionState::Active);
    }
}

fn ended(shared: &Shared, result: Result<(), Ended>, closing: Option<CloseReason>, http1: bool) -> Ended {
    match (result, closing) {
        // The protocol is gone, the socket is not: somebody took it over.
        (Ok(()), _) if http1 && shared.is_socket_open() => {
            shared.set_state(ConnectionState::Upgraded);
            Ended::because(CloseReason::Upgraded)
        }
        (_, Some(reason)) => Ended::because(reason),
        (Ok(()), None) => Ended::because(CloseReason::Done),
        (Err(ended), None) => ended,
    }
}

impl<T, S: HttpService> fmt::Debug for Connection<T, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { protocol: _, timer: _, clock, shared, settings: _, waker: _, settle: _, closing } = self;
        f.debug_struct("Connection")
            .field("id", &shared.id)
            .field("peer", &shared.peer)
            .field("state", &shared.state())
            .field("clock", clock)
            .field("closing", closing)
            .finish_non_exhaustive()
    }
}
