//! What the connection answers by itself: in the server's own words, and on record.

use bytes::Bytes;
use graceful_access_log::RefusedRequest;
use graceful_answer::{Answer, Cause};
use graceful_connection::Refused;
use http::Response;

use super::Answers;
use crate::Config;

/// Words what never comes to the stack as the stack words its own, and writes the line that the stack would have
/// written: whoever was sent a status is in the access log.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Refusals(Answers);

impl Refusals {
    pub(crate) const fn new(config: &Config) -> Self {
        Self(Answers::of(config))
    }
}

impl<'a> Answer<Refused<'a>> for Refusals {
    fn answer(&self, refused: &Refused<'a>) -> Response<Bytes> {
        let response = self.0.answer(refused);
        let mut record = RefusedRequest::new(refused.status(), refused.refusal().as_str())
            .bytes(response.body().len() as u64)
            .peer(refused.connection().peer());
        if let Some(head) = refused.head() {
            record = record.head(head.method, head.uri, head.version, head.headers);
        }
        record.write();
        response
    }
}
