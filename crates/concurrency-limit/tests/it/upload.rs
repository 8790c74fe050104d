//! A refused client that is still sending reads its answer: raw TCP clients on plain `axum::serve`.

use std::{net::SocketAddr, time::Duration};

use axum::{Router, body::Bytes, extract::DefaultBodyLimit, routing::post};
use graceful_concurrency_limit::ConcurrencyLimitLayer;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::{sockets::serve, support::soon};

const MIB: usize = 1024 * 1024;

/// A server whose limit lets nobody in, until it is raised.
async fn full(layer: ConcurrencyLimitLayer) -> SocketAddr {
    let handler = post(|body: Bytes| async move { body.len().to_string() });
    serve(Router::new().route("/", handler).layer(DefaultBodyLimit::disable()).layer(layer)).await
}

fn layer() -> ConcurrencyLimitLayer {
    ConcurrencyLimitLayer::new(0).max_queue(0)
}

async fn connect(address: SocketAddr, head: &str) -> TcpStream {
    let mut socket = TcpStream::connect(address).await.expect("connect");
    socket.write_all(format!("POST / HTTP/1.1\r\nhost: x\r\n{head}\r\n").as_bytes()).await.expect("write");
    socket
}

/// Reads up to `end`, which the answer is to contain.
async fn read_to(socket: &mut TcpStream, end: &str) -> String {
    let mut seen = String::new();
    while !seen.ends_with(end) {
        match soon(socket.read_u8()).await {
            Ok(byte) => seen.push(char::from(byte)),
            Err(error) => panic!("{error}, after {seen:?}"),
        }
    }
    seen
}

/// Sends everything, then reads: as a simple client does.
async fn upload_then_read(layer: ConcurrencyLimitLayer, len: usize, chunked: bool) {
    let limit = layer.limit();
    let address = full(layer).await;
    let mut socket = if chunked {
        connect(address, "transfer-encoding: chunked\r\n").await
    } else {
        connect(address, &format!("content-length: {len}\r\n")).await
    };
    let piece = vec![b'x'; 64 * 1024];
    for _ in 0..len / piece.len() {
        if chunked {
            socket.write_all(b"10000\r\n").await.expect("it is read");
        }
        socket.write_all(&piece).await.expect("it is read, not reset");
        if chunked {
            socket.write_all(b"\r\n").await.expect("it is read");
        }
    }
    if chunked {
        socket.write_all(b"0\r\n\r\n").await.expect("it is read");
    }
    let answer = read_to(&mut socket, "0\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
    assert!(answer.contains("retry-after: 1"), "{answer}");
    assert!(answer.contains("server busy"), "{answer}");

    limit.set(1);
    socket.write_all(b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 3\r\n\r\nabc").await.expect("still open");
    let next = read_to(&mut socket, "\r\n\r\n3").await;
    assert!(next.starts_with("HTTP/1.1 200"), "the connection serves the next request: {next}");
}

#[tokio::test]
async fn an_upload_under_the_default_bound() {
    upload_then_read(layer(), 192 * 1024, false).await;
    upload_then_read(layer(), 192 * 1024, true).await;
}

#[tokio::test]
async fn an_upload_of_some_megabytes_under_a_bound_that_was_raised() {
    let layer = || layer().drain(8 * MIB as u64).drain_time(Duration::from_secs(60));
    upload_then_read(layer(), 4 * MIB, false).await;
    upload_then_read(layer(), 4 * MIB, true).await;
}

#[tokio::test]
async fn an_upload_that_was_queued_first() {
    let layer = ConcurrencyLimitLayer::new(0).max_wait(Duration::from_millis(1));
    upload_then_read(layer, 192 * 1024, false).await;
}

#[tokio::test]
async fn a_client_that_reads_first_has_the_whole_text_before_it_sends_anything() {
    let address = full(layer()).await;
    let mut socket = connect(address, "content-length: 1000\r\n").await;
    let answer = read_to(&mut socket, "server busy\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
    socket.write_all(&[b'x'; 1000]).await.expect("still open");
    assert_eq!(read_to(&mut socket, "0\r\n\r\n").await, "0\r\n\r\n", "the end comes with the end of the upload");
}

#[tokio::test]
async fn a_client_that_waits_to_be_told_to_send_is_told_not_to() {
    let address = full(layer()).await;
    let mut socket = connect(address, "content-length: 1000\r\nexpect: 100-continue\r\n").await;
    let answer = read_to(&mut socket, "server busy").await;
    assert!(answer.starts_with("HTTP/1.1 503"), "and never 100: {answer}");
    assert!(answer.contains("content-length: 11"), "{answer}");
}

#[tokio::test]
async fn an_upload_known_to_be_over_the_bound_is_answered_at_once() {
    let address = full(layer()).await;
    let mut socket = connect(address, &format!("content-length: {}\r\n", 5 * MIB)).await;
    let mut answer = String::new();
    soon(socket.read_to_string(&mut answer)).await.expect("closed without a reset: nothing was sent");
    assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
    assert!(answer.ends_with("\r\n\r\nserver busy"), "{answer}");
}

#[tokio::test]
async fn an_http_1_0_client_reads_its_answer_too() {
    let address = full(layer()).await;
    let mut socket = TcpStream::connect(address).await.expect("connect");
    socket.write_all(b"POST / HTTP/1.0\r\ncontent-length: 4\r\n\r\n").await.expect("write");
    let head = read_to(&mut socket, "server busy").await;
    assert!(head.starts_with("HTTP/1.0 503"), "{head}");
    socket.write_all(b"abcd").await.expect("still open");
    let mut rest = String::new();
    soon(socket.read_to_string(&mut rest)).await.expect("closed, not reset");
    assert_eq!(rest, "");
}
