//! A handler that leaves nothing of tokio's budget for a poll: then a timer is not ready to be asked, but is needed.

use graceful_connection::CloseReason;
use h2::Reason;
use http::Request;

use crate::server::{Client, SECOND, assert_at, connect};

#[tokio::test(start_paused = true, crate = "crate::checked")]
async fn the_response_keeps_its_deadline() {
    let mut client = connect();
    // Before the server has looked at all: its timer is not armed yet.
    client.send("GET /busy-and-stuck HTTP/1.1\r\nhost: x\r\n\r\n").await;
    let (ended, took) = tokio::time::timeout(4000 * SECOND, client.ended()).await.expect("it ends");
    assert_eq!(ended.reason, CloseReason::WriteTimeout);
    assert_at(took, 60 * SECOND);
}

#[tokio::test(start_paused = true, crate = "crate::checked")]
async fn an_idle_connection_keeps_its_deadline() {
    let mut client = connect();
    client.send("GET /busy HTTP/1.1\r\nhost: x\r\n\r\n").await;
    client.answer().await;
    let Client { io, server, registry: _registry, start } = client;
    let ended = tokio::time::timeout(4000 * SECOND, server).await.expect("it ends").expect("no panic");
    assert_eq!(ended.reason, CloseReason::IdleTimeout);
    assert_at(start.elapsed(), 120 * SECOND);
    drop(io);
}

#[tokio::test(start_paused = true, crate = "crate::checked")]
async fn a_stream_keeps_its_deadline() {
    let Client { io, server, registry: _registry, start } = connect();
    let (mut send, connection) = h2::client::handshake(io).await.expect("h2");
    let connection = tokio::spawn(connection);
    let request = Request::get("http://x/busy-and-stuck").body(()).expect("a request");
    let (response, _) = send.send_request(request, true).expect("open");
    let error = tokio::time::timeout(4000 * SECOND, response).await.expect("it ends").expect_err("no answer");
    assert_eq!(error.reason(), Some(Reason::CANCEL));
    assert_at(start.elapsed(), 60 * SECOND);
    drop(send);
    connection.await.expect("no panic").expect("a clean end");
    server.await.expect("no panic");
}
