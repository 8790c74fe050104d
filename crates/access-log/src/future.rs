use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use http::Response;
use http_body::Body;
use pin_project::pin_project;

use crate::{ResponseBody, entry::Entry};

/// The future of [`AccessLog`](crate::AccessLog).
#[pin_project]
#[derive(Debug)]
pub struct ResponseFuture<F> {
    #[pin]
    pub(crate) inner: F,
    /// After `inner`, so that what the handler still does when it is dropped belongs to the record.
    pub(crate) entry: Entry,
}

impl<F, B, E> Future for ResponseFuture<F>
where
    F: Future<Output = Result<Response<B>, E>>,
    B: Body,
{
    type Output = Result<Response<ResponseBody<B>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let entry = this.entry;
        let inside = entry.listen();
        let polled = this.inner.poll(cx);
        inside.returned();
        match ready!(polled) {
            Ok(response) => {
                if !entry.head(&response) {
                    entry.close();
                }
                let entry = entry.take();
                Poll::Ready(Ok(response.map(|body| ResponseBody::new(body, entry))))
            }
            Err(error) => {
                entry.fail();
                entry.close();
                Poll::Ready(Err(error))
            }
        }
    }
}
