//! Every limit to the instant, on a paused clock.

use std::time::Duration;

use graceful_connection::{CloseReason, Settings, tls::HandshakeError};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::{Instant, sleep},
};

use crate::{
    authority::Authority,
    client::{Client, client_hello, get, rest},
    server::{SECOND, Server, assert_at},
};

fn setup() -> (Authority, Server) {
    setup_with(|settings| settings)
}

fn setup_with(
    adjust: impl FnOnce(graceful_connection::tls::TlsSettings) -> graceful_connection::tls::TlsSettings,
) -> (Authority, Server) {
    let authority = Authority::new();
    let settings = authority.issue("one", &["localhost"]).settings();
    let server = Server::new(adjust(settings));
    (authority, server)
}

#[tokio::test(start_paused = true, crate = "crate::checked")]
async fn a_silent_client_is_closed_at_the_limit() {
    let (_authority, server) = setup();
    let start = Instant::now();
    let (mut io, served) = server.connect();
    assert_eq!(server.registry.gauges().new, 1, "known before its first byte");
    assert_eq!(rest(&mut io).await, b"");
    assert_at(start.elapsed(), 5 * SECOND);
    let error = served.await.expect("no panic").expect_err("no connection");
    assert!(matches!(error, HandshakeError::Timeout), "{error:?}");
    assert_eq!((error.to_string().as_str(), error.kind()), ("TLS handshake timeout", "tls_timeout"));
    assert!(!error.is_noise(), "one line each: it may be the server that is slow");
    assert_eq!(server.closed(CloseReason::Handshake), 1, "it is counted");
    server.assert_empty();
}

#[tokio::test(start_paused = true, crate = "crate::checked")]
async fn bytes_that_drip_in_restart_nothing() {
    let (authority, server) = setup();
    let hello = client_hello(&Client::new(&authority)).await;
    let start = Instant::now();
    let (mut io, served) = server.connect();
    let dripping = tokio::spawn(async move {
        for byte in hello {
            io.write_u8(byte).await?;
            sleep(SECOND / 2).await;
        }
        std::io::Result::Ok(())
    });
    let error = served.await.expect("no panic").expect_err("no connection");
    assert!(matches!(error, HandshakeError::Timeout), "{error:?}");
    assert_at(start.elapsed(), 5 * SECOND);
    dripping.await.expect("no panic").expect_err("the socket is closed");
    server.assert_empty();
}

#[tokio::test(start_paused = true, crate = "crate::checked")]
async fn one_that_stops_half_way_is_closed_at_the_limit() {
    let (authority, server) = setup();
    let hello = client_hello(&Client::new(&authority)).await;
    let start = Instant::now();
    let (mut io, served) = server.connect();
    sleep(3 * SECOND).await;
    io.write_all(&hello).await.expect("the server reads");
    assert!(!rest(&mut io).await.is_empty(), "the server's half of the handshake");
    assert_at(start.elapsed(), 5 * SECOND);
    let error = served.await.expect("no panic").expect_err("no connection");
    assert!(matches!(error, HandshakeError::Timeout), "{error:?}");
    server.assert_empty();
}

#[tokio::test(start_paused = true, crate = "crate::checked")]
async fn one_that_takes_nothing_is_closed_at_the_limit() {
    let (authority, server) = setup();
    let hello = client_hello(&Client::new(&authority)).await;
    let start = Instant::now();
    let (mut io, socket) = tokio::io::duplex(64);
    let served = tokio::spawn(server.serve(socket));
    // The server's answer does not fit, and nobody reads it.
    io.write_all(&hello).await.expect("the server reads");
    let error = served.await.expect("no panic").expect_err("no connection");
    assert!(matches!(error, HandshakeError::Timeout), "{error:?}");
    assert_at(start.elapsed(), 5 * SECOND);
    server.assert_empty();
}

#[tokio::test(start_paused = true, crate = "crate::checked")]
async fn off_is_off() {
    for off in [None, Some(Duration::ZERO), Some(Duration::MAX)] {
        let (authority, server) = setup_with(|settings| settings.handshake_timeout(off));
        let (io, _served) = server.connect();
        sleep(3600 * SECOND).await;
        let mut io = Client::new(&authority).connect(io).await.expect("a connection, an hour late");
        get(&mut io, "/").await.expect("an answer");
    }
}

#[tokio::test(start_paused = true, crate = "crate::checked")]
async fn the_header_clock_begins_with_the_connection() {
    let (authority, server) = setup();
    let start = Instant::now();
    let (io, served) = server.connect();
    sleep(4 * SECOND).await;
    let mut io = Client::new(&authority).connect(io).await.expect("within the limit");
    assert_eq!(rest(&mut io).await, b"");
    assert_at(start.elapsed(), 9 * SECOND);
    let ended = served.await.expect("no panic").expect("a connection");
    assert_eq!(ended.reason, CloseReason::HeaderTimeout);
    server.assert_empty();
}

#[tokio::test(start_paused = true, crate = "crate::checked")]
async fn the_limits_of_a_connection_hold_under_tls() {
    let (authority, mut server) = setup();
    let mut settings = Settings::default();
    settings.write_stall = Some(20 * SECOND);
    settings.idle = Some(60 * SECOND);
    server.settings = settings.into();

    let (io, served) = server.connect();
    let mut io = Client::new(&authority).connect(io).await.expect("a connection");
    get(&mut io, "/").await.expect("an answer");
    let start = Instant::now();
    assert_eq!(rest(&mut io).await, b"");
    assert_at(start.elapsed(), 60 * SECOND);
    assert_eq!(served.await.expect("no panic").expect("a connection").reason, CloseReason::IdleTimeout);

    let (io, served) = server.connect();
    let mut io = Client::new(&authority).connect(io).await.expect("a connection");
    io.write_all(b"GET /big HTTP/1.1\r\nhost: x\r\n\r\n").await.expect("the server reads");
    let start = Instant::now();
    // It reads nothing.
    assert_eq!(served.await.expect("no panic").expect("a connection").reason, CloseReason::WriteStalled);
    assert_at(start.elapsed(), 20 * SECOND);
    server.assert_empty();
}

#[tokio::test(start_paused = true, crate = "crate::checked")]
async fn clients_that_stop_half_way_keep_nobody_out() {
    let (authority, server) = setup_with(|settings| settings.max_handshakes(Some(1)));
    let client = Client::new(&authority);
    let hello = client_hello(&client).await;
    let mut stuck = Vec::new();
    for _ in 0..10 {
        let (silent, _) = server.connect();
        let (mut half, _) = server.connect();
        let (mut partial, _) = server.connect();
        half.write_all(&hello).await.expect("the server reads");
        half.read_u8().await.expect("the server has answered");
        partial.write_all(&hello[..100]).await.expect("the server reads");
        stuck.push((silent, half, partial));
    }
    let (io, _served) = server.connect();
    let start = Instant::now();
    let mut io = client.connect(io).await.expect("a connection");
    get(&mut io, "/").await.expect("an answer");
    assert!(start.elapsed() < SECOND / 10, "it waits for none of the others");
    drop(stuck);
}
