use std::{
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::{Buf, Bytes};
use http_body::{Body, Frame, SizeHint};
use pin_project::pin_project;
use tokio::time::{Instant, Sleep, sleep_until};

/// The answer to a request whose body is still on its way: first the text, then nothing until the client has sent what
/// it has to send, or one of the bounds is reached.
#[pin_project]
pub(crate) struct Drain<ReqBody> {
    /// Empty once it was handed out.
    text: Bytes,
    /// `None` once enough was read.
    #[pin]
    request: Option<ReqBody>,
    /// How many bytes may still be read.
    left: u64,
    max_time: Duration,
    /// From the first time that there is nothing to read. In a box, as few requests ever get here: a response has room
    /// for it all the same.
    timer: Timer,
}

enum Timer {
    Unset,
    Set(Pin<Box<Sleep>>),
    Never,
}

impl<ReqBody> Drain<ReqBody> {
    pub(crate) const fn new(text: Bytes, request: ReqBody, max_bytes: u64, max_time: Duration) -> Self {
        Self { text, request: Some(request), left: max_bytes, max_time, timer: Timer::Unset }
    }
}

impl<ReqBody: Body> Drain<ReqBody> {
    pub(crate) fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Frame<Bytes>>> {
        let mut this = self.project();
        if !this.text.is_empty() {
            return Poll::Ready(Some(Frame::data(std::mem::take(this.text))));
        }
        let Some(request) = this.request.as_mut().as_pin_mut() else { return Poll::Ready(None) };
        // What has come before the clock: an upload that ends in time keeps its connection.
        if discard(request, this.left, cx).is_pending() {
            ready!(this.timer.poll(*this.max_time, cx));
        }
        this.request.set(None);
        Poll::Ready(None)
    }

    pub(crate) fn is_end_stream(&self) -> bool {
        self.text.is_empty() && self.request.is_none()
    }

    /// Only a lower bound: a known length would end the response with the text.
    pub(crate) fn size_hint(&self) -> SizeHint {
        let mut hint = SizeHint::new();
        hint.set_lower(self.text.len() as u64);
        hint
    }
}

impl<ReqBody> fmt::Debug for Drain<ReqBody> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { text, request, left, max_time, timer: _ } = self;
        f.debug_struct("Drain")
            .field("text", text)
            .field("reads", &request.is_some())
            .field("left", left)
            .field("max_time", max_time)
            .finish_non_exhaustive()
    }
}

impl Timer {
    fn poll(&mut self, max_time: Duration, cx: &mut Context<'_>) -> Poll<()> {
        if let Self::Unset = self {
            *self = Instant::now()
                .checked_add(max_time)
                .map_or(Self::Never, |deadline| Self::Set(Box::pin(sleep_until(deadline))));
        }
        match self {
            Self::Set(sleep) => sleep.as_mut().poll(cx),
            Self::Unset | Self::Never => Poll::Pending,
        }
    }
}

/// Ready when there is no more to read: the end, an error, the bound.
fn discard<B: Body>(mut body: Pin<&mut B>, left: &mut u64, cx: &mut Context<'_>) -> Poll<()> {
    for _ in 0..FRAMES_A_POLL {
        match ready!(body.as_mut().poll_frame(cx)) {
            Some(Ok(frame)) => {
                // An empty frame counts as a byte, or there could be any number of them.
                let len = frame.data_ref().map_or(1, |data| data.remaining().max(1));
                *left = left.saturating_sub(len as u64);
                if *left == 0 || body.is_end_stream() {
                    return Poll::Ready(());
                }
            }
            Some(Err(_)) | None => return Poll::Ready(()),
        }
    }
    // The connection has other things to do, too.
    cx.waker().wake_by_ref();
    Poll::Pending
}

/// How much one poll may read of a body that is always ready.
const FRAMES_A_POLL: u32 = 64;
