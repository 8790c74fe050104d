use std::{
    cell::Cell,
    error::Error,
    fmt,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use graceful_answer::AnswerBody;
use http_body::{Body, Frame, SizeHint};
use pin_project::{pin_project, pinned_drop};

use crate::{Place, watch::Watch};

/// The body of the inner service, which ends with an error where that one panics.
///
/// The error is a [`Panicked`](crate::Panicked) or an [`Aborted`](crate::Aborted) in a box; an error of the inner body
/// is passed on as it is. hyper answers either by closing the connection (HTTP/1) or by resetting the stream (HTTP/2),
/// so that no client takes the part for the whole.
#[pin_project(PinnedDrop)]
pub struct ResponseBody<B> {
    /// `None` after it unwound, and after it came to its end while it was polled: its `Drop` is guarded with that poll.
    #[pin]
    inner: Option<AnswerBody<B>>,
    said: Said,
    watch: Watch,
}

/// What the inner body said of itself after it was last polled: it is asked while it is guarded anyway, for a server asks
/// several times.
pub(crate) enum Said {
    /// There is nothing more to come.
    End,
    /// At least `lower` bytes, and at most `upper`.
    Open { lower: u64, upper: Option<u64> },
}

impl Said {
    /// Nothing that could make a server end the response without another poll, which tells the error.
    pub(crate) const UNSURE: Self = Self::Open { lower: 0, upper: None };

    pub(crate) fn of(body: &impl Body) -> Self {
        if body.is_end_stream() {
            return Self::End;
        }
        let hint = body.size_hint();
        Self::Open { lower: hint.lower(), upper: hint.upper() }
    }

    const fn is_end_stream(&self) -> bool {
        matches!(self, Self::End)
    }

    fn size_hint(&self) -> SizeHint {
        match *self {
            Self::End => SizeHint::with_exact(0),
            Self::Open { lower, upper } => {
                let mut hint = SizeHint::new();
                hint.set_lower(lower);
                if let Some(upper) = upper {
                    hint.set_upper(upper);
                }
                hint
            }
        }
    }
}

impl<B> ResponseBody<B> {
    pub(crate) const fn inner(body: B, said: Said, watch: Watch) -> Self {
        Self { inner: Some(AnswerBody::inner(body)), said, watch }
    }

    pub(crate) fn answer(text: Bytes, watch: Watch) -> Self {
        let len = text.len() as u64;
        let said = if len == 0 { Said::End } else { Said::Open { lower: len, upper: Some(len) } };
        Self { inner: Some(AnswerBody::answer(text)), said, watch }
    }

    /// A body that is nothing but the error for which `watch` was cut. It has no known length and is not at its end, so
    /// that it will be polled.
    pub(crate) const fn cut(watch: Watch) -> Self {
        Self { inner: None, said: Said::UNSURE, watch }
    }
}

impl<B> Body for ResponseBody<B>
where
    B: Body<Data = Bytes>,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    type Data = Bytes;
    type Error = Box<dyn Error + Send + Sync>;

    // Where it is inlined, the frame goes through several places on the stack, and the layer takes half as long again.
    #[inline(never)]
    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let mut this = self.project();
        let cut = match this.watch.take_cut() {
            Some(cut) => cut,
            None => {
                if this.inner.is_none() {
                    return Poll::Ready(None);
                }
                let mut polled = Poll::Pending;
                let place = Cell::new(Place::Body);
                let unwound = this.watch.run_in(&place, || {
                    let Some(mut inner) = this.inner.as_mut().as_pin_mut() else { return };
                    polled = inner.as_mut().poll_frame(cx).map_err(Into::into);
                    let Poll::Ready(frame) = &polled else { return };
                    *this.said = if frame.is_none() { Said::End } else { Said::of(&*inner) };
                    if this.said.is_end_stream() {
                        // A panic in this drop is reported, and costs the client nothing: its response is whole.
                        place.set(Place::Drop);
                        this.inner.set(None);
                    }
                });
                match unwound {
                    Err(cut) if polled.is_pending() => cut,
                    Err(cut) if place.get() == Place::Body => {
                        // It came apart when it was asked. First what it gave before.
                        *this.said = Said::UNSURE;
                        this.watch.set_cut(cut);
                        return polled;
                    }
                    _ => return polled,
                }
            }
        };
        this.watch.discard(this.inner);
        *this.said = Said::End;
        Poll::Ready(Some(Err(cut.into_error())))
    }

    fn is_end_stream(&self) -> bool {
        self.said.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.said.size_hint()
    }
}

#[pinned_drop]
impl<B> PinnedDrop for ResponseBody<B> {
    fn drop(self: Pin<&mut Self>) {
        let this = self.project();
        this.watch.discard(this.inner);
    }
}

impl<B> fmt::Debug for ResponseBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { inner: _, said: _, watch } = self;
        f.debug_struct("ResponseBody").field("watch", watch).finish_non_exhaustive()
    }
}
