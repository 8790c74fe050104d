//! Layers alone on plain `axum::serve`, where two of them have to do with one another.

use std::{net::SocketAddr, time::Duration};

use axum::{Router, body::Body, routing::get};
use futures_util::stream;
use graceful_access_log::AccessLogLayer;
use graceful_concurrency_limit::ConcurrencyLimitLayer;
use graceful_recovery::RecoveryLayer;
use graceful_request_logger::RequestLoggerLayer;
use graceful_timeout::TimeoutLayer;
use tests::{Client, Log};
use tokio::net::TcpListener;

async fn serve(router: Router) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("an address");
    #[expect(clippy::disallowed_methods, reason = "it ends with the runtime of the test")]
    tokio::spawn(async move { axum::serve(listener, router).await });
    address
}

fn routes() -> Router {
    Router::new()
        .route("/", get(async || "hello"))
        .route(
            "/panic",
            get(async || {
                panic!("on axum");
                #[expect(unreachable_code, reason = "what the handler would answer")]
                ""
            }),
        )
        .route("/stuck", get(std::future::pending::<String>))
        .route(
            "/endless",
            get(async || {
                Body::from_stream(stream::repeat_with(|| Ok::<_, std::convert::Infallible>("x".repeat(1024))))
            }),
        )
}

#[tokio::test]
async fn the_access_record_is_inside_the_span_of_the_request_logger() {
    let (log, _guard) = Log::of_this_thread();
    // The last layer is the outermost.
    let address = serve(routes().layer(AccessLogLayer::new()).layer(RequestLoggerLayer::new())).await;
    let mut client = Client::connect(address).await;
    let answer = client.get("/").await;
    assert_eq!(answer.body, "hello");
    let record = log.access("/", 1).await.swap_remove(0);
    assert_eq!(record.request_id(), Some(answer.request_id()));

    // Written from a drop, in the task of the connection, where no span is current.
    client.send("GET /endless HTTP/1.1\r\nhost: test\r\nx-request-id: leaver\r\n\r\n").await;
    client.head().await;
    drop(client);
    let record = log.access("/endless", 1).await.swap_remove(0);
    assert_eq!((&record["outcome"], record.request_id()), (&"truncated".into(), Some("leaver")));
}

#[tokio::test]
async fn the_access_log_sees_what_recovery_and_timeout_answer() {
    let (log, _guard) = Log::of_this_thread();
    let app = routes()
        .layer(TimeoutLayer::new(Duration::from_millis(100)))
        .layer(RecoveryLayer::new())
        .layer(AccessLogLayer::new());
    let mut client = Client::connect(serve(app).await).await;
    assert_eq!(client.get("/panic").await.status, 500);
    assert_eq!(client.get("/stuck").await.status, 503);
    for (path, status) in [("/panic", 500), ("/stuck", 503)] {
        let record = log.access(path, 1).await.swap_remove(0);
        assert_eq!((&record["status"], &record["outcome"]), (&status.into(), &"complete".into()));
    }
    assert_eq!(log.message("panic").await["panic"], "on axum");
}

#[tokio::test]
async fn panics_timeouts_and_clients_that_leave_give_their_places_back() {
    let (_log, _guard) = Log::of_this_thread();
    let limit = ConcurrencyLimitLayer::new(1).max_queue(0);
    let handle = limit.limit();
    let app = routes().layer(TimeoutLayer::new(Duration::from_millis(100))).layer(limit).layer(RecoveryLayer::new());
    let address = serve(app).await;
    for _ in 0..3 {
        let mut client = Client::connect(address).await;
        assert_eq!(client.get("/panic").await.status, 500);
        assert_eq!(client.get("/stuck").await.status, 503);
        assert_eq!(client.get("/").await.status, 200, "the place is free after a panic and after a timeout");
        client.send("GET /endless HTTP/1.1\r\nhost: test\r\n\r\n").await;
        client.head().await;
        assert_eq!(handle.stats().in_flight, 1, "held to the end of the body");
        let refused = Client::connect(address).await.get("/").await;
        assert_eq!((refused.status, refused.header("retry-after")), (503, Some("1")), "over all connections");
        drop(client);
        tests::within("the place to be given back", async {
            while handle.stats().in_flight > 0 {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }
}
