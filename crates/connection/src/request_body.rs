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

use crate::{BoxError, executor::stream, shared::Shared};

/// The body of a request, under the deadline of the connection.
///
/// It costs no timer while data is there; when it has to wait, it borrows the connection's. Read from another task, it
/// has one of its own.
#[pin_project(PinnedDrop)]
pub struct RequestBody {
    #[pin]
    body: Incoming,
    #[pin]
    alarm: Alarm,
    deadline: Option<Instant>,
    shared: Arc<Shared>,
    ended: bool,
}

impl RequestBody {
    pub(crate) fn new(body: Incoming, deadline: Option<Instant>, shared: Arc<Shared>) -> Self {
        let ended = body.is_end_stream();
        Self { body, alarm: Alarm::new(), deadline, shared, ended }
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = self.project();
        match this.body.poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => {
                // The response's time begins when the request is in.
                if this.shared.is_http2() {
                    stream::note_body();
                } else {
                    this.shared.set_body_seen();
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(error))) => Poll::Ready(Some(Err(error.into()))),
            Poll::Ready(None) => {
                *this.ended = true;
                Poll::Ready(None)
            }
            Poll::Pending => match *this.deadline {
                Some(at) if this.alarm.poll_until(cx, at).is_ready() => {
                    Poll::Ready(Some(Err(Box::new(BodyTimeout { _private: () }))))
                }
                _ => Poll::Pending,
            },
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[pinned_drop]
impl PinnedDrop for RequestBody {
    fn drop(self: Pin<&mut Self>) {
        if !self.ended && !self.body.is_end_stream() {
            self.shared.set_unread_body();
        }
    }
}

impl fmt::Debug for RequestBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { body, alarm: _, deadline, shared: _, ended } = self;
        f.debug_struct("RequestBody")
            .field("body", body)
            .field("deadline", deadline)
            .field("ended", ended)
            .finish_non_exhaustive()
    }
}

/// A request's body did not come in within [`Settings::read_body`](crate::Settings::read_body).
///
/// A handler tells it from a client that went away by downcasting the body's error, or one in its chain of sources. The
/// answer to give is 408 (RFC 9110, 15.5.9); it still reaches the client, and the connection is closed behind it.
#[derive(Debug)]
pub struct BodyTimeout {
    _private: (),
}

impl fmt::Display for BodyTimeout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the request body did not arrive in time")
    }
}

impl Error for BodyTimeout {}
