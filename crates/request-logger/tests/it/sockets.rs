//! The layer behind real sockets, on axum and on plain hyper.

use std::{convert::Infallible, net::SocketAddr, sync::Arc, time::Duration};

use axum::{Router, body::Body, extract::Request as AxumRequest, response::IntoResponse, routing::get};
use bytes::Bytes;
use futures_util::stream::pending;
use graceful_request_logger::RequestLoggerLayer;
use http::{HeaderMap, Request, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt, Empty, StreamBody};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    service::TowerToHyperService,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::Barrier,
};
use tower::{Layer, ServiceBuilder, service_fn};
use tracing::info;

use crate::{capture::Capture, stack::logging_handler};

async fn listen() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let addr = listener.local_addr().expect("bound");
    (listener, addr)
}

/// Lets the server's tasks run until `done`; the server is on this thread.
async fn until(done: impl Fn() -> bool) {
    let waited = tokio::time::timeout(Duration::from_secs(10), async {
        while !done() {
            tokio::task::yield_now().await;
        }
    });
    waited.await.expect("it happens");
}

/// Sends raw bytes and reads to the end of the connection.
async fn exchange(addr: SocketAddr, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(addr).await.expect("connected");
    stream.write_all(bytes).await.expect("written");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.expect("read");
    String::from_utf8_lossy(&answer).into_owned()
}

fn id_in(answer: &str) -> &str {
    let (_, rest) = answer.split_once("x-request-id: ").expect("an id in the answer");
    rest.split_once("\r\n").expect("a whole line").0
}

async fn work() -> &'static str {
    info!("working");
    "done"
}

#[tokio::test]
async fn axum_with_a_layer_on_the_router() {
    let capture = Capture::new();
    let (listener, addr) = listen().await;
    let router = Router::new().route("/work", get(work)).layer(RequestLoggerLayer::new());
    tokio::spawn(axum::serve(listener, router).into_future());

    let answer =
        exchange(addr, b"GET /work HTTP/1.1\r\nHost: a\r\nx-request-id: r-1\r\nConnection: close\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("done"), "{answer}");
    assert_eq!(id_in(&answer), "r-1");
    assert_eq!(capture.messages_of("r-1"), ["working"]);

    let answer = exchange(addr, b"GET /nowhere HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 404"), "{answer}");
    assert_eq!(id_in(&answer).len(), 36, "what no route answers has an id, too");
    until(|| capture.spans().iter().all(|span| span.closed)).await;
    capture.assert_all_ended();
}

#[tokio::test]
async fn axum_with_the_layer_around_the_router() {
    let capture = Capture::new();
    let (listener, addr) = listen().await;
    let router = Router::new().route("/work", get(work));
    let app = ServiceBuilder::new()
        .map_response(IntoResponse::into_response)
        .layer(RequestLoggerLayer::new())
        .service(router);
    let service = axum::ServiceExt::<AxumRequest>::into_make_service(app);
    tokio::spawn(axum::serve(listener, service).into_future());

    let answer = exchange(addr, b"GET /work?a=b HTTP/1.1\r\nHost: a\r\nx-request-id: r-1\r\nConnection: close\r\n\r\n");
    assert_eq!(id_in(&answer.await), "r-1");
    assert_eq!(capture.messages_of("r-1"), ["working"]);
    until(|| capture.spans().iter().all(|span| span.closed)).await;
    assert_eq!(capture.span().text["path"], "/work");
}

#[tokio::test]
async fn plain_hyper_and_ids_that_are_not_ascii_on_the_wire() {
    let capture = Capture::new();
    let (listener, addr) = listen().await;
    let service = RequestLoggerLayer::new().layer(service_fn(logging_handler));
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let service = TowerToHyperService::new(service.clone());
            tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service));
        }
    });

    for sent in [&b"fit-1"[..], b"un\xff\x80fit", b"un fit", b"un\x9bfit", b"a\r\nx-request-id: unfit"] {
        let head = [b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nx-request-id: ", sent, b"\r\n\r\n"].concat();
        let answer = exchange(addr, &head).await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        assert!(answer.contains("transfer-encoding: chunked"), "an unknown length is still unknown: {answer}");
        let id = id_in(&answer);
        match sent {
            b"fit-1" => assert_eq!(id, "fit-1"),
            _ => assert!(id.len() == 36 && !answer.contains("fit"), "a bad id is not echoed: {answer}"),
        }
        until(|| capture.spans().iter().all(|span| span.closed)).await;
        assert_eq!(capture.messages_of(id).last().map(String::as_str), Some("body dropped"));
    }
    // hyper itself refuses what no header may hold: the layer never sees it.
    let answer = exchange(addr, b"GET / HTTP/1.1\r\nHost: a\r\nx-request-id: a\x01b\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
    capture.assert_all_ended();
}

#[tokio::test]
async fn the_next_request_on_a_connection_has_an_id_of_its_own() {
    let capture = Capture::new();
    let (listener, addr) = listen().await;
    let router = Router::new().route("/work", get(work)).layer(RequestLoggerLayer::new());
    tokio::spawn(axum::serve(listener, router).into_future());

    let stream = TcpStream::connect(addr).await.expect("connected");
    let (mut client, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.expect("HTTP/1.1");
    tokio::spawn(connection);
    let mut ids = Vec::new();
    for (sent, expected) in [(Some("r-1"), Some("r-1")), (None, None), (Some("un fit"), None), (None, None)] {
        let mut request = Request::get("/work").header("host", "a");
        if let Some(sent) = sent {
            request = request.header("x-request-id", sent);
        }
        let response = client.send_request(request.body(Empty::<Bytes>::new()).expect("a request")).await.expect("200");
        let id = response.headers()["x-request-id"].to_str().expect("an id").to_owned();
        assert_eq!(response.into_body().collect().await.expect("a body").to_bytes(), "done");
        assert!(expected.is_none_or(|expected| id == expected));
        assert_eq!(capture.messages_of(&id), ["working"], "one line in the span of each request");
        assert!(!ids.contains(&id), "nothing is left of the request before");
        // The connection stays open, and holds on to no span.
        until(|| capture.spans().iter().all(|span| span.closed)).await;
        ids.push(id);
    }
    assert_eq!(capture.spans().len(), ids.len());
    assert!(capture.spans().iter().all(|span| span.is_root), "no span is inside the one before");
    capture.assert_all_ended();
}

#[tokio::test]
async fn requests_on_one_http2_connection_do_not_mix() {
    const STREAMS: usize = 16;
    let capture = Capture::new();
    let (listener, addr) = listen().await;
    // All handlers are at each step before one goes on to the next.
    let barrier = Arc::new(Barrier::new(STREAMS));
    let handler = move |headers: HeaderMap| {
        let barrier = barrier.clone();
        async move {
            let name = headers["x-name"].to_str().expect("text").to_owned();
            for step in 0..3 {
                barrier.wait().await;
                info!("{name} {step}");
            }
            // And their bodies take turns as well.
            streamed_body(name, barrier)
        }
    };
    let router = Router::new().route("/", get(handler)).layer(RequestLoggerLayer::new());
    tokio::spawn(axum::serve(listener, router).into_future());

    let stream = TcpStream::connect(addr).await.expect("connected");
    let (client, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.expect("HTTP/2");
    tokio::spawn(connection);
    let requests = (0..STREAMS).map(|i| {
        let mut client = client.clone();
        async move {
            let (name, id) = (format!("n{i}"), format!("r-{i}"));
            let request = Request::get(format!("http://a/?{i}")).header("x-request-id", &id).header("x-name", &name);
            let request = request.body(Empty::<Bytes>::new()).expect("a request");
            let response = client.send_request(request).await.expect("a response");
            assert_eq!(response.headers()["x-request-id"], id.as_str());
            response.into_body().collect().await.expect("a body");
            (name, id)
        }
    });
    for (name, id) in futures_util::future::join_all(requests).await {
        let expected: Vec<_> = ["0", "1", "2", "body"].map(|step| format!("{name} {step}")).into();
        assert_eq!(capture.messages_of(&id), expected, "each line is in the span of its own request");
    }
    until(|| capture.spans().iter().all(|span| span.closed)).await;
    assert!(capture.spans().iter().all(|span| span.is_root), "streams of one connection are not inside one another");
    capture.assert_all_ended();
}

/// A body of one frame that logs when all the others are at the same place.
fn streamed_body(name: String, barrier: Arc<Barrier>) -> Body {
    let frames = futures_util::stream::once(async move {
        barrier.wait().await;
        info!("{name} body");
        Ok::<_, Infallible>(Frame::data(Bytes::from_static(b"x")))
    });
    Body::new(StreamBody::new(frames))
}

#[tokio::test]
async fn a_client_that_leaves_ends_the_span() {
    let capture = Capture::new();
    let (listener, addr) = listen().await;
    let router = Router::new()
        .route("/head", get(async || std::future::pending::<()>().await))
        .route("/body", get(async || Body::new(StreamBody::new(pending::<Result<Frame<Bytes>, Infallible>>()))))
        .layer(RequestLoggerLayer::new());
    tokio::spawn(axum::serve(listener, router).into_future());

    for path in ["/head", "/body"] {
        let mut stream = TcpStream::connect(addr).await.expect("connected");
        stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes()).await.expect("written");
        if path == "/body" {
            stream.read_u8().await.expect("the head");
        }
        let of_path = || capture.spans().into_iter().find(|span| span.text["path"] == path);
        until(|| of_path().is_some()).await;
        assert!(of_path().is_some_and(|span| !span.closed), "the request goes on");
        drop(stream);
        until(|| of_path().is_some_and(|span| span.closed)).await;
    }
    capture.assert_all_ended();
}

#[tokio::test]
async fn the_span_of_an_upgrade_ends_with_its_head() {
    let capture = Capture::new();
    let (listener, addr) = listen().await;
    let handler = async |request: AxumRequest| {
        tokio::spawn(async {
            let upgraded = hyper::upgrade::on(request).await.expect("upgraded");
            info!("on the socket");
            let mut socket = TokioIo::new(upgraded);
            let byte = socket.read_u8().await.expect("a byte");
            socket.write_u8(byte).await.expect("written");
        });
        (StatusCode::SWITCHING_PROTOCOLS, [("connection", "upgrade"), ("upgrade", "echo")])
    };
    let router = Router::new().route("/", get(handler)).layer(RequestLoggerLayer::new());
    tokio::spawn(axum::serve(listener, router).into_future());

    let mut stream = TcpStream::connect(addr).await.expect("connected");
    let head = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: echo\r\nx-request-id: r-1\r\n\r\n";
    stream.write_all(head).await.expect("written");
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        answer.push(stream.read_u8().await.expect("the head"));
    }
    assert_eq!(id_in(&String::from_utf8_lossy(&answer)), "r-1", "a 101 has the id, too");
    until(|| capture.spans().iter().all(|span| span.closed)).await;
    capture.assert_all_ended();

    stream.write_u8(b'x').await.expect("written");
    assert_eq!(stream.read_u8().await.expect("a byte"), b'x', "the socket lives on without the span");
    assert_eq!(capture.lines()[0].ids, [""; 0]);
}
