//! The states that an observer is told of: the sequences of Go's `TestServerConnState`, and the figures.

use std::sync::{Arc, Mutex};

use graceful_connection::{CloseReason, ConnectionInfo, ConnectionState, Gauges, Registry};
use tokio::io::AsyncWriteExt;

use crate::server::{Client, SECOND, connect_to, settings};

type Seen = Arc<Mutex<Vec<String>>>;

fn observed() -> (Client, Seen) {
    let seen = Seen::default();
    let sink = Arc::clone(&seen);
    let observer = move |connection: &ConnectionInfo<'_>, state: ConnectionState| {
        let mut word = state.to_string();
        if let Some(reason) = connection.close_reason().filter(|_| state == ConnectionState::Closed) {
            word = format!("{word} {reason}");
        }
        sink.lock().expect("no panic").push(word);
    };
    (connect_to(Registry::builder().observer(observer).build(), settings()), seen)
}

async fn states(requests: &str) -> String {
    let (mut client, seen) = observed();
    client.send(requests).await;
    if requests.is_empty() {
        client.io.shutdown().await.expect("a clean end");
    }
    if requests.contains("upgrade") {
        client.answer().await;
        client.io.shutdown().await.expect("a clean end");
    } else {
        client.rest().await;
    }
    let registry = client.registry.clone();
    client.ended().await;
    registry.closed().await;
    assert_eq!(registry.gauges(), Gauges::default(), "every gauge is back at zero");
    assert_eq!(registry.opened(), 1);
    assert_eq!(registry.closed_by_reason().map(|(_, count)| count).sum::<u64>(), 1, "opened is closed");
    let seen = seen.lock().expect("no panic");
    seen.join(", ")
}

#[tokio::test(start_paused = true, crate = "crate::checked")]
async fn two_requests_and_the_close() {
    let requests = "GET / HTTP/1.1\r\nhost: x\r\n\r\nGET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    assert_eq!(states(requests).await, "new, active, idle, active, idle, closed done");
}

#[tokio::test(start_paused = true, crate = "crate::checked")]
async fn connect_and_close() {
    assert_eq!(states("").await, "new, closed done");
}

#[tokio::test(start_paused = true, crate = "crate::checked")]
async fn what_is_not_http() {
    assert_eq!(states("BOGUS REQUEST\r\n\r\n").await, "new, active, closed bad_request");
}

#[tokio::test(start_paused = true, crate = "crate::checked")]
async fn a_silent_one() {
    let (mut client, seen) = observed();
    client.rest().await;
    client.ended().await;
    assert_eq!(seen.lock().expect("no panic").join(", "), "new, closed header_timeout");
}

#[tokio::test(start_paused = true, crate = "crate::checked")]
async fn an_upgrade() {
    let request = "GET /upgrade HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\n";
    assert_eq!(states(request).await, "new, active, upgraded, closed upgraded");
}

#[tokio::test(start_paused = true, crate = "crate::checked")]
async fn a_hundred_at_once_count_back_to_zero() {
    let registry = Registry::new();
    let mut clients: Vec<_> = (0..100).map(|_| connect_to(registry.clone(), settings())).collect();
    assert_eq!(registry.gauges().new, 100);
    for client in &mut clients {
        client.send("GET / HTTP/1.1\r\nhost: x\r\n\r\n").await;
        client.answer().await;
    }
    assert_eq!(registry.gauges().idle, 100);
    drop(clients);
    tokio::time::timeout(SECOND, registry.closed()).await.expect("all closed");
    let done = registry.closed_by_reason().find(|(reason, _)| *reason == CloseReason::Done);
    assert_eq!((registry.opened(), done), (100, Some((CloseReason::Done, 100))));
}

#[tokio::test(start_paused = true, crate = "crate::checked")]
async fn http2_is_active_while_it_has_a_stream() {
    let (client, seen) = observed();
    let Client { io, server, registry, .. } = client;
    let (send, connection) = h2::client::handshake(io).await.expect("h2");
    let connection = tokio::spawn(connection);
    for _ in 0..2 {
        let mut send = send.clone().ready().await.expect("open");
        let request = http::Request::get("http://x/slow").body(()).expect("a request");
        let (response, _) = send.send_request(request, true).expect("open");
        tokio::time::sleep(SECOND).await;
        assert_eq!((registry.gauges().active, registry.gauges().requests), (1, 1));
        response.await.expect("an answer");
        tokio::time::sleep(SECOND).await;
        assert_eq!((registry.gauges().idle, registry.gauges().requests), (1, 0));
    }
    drop(send);
    connection.await.expect("no panic").expect("a clean end");
    server.await.expect("no panic");
    registry.closed().await;
    let states = seen.lock().expect("no panic").join(", ");
    assert_eq!(states, "new, idle, active, idle, active, idle, closed done");
    assert_eq!(registry.gauges(), Gauges::default(), "every gauge is back at zero");
}
