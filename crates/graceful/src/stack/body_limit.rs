use axum::{BoxError, body::Body};
use bytes::Bytes;
use graceful_answer::{Answer, Cause};
use http::{Response, StatusCode};
use http_body_util::Limited;

use super::Answers;
use crate::Config;

/// How big the body of a request may be.
///
/// Around the router and not in it, as tower-http's layer would have to be: that is worded otherwise, and every request pays
/// for a `Router::layer`.
#[derive(Clone, Copy, Debug)]
pub(super) struct BodyLimit {
    max: usize,
    answers: Answers,
}

impl BodyLimit {
    pub(super) fn of(config: &Config) -> Option<Self> {
        config.max_body_bytes.map(|max| Self { max, answers: Answers::of(config) })
    }

    /// What is answered to a body that is known to be too big before any of it is read.
    #[inline]
    pub(super) fn refuse(self, body: &impl http_body::Body) -> Option<Box<Response<Bytes>>> {
        let too_large = usize::try_from(body.size_hint().lower()).map_or(true, |least| least > self.max);
        too_large.then(|| Box::new(self.answers.answer(&TooLarge)))
    }

    /// The body of which no more can be read. Beyond that the handler reads an error, for which axum's extractors answer 413.
    pub(super) fn limit<B>(self, body: B) -> Body
    where
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        Body::new(Limited::new(body, self.max))
    }
}

struct TooLarge;

impl Cause for TooLarge {
    fn status(&self) -> StatusCode {
        StatusCode::PAYLOAD_TOO_LARGE
    }

    fn message(&self) -> &str {
        "request body too large"
    }
}
