//! Response bodies: never cut, unless one asks for it.

use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use graceful_timeout::{BodyDeadlineLayer, BodyElapsed, TimeoutLayer};
use http::{HeaderMap, Request, Response};
use http_body::{Body, Frame, SizeHint};
use http_body_util::{BodyExt, Empty, Full};
use tokio::time::{Instant, Sleep, advance, sleep};
use tower::{Layer, ServiceExt, service_fn};

use crate::support::{Gone, MS, SECOND, request, text};

const T: Duration = Duration::from_secs(5);

/// A body with a frame each second, `left` of them.
struct Ticks {
    left: u32,
    sleep: Pin<Box<Sleep>>,
}

impl Ticks {
    fn new(left: u32) -> Self {
        Self { left, sleep: Box::pin(sleep(SECOND)) }
    }
}

impl Body for Ticks {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        std::task::ready!(self.sleep.as_mut().poll(cx));
        let next = self.sleep.deadline() + SECOND;
        self.sleep.as_mut().reset(next);
        self.left -= 1;
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(b".")))))
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }
}

/// A body that has a frame ready whenever it is asked, for ever.
struct Flood<G>(G);

impl<G> Body for Flood<G> {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(b".")))))
    }
}

async fn respond<B>(layer: BodyDeadlineLayer, body: B) -> Response<graceful_timeout::ResponseBody<B>> {
    let mut body = Some(body);
    let service = service_fn(move |_: Request<Empty<Bytes>>| {
        let body = body.take().expect("one request");
        async move { Ok::<_, Infallible>(Response::new(body)) }
    });
    layer.layer(service).oneshot(request()).await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn the_handler_timeout_does_not_touch_a_body_on_its_way() {
    let service = TimeoutLayer::new(T)
        .layer(service_fn(|_: Request<Empty<Bytes>>| async { Ok::<_, Infallible>(Response::new(Ticks::new(60))) }));
    let response = service.oneshot(request()).await.unwrap();
    assert_eq!(text(response).await.len(), 60, "a minute of stream under a limit of 5 s");
}

#[tokio::test(start_paused = true)]
async fn a_body_that_is_too_slow_ends_with_an_error() {
    for (ticks, frames, cut) in [(4, 4, false), (5, 5, false), (6, 4, true), (60, 4, true)] {
        let start = Instant::now();
        let mut body = Box::pin(respond(BodyDeadlineLayer::new(T), Ticks::new(ticks)).await.into_body());
        for _ in 0..frames {
            body.frame().await.expect("a frame").expect("not cut yet");
        }
        if cut {
            assert!(!body.is_end_stream(), "the server has to ask and to hear of it");
            let error = body.frame().await.expect("an error").expect_err("cut");
            let error = error.downcast_ref::<BodyElapsed>().expect("our own");
            assert_eq!(error.limit(), T);
            assert_eq!(error.to_string(), "the response body did not end within 5s");
            assert_eq!(start.elapsed(), T, "{ticks} ticks");
            assert!(body.is_end_stream());
        }
        // A fifth and last frame that is ready at the very limit is sent.
        assert!(body.frame().await.is_none(), "{ticks} ticks: the end, once");
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_that_is_always_ready_is_cut_too_and_its_source_dropped() {
    let gone = Gone::default();
    let mut body = Box::pin(respond(BodyDeadlineLayer::new(T), Flood(gone.guard())).await.into_body());
    body.frame().await.unwrap().expect("in time");
    advance(T - MS).await;
    body.frame().await.unwrap().expect("in time");
    assert!(!gone.is_gone());
    advance(MS).await;
    assert!(body.frame().await.unwrap().is_err(), "at the limit");
    assert!(gone.is_gone(), "the source is dropped at once");
}

#[tokio::test(start_paused = true)]
async fn late_trailers_and_a_late_end_are_an_end() {
    struct Trailers(Option<HeaderMap>);
    impl Body for Trailers {
        type Data = Bytes;
        type Error = Infallible;
        fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
            Poll::Ready(self.0.take().map(|trailers| Ok(Frame::trailers(trailers))))
        }
    }
    let mut body = Box::pin(respond(BodyDeadlineLayer::new(T), Trailers(Some(HeaderMap::new()))).await.into_body());
    advance(2 * T).await;
    assert!(body.frame().await.unwrap().expect("sent").is_trailers());
    assert!(body.frame().await.is_none(), "complete");
}

#[tokio::test(start_paused = true)]
async fn the_time_of_the_handler_is_part_of_it() {
    let service = BodyDeadlineLayer::new(T).layer(service_fn(|_: Request<Empty<Bytes>>| async {
        sleep(3 * SECOND).await;
        Ok::<_, Infallible>(Response::new(Ticks::new(60)))
    }));
    let start = Instant::now();
    let response = service.oneshot(request()).await.unwrap();
    assert!(response.into_body().collect().await.is_err());
    assert_eq!(start.elapsed(), T);
}

#[tokio::test(start_paused = true)]
async fn without_a_limit_it_passes_everything() {
    for layer in
        [BodyDeadlineLayer::new(None), BodyDeadlineLayer::new(Duration::ZERO), BodyDeadlineLayer::new(Duration::MAX)]
    {
        assert_eq!(text(respond(layer, Ticks::new(600)).await).await.len(), 600);
    }
}

#[tokio::test(start_paused = true)]
async fn the_handler_timeout_can_have_a_body_deadline() {
    let late = service_fn(|_: Request<Empty<Bytes>>| async {
        sleep(60 * SECOND).await;
        Ok::<_, Infallible>(Response::new(Ticks::new(1)))
    });
    let response = TimeoutLayer::new(T).body_deadline(9 * SECOND).layer(late).oneshot(request()).await.unwrap();
    assert_eq!(text(response).await, "handler timed out");

    let slow = service_fn(|_: Request<Empty<Bytes>>| async { Ok::<_, Infallible>(Response::new(Ticks::new(60))) });
    let start = Instant::now();
    let response = TimeoutLayer::new(T).body_deadline(9 * SECOND).layer(slow).oneshot(request()).await.unwrap();
    assert!(response.into_body().collect().await.is_err());
    assert_eq!(start.elapsed(), 9 * SECOND);
}

#[tokio::test(start_paused = true)]
async fn a_known_length_stays_known() {
    let body = respond(BodyDeadlineLayer::new(T), Full::new(Bytes::from_static(b"twelve bytes"))).await.into_body();
    assert_eq!(body.size_hint().exact(), Some(12));
    assert!(!body.is_end_stream());
    let body = respond(BodyDeadlineLayer::new(T), Empty::<Bytes>::new()).await.into_body();
    assert!(body.is_end_stream());

    let service = TimeoutLayer::new(T).layer(service_fn(|_: Request<Empty<Bytes>>| async {
        Ok::<_, Infallible>(Response::new(Full::new(Bytes::from_static(b"twelve bytes"))))
    }));
    let response = service.oneshot(request()).await.unwrap();
    assert_eq!(response.body().size_hint().exact(), Some(12), "also behind the handler timeout");
}

#[tokio::test(start_paused = true)]
async fn an_error_of_the_body_passes_through() {
    struct Broken;
    impl Body for Broken {
        type Data = Bytes;
        type Error = std::io::Error;
        fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, std::io::Error>>> {
            Poll::Ready(Some(Err(std::io::Error::other("broken"))))
        }
        fn size_hint(&self) -> SizeHint {
            SizeHint::default()
        }
    }
    let mut body = Box::pin(respond(BodyDeadlineLayer::new(T), Broken).await.into_body());
    let error = body.frame().await.unwrap().expect_err("broken");
    assert!(error.downcast_ref::<std::io::Error>().is_some(), "as the body gave it");
}
