use std::{fmt, sync::Arc, time::Duration};

use graceful_answer::{Answer, without_content};
use http::{
    HeaderMap, Method, Request, Response, Version,
    header::{CONTENT_LENGTH, EXPECT},
};
use http_body::Body;
use tokio::time::Instant;

use crate::{Limit, Overloaded, Reason, ResponseBody};

/// What the layer and all its services share.
pub(crate) struct Settings<A> {
    pub(crate) limit: Limit,
    pub(crate) max_queue: usize,
    pub(crate) max_wait: Duration,
    pub(crate) retry_after: Option<Duration>,
    pub(crate) drain: u64,
    pub(crate) drain_time: Duration,
    pub(crate) answer: Arc<A>,
}

impl<A> Settings<A> {
    /// How long the queue may be for a newcomer: none at all, if nobody may wait.
    pub(crate) fn queue_bound(&self) -> usize {
        if self.max_wait.is_zero() { 0 } else { self.max_queue }
    }

    /// Until when one that comes now may wait. `None`, if that is farther away than the clock goes.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        Instant::now().checked_add(self.max_wait)
    }

    pub(crate) fn refuse<B, ReqBody>(
        &self,
        reason: Reason,
        request: Request<ReqBody>,
    ) -> Response<ResponseBody<B, ReqBody>>
    where
        A: Answer<Overloaded>,
        ReqBody: Body,
    {
        let mut response = self.answer.answer(&Overloaded::new(reason, self.retry_after));
        if request.method() == Method::HEAD {
            return without_content(response).map(ResponseBody::answer);
        }
        if !self.should_drain(&request) {
            return response.map(ResponseBody::answer);
        }
        // A server ends a response of known length with its last byte, and the rest of the body is never polled.
        response.headers_mut().remove(CONTENT_LENGTH);
        response.map(|text| ResponseBody::draining(text, request.into_body(), self.drain, self.drain_time))
    }

    /// Whether reading the request's body can spare its client a reset.
    fn should_drain<ReqBody: Body>(&self, request: &Request<ReqBody>) -> bool {
        let body = request.body();
        self.drain > 0
            && !body.is_end_stream()
            // It would not be read to its end, and then the connection cannot be kept anyway (so net/http, too).
            && body.size_hint().lower() <= self.drain
            // A stream is refused by RST_STREAM(NO_ERROR) after the response: nothing is lost (RFC 9113, 8.1).
            && request.version() < Version::HTTP_2
            // The client holds its body back until it is told to send it (RFC 9110, 10.1.1), and is told not to.
            && !expects_continue(request.headers())
    }
}

impl<A> Clone for Settings<A> {
    fn clone(&self) -> Self {
        let Self { limit, max_queue, max_wait, retry_after, drain, drain_time, answer } = self;
        Self {
            limit: limit.clone(),
            max_queue: *max_queue,
            max_wait: *max_wait,
            retry_after: *retry_after,
            drain: *drain,
            drain_time: *drain_time,
            answer: Arc::clone(answer),
        }
    }
}

impl<A> fmt::Debug for Settings<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // An answer is a closure as a rule.
        let Self { limit, max_queue, max_wait, retry_after, drain, drain_time, answer: _ } = self;
        f.debug_struct("Settings")
            .field("limit", limit)
            .field("max_queue", max_queue)
            .field("max_wait", max_wait)
            .field("retry_after", retry_after)
            .field("drain", drain)
            .field("drain_time", drain_time)
            .finish_non_exhaustive()
    }
}

fn expects_continue(headers: &HeaderMap) -> bool {
    headers.get(EXPECT).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"))
}
