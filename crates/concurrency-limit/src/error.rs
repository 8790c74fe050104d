use std::{error::Error, fmt, time::Duration};

use graceful_answer::Cause;
use http::StatusCode;

/// Why a request was refused: the server has as much to do as it was allowed to take on.
///
/// As a [`Cause`] it is 503, `server busy`, with a `Retry-After`; the [`Reason`] is for logs and for answers of one's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Overloaded {
    reason: Reason,
    retry_after: Option<Duration>,
}

/// What a request was refused for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Reason {
    /// The limit was reached and the queue was full, or there is no queue. Usual cause: a burst larger than the queue.
    QueueFull,
    /// No place became free while the request waited. Usual cause: requests that take longer than they used to.
    WaitedTooLong,
}

impl Overloaded {
    pub(crate) const fn new(reason: Reason, retry_after: Option<Duration>) -> Self {
        Self { reason, retry_after }
    }

    /// What the request was refused for.
    #[must_use]
    pub const fn reason(&self) -> Reason {
        self.reason
    }
}

impl Cause for Overloaded {
    fn status(&self) -> StatusCode {
        StatusCode::SERVICE_UNAVAILABLE
    }

    fn message(&self) -> &str {
        "server busy"
    }

    fn retry_after(&self) -> Option<Duration> {
        self.retry_after
    }
}

impl fmt::Display for Overloaded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.reason {
            Reason::QueueFull => "too many requests in flight, and the queue is full",
            Reason::WaitedTooLong => "too many requests in flight, and none ended in time",
        })
    }
}

impl Error for Overloaded {}
