use std::{
    pin::Pin,
    task::{Context, Poll},
};

use http_body::{Body, Frame, SizeHint};
use pin_project::{pin_project, pinned_drop};

use crate::trail::Trail;

/// The response body of [`RequestLogger`](crate::RequestLogger): the inner one, polled and dropped inside the span.
///
/// See the [crate docs](crate).
#[pin_project(PinnedDrop)]
#[derive(Debug)]
pub struct ResponseBody<B> {
    /// `None` only while this is being dropped: its drop belongs in the span.
    #[pin]
    inner: Option<B>,
    trail: Trail,
}

impl<B> ResponseBody<B> {
    pub(crate) const fn new(inner: B, trail: Trail) -> Self {
        Self { inner: Some(inner), trail }
    }
}

/// A body that belongs to no request and to no span.
impl<B: Default> Default for ResponseBody<B> {
    fn default() -> Self {
        Self::new(B::default(), Trail::NONE)
    }
}

impl<B: Body> Body for ResponseBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let this = self.project();
        let _entered = this.trail.span().enter();
        match this.inner.as_pin_mut() {
            Some(inner) => inner.poll_frame(cx),
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.inner.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.as_ref().map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}

#[pinned_drop]
impl<B> PinnedDrop for ResponseBody<B> {
    fn drop(self: Pin<&mut Self>) {
        let mut this = self.project();
        let _entered = this.trail.span().enter();
        this.inner.set(None);
    }
}
