//! On real sockets: `axum::serve`, plain hyper, HTTP/2.

use std::{convert::Infallible, net::SocketAddr, time::Duration};

use axum::{Router, body::Body as AxumBody, routing::get as route};
use bytes::Bytes;
use futures_util::{future::join_all, stream};
use graceful_concurrency_limit::ConcurrencyLimitLayer;
use http::{Method, Request, Response, StatusCode};
use http_body::{Body, Frame};
use http_body_util::{BodyExt, Empty, StreamBody};
use hyper::client::conn::http2::SendRequest;
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    service::TowerToHyperService,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use tower::{Layer, service_fn};

use crate::support::{Work, soon, until};

const LONG: Duration = Duration::from_secs(3600);

/// A body that sends a frame, is inside until it is let go, and sends another.
fn streamed(work: &Work, path: &'static str) -> AxumBody {
    let inside = work.begin(path);
    let work = work.clone();
    AxumBody::from_stream(stream::unfold((0, work, inside), |(step, work, inside)| async move {
        if step == 1 {
            work.wait().await;
        }
        (step < 2).then_some((Ok::<_, Infallible>(Bytes::from_static(b"part ")), (step + 1, work, inside)))
    }))
}

fn two_routes(work: &Work) -> Router {
    let handler = |path| {
        let work = work.clone();
        route(move || async move { streamed(&work, path) })
    };
    Router::new().route("/a", handler("/a")).route("/b", handler("/b"))
}

pub(crate) async fn serve(router: Router) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let address = listener.local_addr().expect("bound");
    tokio::spawn(async { axum::serve(listener, router).await });
    address
}

/// One connection, one request; what came back until the server closed.
async fn fetch(address: SocketAddr, path: &str) -> String {
    let mut socket = TcpStream::connect(address).await.expect("connect");
    let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    socket.write_all(request.as_bytes()).await.expect("write");
    let mut response = String::new();
    soon(socket.read_to_string(&mut response)).await.expect("read");
    response
}

fn twelve(address: SocketAddr) -> Vec<tokio::task::JoinHandle<String>> {
    (0..12).map(|i| tokio::spawn(async move { fetch(address, ["/a", "/b"][i % 2]).await })).collect()
}

async fn twelve_inside(work: &Work) {
    soon(async {
        while work.most() < 12 {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn under_axum_serve_two_are_two() {
    let work = Work::new();
    let layer = ConcurrencyLimitLayer::new(2).max_wait(LONG);
    let limit = layer.limit();
    let clients = twelve(serve(two_routes(&work).layer(layer)).await);
    until(&limit, |stats| stats.queued == 10).await;
    assert_eq!(work.started().len(), 2, "two routes, twelve connections, one limit");
    work.finish(12);
    for response in join_all(clients).await {
        let response = response.expect("no panic");
        assert!(response.starts_with("HTTP/1.1 200"), "{response}");
        assert_eq!(response.matches("part").count(), 2, "streamed to its end");
    }
    assert_eq!(work.started().len(), 12);
    assert_eq!(work.most(), 2, "never a third in flight, up to the end of the bodies");
    until(&limit, |stats| stats.in_flight == 0).await;
}

/// The proof of why: the same with the layer of the `tower` crate, which makes its semaphore in `Layer::layer`.
#[tokio::test]
async fn under_axum_serve_towers_two_are_twelve() {
    let work = Work::new();
    let clients = twelve(serve(two_routes(&work).layer(tower::limit::ConcurrencyLimitLayer::new(2))).await);
    twelve_inside(&work).await;
    work.finish(12);
    join_all(clients).await;
}

/// As above, but the handlers wait before their heads: it is not only that tower's permit ends there.
#[tokio::test]
async fn under_axum_serve_towers_two_are_twelve_before_the_heads_too() {
    let work = Work::new();
    let handler = |path| {
        let work = work.clone();
        route(move || async move {
            let _inside = work.begin(path);
            work.wait().await;
        })
    };
    let router = Router::new().route("/a", handler("/a")).route("/b", handler("/b"));
    let clients = twelve(serve(router.layer(tower::limit::ConcurrencyLimitLayer::new(2))).await);
    twelve_inside(&work).await;
    work.finish(12);
    join_all(clients).await;
}

#[tokio::test]
async fn around_the_finished_router_too() {
    let work = Work::new();
    let layer = ConcurrencyLimitLayer::new(2).max_queue(0);
    let limit = layer.limit();
    let around = layer.layer(two_routes(&work));
    // What `axum::serve` takes is made of the service once more for each connection.
    let address = serve(Router::new().fallback_service(around)).await;
    let clients = [tokio::spawn(fetch(address, "/a")), tokio::spawn(fetch(address, "/b"))];
    until(&limit, |stats| stats.in_flight == 2).await;
    assert!(fetch(address, "/a").await.starts_with("HTTP/1.1 503"));
    work.finish(2);
    join_all(clients).await;
    assert!(fetch(address, "/nothing").await.starts_with("HTTP/1.1 404"));
}

#[tokio::test]
async fn a_client_that_leaves_while_it_waits_frees_its_place_in_the_queue() {
    let work = Work::new();
    let layer = ConcurrencyLimitLayer::new(1).max_wait(LONG);
    let limit = layer.limit();
    let address = serve(two_routes(&work).layer(layer)).await;
    let first = tokio::spawn(fetch(address, "/a"));
    until(&limit, |stats| stats.in_flight == 1).await;
    let gone = tokio::spawn(fetch(address, "/b"));
    until(&limit, |stats| stats.queued == 1).await;
    gone.abort();
    let stats = until(&limit, |stats| stats.queued == 0).await;
    assert_eq!((stats.in_flight, stats.abandoned), (1, 1));
    work.finish(1);
    first.await.expect("no panic");
    assert_eq!(work.started(), ["/a"], "the handler never saw the one that left");
}

#[tokio::test]
async fn a_client_that_leaves_in_the_middle_of_the_body_frees_its_place() {
    let work = Work::new();
    let layer = ConcurrencyLimitLayer::new(1);
    let limit = layer.limit();
    let address = serve(two_routes(&work).layer(layer)).await;
    let mut socket = TcpStream::connect(address).await.expect("connect");
    socket.write_all(b"GET /a HTTP/1.1\r\nhost: x\r\n\r\n").await.expect("write");
    let mut seen = Vec::new();
    while !seen.ends_with(b"part \r\n") {
        soon(socket.read_buf(&mut seen)).await.expect("read");
    }
    assert_eq!(limit.stats().in_flight, 1, "the head is out, the body is not");
    drop(socket);
    // The body is still waiting: nobody finished it.
    until(&limit, |stats| stats.in_flight == 0).await;
}

/// Plain hyper, without axum: one connection for one service.
async fn plain_hyper(work: &Work, layer: ConcurrencyLimitLayer) -> TcpStream {
    let work = work.clone();
    let service = layer.layer(service_fn(move |request: Request<hyper::body::Incoming>| {
        let work = work.clone();
        async move {
            let mut response = Response::new(streamed(&work, "/"));
            match request.uri().path() {
                "/upgrade" => {
                    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
                    response.headers_mut().insert("connection", "upgrade".parse().expect("a value"));
                    response.headers_mut().insert("upgrade", "test".parse().expect("a value"));
                    let upgrade = hyper::upgrade::on(request);
                    tokio::spawn(async move {
                        let mut socket = TokioIo::new(upgrade.await.expect("upgraded"));
                        let mut word = [0; 4];
                        socket.read_exact(&mut word).await.expect("read");
                        socket.write_all(&word).await.expect("write");
                    });
                }
                "/no-content" => *response.status_mut() = StatusCode::NO_CONTENT,
                "/not-modified" => *response.status_mut() = StatusCode::NOT_MODIFIED,
                _ => {}
            }
            Ok::<_, Infallible>(response)
        }
    }));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let client = TcpStream::connect(listener.local_addr().expect("bound")).await.expect("connect");
    let (socket, _) = listener.accept().await.expect("accept");
    tokio::spawn(
        hyper::server::conn::http1::Builder::new()
            .serve_connection(TokioIo::new(socket), TowerToHyperService::new(service))
            .with_upgrades(),
    );
    client
}

async fn read_head(socket: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(soon(socket.read_u8()).await.expect("a whole head"));
    }
    String::from_utf8(head).expect("text")
}

#[tokio::test]
async fn a_body_that_is_never_polled_gives_the_place_back() {
    for (method, path, status) in [("HEAD", "/", "200"), ("GET", "/no-content", "204"), ("GET", "/not-modified", "304")]
    {
        let work = Work::new();
        let layer = ConcurrencyLimitLayer::new(1);
        let limit = layer.limit();
        let mut client = plain_hyper(&work, layer).await;
        client.write_all(format!("{method} {path} HTTP/1.1\r\nhost: x\r\n\r\n").as_bytes()).await.expect("write");
        let head = read_head(&mut client).await;
        assert!(head.starts_with(&format!("HTTP/1.1 {status}")), "{head}");
        // Nobody lets the body go on.
        until(&limit, |stats| stats.in_flight == 0).await;
    }
}

#[tokio::test]
async fn an_upgraded_socket_holds_no_place() {
    let work = Work::new();
    let layer = ConcurrencyLimitLayer::new(1);
    let limit = layer.limit();
    let mut client = plain_hyper(&work, layer).await;
    client
        .write_all(b"GET /upgrade HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: test\r\n\r\n")
        .await
        .expect("write");
    assert!(read_head(&mut client).await.starts_with("HTTP/1.1 101"));
    until(&limit, |stats| stats.in_flight == 0).await;
    client.write_all(b"ping").await.expect("write");
    let mut word = [0; 4];
    client.read_exact(&mut word).await.expect("read");
    assert_eq!(&word, b"ping", "and lives on");
}

type UploadBody = StreamBody<stream::Pending<Result<Frame<Bytes>, Infallible>>>;
type ClientBody = http_body_util::Either<Empty<Bytes>, UploadBody>;

async fn http2(address: SocketAddr) -> SendRequest<ClientBody> {
    let socket = TcpStream::connect(address).await.expect("connect");
    let (client, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(socket)).await.expect("handshake");
    tokio::spawn(connection);
    client
}

fn empty(path: &str) -> Request<ClientBody> {
    Request::get(format!("http://x{path}")).body(ClientBody::Left(Empty::new())).expect("a request")
}

#[tokio::test]
async fn http2_streams_count_one_by_one() {
    let work = Work::new();
    let layer = ConcurrencyLimitLayer::new(2).max_queue(1).max_wait(LONG);
    let limit = layer.limit();
    let mut client = http2(serve(two_routes(&work).layer(layer)).await).await;

    let first = soon(client.send_request(empty("/a"))).await.expect("a head");
    let second = soon(client.send_request(empty("/b"))).await.expect("a head");
    assert_eq!(limit.stats().in_flight, 2, "their bodies are on their way");
    let queued = tokio::spawn(client.send_request(empty("/a")));
    until(&limit, |stats| stats.queued == 1).await;
    let refused = soon(client.send_request(empty("/b"))).await.expect("a head");
    assert_eq!(refused.status(), 503);
    assert_eq!(soon(refused.collect()).await.expect("a whole body").to_bytes(), "server busy");

    queued.abort();
    until(&limit, |stats| stats.queued == 0).await;
    drop(second);
    until(&limit, |stats| stats.in_flight == 1).await;

    work.finish(1);
    assert_eq!(soon(first.collect()).await.expect("a whole body").to_bytes(), "part part ");
    until(&limit, |stats| stats.in_flight == 0).await;
}

/// axum leaves it out for its handlers, hyper over HTTP/1 only.
#[tokio::test]
async fn http2_the_answer_to_head_has_no_content() {
    let layer = ConcurrencyLimitLayer::new(0).max_queue(0);
    let around = Router::new().fallback_service(layer.layer(two_routes(&Work::new())));
    let mut client = http2(serve(around).await).await;
    let mut request = empty("/a");
    *request.method_mut() = Method::HEAD;
    let refused = soon(client.send_request(request)).await.expect("a head");
    assert_eq!(refused.status(), 503);
    assert_eq!(refused.headers()["content-length"], "11", "what GET would have sent");
    assert!(refused.body().is_end_stream(), "a client takes content for a breach of the protocol");
}

#[tokio::test]
async fn http2_a_refused_upload_is_answered_and_harms_no_other_stream() {
    let work = Work::new();
    let layer = ConcurrencyLimitLayer::new(1).max_queue(0);
    let mut client = http2(serve(two_routes(&work).layer(layer)).await).await;
    let first = soon(client.send_request(empty("/a"))).await.expect("a head");

    // It never ends by itself.
    let upload = ClientBody::Right(StreamBody::new(stream::pending()));
    let refused = client.send_request(Request::post("http://x/b").body(upload).expect("a request")).await;
    let refused = refused.expect("a head");
    assert_eq!(refused.status(), 503);
    assert_eq!(refused.headers()["content-length"], "11", "a plain answer: nothing to drain");
    assert_eq!(soon(refused.collect()).await.expect("a whole body").to_bytes(), "server busy");

    work.finish(2);
    assert_eq!(soon(first.collect()).await.expect("a whole body").to_bytes(), "part part ");
    let again = soon(client.send_request(empty("/b"))).await.expect("the connection lives on");
    assert_eq!(again.status(), 200);
}
