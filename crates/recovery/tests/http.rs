//! What a client sees, over real sockets: axum with the layer on its routes and around them, and plain hyper.

mod support;

use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use axum::{
    Router,
    body::Body,
    extract::Request,
    response::Response,
    routing::{any, get},
};
use bytes::Bytes;
use graceful_recovery::{Panics, RecoveryLayer, abort};
use h2::Reason;
use http::Method;
use http_body::Frame;
use http_body_util::{BodyExt, Empty, Full};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    service::TowerToHyperService,
};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
};
use tower::{Layer, Service, service_fn};

use support::{Bomb, Capture};

/// Three frames of four bytes, and what happens in the place of the third.
struct Stream {
    frames: u32,
    length: Option<u64>,
    /// Lets the frames before reach the client.
    paused: bool,
    then: fn(),
    _bomb: Option<Bomb>,
}

impl Stream {
    fn new(then: fn()) -> Self {
        Self { frames: 0, length: None, paused: false, then, _bomb: None }
    }
}

impl http_body::Body for Stream {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.frames == 2 && !std::mem::replace(&mut self.paused, true) {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        self.frames += 1;
        match self.frames {
            1 | 2 => Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(b"part"))))),
            3 => {
                (self.then)();
                Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(b"last")))))
            }
            _ => Poll::Ready(None),
        }
    }

    fn size_hint(&self) -> http_body::SizeHint {
        self.length.map_or_else(http_body::SizeHint::default, http_body::SizeHint::with_exact)
    }
}

fn panics() {
    panic!("row 3");
}

fn routes() -> Router {
    let stream = |then: fn()| Body::new(Stream::new(then));
    Router::new()
        .route("/ok", get(async || "ok"))
        .route("/panic", any(async || -> &'static str { panic!("handler") }))
        .route("/abort", any(async || -> &'static str { abort() }))
        .route("/whole", get(async move || stream(|| ())))
        .route("/chunked", get(async move || stream(panics)))
        .route("/length", get(async || Body::new(Stream { length: Some(12), ..Stream::new(panics) })))
        .route("/abort-body", get(async move || stream(|| abort())))
        .route("/drop", get(async || Body::new(Stream { _bomb: Some(Bomb("body")), ..Stream::new(|| ()) })))
        .route("/endless", get(async || Body::new(Endless(Bomb("body")))))
}

/// Never has anything to send, and panics when it is given up.
struct Endless(#[expect(dead_code, reason = "dropped")] Bomb);

impl http_body::Body for Endless {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Pending
    }
}

async fn listen() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").await.expect("a port")
}

/// `axum::serve` with the layer on each route, as its users write it.
#[expect(clippy::disallowed_methods, reason = "a test's server ends with its runtime")]
async fn serve_axum() -> (TcpStream, Panics) {
    let listener = listen().await;
    let client = TcpStream::connect(listener.local_addr().expect("bound")).await.expect("a connection");
    let layer = RecoveryLayer::new();
    let panics = layer.panics();
    tokio::spawn(async move { axum::serve(listener, routes().layer(layer)).await });
    (client, panics)
}

/// One hyper connection, of either version.
#[expect(clippy::disallowed_methods, reason = "a test's server ends with its runtime")]
async fn serve_hyper<S, B>(h2: bool, service: S) -> TcpStream
where
    S: Service<Request<hyper::body::Incoming>, Response = Response<B>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send + 'static,
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let listener = listen().await;
    let client = TcpStream::connect(listener.local_addr().expect("bound")).await.expect("a connection");
    let (socket, _) = listener.accept().await.expect("the client");
    let service = TowerToHyperService::new(service);
    tokio::spawn(async move {
        let io = TokioIo::new(socket);
        if h2 {
            hyper::server::conn::http2::Builder::new(TokioExecutor::new()).serve_connection(io, service).await
        } else {
            hyper::server::conn::http1::Builder::new().serve_connection(io, service).await
        }
    });
    client
}

/// The layer around the finished router, without `axum::serve`.
async fn serve_around(h2: bool) -> (TcpStream, Panics) {
    let layer = RecoveryLayer::new();
    let panics = layer.panics();
    let router =
        tower::util::MapRequest::new(routes(), |request: Request<hyper::body::Incoming>| request.map(Body::new));
    (serve_hyper(h2, layer.layer(router)).await, panics)
}

/// Sends one HTTP/1.1 request and reads one response with a `Content-Length`.
async fn exchange(client: &mut BufReader<TcpStream>, path: &str) -> (String, String) {
    let request = format!("GET {path} HTTP/1.1\r\nhost: test\r\n\r\n");
    client.write_all(request.as_bytes()).await.expect("the connection is open");
    let (mut head, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        assert_ne!(client.read_line(&mut line).await.expect("readable"), 0, "closed after: {head}");
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length: ") {
            length = value.trim().parse().expect("a length");
        }
        if line == "\r\n" {
            break;
        }
        head.push_str(&line);
    }
    let mut body = vec![0; length];
    client.read_exact(&mut body).await.expect("the whole body");
    (head, String::from_utf8(body).expect("text"))
}

/// All that comes over HTTP/1.1 until the server closes.
async fn to_the_end(mut client: TcpStream, method: Method, path: &str) -> String {
    let request = format!("{method} {path} HTTP/1.1\r\nhost: test\r\n\r\n");
    client.write_all(request.as_bytes()).await.expect("the connection is open");
    let mut all = Vec::new();
    client.read_to_end(&mut all).await.expect("a close, not a reset");
    String::from_utf8(all).expect("text")
}

async fn fifty_panics_and_then_ok(client: TcpStream) {
    let mut client = BufReader::new(client);
    for i in 0..50 {
        let (head, body) = exchange(&mut client, "/panic").await;
        assert!(head.starts_with("HTTP/1.1 500 "), "request {i}: {head}");
        assert_eq!(body, "internal error");
    }
    let (head, body) = exchange(&mut client, "/ok").await;
    assert!(head.starts_with("HTTP/1.1 200 "), "the connection stays usable: {head}");
    assert_eq!(body, "ok");
}

#[tokio::test]
async fn fifty_panics_on_one_connection_of_axum_serve() {
    let (capture, _guard) = Capture::start();
    let (client, panics) = serve_axum().await;
    fifty_panics_and_then_ok(client).await;
    assert_eq!(panics.total(), 50);
    assert_eq!(capture.all().len(), 50, "each is reported, none twice");
}

#[tokio::test]
async fn fifty_panics_on_one_connection_around_the_router() {
    let (_capture, _guard) = Capture::start();
    let (client, panics) = serve_around(false).await;
    fifty_panics_and_then_ok(client).await;
    assert_eq!(panics.total(), 50);
}

#[tokio::test]
async fn fifty_panics_on_one_connection_of_plain_hyper() {
    let (_capture, _guard) = Capture::start();
    let layer = RecoveryLayer::new();
    let service = layer.layer(service_fn(|request: Request<hyper::body::Incoming>| {
        // Before the future, where hyper itself would be hit.
        assert!(request.uri().path() != "/panic", "call");
        async { Ok::<_, Infallible>(Response::new(Full::new(Bytes::from_static(b"ok")))) }
    }));
    fifty_panics_and_then_ok(serve_hyper(false, service).await).await;
    assert_eq!(layer.panics().total(), 50);
}

#[tokio::test]
async fn over_http1_a_body_that_panics_is_cut() {
    let (capture, _guard) = Capture::start();
    for around in [false, true] {
        let serve = async || if around { serve_around(false).await.0 } else { serve_axum().await.0 };
        let whole = {
            let mut client = serve().await;
            client.write_all(b"GET /whole HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n").await.expect("open");
            let mut all = String::new();
            client.read_to_string(&mut all).await.expect("a close");
            all
        };
        assert!(whole.ends_with("4\r\nlast\r\n0\r\n\r\n"), "this is how a whole one ends: {whole:?}");

        let chunked = to_the_end(serve().await, Method::GET, "/chunked").await;
        assert!(chunked.starts_with("HTTP/1.1 200 "), "the head was out: {chunked:?}");
        assert!(chunked.ends_with("4\r\npart\r\n4\r\npart\r\n"), "no last chunk: {chunked:?}");

        let length = to_the_end(serve().await, Method::GET, "/length").await;
        assert!(length.contains("content-length: 12\r\n") && length.ends_with("\r\n\r\npartpart"), "short: {length:?}");
    }
    let events = capture.all();
    assert_eq!(events.len(), 4);
    assert!(events.iter().all(|event| event.get("where") == Some("body") && event.get("panic") == Some("row 3")));
}

#[tokio::test]
async fn over_http1_an_abort_before_the_head_is_a_bare_close() {
    let (capture, _guard) = Capture::start();
    for around in [false, true] {
        let serve = async || if around { serve_around(false).await } else { serve_axum().await };
        let (client, panics) = serve().await;
        assert_eq!(to_the_end(client, Method::GET, "/abort").await, "", "not even a status line");
        assert_eq!(panics.total(), 0);

        let (client, _) = serve().await;
        let cut = to_the_end(client, Method::GET, "/abort-body").await;
        assert!(cut.starts_with("HTTP/1.1 200 ") && cut.ends_with("4\r\npart\r\n"), "cut where it was: {cut:?}");

        // Nobody polls the body here, so this is as far as it goes.
        let (client, _) = serve().await;
        let head = to_the_end(client, Method::HEAD, "/abort").await;
        assert!(head.starts_with("HTTP/1.1 500 ") && head.contains("connection: close\r\n"), "{head:?}");
    }
    assert!(capture.all().iter().all(|event| event.message() == "response aborted"), "no error is logged");
}

#[tokio::test]
async fn over_http1_the_drop_of_a_body_does_not_end_the_connection() {
    let (capture, _guard) = Capture::start();
    let layer = RecoveryLayer::new();
    let service = layer.layer(service_fn(async |_: Request<hyper::body::Incoming>| {
        let body = Stream { length: Some(12), _bomb: Some(Bomb("body")), ..Stream::new(|| ()) };
        Ok::<_, Infallible>(Response::new(body))
    }));
    let mut client = BufReader::new(serve_hyper(false, service).await);
    for _ in 0..3 {
        assert_eq!(exchange(&mut client, "/").await.1, "partpartlast");
    }
    drop(client);
    assert!(capture.all().iter().all(|event| event.get("where") == Some("drop")));
    assert!(layer.panics().total() >= 2, "each body was dropped before the next request");
}

#[expect(clippy::disallowed_methods, reason = "a test's client ends with its runtime")]
async fn h2_client(client: TcpStream) -> h2::client::SendRequest<Bytes> {
    let (send, connection) = h2::client::handshake(client).await.expect("a handshake");
    tokio::spawn(connection);
    send.ready().await.expect("an open connection")
}

/// The response of one stream: its status and body, or why the stream was reset.
async fn stream(send: &mut h2::client::SendRequest<Bytes>, path: &str) -> Result<(u16, Bytes), h2::Error> {
    let request = Request::get(format!("http://test{path}")).body(()).expect("a request");
    let (response, _) = send.send_request(request, true)?;
    let (head, mut body) = response.await?.into_parts();
    let mut all = Vec::new();
    while let Some(data) = body.data().await {
        all.extend_from_slice(&data?);
    }
    Ok((head.status.as_u16(), all.into()))
}

#[tokio::test]
async fn over_http2_only_the_stream_is_reset() {
    let (capture, _guard) = Capture::start();
    for around in [false, true] {
        let (client, panics) = if around { serve_around(true).await } else { serve_axum().await };
        let mut send = h2_client(client).await;
        // Another stream, open all the while.
        let request = Request::get("http://test/endless").body(()).expect("a request");
        let (other, _) = send.send_request(request, true).expect("a stream");
        let mut other = other.await.expect("a head").into_body();

        assert_eq!(stream(&mut send, "/panic").await.expect("an answer"), (500, Bytes::from("internal error")));
        assert_eq!(panics.total(), 1);
        for path in ["/chunked", "/length", "/abort", "/abort-body"] {
            let error = stream(&mut send, path).await.expect_err("never a clean end");
            assert!(error.is_reset() && error.is_remote(), "{path}: the stream, not the connection: {error:?}");
            assert_eq!(error.reason(), Some(Reason::INTERNAL_ERROR), "{path}");
        }
        assert_eq!(panics.total(), 3, "the aborts do not count");
        assert_eq!(stream(&mut send, "/whole").await.expect("whole"), (200, Bytes::from("partpartlast")));
        let still_open = tokio::time::timeout(Duration::ZERO, other.data()).await;
        assert!(still_open.is_err(), "the other stream was not touched: {still_open:?}");
    }
    // Without the streams that were left open to the end.
    let errors =
        capture.all().into_iter().filter(|event| event.message() == "panic" && event.get("where") != Some("drop"));
    assert_eq!(errors.count(), 6);
}

#[tokio::test]
async fn over_http2_a_client_that_leaves_meets_a_panic_in_the_bodys_drop() {
    let (capture, _guard) = Capture::start();
    let (client, panics) = serve_around(true).await;
    let mut send = h2_client(client).await;
    let request = Request::get("http://test/endless").body(()).expect("a request");
    let (response, mut reset) = send.send_request(request, true).expect("a stream");
    let _head = response.await.expect("a head");
    reset.send_reset(Reason::CANCEL);
    tokio::time::timeout(Duration::from_secs(30), async {
        while panics.total() == 0 {
            tokio::task::yield_now().await;
        }
    })
    .await
    .expect("the body is dropped");
    assert_eq!(stream(&mut send, "/ok").await.expect("the connection lives"), (200, Bytes::from("ok")));
    assert_eq!(capture.one().get("where"), Some("drop"));
}

/// hyper leaves the content of an answer to `HEAD` out over HTTP/1 only.
#[tokio::test]
async fn over_http2_the_answer_to_head_has_no_content() {
    let (_capture, _guard) = Capture::start();
    let (client, _) = serve_around(true).await;
    let mut send = h2_client(client).await;
    let request = Request::head("http://test/panic").body(()).expect("a request");
    let (response, _) = send.send_request(request, true).expect("a stream");
    let response = response.await.expect("a client takes content for a breach of the protocol");
    assert_eq!((response.status().as_u16(), response.body().is_end_stream()), (500, true));
    assert_eq!(response.headers()["content-length"], "14", "what GET would have sent");
}

#[tokio::test]
async fn an_empty_body_stays_empty() {
    let layer = RecoveryLayer::new();
    let service = layer.layer(service_fn(async |_: Request<hyper::body::Incoming>| {
        Ok::<_, Infallible>(Response::builder().status(204).body(Empty::<Bytes>::new().boxed()).expect("valid"))
    }));
    let mut client = BufReader::new(serve_hyper(false, service).await);
    let (head, _) = exchange(&mut client, "/").await;
    assert!(head.starts_with("HTTP/1.1 204 ") && !head.contains("transfer-encoding"), "{head}");
}
