use std::{
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use graceful_answer::AnswerBody;
use http_body::{Body, Frame, SizeHint};
use pin_project::pin_project;

use crate::{executor::stream, service::RequestGuard};

/// One DATA frame of HTTP/2's default size (RFC 9113, 6.5.2). hyper queues a whole chunk in h2 and, when it is the last
/// one, ends the stream's task: what is queued then escapes every deadline of the stream. Small pieces bound that.
const H2_PIECE: usize = 16 << 10;

/// The body of a response on its way out; it ends the request when it ends.
#[pin_project]
#[derive(Debug)]
pub struct ResponseBody<B> {
    #[pin]
    body: AnswerBody<B>,
    /// HTTP/2: the rest of a chunk that was cut into pieces.
    rest: Bytes,
    http2: bool,
    guard: Option<RequestGuard>,
}

impl<B> ResponseBody<B> {
    pub(crate) const fn new(body: AnswerBody<B>, http2: bool, guard: Option<RequestGuard>) -> Self {
        Self { body, rest: Bytes::new(), http2, guard }
    }
}

impl<B: Body<Data = Bytes>> Body for ResponseBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let this = self.project();
        if !this.rest.is_empty() {
            let n = this.rest.len().min(H2_PIECE);
            stream::note_sent(n);
            return Poll::Ready(Some(Ok(Frame::data(this.rest.split_to(n)))));
        }
        let mut polled = this.body.poll_frame(cx);
        if *this.http2 {
            match &mut polled {
                Poll::Pending => stream::note_application_waits(),
                Poll::Ready(Some(Ok(frame))) => {
                    if let Some(data) = frame.data_mut() {
                        if data.len() > H2_PIECE {
                            *this.rest = data.split_off(H2_PIECE);
                        }
                        stream::note_sent(data.len());
                    }
                }
                Poll::Ready(_) => {}
            }
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let mut hint = self.body.size_hint();
        let rest = self.rest.len() as u64;
        if rest > 0 {
            if let Some(upper) = hint.upper() {
                hint.set_upper(upper + rest);
            }
            hint.set_lower(hint.lower() + rest);
        }
        hint
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::{BodyExt, Full};

    use super::*;

    #[tokio::test]
    async fn a_big_chunk_goes_out_in_pieces_on_http2_only() {
        for (http2, pieces) in [(true, 4), (false, 1)] {
            let chunk = Bytes::from(vec![b'x'; 3 * H2_PIECE + 1]);
            let mut body = ResponseBody::new(AnswerBody::inner(Full::new(chunk.clone())), http2, None);
            let mut sum = Vec::new();
            let mut frames = 0;
            loop {
                let left = (chunk.len() - sum.len()) as u64;
                assert_eq!(body.size_hint().exact(), Some(left), "the length stays known");
                assert_eq!(body.is_end_stream(), left == 0, "and the end as well");
                let Some(frame) = body.frame().await else { break };
                sum.extend_from_slice(frame.expect("infallible").data_ref().expect("data"));
                frames += 1;
            }
            assert_eq!(sum, chunk);
            assert_eq!(frames, pieces, "http2: {http2}");
        }
    }
}
