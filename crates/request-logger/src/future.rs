use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use http::Response;
use pin_project::{pin_project, pinned_drop};

use crate::{ResponseBody, trail::Trail};

/// The future of [`RequestLogger`](crate::RequestLogger).
///
/// See the [crate docs](crate).
#[pin_project(PinnedDrop)]
#[derive(Debug)]
#[must_use = "futures do nothing unless polled"]
pub struct ResponseFuture<F> {
    /// `None` once it is done: it is dropped by hand, for its drop belongs in the span.
    #[pin]
    pub(crate) inner: Option<F>,
    pub(crate) trail: Trail,
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
        let entered = this.trail.span().enter();
        let inner = this.inner.as_mut().as_pin_mut().expect("a future is not polled again after it was ready");
        // It stays where it was made until it goes where it is wanted: a response is large.
        let mut polled = inner.poll(cx);
        if polled.is_pending() {
            return Poll::Pending;
        }
        this.inner.set(None);
        drop(entered);
        if let Poll::Ready(Ok(response)) = &mut polled {
            this.trail.mark(response.headers_mut());
        }
        // From here on the span lives with the body, or ends.
        let trail = this.trail.take();
        polled.map_ok(|response| response.map(|body| ResponseBody::new(body, trail)))
    }
}

#[pinned_drop]
impl<F> PinnedDrop for ResponseFuture<F> {
    fn drop(self: Pin<&mut Self>) {
        let mut this = self.project();
        let _entered = this.trail.span().enter();
        this.inner.set(None);
    }
}
