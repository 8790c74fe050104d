use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Buf;
use http_body::{Body, Frame, SizeHint};
use pin_project::pin_project;

use crate::entry::Entry;

/// The body of a response of [`AccessLog`](crate::AccessLog): the inner body, and the record that ends with it.
#[pin_project]
#[derive(Debug)]
pub struct ResponseBody<B> {
    #[pin]
    inner: B,
    /// After `inner`, as in the future. None once the record is written.
    entry: Entry,
}

impl<B> ResponseBody<B> {
    pub(crate) const fn new(inner: B, entry: Entry) -> Self {
        Self { inner, entry }
    }
}

impl<B: Default> Default for ResponseBody<B> {
    fn default() -> Self {
        Self::new(B::default(), Entry::NONE)
    }
}

impl<B: Body> Body for ResponseBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let mut this = self.project();
        let entry = this.entry;
        if entry.is_none() {
            return this.inner.poll_frame(cx);
        }
        let frame = ready!(entry.inside(|| this.inner.as_mut().poll_frame(cx)));
        match &frame {
            Some(Ok(frame)) => {
                if let Some(data) = frame.data_ref() {
                    entry.sent(data.remaining());
                }
                // A server asks no further after trailers, nor after the frame with which the body says that it is at
                // its end. The record still waits for the drop: under HTTP/2 that is when the last chunk had its place
                // in the client's window, which may be much later.
                if frame.is_trailers() || this.inner.is_end_stream() {
                    entry.end();
                }
            }
            Some(Err(_)) => {
                entry.fail();
                entry.close();
            }
            None => {
                entry.end();
                entry.close();
            }
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
