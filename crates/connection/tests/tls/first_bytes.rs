//! What is not TLS.

use std::time::Duration;

use graceful_connection::tls::HandshakeError;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::{Instant, sleep},
};

use crate::{
    authority::Authority,
    client::{Client, client_hello, rest},
    server::{SECOND, Server, assert_at},
};

fn setup() -> (Authority, Server) {
    let authority = Authority::new();
    let server = Server::new(authority.issue("one", &["localhost"]).settings());
    (authority, server)
}

const ANSWER: &str = "HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain; charset=utf-8\r\n\
    content-length: 23\r\nconnection: close\r\n\r\nthis port speaks HTTPS\n";

#[tokio::test(start_paused = true, crate = "crate::checked")]
async fn plain_http_is_told_where_it_is() {
    let (_authority, server) = setup();
    for request in [
        "GET / HTTP/1.1\r\nhost: localhost\r\n\r\n",
        "POST /upload HTTP/1.1\r\nhost: localhost\r\ncontent-length: 1000\r\n\r\nthe rest is to come",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ] {
        let start = Instant::now();
        let (mut io, served) = server.connect();
        io.write_all(request.as_bytes()).await.expect("the server reads");
        assert_eq!(String::from_utf8_lossy(&rest(&mut io).await), ANSWER);
        assert!(start.elapsed() < SECOND / 10, "at once");
        drop(io);
        let error = served.await.expect("no panic").expect_err("no connection");
        assert!(matches!(error, HandshakeError::PlainHttp), "{error:?}");
        assert!(error.is_noise());
    }
    server.assert_empty();
}

#[tokio::test(start_paused = true, crate = "crate::checked")]
async fn also_byte_by_byte() {
    let (_authority, server) = setup();
    let (mut io, served) = server.connect();
    for byte in b"OPTIONS " {
        sleep(SECOND / 10).await;
        io.write_u8(*byte).await.expect("the server reads");
    }
    assert_eq!(String::from_utf8_lossy(&rest(&mut io).await), ANSWER);
    drop(io);
    assert!(matches!(served.await.expect("no panic"), Err(HandshakeError::PlainHttp)));
}

#[tokio::test(start_paused = true, crate = "crate::checked")]
async fn a_client_that_never_closes_its_side_is_not_waited_for() {
    let (_authority, server) = setup();
    let start = Instant::now();
    let (mut io, served) = server.connect();
    io.write_all(b"GET / HTTP/1.1\r\n").await.expect("the server reads");
    let error = served.await.expect("no panic").expect_err("no connection");
    assert_at(start.elapsed(), SECOND);
    assert!(matches!(error, HandshakeError::PlainHttp), "{error:?}");
    assert_eq!(String::from_utf8_lossy(&rest(&mut io).await), ANSWER);
    server.assert_empty();
}

#[tokio::test(crate = "crate::checked")]
async fn the_answer_arrives_though_the_request_was_not_read() {
    let (_authority, server) = setup();
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let serving = server.clone();
    tokio::spawn(async move {
        let (socket, _) = listener.accept().await.expect("a client");
        serving.serve(socket).await
    });
    let mut io = TcpStream::connect(address).await.expect("a connection");
    let mut request = b"POST / HTTP/1.1\r\nhost: localhost\r\n\r\n".to_vec();
    request.resize(100_000, b'x');
    io.write_all(&request).await.expect("the server reads");
    let mut answer = String::new();
    // A socket that is closed with unread bytes in it is reset, and the answer is gone.
    io.read_to_string(&mut answer).await.expect("no reset");
    assert_eq!(answer, ANSWER);
}

#[tokio::test(start_paused = true, crate = "crate::checked")]
async fn anything_else_is_closed() {
    let (_authority, server) = setup();
    for garbage in ["SSH-2.0-OpenSSH_9.6\r\n", "\0\0\0\0", "get / HTTP/1.1\r\n", "\u{80}", "GETTING"] {
        let start = Instant::now();
        let (mut io, served) = server.connect();
        io.write_all(garbage.as_bytes()).await.expect("the server reads");
        assert_eq!(rest(&mut io).await, b"", "{garbage:?}");
        assert!(start.elapsed() < SECOND / 10, "at once");
        let error = served.await.expect("no panic").expect_err("no connection");
        assert!(matches!(error, HandshakeError::NotTls), "{garbage:?}: {error:?}");
        assert_eq!((error.kind(), error.is_noise()), ("tls_garbage", true));
    }
    server.assert_empty();
}

#[tokio::test(start_paused = true, crate = "crate::checked")]
async fn what_only_begins_like_tls_is_closed() {
    let (_authority, server) = setup();
    let (mut io, served) = server.connect();
    io.write_all(b"\x16\x03\x01\0\x05hello").await.expect("the server reads");
    rest(&mut io).await;
    let error = served.await.expect("no panic").expect_err("no connection");
    assert!(matches!(error, HandshakeError::Protocol(_)), "{error:?}");
    assert!(error.is_noise());
    server.assert_empty();
}

#[tokio::test(start_paused = true, crate = "crate::checked")]
async fn a_client_that_goes_away_leaves_nothing_behind() {
    let (authority, server) = setup();
    let hello = client_hello(&Client::new(&authority)).await;
    for sent in [0, 1, 5, 100, hello.len()] {
        let (mut io, served) = server.connect();
        io.write_all(&hello[..sent]).await.expect("the server reads");
        sleep(Duration::from_millis(100)).await;
        drop(io);
        let error = served.await.expect("no panic").expect_err("no connection");
        assert!(matches!(error, HandshakeError::Io(_)), "after {sent} bytes: {error:?}");
        assert!(error.is_noise());
        server.assert_empty();
    }
}
