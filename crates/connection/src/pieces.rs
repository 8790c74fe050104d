use std::{
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::Version;
use http_body::{Body, Frame, SizeHint};
use pin_project::pin_project;

/// One DATA frame of HTTP/2's default size (RFC 9113, 6.5.2). hyper queues a whole chunk in h2 and, when it is the last
/// one, ends the stream's task: what is queued then escapes every deadline of the stream.
const HTTP2: u32 = 16 << 10;

/// HTTP/1: hyper buffers a chunk whole, however big, and lets go of the body.
const HTTP1: u32 = 64 << 10;

/// A body that hands out big chunks in small pieces, so that it is not over before most of it is on its way.
///
/// What a body carries to its end (a permit, a record) would otherwise end when a big answer is *buffered*: hyper takes a
/// chunk of 64 MiB at once, from a client that reads none of it. In pieces, it asks for the next when there is room.
///
/// [`Connection`](crate::Connection) does this for what it tracks itself. Layers whose bodies carry something want it
/// inside of them, next to the service that makes the chunks.
#[pin_project]
#[derive(Debug)]
pub struct Pieces<B> {
    #[pin]
    body: B,
    /// What is left of a chunk that was too big. Boxed: it is rare, and bodies are moved from layer to layer.
    rest: Option<Box<Bytes>>,
    piece: u32,
}

impl<B> Pieces<B> {
    /// In pieces for a client that speaks `version`: of 16 KiB over HTTP/2, else of 64 KiB.
    pub fn new(body: B, version: Version) -> Self {
        Self { body, rest: None, piece: if version == Version::HTTP_2 { HTTP2 } else { HTTP1 } }
    }
}

impl<B> Pieces<B> {
    pub(crate) const fn is_http2(&self) -> bool {
        self.piece == HTTP2
    }
}

impl<B: Body<Data = Bytes>> Body for Pieces<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let this = self.project();
        let piece = *this.piece as usize;
        if let Some(rest) = this.rest {
            let data = rest.split_to(rest.len().min(piece));
            if rest.is_empty() {
                *this.rest = None;
            }
            return Poll::Ready(Some(Ok(Frame::data(data))));
        }
        let mut polled = this.body.poll_frame(cx);
        if let Poll::Ready(Some(Ok(frame))) = &mut polled
            && let Some(data) = frame.data_mut()
            && data.len() > piece
        {
            *this.rest = Some(Box::new(data.split_off(piece)));
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_none() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let mut hint = self.body.size_hint();
        if let Some(rest) = &self.rest {
            let rest = rest.len() as u64;
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
    async fn a_big_chunk_goes_out_in_pieces() {
        for (version, pieces) in [(Version::HTTP_2, 13), (Version::HTTP_11, 4)] {
            let chunk = Bytes::from(vec![b'x'; 3 * HTTP1 as usize + 1]);
            let mut body = Pieces::new(Full::new(chunk.clone()), version);
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
            assert_eq!(frames, pieces, "{version:?}");
        }
    }
}
