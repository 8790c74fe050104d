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
    inner: F,
    /// After `inner`, so that what the handler still does when it is dropped belongs to the record.
    entry: Entry,
}

impl<F> ResponseFuture<F> {
    pub(crate) const fn new(inner: F, entry: Entry) -> Self {
        Self { inner, entry }
    }
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
        if entry.is_none() {
            // Nobody listens.
            return this.inner.poll(cx).map_ok(|response| response.map(ResponseBody::unlogged));
        }
        let result = ready!(entry.listen(|| this.inner.poll(cx)));
        let body_follows = match &result {
            Ok(response) => entry.head(response),
            Err(_) => {
                entry.fail();
                false
            }
        };
        if !body_follows {
            entry.close();
        }
        Poll::Ready(result.map(|response| response.map(|body| ResponseBody::new(body, entry.take()))))
    }
}
