//! On real sockets: plain `axum::serve`, plain hyper, HTTP/1 and HTTP/2.

use std::{convert::Infallible, future::pending, net::SocketAddr, sync::Arc};

use axum::{
    Router, ServiceExt,
    body::Body,
    extract::{ConnectInfo, MatchedPath, Request},
    middleware::{Next, from_fn},
    response::{IntoResponse, Response},
    routing::{any, get, post},
};
use bytes::Bytes;
use futures_util::stream;
use graceful_access_log::{AccessLogLayer, MatchedRoute, RequestBody};
use http::{HeaderMap, HeaderValue, StatusCode, header::CONTENT_LENGTH};
use http_body_util::{BodyExt, Empty, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    service::TowerToHyperService,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::Notify,
};
use tower::{Layer, ServiceBuilder, service_fn};

use crate::capture::Capture;

/// Runs on this thread until the test ends.
#[expect(clippy::disallowed_methods, reason = "the server of a test, which ends with the test's runtime")]
fn background(task: impl Future<Output: Send> + Send + 'static) {
    drop(tokio::spawn(task));
}

async fn bound() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    (listener, address)
}

fn peer_of(extensions: &http::Extensions) -> Option<SocketAddr> {
    extensions.get::<ConnectInfo<SocketAddr>>().map(|peer| peer.0)
}

async fn tell_route(request: Request, next: Next) -> Response {
    let extensions = request.extensions();
    if let (Some(route), Some(path)) = (extensions.get::<MatchedRoute>(), extensions.get::<MatchedPath>()) {
        route.set(path.as_str());
    }
    next.run(request).await
}

/// A router with a route for each way to end. `reached` is told when `/wait` runs.
fn router(reached: Arc<Notify>) -> Router {
    let endless = || stream::repeat_with(|| Ok::<_, Infallible>(Bytes::from_static(&[b'x'; 1024])));
    let failing = || stream::iter([Ok(Bytes::from_static(b"hello")), Err(std::io::Error::other("disk is gone"))]);
    Router::new()
        .route("/users/{id}", get(|| async { "hello" }))
        .route("/upload", post(|body: Bytes| async move { body.len().to_string() }))
        .route("/empty", get(|| async {}))
        .route("/no-content", get(|| async { StatusCode::NO_CONTENT }))
        .route("/not-modified", get(|| async { StatusCode::NOT_MODIFIED }))
        .route("/chunked", get(|| async { Body::from_stream(stream::iter([Ok::<_, Infallible>("hel"), Ok("lo")])) }))
        .route(
            "/length",
            get(|| async {
                // A length that only the header tells.
                let body = Body::from_stream(stream::iter([Ok::<_, Infallible>("hel"), Ok("lo")]));
                ([(CONTENT_LENGTH, HeaderValue::from_static("5"))], body)
            }),
        )
        .route(
            "/trailers",
            get(|| async {
                let trailers = HeaderMap::from_iter([(http::header::ETAG, HeaderValue::from_static("a"))]);
                let frames =
                    [Ok::<_, Infallible>(Frame::data(Bytes::from_static(b"hello"))), Ok(Frame::trailers(trailers))];
                Body::new(StreamBody::new(stream::iter(frames)))
            }),
        )
        .route("/endless", get(move || async move { Body::from_stream(endless()) }))
        .route("/failing", get(move || async move { Body::from_stream(failing()) }))
        .route(
            "/wait",
            any(move || {
                let reached = Arc::clone(&reached);
                async move {
                    reached.notify_one();
                    pending::<()>().await;
                }
            }),
        )
        .route(
            "/panic",
            get(|| async {
                if true {
                    panic!("panic in a handler without recovery");
                }
            }),
        )
        .route_layer(from_fn(tell_route))
}

enum Mounted {
    /// `Router::layer`
    Inside,
    /// Around the finished router.
    Around,
}

async fn axum_server(mounted: Mounted) -> (SocketAddr, Arc<Notify>) {
    let (listener, address) = bound().await;
    let reached = Arc::new(Notify::new());
    let router = router(Arc::clone(&reached));
    let layer = AccessLogLayer::new().route_cell(true).peer(peer_of);
    match mounted {
        Mounted::Inside => {
            let app = router.layer(layer).into_make_service_with_connect_info::<SocketAddr>();
            background(axum::serve(listener, app).into_future());
        }
        Mounted::Around => {
            // `axum::serve` takes no body but axum's own.
            let app = ServiceBuilder::new().map_response(IntoResponse::into_response).layer(layer).service(router);
            let app = ServiceExt::<Request>::into_make_service_with_connect_info::<SocketAddr>(app);
            background(axum::serve(listener, app).into_future());
        }
    }
    (address, reached)
}

async fn send(address: SocketAddr, head: &str) -> TcpStream {
    let mut socket = TcpStream::connect(address).await.expect("connects");
    socket.write_all(format!("{head}\r\nhost: test\r\n").as_bytes()).await.expect("writes");
    socket
}

/// Sends the head and gives all that comes until the server closes.
async fn exchange(address: SocketAddr, head: &str) -> String {
    let mut socket = send(address, head).await;
    socket.write_all(b"connection: close\r\n\r\n").await.expect("writes");
    let mut answer = String::new();
    socket.read_to_string(&mut answer).await.expect("reads");
    answer
}

#[tokio::test]
async fn on_axum_what_is_complete_is_complete() {
    for mounted in [Mounted::Inside, Mounted::Around] {
        let around = matches!(mounted, Mounted::Around);
        let mut log = Capture::new();
        let (address, _) = axum_server(mounted).await;
        for (head, status, bytes, expected, framing) in [
            ("GET /users/7 HTTP/1.1", 200, 5, Some(5), "content-length: 5"),
            ("HEAD /users/7 HTTP/1.1", 200, 0, Some(0), "content-length: 5"),
            ("GET /users/7 HTTP/1.0", 200, 5, Some(5), "content-length: 5"),
            ("GET /empty HTTP/1.1", 200, 0, Some(0), "content-length: 0"),
            ("GET /no-content HTTP/1.1", 204, 0, Some(0), ""),
            ("GET /not-modified HTTP/1.1", 304, 0, Some(0), ""),
            ("GET /chunked HTTP/1.1", 200, 5, None, "transfer-encoding: chunked"),
            ("HEAD /chunked HTTP/1.1", 200, 0, Some(0), ""),
            ("GET /length HTTP/1.1", 200, 5, Some(5), "content-length: 5"),
            ("GET /trailers HTTP/1.1\r\nte: trailers", 200, 5, None, "transfer-encoding: chunked"),
        ] {
            let answer = exchange(address, head).await;
            assert!(
                answer.contains(framing),
                "{head}: a layer that only looks on must not change the framing: {answer}"
            );
            let event = log.next().await;
            assert_eq!(event.outcome(), (status, "complete"), "{head}, around: {around}");
            assert_eq!(event.bytes(), (0, bytes, expected), "{head}, around: {around}");
            let path = head.split(' ').nth(1).expect("a path");
            assert_eq!(event.str("path"), Some(path));
            let route = if path == "/users/7" { "/users/{id}" } else { path };
            assert_eq!(event.str("route"), Some(route), "{head}, around: {around}");
            assert!(event.str("peer").expect("a peer").starts_with("127.0.0.1:"));
            log.none();
        }
        let answer = exchange(address, "GET /nowhere HTTP/1.1").await;
        assert!(answer.starts_with("HTTP/1.1 404"), "{answer}");
        let event = log.next().await;
        assert_eq!(event.outcome(), (404, "complete"), "what no route takes has its record too");
        assert_eq!(event.str("route"), None);
    }
}

#[tokio::test]
async fn on_axum_an_upload_is_counted() {
    for mounted in [Mounted::Inside, Mounted::Around] {
        let mut log = Capture::new();
        let (address, _) = axum_server(mounted).await;
        let mut socket = send(address, "POST /upload HTTP/1.1").await;
        socket.write_all(b"content-length: 11\r\nconnection: close\r\n\r\nhello").await.expect("writes");
        socket.write_all(b" world").await.expect("writes");
        let mut answer = String::new();
        socket.read_to_string(&mut answer).await.expect("reads");
        assert!(answer.ends_with("11"), "{answer}");
        let event = log.next().await;
        assert_eq!(event.outcome(), (200, "complete"));
        assert_eq!(event.bytes(), (11, 2, Some(2)));
    }
}

#[tokio::test]
async fn on_axum_a_client_that_leaves_has_its_record() {
    for mounted in [Mounted::Inside, Mounted::Around] {
        let mut log = Capture::new();
        let (address, reached) = axum_server(mounted).await;
        let mut socket = send(address, "GET /wait HTTP/1.1").await;
        socket.write_all(b"\r\n").await.expect("writes");
        reached.notified().await;
        log.none();
        drop(socket);
        let event = log.next().await;
        assert_eq!(event.outcome(), (499, "client_gone"), "before the head");
        assert_eq!(event.str("route"), Some("/wait"), "the route is known though there is no answer");

        let mut socket = send(address, "GET /endless HTTP/1.1").await;
        socket.write_all(b"\r\n").await.expect("writes");
        socket.read_exact(&mut [0; 4096]).await.expect("reads");
        log.none();
        drop(socket);
        let event = log.next().await;
        assert_eq!(event.outcome(), (200, "truncated"), "in the middle of the body");
        assert!(event.unsigned("bytes") > Some(2048), "{event:?}");
        log.none();
    }
}

#[tokio::test]
async fn on_axum_a_failure_is_not_the_clients() {
    for mounted in [Mounted::Inside, Mounted::Around] {
        let mut log = Capture::new();
        let (address, _) = axum_server(mounted).await;
        exchange(address, "GET /failing HTTP/1.1").await;
        let event = log.next().await;
        assert_eq!(event.outcome(), (200, "body_error"));
        assert_eq!(event.bytes(), (0, 5, None));

        let answer = exchange(address, "GET /panic HTTP/1.1").await;
        assert_eq!(answer, "", "without recovery there is no answer");
        assert_eq!(log.next().await.outcome(), (500, "body_error"));
        log.none();
    }
}

#[tokio::test]
async fn on_axum_records_of_one_connection_are_one_each() {
    let mut log = Capture::new();
    let (address, _) = axum_server(Mounted::Around).await;
    let mut socket = TcpStream::connect(address).await.expect("connects");
    // Three requests in one write, as a client that pipelines.
    socket
        .write_all(
            b"GET /users/1 HTTP/1.1\r\nhost: a\r\n\r\n\
              GET /chunked HTTP/1.1\r\nhost: a\r\n\r\n\
              GET /empty HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n",
        )
        .await
        .expect("writes");
    socket.read_to_end(&mut Vec::new()).await.expect("reads");
    for path in ["/users/1", "/chunked", "/empty"] {
        let event = log.next().await;
        assert_eq!((event.str("path"), event.outcome()), (Some(path), (200, "complete")));
    }
    log.none();
}

type Received = http::Request<RequestBody<Incoming>>;

/// A plain hyper server for one connection, HTTP/1.
async fn hyper1_server<S, B>(service: S) -> SocketAddr
where
    S: tower::Service<http::Request<Incoming>, Response = http::Response<B>, Error = Infallible>
        + Clone
        + Send
        + 'static,
    S::Future: Send,
    B: http_body::Body<Data: Send, Error: Into<Box<dyn std::error::Error + Send + Sync>>> + Send + 'static,
{
    let (listener, address) = bound().await;
    background(async move {
        let (socket, _) = listener.accept().await.expect("accepts");
        let service = TowerToHyperService::new(service);
        let connection =
            hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(socket), service).with_upgrades();
        let _ = connection.await;
    });
    address
}

#[tokio::test]
async fn on_hyper_a_body_that_is_never_polled_is_complete_where_none_is_sent() {
    for (head, status) in [("HEAD / HTTP/1.1", 200), ("GET / HTTP/1.1", 204), ("GET / HTTP/1.1", 304)] {
        let mut log = Capture::new();
        let service = service_fn(move |_: Received| async move {
            // The service gives a body all the same, as one that serves HEAD like GET.
            let response = http::Response::builder().status(status).body(Full::<Bytes>::from("hello"));
            Ok::<_, Infallible>(response.expect("a response"))
        });
        let address = hyper1_server(AccessLogLayer::new().layer(service)).await;
        let answer = exchange(address, head).await;
        assert!(!answer.contains("hello"), "{answer}");
        let event = log.next().await;
        assert_eq!(event.outcome(), (status.into(), "complete"), "{head} {status}");
        assert_eq!(event.bytes(), (0, 0, Some(0)));
        log.none();
    }
}

#[tokio::test]
async fn on_hyper_an_upgrade_ends_the_record_while_the_socket_lives_on() {
    let mut log = Capture::new();
    let service = service_fn(|mut request: Received| async move {
        let upgrade = hyper::upgrade::on(&mut request);
        background(async move {
            let mut socket = TokioIo::new(upgrade.await.expect("upgrades"));
            let mut ping = [0; 4];
            socket.read_exact(&mut ping).await.expect("reads");
            socket.write_all(&ping).await.expect("writes");
        });
        let response = http::Response::builder().status(101).header("connection", "upgrade").header("upgrade", "echo");
        Ok::<_, Infallible>(response.body(Empty::<Bytes>::new()).expect("a response"))
    });
    let address = hyper1_server(AccessLogLayer::new().layer(service)).await;
    let mut socket = send(address, "GET /ws HTTP/1.1").await;
    socket.write_all(b"connection: upgrade\r\nupgrade: echo\r\n\r\n").await.expect("writes");
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        answer.push(socket.read_u8().await.expect("reads"));
    }
    let event = log.next().await;
    assert_eq!(event.outcome(), (101, "upgraded"), "the record does not wait for the socket");
    socket.write_all(b"ping").await.expect("writes");
    let mut pong = [0; 4];
    socket.read_exact(&mut pong).await.expect("reads");
    assert_eq!(&pong, b"ping");
    drop(socket);
    log.none();
}

/// A plain hyper server for one connection, HTTP/2, around the router; and a client of it.
async fn hyper2_client<B>() -> (hyper::client::conn::http2::SendRequest<B>, Arc<Notify>)
where
    B: http_body::Body<Data: Send, Error: Into<Box<dyn std::error::Error + Send + Sync>>> + Send + Unpin + 'static,
{
    let (listener, address) = bound().await;
    let reached = Arc::new(Notify::new());
    let app = AccessLogLayer::new().route_cell(true).layer(router(Arc::clone(&reached)));
    background(async move {
        let (socket, _) = listener.accept().await.expect("accepts");
        let connection = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
            .serve_connection(TokioIo::new(socket), TowerToHyperService::new(app));
        let _ = connection.await;
    });
    let socket = TcpStream::connect(address).await.expect("connects");
    let (client, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(socket)).await.expect("handshakes");
    background(async move {
        let _ = connection.await;
    });
    (client, reached)
}

fn h2_request<B>(method: &str, path: &str, body: B) -> http::Request<B> {
    http::Request::builder().method(method).uri(format!("http://test{path}")).body(body).expect("a request")
}

#[tokio::test]
async fn on_http2_what_is_complete_is_complete() {
    let mut log = Capture::new();
    let (mut client, _) = hyper2_client().await;
    for (method, path, status, bytes, expected) in [
        ("GET", "/users/7", 200, (0, 5), Some(5)),
        ("HEAD", "/users/7", 200, (0, 0), Some(0)),
        ("GET", "/empty", 200, (0, 0), Some(0)),
        ("GET", "/no-content", 204, (0, 0), Some(0)),
        ("GET", "/chunked", 200, (0, 5), None),
        ("GET", "/length", 200, (0, 5), Some(5)),
        ("GET", "/trailers", 200, (0, 5), None),
        ("POST", "/upload", 200, (6, 1), Some(1)),
    ] {
        let body = if method == "POST" { Full::<Bytes>::from("upload") } else { Full::default() };
        let response = client.send_request(h2_request(method, path, body)).await.expect("an answer");
        response.into_body().collect().await.expect("a body");
        let event = log.next().await;
        assert_eq!(event.outcome(), (status, "complete"), "{method} {path}");
        assert_eq!(event.bytes(), (bytes.0, bytes.1, expected), "{method} {path}");
        assert_eq!(event.str("version"), Some("HTTP/2"));
        log.none();
    }
}

#[tokio::test]
async fn on_http2_a_stream_that_is_reset_has_its_record() {
    let mut log = Capture::new();
    let (mut client, reached) = hyper2_client::<Empty<Bytes>>().await;

    let waiting = client.send_request(h2_request("GET", "/wait", Empty::new()));
    let cancelled = async {
        tokio::select! {
            _ = waiting => panic!("it waits"),
            () = reached.notified() => {}
        }
    };
    cancelled.await;
    let event = log.next().await;
    assert_eq!(event.outcome(), (499, "client_gone"), "before the head");
    assert_eq!(event.str("route"), Some("/wait"));

    let response = client.send_request(h2_request("GET", "/endless", Empty::new())).await.expect("a head");
    let mut body = response.into_body();
    body.frame().await.expect("a frame").expect("no error");
    log.none();
    drop(body);
    assert_eq!(log.next().await.outcome(), (200, "truncated"), "in the middle of the body");

    let response = client.send_request(h2_request("GET", "/failing", Empty::new())).await;
    if let Ok(response) = response {
        response.into_body().collect().await.expect_err("the stream is reset");
    }
    assert_eq!(log.next().await.outcome(), (200, "body_error"));

    client.send_request(h2_request("GET", "/panic", Empty::new())).await.expect_err("the stream is reset");
    assert_eq!(log.next().await.outcome(), (500, "body_error"), "without recovery");

    let response = client.send_request(h2_request("GET", "/users/7", Empty::new())).await.expect("an answer");
    response.into_body().collect().await.expect("a body");
    assert_eq!(log.next().await.outcome(), (200, "complete"), "the other streams go on");
    log.none();
}

#[tokio::test]
async fn an_answer_of_axums_is_one_of_ours() {
    // `Router::layer` asks `IntoResponse` of the response and `Into<Infallible>` of the error.
    let mut log = Capture::new();
    let (listener, address) = bound().await;
    let app = Router::new()
        .route("/", get(|| async { (StatusCode::IM_A_TEAPOT, "short and stout").into_response() }))
        .layer(AccessLogLayer::new());
    background(axum::serve(listener, app).into_future());
    let answer = exchange(address, "GET / HTTP/1.1").await;
    assert!(answer.ends_with("short and stout"), "{answer}");
    assert_eq!(log.next().await.outcome(), (418, "complete"));
    log.none();
}
