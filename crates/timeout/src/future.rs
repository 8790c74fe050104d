use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use graceful_answer::{Answer, AnswerBody};
use graceful_timer::Alarm;
use http::Response;
use pin_project::pin_project;

use crate::{
    Elapsed,
    clock::{self, Clock},
    layer::Refusal,
};

/// The response future of [`Timeout`](crate::Timeout) and of [`RouteTimeout`](crate::RouteTimeout).
///
/// # Panics
///
/// If it is polled again after it gave the answer in place of a handler that was too slow.
#[pin_project]
#[derive(Debug)]
pub struct ResponseFuture<F, A> {
    /// Gone once it was too slow.
    #[pin]
    handler: Option<F>,
    /// `None`: a timeout further out measures.
    clock: Option<Clock>,
    #[pin]
    alarm: Alarm,
    refusal: Refusal<A>,
}

impl<F, A> ResponseFuture<F, A> {
    pub(crate) const fn new(handler: F, clock: Option<Clock>, refusal: Refusal<A>) -> Self {
        Self { handler: Some(handler), clock, alarm: Alarm::new(), refusal }
    }
}

impl<F, A, B, E> Future for ResponseFuture<F, A>
where
    F: Future<Output = Result<Response<B>, E>>,
    A: Answer<Elapsed>,
{
    type Output = Result<Response<AnswerBody<B>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let handler = this.handler.as_mut().as_pin_mut().expect("not polled after completion");
        // The handler before the clock: an answer that is ready when the time is up counts.
        let inside = this.clock.is_some().then(|| clock::enter(this.clock));
        let poll = handler.poll(cx);
        drop(inside);
        if let Poll::Ready(result) = poll {
            return Poll::Ready(result.map(|response| response.map(AnswerBody::inner)));
        }
        let Some(clock) = this.clock else { return Poll::Pending };
        let Some((at, limit)) = clock.end() else { return Poll::Pending };
        ready!(this.alarm.poll_until(cx, at));
        // The client must not read "timed out" while the handler is still at work.
        this.handler.set(None);
        Poll::Ready(Ok(this.refusal.answer(limit, clock.is_of_head())))
    }
}
