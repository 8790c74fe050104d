use std::{
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use pin_project::pin_project;

/// The body of a service that may answer in place of the service it wraps.
///
/// Either the inner body, passed through untouched, or one chunk of the layer's own.
#[pin_project]
#[derive(Debug)]
pub struct AnswerBody<B> {
    #[pin]
    kind: Kind<B>,
}

#[pin_project(project = KindProj)]
#[derive(Debug)]
enum Kind<B> {
    Inner(#[pin] B),
    /// Empty once it was handed out.
    Answer(Bytes),
}

impl<B> AnswerBody<B> {
    /// The body of the inner service.
    pub const fn inner(body: B) -> Self {
        Self { kind: Kind::Inner(body) }
    }

    /// A body of the layer's own.
    pub const fn answer(text: Bytes) -> Self {
        Self { kind: Kind::Answer(text) }
    }

    /// Whether the layer answered, not the inner service.
    pub const fn is_answer(&self) -> bool {
        matches!(self.kind, Kind::Answer(_))
    }
}

impl<B: Default> Default for AnswerBody<B> {
    fn default() -> Self {
        Self::inner(B::default())
    }
}

impl<B> Body for AnswerBody<B>
where
    B: Body<Data = Bytes>,
{
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        match self.project().kind.project() {
            KindProj::Inner(body) => body.poll_frame(cx),
            KindProj::Answer(text) if text.is_empty() => Poll::Ready(None),
            KindProj::Answer(text) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(text))))),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.kind {
            Kind::Inner(body) => body.is_end_stream(),
            Kind::Answer(text) => text.is_empty(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::Inner(body) => body.size_hint(),
            Kind::Answer(text) => SizeHint::with_exact(text.len() as u64),
        }
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::{BodyExt, Empty, Full};

    use super::*;

    #[tokio::test]
    async fn the_inner_body_passes_through() {
        let body = AnswerBody::inner(Full::new(Bytes::from_static(b"inner")));
        assert!(!body.is_answer());
        assert_eq!(body.size_hint().exact(), Some(5), "a known length must stay known");
        assert_eq!(body.collect().await.expect("infallible").to_bytes(), "inner");
    }

    #[tokio::test]
    async fn an_answer_is_one_frame_of_known_length() {
        let mut body = AnswerBody::<Empty<Bytes>>::answer(Bytes::from_static(b"server busy"));
        assert_eq!(body.size_hint().exact(), Some(11));
        assert!(!body.is_end_stream());
        let frame = body.frame().await.expect("one frame").expect("infallible");
        assert_eq!(frame.data_ref().expect("data"), "server busy");
        assert!(body.is_end_stream(), "the end is known with the last frame");
        assert!(body.frame().await.is_none());
    }

    #[tokio::test]
    async fn an_empty_answer_has_no_frame() {
        let mut body = AnswerBody::<Empty<Bytes>>::answer(Bytes::new());
        assert!(body.is_end_stream());
        assert!(body.frame().await.is_none());
    }
}
