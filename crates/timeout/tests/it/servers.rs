//! On real servers. The clock is paused, so it jumps to a limit as soon as everybody waits.

use std::{convert::Infallible, future::pending, sync::Arc, time::Duration};

use axum::{
    Extension, Router, ServiceExt,
    body::Body,
    extract::State,
    routing::{MethodRouter, get},
};
use bytes::Bytes;
use graceful_timeout::{BodyDeadlineLayer, Deadline, RouteTimeoutLayer, TimeoutLayer};
use http::{Method, Request, Response};
use http_body::Body as _;
use http_body_util::{BodyExt, Empty, Full};
use hyper::{client::conn::http2, server::conn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    service::TowerToHyperService,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex},
    net::{TcpListener, TcpStream},
    sync::{Notify, mpsc},
    time::{Instant, sleep, sleep_until},
};
use tower::{Layer, ServiceBuilder, service_fn};

use crate::support::{Answered, Gone, SECOND, ok, text};

const T: Duration = Duration::from_secs(5);

fn slow() -> MethodRouter<()> {
    get(pending::<()>)
}

/// Sends a request by hand, on a connection that is closed after it, and gives the whole response.
async fn curl(address: std::net::SocketAddr, path: &str) -> String {
    let mut socket = TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n");
    socket.write_all(request.as_bytes()).await.unwrap();
    let mut response = String::new();
    socket.read_to_string(&mut response).await.unwrap();
    response
}

#[tokio::test(start_paused = true)]
async fn on_axum_inside_and_around_the_router() {
    async fn left(Extension(deadline): Extension<Deadline>) -> String {
        format!("{:?} left", deadline.remaining())
    }
    let router = Router::new()
        .route("/slow", slow())
        .route("/left", get(left))
        .route("/left/9", get(left).layer(RouteTimeoutLayer::new(9 * SECOND)))
        .route("/slow/9", slow().layer(RouteTimeoutLayer::new(9 * SECOND)))
        .route("/slow/2", slow().route_layer(RouteTimeoutLayer::new(2 * SECOND)))
        .nest("/group", Router::new().route("/left", get(left)).route_layer(RouteTimeoutLayer::new(7 * SECOND)))
        .route("/off", get(async || sleep(3600 * SECOND).await).layer(RouteTimeoutLayer::off()));

    let inside = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let around = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addresses = [inside.local_addr().unwrap(), around.local_addr().unwrap()];
    let layered = router.clone().layer(TimeoutLayer::new(T));
    tokio::spawn(axum::serve(inside, layered).into_future());
    // `axum::serve` takes no other body than its own.
    let wrapped = ServiceBuilder::new()
        .map_response(|response: Response<_>| response.map(Body::new))
        .layer(TimeoutLayer::new(T))
        .service(router);
    tokio::spawn(axum::serve(around, ServiceExt::<Request<Body>>::into_make_service(wrapped)).into_future());

    for address in addresses {
        for (path, seconds) in [("/slow", 5), ("/slow/9", 9), ("/slow/2", 2)] {
            let start = Instant::now();
            let response = curl(address, path).await;
            assert!(response.starts_with("HTTP/1.1 503 Service Unavailable\r\n"), "{path}: {response}");
            assert!(response.contains("content-type: text/plain; charset=utf-8\r\n"), "{response}");
            assert!(response.contains("content-length: 17\r\n"), "a length, not chunks: {response}");
            assert!(response.ends_with("\r\n\r\nhandler timed out"), "{response}");
            assert_eq!(start.elapsed(), seconds * SECOND, "{path}");
        }
        for (path, body) in [("/left", "5s left"), ("/left/9", "9s left"), ("/group/left", "7s left")] {
            let response = curl(address, path).await;
            assert!(response.ends_with(body), "{path}: {response}");
        }
        assert!(curl(address, "/off").await.starts_with("HTTP/1.1 200 OK\r\n"), "off");
        assert!(curl(address, "/nowhere").await.starts_with("HTTP/1.1 404"), "the fallback is inside too");
    }
}

#[tokio::test(start_paused = true)]
async fn on_axum_a_client_that_leaves_ends_its_handler() {
    let gone = Gone::default();
    let begun = Arc::new(Notify::new());
    let handler = async |State((gone, begun)): State<(Gone, Arc<Notify>)>| {
        let _guard = gone.guard();
        begun.notify_one();
        pending::<()>().await;
    };
    // Without a limit: the clock would jump to it before the kernel tells that the client has left.
    let router =
        Router::new().route("/", get(handler)).layer(TimeoutLayer::new(None)).with_state((gone.clone(), begun.clone()));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(axum::serve(listener, router).into_future());

    let mut socket = TcpStream::connect(address).await.unwrap();
    socket.write_all(b"GET / HTTP/1.1\r\nhost: test\r\n\r\n").await.unwrap();
    begun.notified().await;
    assert!(!gone.is_gone());
    drop(socket);
    while !gone.is_gone() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(start_paused = true)]
async fn on_plain_hyper() {
    let service = TimeoutLayer::new(T).layer(service_fn(async |request: Request<hyper::body::Incoming>| {
        if request.uri().path() == "/slow" { pending::<Answered>().await } else { ok("done") }
    }));
    let (client, server) = duplex(4096);
    let server = conn::http1::Builder::new().serve_connection(TokioIo::new(server), TowerToHyperService::new(service));
    tokio::spawn(server);
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(client)).await.unwrap();
    tokio::spawn(connection);
    // The connection outlives a request that was too slow.
    for (path, status, body) in [("/", 200, "done"), ("/slow", 503, "handler timed out"), ("/", 200, "done")] {
        let start = Instant::now();
        let request = Request::get(path).header("host", "test").body(Empty::<Bytes>::new()).unwrap();
        sender.ready().await.unwrap();
        let response = sender.send_request(request).await.unwrap();
        assert_eq!(response.status(), status, "{path}");
        assert_eq!(text(response).await, body);
        assert_eq!(start.elapsed(), if status == 503 { T } else { Duration::ZERO }, "{path}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_deadline_truncates_and_does_not_end_the_body() {
    let body = || Body::from_stream(futures_util::stream::pending::<Result<Bytes, Infallible>>());
    let router = Router::new()
        .route("/", get(async move || Response::new(body())))
        .layer(BodyDeadlineLayer::new(T))
        .layer(TimeoutLayer::new(T));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(axum::serve(listener, router).into_future());
    let start = Instant::now();
    let response = curl(address, "/").await;
    assert_eq!(start.elapsed(), T);
    assert!(response.starts_with("HTTP/1.1 200 OK\r\n"), "{response}");
    assert!(!response.contains("\r\n0\r\n\r\n"), "no last chunk: the client sees that it is cut: {response}");
}

/// A client on one HTTP/2 connection to `router`.
async fn http2(router: Router) -> http2::SendRequest<Empty<Bytes>> {
    let (client, server): (DuplexStream, DuplexStream) = duplex(64 * 1024);
    let service = TimeoutLayer::new(T).layer(router);
    let server = conn::http2::Builder::new(TokioExecutor::new())
        .serve_connection(TokioIo::new(server), TowerToHyperService::new(service));
    tokio::spawn(server);
    let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(client)).await.unwrap();
    tokio::spawn(connection);
    sender
}

fn h2_get(path: &str) -> Request<Empty<Bytes>> {
    Request::get(format!("http://test{path}")).body(Empty::new()).unwrap()
}

#[tokio::test(start_paused = true)]
async fn on_http2_the_other_streams_go_on() {
    let (chunks, stream) = mpsc::channel::<Result<Bytes, Infallible>>(1);
    let stream = Arc::new(std::sync::Mutex::new(Some(stream)));
    let release = Arc::new(Notify::new());
    let released = release.clone();
    let router = Router::new()
        .route("/slow", slow())
        .route("/fast", get(async || "fast"))
        .route(
            "/later",
            get(async move || {
                released.notified().await;
                "later"
            }),
        )
        .route(
            "/stream",
            get(async move || {
                let mut stream = stream.lock().unwrap().take().expect("one request");
                Body::from_stream(futures_util::stream::poll_fn(move |cx| stream.poll_recv(cx)))
            }),
        );
    let sender = http2(router).await;
    let send = |path: &'static str| {
        let mut sender = sender.clone();
        tokio::spawn(async move { sender.send_request(h2_get(path)).await.unwrap() })
    };
    let start = Instant::now();

    let mut body = send("/stream").await.unwrap().into_body();
    chunks.send(Ok(Bytes::from_static(b"before"))).await.unwrap();
    assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "before");

    let slow = send("/slow");
    sleep_until(start + 3 * SECOND).await;
    let later = send("/later");
    sleep_until(start + 4 * SECOND).await;
    assert_eq!(text(send("/fast").await.unwrap()).await, "fast", "beside the slow one");

    let answer = slow.await.unwrap();
    assert_eq!(start.elapsed(), T);
    assert_eq!(answer.status(), 503);
    assert_eq!(text(answer).await, "handler timed out", "the slow stream has its answer");

    release.notify_one();
    assert_eq!(text(later.await.unwrap()).await, "later", "one that waited while the other was cut");
    assert_eq!(text(send("/fast").await.unwrap()).await, "fast", "a new one on the same connection");
    sleep_until(start + 60 * SECOND).await;
    chunks.send(Ok(Bytes::from_static(b"after"))).await.unwrap();
    drop(chunks);
    assert_eq!(body.collect().await.unwrap().to_bytes(), "after", "a stream whose head was out is never cut");
}

/// hyper leaves it out over HTTP/1 only.
#[tokio::test(start_paused = true)]
async fn on_http2_the_answer_to_head_has_no_content() {
    let mut sender = http2(Router::new().route("/slow", slow())).await;
    let mut request = h2_get("/slow");
    *request.method_mut() = Method::HEAD;
    let answer = sender.send_request(request).await.unwrap();
    assert_eq!(answer.status(), 503);
    assert_eq!(answer.headers()["content-length"], "17", "what GET would have sent");
    assert!(answer.body().is_end_stream(), "a client takes content for a breach of the protocol");
}

#[tokio::test(start_paused = true)]
async fn on_http2_a_reset_stream_ends_its_handler_only() {
    let gone = Gone::default();
    let begun = Arc::new(Notify::new());
    let (guarded, begins) = (gone.clone(), begun.clone());
    let router = Router::new().route("/fast", get(async || "fast")).route(
        "/slow",
        get(async move || {
            let _guard = guarded.guard();
            begins.notify_one();
            pending::<()>().await;
        }),
    );
    let mut sender = http2(router).await;
    let slow = tokio::spawn(sender.send_request(h2_get("/slow")));
    begun.notified().await;
    assert!(!gone.is_gone());
    let start = Instant::now();
    slow.abort();
    while !gone.is_gone() {
        tokio::task::yield_now().await;
    }
    assert_eq!(start.elapsed(), Duration::ZERO, "at once, not at the limit");
    assert_eq!(text(sender.send_request(h2_get("/fast")).await.unwrap()).await, "fast");
}

#[tokio::test]
async fn full_bodies_fit() {
    // The body of a layer that answers is one type with that of the service: nothing is boxed.
    let service = TimeoutLayer::new(T).layer(service_fn(async |_: Request<Empty<Bytes>>| ok("done")));
    let response = tower::ServiceExt::oneshot(service, Request::new(Empty::new())).await.unwrap();
    let _: Response<graceful_answer::AnswerBody<Full<Bytes>>> = response;
}
