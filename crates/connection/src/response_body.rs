use std::{
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use graceful_answer::AnswerBody;
use graceful_tasks::Part;
use http::{HeaderMap, Version, header::CONTENT_LENGTH};
use http_body::{Body, Frame, SizeHint};
use pin_project::pin_project;

use crate::{Pieces, executor::stream, service::RequestGuard};

/// The body of a response on its way out; it ends the request when it ends.
#[pin_project]
#[derive(Debug)]
pub struct ResponseBody<B> {
    #[pin]
    body: Pieces<AnswerBody<B>>,
    guard: Option<RequestGuard>,
    /// Nothing of it is sent.
    withheld: bool,
}

impl<B> ResponseBody<B> {
    pub(crate) fn new(body: AnswerBody<B>, version: Version, guard: Option<RequestGuard>) -> Self {
        Self { body: Pieces::new(body, version), guard, withheld: false }
    }
}

impl<B: Body<Data = Bytes>> ResponseBody<B> {
    /// Says in `headers` how long it is, for the answer to a `HEAD`, which is that to a `GET` (RFC 9110, 9.3.2).
    pub(crate) fn tell_length(&self, headers: &mut HeaderMap) {
        if !self.body.is_end_stream()
            && let Some(length) = self.body.size_hint().exact()
        {
            headers.entry(CONTENT_LENGTH).or_insert_with(|| length.into());
        }
    }

    /// Sends none of it.
    pub(crate) const fn withhold(&mut self) {
        self.withheld = true;
    }
}

impl<B: Body<Data = Bytes>> Body for ResponseBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let this = self.project();
        if *this.withheld {
            return Poll::Ready(None);
        }
        let http2 = this.body.is_http2();
        let work = this.guard.as_mut().and_then(|guard| guard.work.as_mut());
        let part = Part::begin(work, cx);
        let polled = this.body.poll_frame(&mut Context::from_waker(part.waker()));
        part.end(polled.is_pending());
        if http2 {
            match &polled {
                Poll::Pending => stream::note_application_waits(),
                Poll::Ready(Some(Ok(frame))) => stream::note_sent(frame.data_ref().map_or(0, Bytes::len)),
                Poll::Ready(_) => {}
            }
        } else if let Some(guard) = this.guard
            && polled.is_ready()
        {
            guard.shared().socket.set_answering(true);
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.withheld || self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
