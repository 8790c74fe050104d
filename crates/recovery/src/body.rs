use std::{
    error::Error,
    fmt,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use graceful_answer::AnswerBody;
use http_body::{Body, Frame, SizeHint};
use pin_project::{pin_project, pinned_drop};

use crate::{Place, cause::Cut, watch::Watch};

/// The body of the inner service, which ends with an error where that one panics.
///
/// The error is a [`Panicked`](crate::Panicked) or an [`Aborted`](crate::Aborted) in a box; an error of the inner body
/// is passed on as it is. hyper answers either by closing the connection (HTTP/1) or by resetting the stream (HTTP/2),
/// so that no client takes the part for the whole.
#[pin_project(PinnedDrop)]
pub struct ResponseBody<B> {
    /// `None` after it unwound.
    #[pin]
    inner: Option<AnswerBody<B>>,
    /// It unwound, and the error is still to be told.
    cut: Option<Cut>,
    said: Said,
    watch: Watch,
}

/// What the inner body said of itself after it was last polled: it is asked while it is guarded anyway, for a server asks
/// several times.
struct Said {
    is_end_stream: bool,
    size_hint: SizeHint,
}

impl Said {
    /// Nothing that could make a server end the response without another poll, which tells the error.
    fn unsure() -> Self {
        Self { is_end_stream: false, size_hint: SizeHint::new() }
    }

    fn of(body: &impl Body) -> Self {
        Self { is_end_stream: body.is_end_stream(), size_hint: body.size_hint() }
    }
}

impl<B> ResponseBody<B> {
    pub(crate) fn inner(body: B, watch: Watch) -> Self
    where
        B: Body<Data = Bytes>,
    {
        let inner = AnswerBody::inner(body);
        let mut said = Said::unsure();
        let cut = watch.run(Place::Body, || said = Said::of(&inner)).err();
        Self { inner: Some(inner), cut, said, watch }
    }

    pub(crate) fn answer(text: Bytes, watch: Watch) -> Self {
        let said = Said { is_end_stream: text.is_empty(), size_hint: SizeHint::with_exact(text.len() as u64) };
        Self { inner: Some(AnswerBody::answer(text)), cut: None, said, watch }
    }

    /// A body that is nothing but the error. It has no known length and is not at its end, so that it will be polled.
    pub(crate) fn cut(cut: Cut, watch: Watch) -> Self {
        Self { inner: None, cut: Some(cut), said: Said::unsure(), watch }
    }
}

impl<B> Body for ResponseBody<B>
where
    B: Body<Data = Bytes>,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    type Data = Bytes;
    type Error = Box<dyn Error + Send + Sync>;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let mut this = self.project();
        let cut = match this.cut.take() {
            Some(cut) => cut,
            None => {
                let Some(mut inner) = this.inner.as_mut().as_pin_mut() else { return Poll::Ready(None) };
                let mut polled = Poll::Pending;
                let mut said = None;
                let unwound = this.watch.run(Place::Body, || {
                    polled = inner.as_mut().poll_frame(cx).map_err(Into::into);
                    if polled.is_ready() {
                        said = Some(Said::of(&*inner));
                    }
                });
                match unwound {
                    Ok(()) => {
                        if let Some(said) = said {
                            *this.said = said;
                        }
                        return polled;
                    }
                    Err(cut) if polled.is_ready() => {
                        // It came apart when it was asked. First what it gave before.
                        *this.said = Said::unsure();
                        *this.cut = Some(cut);
                        return polled;
                    }
                    Err(cut) => cut,
                }
            }
        };
        this.watch.discard(this.inner);
        // There is nothing more to tell.
        *this.said = Said { is_end_stream: true, size_hint: SizeHint::new() };
        Poll::Ready(Some(Err(cut.into_error())))
    }

    fn is_end_stream(&self) -> bool {
        self.said.is_end_stream
    }

    fn size_hint(&self) -> SizeHint {
        self.said.size_hint
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
        let Self { inner: _, cut, said: _, watch } = self;
        f.debug_struct("ResponseBody").field("cut", cut).field("watch", watch).finish_non_exhaustive()
    }
}
