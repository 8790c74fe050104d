//! The answer that reads on: its bounds, on a paused clock. The reason for it is in `upload`, on sockets.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use futures_util::{FutureExt, poll};
use graceful_answer::Answer;
use graceful_concurrency_limit::{ConcurrencyLimitLayer, Overloaded, ResponseBody};
use http::{Request, Response, Version};
use http_body::{Body, Frame, SizeHint};
use http_body_util::{BodyExt, Full};
use tokio::{sync::mpsc, time::Instant};
use tower::{Layer, Service};

use crate::support::{Broken, Work};

/// A request body that comes in when the test sends it.
struct Upload {
    frames: mpsc::UnboundedReceiver<Result<Frame<Bytes>, Broken>>,
    length: Option<u64>,
    /// Set when its end was read.
    read: Arc<AtomicBool>,
}

type Client = mpsc::UnboundedSender<Result<Frame<Bytes>, Broken>>;

impl Body for Upload {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        let frame = ready!(self.frames.poll_recv(cx));
        self.read.fetch_or(frame.is_none(), Ordering::Relaxed);
        Poll::Ready(frame)
    }

    fn size_hint(&self) -> SizeHint {
        self.length.map_or_else(SizeHint::new, SizeHint::with_exact)
    }
}

fn upload(length: Option<u64>) -> (Client, Request<Upload>) {
    let (client, frames) = mpsc::unbounded_channel();
    (client, Request::post("/").body(Upload { frames, length, read: Arc::default() }).expect("a request"))
}

type Refused = Response<ResponseBody<Full<Bytes>, Upload>>;

async fn refuse<A: Answer<Overloaded>>(layer: ConcurrencyLimitLayer<A>, request: Request<Upload>) -> Refused {
    let response = layer.max_queue(0).layer(Work::new().service()).call(request).await.expect("infallible");
    assert_eq!(response.status(), 503);
    response
}

fn layer() -> ConcurrencyLimitLayer {
    ConcurrencyLimitLayer::new(0)
}

/// The body of an answer that drains, after its text.
async fn draining<A: Answer<Overloaded>>(
    layer: ConcurrencyLimitLayer<A>,
    request: Request<Upload>,
) -> Pin<Box<ResponseBody<Full<Bytes>, Upload>>> {
    let mut body = Box::pin(refuse(layer, request).await.into_body());
    let hint = body.size_hint();
    assert_eq!((hint.lower(), hint.upper()), (11, None), "a known length would end it with the text");
    let text = body.frame().now_or_never().expect("at once").expect("a frame").expect("no error");
    assert_eq!(text.data_ref().expect("data"), "server busy");
    assert!(!body.is_end_stream());
    body
}

fn data(len: usize) -> Result<Frame<Bytes>, Broken> {
    Ok(Frame::data(Bytes::from(vec![0; len])))
}

#[tokio::test(start_paused = true)]
async fn it_ends_with_the_upload() {
    let (client, request) = upload(Some(30_000));
    let mut body = draining(layer(), request).await;
    for _ in 0..3 {
        assert!(poll!(body.frame()).is_pending());
        client.send(data(10_000)).expect("it is read");
    }
    drop(client);
    assert!(body.frame().now_or_never().expect("at once").is_none());
    assert!(body.is_end_stream());
    assert!(body.frame().now_or_never().expect("at once").is_none(), "and stays at its end");
}

#[tokio::test(start_paused = true)]
async fn it_ends_with_the_bound_of_bytes() {
    let (client, request) = upload(None);
    let mut body = draining(layer(), request).await;
    client.send(data(256 * 1024 - 1)).expect("it is read");
    assert!(poll!(body.frame()).is_pending(), "the default is 256 KiB");
    client.send(data(1)).expect("it is read");
    assert!(body.frame().now_or_never().expect("at once").is_none());
    assert!(client.is_closed(), "the request's body is dropped with it");

    let (client, request) = upload(None);
    let mut body = draining(layer().drain(10), request).await;
    client.send(data(10)).expect("it is read");
    assert!(body.frame().now_or_never().expect("at once").is_none(), "settable");
}

#[tokio::test(start_paused = true)]
async fn it_ends_with_the_bound_of_time() {
    for (layer, millis) in [(layer(), 1000), (layer().drain_time(Duration::from_millis(200)), 200)] {
        let (client, request) = upload(None);
        let mut body = draining(layer, request).await;
        let start = Instant::now();
        let dripping = tokio::spawn(async move {
            while client.send(data(1)).is_ok() {
                tokio::time::sleep(Duration::from_millis(30)).await;
            }
        });
        assert!(body.frame().await.is_none());
        let took = start.elapsed().as_millis();
        assert!((millis..=millis + 2).contains(&took), "dripped bytes do not prolong it: {took} ms");
        drop(body);
        dripping.await.expect("no panic");
    }
}

#[tokio::test(start_paused = true)]
async fn time_without_bound_does_not_overflow_the_clock() {
    let (client, request) = upload(None);
    let mut body = draining(layer().drain_time(Duration::MAX), request).await;
    assert!(poll!(body.frame()).is_pending());
    tokio::time::advance(Duration::from_secs(1_000_000)).await;
    assert!(poll!(body.frame()).is_pending());
    drop(client);
    assert!(body.frame().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn an_upload_that_ends_with_the_time_has_ended() {
    let (client, request) = upload(None);
    let read = Arc::clone(&request.body().read);
    let mut body = draining(layer(), request).await;
    assert!(poll!(body.frame()).is_pending());
    tokio::time::advance(Duration::from_secs(2)).await;
    drop(client);
    assert!(body.frame().now_or_never().expect("at once").is_none());
    assert!(read.load(Ordering::Relaxed), "read to its end: the connection can be kept");
}

#[tokio::test(start_paused = true)]
async fn it_ends_with_an_error_of_the_upload() {
    let (client, request) = upload(None);
    let mut body = draining(layer(), request).await;
    client.send(Err(Broken)).expect("it is read");
    assert!(body.frame().now_or_never().expect("at once").is_none(), "the answer itself is whole");
}

#[tokio::test(start_paused = true)]
async fn empty_frames_are_not_free_and_one_poll_reads_only_so_much() {
    let (client, request) = upload(None);
    let mut body = draining(layer().drain(1000), request).await;
    for _ in 0..1000 {
        client.send(data(0)).expect("it is read");
    }
    assert!(poll!(body.frame()).is_pending(), "others want to be polled, too");
    let start = Instant::now();
    assert!(body.frame().await.is_none());
    assert_eq!(start.elapsed(), Duration::ZERO, "it asked to be polled again, and came to the bound of bytes");
}

#[tokio::test]
async fn nothing_is_drained_where_it_would_not_help() {
    let known = |response: Refused| response.body().size_hint().exact();

    let (_client, request) = upload(Some(256 * 1024 + 1));
    assert_eq!(known(refuse(layer(), request).await), Some(11), "it would not be read to its end");

    let (_client, request) = upload(None);
    assert_eq!(known(refuse(layer().drain(0), request).await), Some(11), "switched off");

    let (_client, mut request) = upload(Some(10));
    *request.version_mut() = Version::HTTP_2;
    assert_eq!(known(refuse(layer(), request).await), Some(11), "HTTP/2 resets the stream without harm");

    for value in ["100-continue", "100-Continue"] {
        let (_client, mut request) = upload(Some(10));
        request.headers_mut().insert("expect", value.parse().expect("a value"));
        assert_eq!(known(refuse(layer(), request).await), Some(11), "the body is not on its way");
    }
}

#[tokio::test]
async fn a_length_that_the_answer_states_itself_is_taken_back() {
    let stated = layer().answer(|_: &Overloaded| {
        Response::builder()
            .status(503)
            .header("content-length", "11")
            .body(Bytes::from_static(b"server busy"))
            .expect("a response")
    });
    let (_client, request) = upload(Some(10));
    let drained = refuse(stated.clone(), request).await;
    assert!(!drained.headers().contains_key("content-length"), "the server would end the response with the text");
    let (_client, request) = upload(Some(10));
    let plain = refuse(stated.drain(0), request).await;
    assert_eq!(plain.headers()["content-length"], "11");
}

#[tokio::test]
async fn a_draining_answer_takes_no_place() {
    let (_client, request) = upload(None);
    let layer = layer();
    let limit = layer.limit();
    let _body = draining(layer, request).await;
    assert_eq!((limit.stats().in_flight, limit.stats().queued), (0, 0));
}
