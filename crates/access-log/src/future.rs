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
    entry: Option<Entry>,
}

impl<F> ResponseFuture<F> {
    pub(crate) const fn new(inner: F, entry: Option<Entry>) -> Self {
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
        let Some(entry) = this.entry else {
            // Nobody listens.
            return this.inner.poll(cx).map_ok(|response| response.map(ResponseBody::unlogged));
        };
        let result = ready!(entry.inside(|| this.inner.poll(cx)));
        let body_follows = match &result {
            Ok(response) => entry.head(response),
            Err(_) => {
                entry.fail();
                false
            }
        };
        if body_follows {
            return Poll::Ready(result.map(|response| response.map(|body| ResponseBody::new(body, this.entry.take()))));
        }
        *this.entry = None;
        Poll::Ready(result.map(|response| response.map(ResponseBody::unlogged)))
    }
}
