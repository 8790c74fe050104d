//! What the server tells a handler: in the extensions of its request, where axum's extractors look.

use std::{net::SocketAddr, time::Duration};

use axum::{
    Extension, Router,
    extract::{ConnectInfo, MatchedPath},
    routing::get,
};
use graceful::{Config, Server, connection::ConnectionControl, request_logger::RequestId, timeout::Deadline};
use tests::within;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

async fn told(
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    Extension(id): Extension<RequestId>,
    Extension(deadline): Extension<Deadline>,
    Extension(control): Extension<ConnectionControl>,
    route: MatchedPath,
) -> String {
    let left = deadline.remaining();
    let in_time = left > Duration::from_secs(50) && left <= Duration::from_secs(60);
    format!("{peer} {} {in_time} {:?} {}", id.as_str(), control.peer(), route.as_str())
}

#[test]
fn a_handler_is_told_who_asks_by_which_id_and_how_long_it_has() {
    tests::leaves_nothing(asked());
}

async fn asked() {
    let mut config = Config::default();
    config.listen = "127.0.0.1:0".to_owned();
    config.debug_listen = None;
    config.handler_timeout = Some(Duration::from_secs(60));
    let app = Router::new().route("/things/{id}", get(told));
    let server = Server::new(app).config(config).bind().await.expect("a free port");
    let (address, shutdown) = (server.local_addr().expect("TCP"), server.shutdown());
    let client = async {
        let mut io = TcpStream::connect(address).await.expect("it listens");
        let peer = io.local_addr().expect("it is connected");
        io.write_all(b"GET /things/7 HTTP/1.1\r\nhost: test\r\nx-request-id: mine\r\nconnection: close\r\n\r\n")
            .await
            .expect("the server reads");
        let mut answer = String::new();
        within("the answer", io.read_to_string(&mut answer)).await.expect("a plain end");
        let expected = format!("{peer} mine true {:?} /things/{{id}}", Some(peer));
        assert!(answer.ends_with(&expected), "{answer:?} has not {expected:?}");
        shutdown.trigger();
    };
    let (report, ()) = tokio::join!(server.run(), client);
    assert!(report.expect("a clean end").is_clean());
}
