//! The states that an observer is told of under TLS: the sequences of Go's `TestServerConnState`, with the reason of the
//! end. A handshake is a part of `new`.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use graceful_connection::{ConnectionInfo, ConnectionState, Registry};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream},
    task::JoinHandle,
    time::sleep,
};
use tokio_rustls::client::TlsStream;

use crate::{
    authority::Authority,
    checked,
    client::{Client, client_hello, get, rest},
    server::{Outcome, SECOND, Server},
};

type Seen = Arc<Mutex<Vec<String>>>;

struct Observed {
    authority: Authority,
    server: Server,
    seen: Seen,
}

impl Observed {
    fn new() -> Self {
        let authority = Authority::new();
        let mut server = Server::new(authority.issue("one", &["localhost"]).settings());
        let seen = Seen::default();
        let sink = Arc::clone(&seen);
        let observer = move |connection: &ConnectionInfo<'_>, state: ConnectionState| {
            let mut word = state.to_string();
            if let Some(reason) = connection.close_reason().filter(|_| state == ConnectionState::Closed) {
                word = format!("{word} {reason}");
            }
            sink.lock().expect("no panic").push(word);
        };
        server.registry = checked::registered(Registry::builder().observer(observer).build());
        Self { authority, server, seen }
    }

    /// A connection whose handshake is done.
    async fn connected(&self, alpn: &str) -> (TlsStream<DuplexStream>, JoinHandle<Outcome>) {
        let (io, served) = self.server.connect();
        let client = Client::new(&self.authority).alpn(&[alpn]);
        (client.connect(io).await.expect("a connection"), served)
    }

    /// What was told, once all is over.
    async fn told(self, served: JoinHandle<Outcome>) -> String {
        let _ = served.await.expect("no panic");
        self.server.registry.closed().await;
        self.server.assert_empty();
        self.seen.lock().expect("no panic").join(", ")
    }
}

#[tokio::test(start_paused = true, crate = "crate::checked")]
async fn two_requests_and_the_close() {
    let observed = Observed::new();
    let (mut io, served) = observed.connected("http/1.1").await;
    get(&mut io, "/").await.expect("an answer");
    io.write_all(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.expect("the server reads");
    rest(&mut io).await;
    assert_eq!(observed.told(served).await, "new, active, idle, active, idle, closed done");
}

#[tokio::test(start_paused = true, crate = "crate::checked")]
async fn a_request_and_then_the_clients_end() {
    let observed = Observed::new();
    let (mut io, served) = observed.connected("http/1.1").await;
    get(&mut io, "/").await.expect("an answer");
    io.shutdown().await.expect("the server reads");
    rest(&mut io).await;
    assert_eq!(observed.told(served).await, "new, active, idle, closed done");
}

#[tokio::test(start_paused = true, crate = "crate::checked")]
async fn connect_and_close_before_and_after_the_handshake() {
    let observed = Observed::new();
    let (io, served) = observed.server.connect();
    drop(io);
    assert_eq!(observed.told(served).await, "new, closed handshake");

    let observed = Observed::new();
    let (mut io, served) = observed.connected("http/1.1").await;
    io.shutdown().await.expect("the server reads");
    assert_eq!(observed.told(served).await, "new, closed done");
}

#[tokio::test(start_paused = true, crate = "crate::checked")]
async fn a_handshake_that_fails_in_any_way() {
    let authority = Authority::new();
    let hello = client_hello(&Client::new(&authority)).await;
    for bytes in [&b"GET / HTTP/1.1\r\n\r\n"[..], b"SSH-2.0", b"\x16\x03\x01\0\x05hello", &hello[..100], b""] {
        let observed = Observed::new();
        let (mut io, served) = observed.server.connect();
        io.write_all(bytes).await.expect("the server reads");
        rest(&mut io).await;
        drop(io);
        assert_eq!(observed.told(served).await, "new, closed handshake", "{:?}", String::from_utf8_lossy(bytes));
    }
}

#[tokio::test(start_paused = true, crate = "crate::checked")]
async fn what_is_not_http_half_a_head_and_silence() {
    for (bytes, told) in [
        ("BOGUS REQUEST\r\n\r\n", "new, active, closed bad_request"),
        ("GET / HT", "new, active, closed header_timeout"),
        ("", "new, closed header_timeout"),
    ] {
        let observed = Observed::new();
        let (mut io, served) = observed.connected("http/1.1").await;
        io.write_all(bytes.as_bytes()).await.expect("the server reads");
        rest(&mut io).await;
        drop(io);
        assert_eq!(observed.told(served).await, told, "{bytes:?}");
    }
}

#[tokio::test(start_paused = true, crate = "crate::checked")]
async fn one_that_agreed_on_the_one_and_speaks_the_other() {
    let observed = Observed::new();
    let (mut io, served) = observed.connected("h2").await;
    io.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.expect("the server reads");
    rest(&mut io).await;
    assert_eq!(observed.told(served).await, "new, closed bad_request");
}

#[tokio::test(start_paused = true, crate = "crate::checked")]
async fn an_upgrade() {
    let observed = Observed::new();
    let (mut io, served) = observed.connected("http/1.1").await;
    let request = "GET /upgrade HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\nearly";
    io.write_all(request.as_bytes()).await.expect("the server reads");
    let mut seen = Vec::new();
    while !seen.ends_with(b"\r\n\r\nearly") {
        seen.push(io.read_u8().await.expect("the echo of what came right behind the request"));
    }
    // Longer than any limit of HTTP.
    sleep(Duration::from_secs(3600)).await;
    io.write_all(b"ping").await.expect("it is still there");
    let mut echo = [0; 4];
    io.read_exact(&mut echo).await.expect("an echo");
    assert_eq!(observed.server.registry.gauges().upgraded, 1);
    io.shutdown().await.expect("the other side reads");
    rest(&mut io).await;
    assert_eq!(observed.told(served).await, "new, active, upgraded, closed upgraded");
}

#[tokio::test(start_paused = true, crate = "crate::checked")]
async fn http2_is_active_while_it_has_a_stream() {
    let observed = Observed::new();
    let (io, served) = observed.connected("h2").await;
    let (send, connection) = h2::client::handshake(io).await.expect("h2");
    let connection = tokio::spawn(connection);
    for _ in 0..2 {
        let mut send = send.clone().ready().await.expect("open");
        let request = http::Request::get("https://localhost/slow").body(()).expect("a request");
        let (response, _) = send.send_request(request, true).expect("open");
        sleep(SECOND).await;
        let gauges = observed.server.registry.gauges();
        assert_eq!((gauges.active, gauges.requests), (1, 1));
        let mut body = response.await.expect("an answer").into_body();
        while let Some(data) = body.data().await {
            let _: Bytes = data.expect("a body");
        }
        sleep(SECOND).await;
    }
    drop(send);
    connection.await.expect("no panic").expect("a clean end");
    assert_eq!(observed.told(served).await, "new, idle, active, idle, active, idle, closed done");
}

#[tokio::test(start_paused = true, crate = "crate::checked")]
async fn the_end_by_a_limit_a_drain_and_force() {
    let observed = Observed::new();
    let (mut io, served) = observed.connected("http/1.1").await;
    get(&mut io, "/").await.expect("an answer");
    rest(&mut io).await;
    assert_eq!(observed.told(served).await, "new, active, idle, closed idle_timeout");

    let observed = Observed::new();
    let (mut io, served) = observed.connected("http/1.1").await;
    get(&mut io, "/").await.expect("an answer");
    observed.server.registry.drain();
    rest(&mut io).await;
    assert_eq!(observed.told(served).await, "new, active, idle, closed drained");

    for alpn in ["http/1.1", "h2"] {
        let observed = Observed::new();
        let (io, served) = observed.connected(alpn).await;
        let (_io, _response) = stuck(io, alpn).await;
        sleep(SECOND).await;
        assert_eq!(observed.server.registry.gauges().requests, 1);
        observed.server.registry.force();
        let told = observed.told(served).await;
        let start = if alpn == "h2" { "new, idle, active" } else { "new, active" };
        // The request that is dropped ends as any other: the state in between is told or not.
        assert!(told.starts_with(start) && told.ends_with(", closed forced"), "{told}");
    }
}

/// Sends a request that is never answered.
async fn stuck(
    mut io: TlsStream<DuplexStream>,
    alpn: &str,
) -> (Option<TlsStream<DuplexStream>>, Option<h2::client::ResponseFuture>) {
    if alpn == "http/1.1" {
        io.write_all(b"GET /stuck HTTP/1.1\r\nhost: x\r\n\r\n").await.expect("the server reads");
        return (Some(io), None);
    }
    let (send, connection) = h2::client::handshake(io).await.expect("h2");
    tokio::spawn(connection);
    let mut send = send.ready().await.expect("open");
    let request = http::Request::get("https://localhost/stuck").body(()).expect("a request");
    let (response, _) = send.send_request(request, true).expect("open");
    (None, Some(response))
}
