use std::{error::Error, fmt, time::Duration};

use graceful_answer::Cause;
use http::StatusCode;

/// The handler did not answer within its limit.
///
/// This is what an [`Answer`](graceful_answer::Answer) is made from. The layer also puts it into the extensions of that
/// response, for layers further out which want to tell a timeout from other answers with the same status.
#[derive(Clone, Copy, Debug)]
pub struct Elapsed {
    pub(crate) limit: Duration,
    pub(crate) status: StatusCode,
    pub(crate) message: &'static str,
}

impl Elapsed {
    /// The limit that was in force for this request: the layer's, its route's or its client's.
    #[must_use]
    pub fn limit(&self) -> Duration {
        self.limit
    }
}

impl Cause for Elapsed {
    fn status(&self) -> StatusCode {
        self.status
    }

    fn message(&self) -> &str {
        self.message
    }
}

impl fmt::Display for Elapsed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the handler did not answer within {:?}", self.limit)
    }
}

impl Error for Elapsed {}

/// The response body was not at its end within its limit; see [`BodyDeadlineLayer`](crate::BodyDeadlineLayer).
#[derive(Clone, Copy, Debug)]
pub struct BodyElapsed {
    pub(crate) limit: Duration,
}

impl BodyElapsed {
    /// The limit of the body.
    #[must_use]
    pub fn limit(&self) -> Duration {
        self.limit
    }
}

impl fmt::Display for BodyElapsed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the response body did not end within {:?}", self.limit)
    }
}

impl Error for BodyElapsed {}
