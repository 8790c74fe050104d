use std::{
    future::Future,
    mem,
    pin::Pin,
    task::{Context, Poll, ready},
};

use http::{HeaderName, Response};
use pin_project::{pin_project, pinned_drop};
use tracing::Span;

use crate::{RequestId, ResponseBody};

/// The future of [`RequestLogger`](crate::RequestLogger).
///
/// See the [crate docs](crate).
#[pin_project(PinnedDrop)]
#[derive(Debug)]
#[must_use = "futures do nothing unless polled"]
pub struct ResponseFuture<F> {
    /// `None` once it is done: it is dropped by hand, for its drop belongs in the span.
    #[pin]
    inner: Option<F>,
    span: Span,
    header: HeaderName,
    id: RequestId,
}

impl<F> ResponseFuture<F> {
    pub(crate) const fn new(inner: F, span: Span, header: HeaderName, id: RequestId) -> Self {
        Self { inner: Some(inner), span, header, id }
    }
}

impl<F, B, E> Future for ResponseFuture<F>
where
    F: Future<Output = Result<Response<B>, E>>,
{
    type Output = Result<Response<ResponseBody<B>>, E>;

    /// # Panics
    ///
    /// If it is polled again after it was ready.
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let entered = this.span.enter();
        let inner = this.inner.as_mut().as_pin_mut().expect("a future is not polled again after it was ready");
        let result = ready!(inner.poll(cx));
        this.inner.set(None);
        drop(entered);

        // From here on the span lives with the body, or ends.
        let span = mem::replace(this.span, Span::none());
        let mut response = result?;
        // Fails only for a new name in a table of 32,768: then the response goes without.
        let _ = response.headers_mut().try_insert(&*this.header, this.id.header_value().clone());
        Poll::Ready(Ok(response.map(|body| ResponseBody::new(body, span))))
    }
}

#[pinned_drop]
impl<F> PinnedDrop for ResponseFuture<F> {
    fn drop(self: Pin<&mut Self>) {
        let mut this = self.project();
        let _entered = this.span.enter();
        this.inner.set(None);
    }
}
