use std::{
    error::Error,
    fmt,
    pin::Pin,
    sync::OnceLock,
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
    /// It unwound, and the error is still to be told. Set through `&self` too: `is_end_stream` and `size_hint` can panic.
    cut: OnceLock<Cut>,
    watch: Watch,
}

impl<B> ResponseBody<B> {
    pub(crate) const fn inner(body: B, watch: Watch) -> Self {
        Self { inner: Some(AnswerBody::inner(body)), cut: OnceLock::new(), watch }
    }

    pub(crate) const fn answer(text: Bytes, watch: Watch) -> Self {
        Self { inner: Some(AnswerBody::answer(text)), cut: OnceLock::new(), watch }
    }

    /// A body that is nothing but the error. It has no known length and is not at its end, so that it will be polled.
    pub(crate) fn cut(cut: Cut, watch: Watch) -> Self {
        Self { inner: None, cut: OnceLock::from(cut), watch }
    }
}

impl<B> ResponseBody<B>
where
    B: Body<Data = Bytes>,
{
    /// What the inner body says of itself; `unsure` where it panicked, now or before.
    fn ask<T>(&self, unsure: T, ask: impl FnOnce(&AnswerBody<B>) -> T) -> T {
        let mut said = unsure;
        if let (Some(inner), None) = (&self.inner, self.cut.get())
            && let Err(cut) = self.watch.run(Place::Body, || said = ask(inner))
        {
            // Two threads that ask at once may both be first; the error is the same.
            let _ = self.cut.set(cut);
        }
        said
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
                let Some(inner) = this.inner.as_mut().as_pin_mut() else { return Poll::Ready(None) };
                let mut polled = Poll::Pending;
                match this.watch.run(Place::Body, || polled = inner.poll_frame(cx).map_err(Into::into)) {
                    Ok(()) => return polled,
                    Err(cut) => cut,
                }
            }
        };
        this.watch.discard(this.inner);
        Poll::Ready(Some(Err(cut.into_error())))
    }

    fn is_end_stream(&self) -> bool {
        // Unsure is "no": the next poll then tells the error. Afterwards there is nothing more to tell.
        let told = self.inner.is_none() && self.cut.get().is_none();
        told || self.ask(false, Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.ask(SizeHint::default(), Body::size_hint)
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
        let Self { inner: _, cut, watch } = self;
        f.debug_struct("ResponseBody").field("cut", &cut.get()).field("watch", watch).finish_non_exhaustive()
    }
}
