//! All five layers, stacked by hand with tower's `ServiceBuilder` on a plain hyper server: no axum, no `graceful`.

use std::{convert::Infallible, net::SocketAddr, time::Duration};

use bytes::Bytes;
use futures_util::future::join_all;
use graceful_access_log::AccessLogLayer;
use graceful_concurrency_limit::{ConcurrencyLimitLayer, Limit};
use graceful_recovery::RecoveryLayer;
use graceful_request_logger::{RequestId, RequestLoggerLayer};
use graceful_timeout::{Deadline, TimeoutLayer};
use http::{Request, Response, StatusCode, header::RETRY_AFTER};
use http_body::Body;
use http_body_util::{BodyExt, Empty, Full};
use hyper::client::conn;
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    service::TowerToHyperService,
};
use tests::{Log, within};
use tokio::net::{TcpListener, TcpStream};
use tower::{ServiceBuilder, service_fn};

/// Two places, nobody waits, a fifth of a second for a handler.
#[expect(clippy::disallowed_methods, reason = "they end with the runtime of the test")]
async fn serve(http2: bool) -> (SocketAddr, Limit) {
    let limit = ConcurrencyLimitLayer::new(2).max_queue(0);
    let handle = limit.limit();
    let service = ServiceBuilder::new()
        .layer(RequestLoggerLayer::new())
        .layer(AccessLogLayer::new())
        .layer(RecoveryLayer::new())
        .layer(limit)
        .layer(TimeoutLayer::new(Duration::from_millis(200)))
        .service(service_fn(handle_request));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let (io, service) = (TokioIo::new(socket), TowerToHyperService::new(service.clone()));
            if http2 {
                tokio::spawn(
                    hyper::server::conn::http2::Builder::new(TokioExecutor::new()).serve_connection(io, service),
                );
            } else {
                tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(io, service));
            }
        }
    });
    (address, handle)
}

async fn handle_request<B: Body>(request: Request<B>) -> Result<Response<Full<Bytes>>, Infallible> {
    let text = match request.uri().path() {
        "/panic" => panic!("on hyper"),
        "/stuck" => std::future::pending().await,
        "/id" => request.extensions().get::<RequestId>().map(|id| id.as_str().to_owned()),
        "/deadline" => request.extensions().get::<Deadline>().map(|deadline| {
            let left = deadline.remaining();
            (Duration::ZERO < left && left <= Duration::from_millis(200)).to_string()
        }),
        _ => Some("hello".to_owned()),
    };
    Ok(Response::new(Full::from(text.unwrap_or_default())))
}

/// A client of hyper's, which knows nothing of the layers.
enum Client {
    Http1(conn::http1::SendRequest<Empty<Bytes>>),
    Http2(conn::http2::SendRequest<Empty<Bytes>>),
}

impl Client {
    #[expect(clippy::disallowed_methods, reason = "they end with the connection")]
    async fn connect(address: SocketAddr, http2: bool) -> Self {
        let io = TokioIo::new(TcpStream::connect(address).await.expect("somebody listens"));
        if http2 {
            let (client, connection) = conn::http2::handshake(TokioExecutor::new(), io).await.expect("HTTP/2");
            tokio::spawn(connection);
            Self::Http2(client)
        } else {
            let (client, connection) = conn::http1::handshake(io).await.expect("HTTP/1");
            tokio::spawn(connection);
            Self::Http1(client)
        }
    }

    async fn get(&mut self, path: &str) -> Response<Bytes> {
        let request = match self {
            Self::Http1(_) => Request::get(path).header("host", "test"),
            Self::Http2(_) => Request::get(format!("http://test{path}")),
        };
        let request = request.body(Empty::new()).expect("a request");
        let response = within("an answer", async {
            match self {
                Self::Http1(client) => client.send_request(request).await,
                Self::Http2(client) => client.send_request(request).await,
            }
        });
        let (head, body) = response.await.expect("an answer").into_parts();
        let body = within("the body", body.collect()).await.expect("a whole body").to_bytes();
        Response::from_parts(head, body)
    }
}

#[tokio::test]
async fn all_five_do_what_they_are_for() {
    for http2 in [false, true] {
        let (log, _guard) = Log::of_this_thread();
        let (address, limit) = serve(http2).await;
        let mut client = Client::connect(address, http2).await;

        let hello = client.get("/").await;
        assert_eq!((hello.status(), hello.body().as_ref()), (StatusCode::OK, b"hello".as_slice()));
        let id = client.get("/id").await;
        assert_eq!(
            id.headers()["x-request-id"].as_bytes(),
            id.body(),
            "the handler reads the id that the client reads"
        );
        assert_eq!(client.get("/deadline").await.body(), "true", "the handler knows its deadline");
        let panic = client.get("/panic").await;
        assert_eq!((panic.status().as_u16(), panic.body().as_ref()), (500, b"internal error".as_slice()));
        let stuck = client.get("/stuck").await;
        assert_eq!((stuck.status().as_u16(), stuck.body().as_ref()), (503, b"handler timed out".as_slice()));

        let mut clients = Vec::new();
        for _ in 0..6 {
            clients.push(Client::connect(address, http2).await);
        }
        let answers = join_all(clients.iter_mut().map(|client| client.get("/stuck"))).await;
        let busy: Vec<_> = answers.iter().filter(|answer| answer.body() == "server busy").collect();
        assert_eq!(busy.len(), 4, "two places, however many connections");
        assert!(busy.iter().all(|answer| answer.headers()[RETRY_AFTER] == "1"));
        assert!(answers.iter().all(|answer| answer.status() == 503));
        assert_eq!(limit.stats().in_flight, 0);

        let version = if http2 { "HTTP/2" } else { "HTTP/1.1" };
        let records = log.wait_for("access record", 11, tests::Line::is_access).await;
        assert_eq!(records.len(), 11, "one a request");
        for record in &records {
            assert_eq!((&record["version"], &record["outcome"]), (&version.into(), &"complete".into()), "{record:?}");
            assert!(record.request_id().is_some(), "inside the span: {record:?}");
        }
        let report = log.message("panic").await;
        assert_eq!(report["panic"], "on hyper");
        assert_eq!(report.request_id(), panic.headers()["x-request-id"].to_str().ok());
    }
}
