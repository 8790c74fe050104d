//! A body that does what a test tells it to.

use std::{
    collections::VecDeque,
    io,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};

/// Yields its steps in order and then its end, of which it says nothing beforehand.
#[derive(Debug, Default)]
pub(crate) struct Script {
    steps: VecDeque<Step>,
    length: Option<u64>,
    tells_end: bool,
}

#[derive(Clone, Debug)]
pub(crate) enum Step {
    Data(&'static str),
    Trailers,
    Error,
    Panic,
    /// Waits for ever.
    Wait,
}

impl Script {
    pub(crate) fn new(steps: impl IntoIterator<Item = Step>) -> Self {
        Self { steps: steps.into_iter().collect(), length: None, tells_end: false }
    }

    /// Must not be polled.
    pub(crate) fn untouchable(length: u64) -> Self {
        Self::new([Step::Panic]).with_length(length)
    }

    /// Knows its exact length from the start.
    pub(crate) fn with_length(mut self, length: u64) -> Self {
        self.length = Some(length);
        self
    }

    /// Is at its end with its last step.
    pub(crate) fn telling_end(mut self) -> Self {
        self.tells_end = true;
        self
    }
}

impl Body for Script {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        if matches!(self.steps.front(), Some(Step::Wait)) {
            return Poll::Pending;
        }
        Poll::Ready(self.steps.pop_front().map(|step| match step {
            Step::Data(text) => {
                self.length = self.length.map(|length| length - text.len() as u64);
                Ok(Frame::data(Bytes::from_static(text.as_bytes())))
            }
            Step::Trailers => Ok(Frame::trailers(HeaderMap::new())),
            Step::Error => Err(io::Error::other("the source of the body has failed")),
            Step::Panic => panic!("panic in the body"),
            Step::Wait => unreachable!("handled above"),
        }))
    }

    fn is_end_stream(&self) -> bool {
        self.tells_end && self.steps.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        self.length.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}
