use std::{
    error::Error,
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use graceful_timer::Alarm;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use pin_project::{pin_project, pinned_drop};
use tokio::time::Instant;

use crate::{
    BoxError, MinRate, Settings,
    executor::stream,
    phase::Pace,
    settings::{deadline, earlier},
    shared::{Override, Shared},
};

/// The body of a request, under the deadline of the connection.
///
/// It costs no timer while data is there; when it has to wait, it borrows the connection's. Read from another task, it
/// has one of its own.
pub struct RequestBody {
    /// Boxed, since it goes through the whole stack by value, and most requests have none.
    open: Option<Pin<Box<Open>>>,
}

#[pin_project(PinnedDrop)]
struct Open {
    #[pin]
    body: Incoming,
    #[pin]
    alarm: Alarm,
    until: Option<Instant>,
    rate: Option<MinRate>,
    /// How fast the client sends while it is waited for.
    pace: Pace,
    received: u64,
    shared: Arc<Shared>,
    /// The request's number.
    number: u64,
    ended: bool,
    /// The client waits to be told to go on (`Expect: 100-continue`), which hyper does when the body is first asked for.
    waits: bool,
}

/// How much of an unread body is passed over, at most, to keep the connection.
const PASSED_OVER: u64 = 64 << 10;

impl RequestBody {
    /// The body of request `number`, whose head was in at `now`.
    pub(crate) fn new(
        body: Incoming,
        shared: &Arc<Shared>,
        number: u64,
        settings: &Settings,
        now: Instant,
        waits: bool,
    ) -> Self {
        if body.is_end_stream() {
            return Self { open: None };
        }
        if !shared.is_http2() {
            shared.socket.set_body_open(true);
        }
        Self {
            open: Some(Box::pin(Open {
                body,
                alarm: Alarm::new(),
                until: deadline(now, settings.read_body),
                rate: settings.min_body_rate,
                pace: Pace::default(),
                received: 0,
                shared: Arc::clone(shared),
                number,
                ended: false,
                waits,
            })),
        }
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match &mut self.open {
            Some(open) => open.as_mut().poll_frame(cx),
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.open.as_ref().is_none_or(|open| open.body.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        self.open.as_ref().map_or(SizeHint::with_exact(0), |open| open.body.size_hint())
    }
}

impl Open {
    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let mut this = self.project();
        *this.waits = false;
        match this.body.as_mut().poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => {
                *this.received += frame.data_ref().map_or(0, Bytes::len) as u64;
                if this.rate.is_some() {
                    this.pace.go(Instant::now());
                }
                // The response's time begins when the request is in.
                if this.shared.is_http2() {
                    stream::note_body();
                } else {
                    this.shared.socket.set_body_seen();
                }
                if this.body.is_end_stream() {
                    end(this.ended, this.shared);
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(error))) => Poll::Ready(Some(Err(error.into()))),
            Poll::Ready(None) => {
                end(this.ended, this.shared);
                Poll::Ready(None)
            }
            Poll::Pending => {
                let until = match this.shared.requests.read_override(*this.number) {
                    Override::None => *this.until,
                    Override::Until(until) => until,
                };
                let slow = this.rate.and_then(|rate| {
                    this.pace.wait(Instant::now(), *this.received);
                    this.pace.deadline(None, Some(rate))
                });
                match (earlier(until, slow), slow) {
                    (Some(at), slow) if this.alarm.poll_until(cx, at).is_ready() => {
                        // Who gave up on it answers without the rest, behind which no request can be found.
                        if !this.shared.is_http2() {
                            this.shared.socket.set_unreadable_body();
                        }
                        Poll::Ready(Some(Err(Box::new(BodyTimeout { too_slow: slow == Some(at) }))))
                    }
                    _ => Poll::Pending,
                }
            }
        }
    }
}

/// Said once, and by the body that it is true of: the next request may have begun when an old body is dropped.
fn end(ended: &mut bool, shared: &Shared) {
    if !*ended {
        *ended = true;
        if !shared.is_http2() {
            shared.socket.set_body_open(false);
        }
    }
}

#[pinned_drop]
impl PinnedDrop for Open {
    fn drop(self: Pin<&mut Self>) {
        let this = self.project();
        if !*this.ended {
            if !this.body.is_end_stream() {
                this.shared.socket.set_unread_body();
                // hyper closes the connection then, but does not say so (RFC 9110, 10.1.1).
                if !this.shared.is_http2() && (*this.waits || this.body.size_hint().lower() > PASSED_OVER) {
                    this.shared.socket.set_unreadable_body();
                }
            }
            end(this.ended, this.shared);
        }
    }
}

impl fmt::Debug for RequestBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { open } = self;
        f.debug_tuple("RequestBody").field(open).finish()
    }
}

impl fmt::Debug for Open {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { body, alarm: _, until, rate, pace: _, received, shared: _, number: _, ended, waits } = self;
        f.debug_struct("Open")
            .field("body", body)
            .field("until", until)
            .field("rate", rate)
            .field("received", received)
            .field("ended", ended)
            .field("waits", waits)
            .finish_non_exhaustive()
    }
}

/// A request's body did not come in within [`Settings::read_body`](crate::Settings::read_body), or more slowly than
/// [`Settings::min_body_rate`](crate::Settings::min_body_rate).
///
/// A handler tells it from a client that went away by downcasting the body's error, or one in its chain of sources. The
/// answer to give is 408 (RFC 9110, 15.5.9); it still reaches the client, and the connection is closed behind it.
///
/// Behind axum, `graceful::handler::body::InTime` does that.
#[derive(Debug)]
pub struct BodyTimeout {
    too_slow: bool,
}

impl fmt::Display for BodyTimeout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.too_slow {
            "the request body arrived too slowly"
        } else {
            "the request body did not arrive in time"
        })
    }
}

impl Error for BodyTimeout {}
