use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Buf;
use http_body::{Body, Frame, SizeHint};
use pin_project::pin_project;

use crate::entry::Shared;

/// The body of a request to the service inside [`AccessLog`](crate::AccessLog): the body that came, with its bytes
/// counted.
#[pin_project]
#[derive(Debug)]
pub struct RequestBody<B> {
    #[pin]
    inner: B,
    /// `None` where there is nothing to count or nobody to tell.
    counter: Option<Arc<Shared>>,
}

impl<B> RequestBody<B> {
    pub(crate) fn new(inner: B, counter: Option<&Arc<Shared>>) -> Self {
        Self { inner, counter: counter.cloned() }
    }

    /// The body that came.
    pub fn into_inner(self) -> B {
        self.inner
    }
}

impl<B: Default> Default for RequestBody<B> {
    fn default() -> Self {
        Self::new(B::default(), None)
    }
}

impl<B: Body> Body for RequestBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let this = self.project();
        let frame = ready!(this.inner.poll_frame(cx));
        if let (Some(counter), Some(Ok(frame))) = (this.counter, &frame)
            && let Some(data) = frame.data_ref()
        {
            counter.received(data.remaining());
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
