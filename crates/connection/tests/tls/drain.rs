//! A shutdown in the middle of a handshake.

use graceful_connection::{CloseReason, tls::HandshakeError};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream},
    time::{Instant, sleep},
};

use crate::{
    authority::Authority,
    client::{Client, body, client_hello, get, rest},
    server::{Outcome, SECOND, Server, assert_at},
};

fn setup() -> (Authority, Server) {
    let authority = Authority::new();
    // Far beyond the test: what ends a handshake here is the shutdown.
    let settings = authority.issue("one", &["localhost"]).settings().handshake_timeout(Some(3600 * SECOND));
    (authority, Server::new(settings))
}

/// A client that has said hello, has its answer, and stops.
async fn half_way(authority: &Authority, server: &Server) -> (DuplexStream, tokio::task::JoinHandle<Outcome>) {
    let hello = client_hello(&Client::new(authority)).await;
    let (mut io, served) = server.connect();
    io.write_all(&hello).await.expect("the server reads");
    io.read_u8().await.expect("the server has answered");
    (io, served)
}

#[tokio::test(start_paused = true, crate = "crate::checked")]
async fn a_silent_client_ends_at_once() {
    let (_authority, server) = setup();
    let (mut io, served) = server.connect();
    sleep(SECOND).await;
    let start = Instant::now();
    server.registry.drain();
    assert_eq!(rest(&mut io).await, b"");
    assert!(start.elapsed() < SECOND / 10, "{:?}", start.elapsed());
    assert!(matches!(served.await.expect("no panic"), Err(HandshakeError::Shutdown)));
    server.registry.closed().await;
    assert_eq!(server.closed(CloseReason::Drained), 1);
    server.assert_empty();
}

#[tokio::test(start_paused = true, crate = "crate::checked")]
async fn one_half_way_is_still_served_and_it_is_the_last() {
    let (authority, server) = setup();
    let hello = client_hello(&Client::new(&authority)).await;
    // A client whose bytes are slow: the signal comes between its first and its last.
    let (client, near) = tokio::io::duplex(16 << 10);
    let (mut far, served) = server.connect();
    let connecting = {
        let client_config = Client::new(&authority).alpn(&["http/1.1"]);
        tokio::spawn(async move { client_config.connect(client).await })
    };
    let (mut near_read, mut near_write) = tokio::io::split(near);
    let mut first = vec![0; hello.len().min(50)];
    near_read.read_exact(&mut first).await.expect("a hello");
    far.write_all(&first).await.expect("the server reads");
    sleep(SECOND / 10).await;
    server.registry.drain();
    sleep(SECOND / 10).await;
    let (mut far_read, mut far_write) = tokio::io::split(far);
    tokio::spawn(async move { tokio::io::copy(&mut near_read, &mut far_write).await });
    tokio::spawn(async move { tokio::io::copy(&mut far_read, &mut near_write).await });
    let mut io = connecting.await.expect("no panic").expect("a connection");
    let answer = get(&mut io, "/").await.expect("an answer");
    assert!(answer.contains("connection: close"), "{answer}");
    assert_eq!(body(&answer), "ok");
    assert_eq!(served.await.expect("no panic").expect("a connection").reason, CloseReason::Drained);
    server.assert_empty();
}

#[tokio::test(start_paused = true, crate = "crate::checked")]
async fn one_that_stops_half_way_does_not_hold_it_up() {
    let (authority, server) = setup();
    let (mut io, served) = half_way(&authority, &server).await;
    sleep(SECOND).await;
    let start = Instant::now();
    server.registry.drain();
    rest(&mut io).await;
    assert_at(start.elapsed(), SECOND);
    assert!(matches!(served.await.expect("no panic"), Err(HandshakeError::Shutdown)));
    server.assert_empty();
}

#[tokio::test(start_paused = true, crate = "crate::checked")]
async fn its_own_limit_comes_first_where_it_is_earlier() {
    let authority = Authority::new();
    let server = Server::new(authority.issue("one", &["localhost"]).settings());
    let start = Instant::now();
    let (_io, served) = half_way(&authority, &server).await;
    sleep(9 * SECOND / 2).await;
    server.registry.drain();
    assert!(matches!(served.await.expect("no panic"), Err(HandshakeError::Timeout)));
    assert_at(start.elapsed(), 5 * SECOND);
}

#[tokio::test(start_paused = true, crate = "crate::checked")]
async fn force_ends_every_stage_at_once() {
    let (authority, server) = setup();
    let (mut silent, silent_served) = server.connect();
    let (mut half, half_served) = half_way(&authority, &server).await;
    let (mut plain, plain_served) = server.connect();
    plain.write_all(b"GET / HTTP/1.1\r\n").await.expect("the server reads");
    let (io, done_served) = server.connect();
    let mut done = Client::new(&authority).connect(io).await.expect("a connection");
    done.write_all(b"GET /stuck HTTP/1.1\r\nhost: x\r\n\r\n").await.expect("the server reads");
    while server.registry.gauges().requests == 0 {
        tokio::task::yield_now().await;
    }
    let start = Instant::now();
    server.registry.force();
    rest(&mut silent).await;
    rest(&mut half).await;
    rest(&mut plain).await;
    rest(&mut done).await;
    server.registry.closed().await;
    assert!(start.elapsed().is_zero(), "nothing is waited for");
    for served in [silent_served, half_served] {
        assert!(matches!(served.await.expect("no panic"), Err(HandshakeError::Shutdown)));
    }
    assert!(matches!(plain_served.await.expect("no panic"), Err(HandshakeError::PlainHttp)));
    assert_eq!(done_served.await.expect("no panic").expect("a connection").reason, CloseReason::Forced);
    assert_eq!((server.closed(CloseReason::Forced), server.closed(CloseReason::Handshake)), (3, 1));
    server.assert_empty();
}

#[tokio::test(start_paused = true, crate = "crate::checked")]
async fn a_finished_connection_is_drained_like_any_other() {
    let (authority, server) = setup();
    let (io, idle_served) = server.connect();
    let mut idle = Client::new(&authority).connect(io).await.expect("a connection");
    get(&mut idle, "/").await.expect("an answer");
    let (io, busy_served) = server.connect();
    let mut busy = Client::new(&authority).connect(io).await.expect("a connection");
    let busy = tokio::spawn(async move {
        let answer = get(&mut busy, "/slow").await.expect("an answer");
        (answer, rest(&mut busy).await)
    });
    sleep(SECOND).await;
    server.registry.drain();
    assert_eq!(rest(&mut idle).await, b"");
    assert_eq!(idle_served.await.expect("no panic").expect("a connection").reason, CloseReason::Drained);
    let (answer, after) = busy.await.expect("no panic");
    assert!(answer.contains("connection: close") && answer.ends_with("slow"), "{answer}");
    assert_eq!(after, b"", "a clean end, said with close_notify");
    assert_eq!(busy_served.await.expect("no panic").expect("a connection").reason, CloseReason::Drained);
    server.assert_empty();
}

#[tokio::test(start_paused = true, crate = "crate::checked")]
async fn dropped_at_any_point_it_gives_its_place_back() {
    let (authority, server) = setup();
    let hello = client_hello(&Client::new(&authority)).await;
    for sent in [0, 1, 100, hello.len()] {
        let (mut io, served) = server.connect();
        io.write_all(&hello[..sent]).await.expect("the server reads");
        sleep(SECOND).await;
        assert_eq!(server.registry.len(), 1);
        served.abort();
        rest(&mut io).await;
        server.assert_empty();
    }
    drop(server.serve(tokio::io::duplex(1).1));
    server.assert_empty();
}
