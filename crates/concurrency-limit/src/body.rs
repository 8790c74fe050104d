use std::{
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use graceful_answer::AnswerBody;
use http_body::{Body, Frame, SizeHint};
use pin_project::pin_project;

use crate::{drain::Drain, gate::Permit};

/// The body of a [`ConcurrencyLimit`](crate::ConcurrencyLimit)'s response.
///
/// That of the inner service, which gives the request's place back at its end, or the answer to a refused request, which
/// has none.
#[pin_project]
#[derive(Debug)]
pub struct ResponseBody<B, ReqBody> {
    #[pin]
    kind: Kind<B, ReqBody>,
}

#[pin_project(project = KindProj)]
#[derive(Debug)]
enum Kind<B, ReqBody> {
    Whole(#[pin] AnswerBody<Guarded<B>>),
    /// Boxed: it is rare and ten times the size of the other, which every response would carry.
    Draining(Pin<Box<Drain<ReqBody>>>),
}

impl<B, ReqBody> ResponseBody<B, ReqBody> {
    pub(crate) const fn inner(body: B, permit: Option<Permit>) -> Self {
        Self { kind: Kind::Whole(AnswerBody::inner(Guarded { body, permit })) }
    }

    pub(crate) const fn answer(text: Bytes) -> Self {
        Self { kind: Kind::Whole(AnswerBody::answer(text)) }
    }

    pub(crate) fn draining(text: Bytes, request: ReqBody, max_bytes: u64, max_time: Duration) -> Self {
        Self { kind: Kind::Draining(Box::pin(Drain::new(text, request, max_bytes, max_time))) }
    }
}

impl<B: Default, ReqBody> Default for ResponseBody<B, ReqBody> {
    fn default() -> Self {
        Self::inner(B::default(), None)
    }
}

impl<B, ReqBody> Body for ResponseBody<B, ReqBody>
where
    B: Body<Data = Bytes>,
    ReqBody: Body,
{
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        match self.project().kind.project() {
            KindProj::Whole(body) => body.poll_frame(cx),
            KindProj::Draining(drain) => drain.as_mut().poll_frame(cx).map(|frame| frame.map(Ok)),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.kind {
            Kind::Whole(body) => body.is_end_stream(),
            Kind::Draining(drain) => drain.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::Whole(body) => body.size_hint(),
            Kind::Draining(drain) => drain.size_hint(),
        }
    }
}

/// A body that gives the place back at its end, whichever way that comes.
#[pin_project]
#[derive(Debug)]
struct Guarded<B> {
    // Before the permit: dropped on the way, the body ends first.
    #[pin]
    body: B,
    permit: Option<Permit>,
}

impl<B: Default> Default for Guarded<B> {
    fn default() -> Self {
        Self { body: B::default(), permit: None }
    }
}

impl<B: Body> Body for Guarded<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let mut this = self.project();
        let frame = ready!(this.body.as_mut().poll_frame(cx));
        // A server that knows the end from `is_end_stream` does not poll again, and may keep the body for a while.
        let ended = !matches!(frame, Some(Ok(_))) || this.body.is_end_stream();
        if ended {
            *this.permit = None;
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
