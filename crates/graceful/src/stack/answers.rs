use bytes::Bytes;
use graceful_answer::{Answer, Cause, PlainText, ProblemDetails};
use http::Response;

use crate::Config;

/// How the server words its own answers.
#[derive(Clone, Copy, Debug)]
pub(super) enum Answers {
    Text,
    Problem,
}

impl Answers {
    pub(super) const fn of(config: &Config) -> Self {
        if config.problem_details { Self::Problem } else { Self::Text }
    }
}

impl<C: Cause> Answer<C> for Answers {
    fn answer(&self, cause: &C) -> Response<Bytes> {
        match self {
            Self::Text => PlainText::new().answer(cause),
            Self::Problem => ProblemDetails::new().answer(cause),
        }
    }
}
