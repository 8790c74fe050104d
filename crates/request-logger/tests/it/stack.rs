//! Small services and bodies that log where they are.

use std::{
    convert::Infallible,
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body::{Body, Frame, SizeHint};
use tracing::info;

/// Logs when it is dropped.
#[derive(Debug)]
pub(crate) struct LogDrop(pub(crate) &'static str);

impl Drop for LogDrop {
    fn drop(&mut self) {
        info!("{}", self.0);
    }
}

/// Two chunks and a trailer; logs each poll and its drop.
#[derive(Debug)]
pub(crate) struct LoggingBody {
    left: usize,
    _drop: LogDrop,
}

impl LoggingBody {
    pub(crate) fn new() -> Self {
        Self { left: 3, _drop: LogDrop("body dropped") }
    }
}

impl Body for LoggingBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        info!("body polled");
        let Some(left) = self.left.checked_sub(1) else { return Poll::Ready(None) };
        self.left = left;
        Poll::Ready(Some(Ok(match left {
            0 => {
                let mut trailers = HeaderMap::new();
                trailers.insert("x-end", "yes".parse().expect("a header value"));
                Frame::trailers(trailers)
            }
            _ => Frame::data(Bytes::from_static(b"chunk")),
        })))
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        let mut hint = SizeHint::new();
        hint.set_lower(5 * self.left.saturating_sub(1) as u64);
        hint
    }
}

/// A handler that logs at each of its steps and answers with a body that does.
pub(crate) fn logging_handler<B>(_: Request<B>) -> impl Future<Output = Result<Response<LoggingBody>, Infallible>> {
    info!("called");
    let dropped = LogDrop("future dropped");
    async move {
        let _dropped = dropped;
        info!("polled");
        tokio::task::yield_now().await;
        info!("polled again");
        Ok(Response::new(LoggingBody::new()))
    }
}
