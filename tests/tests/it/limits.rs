//! A connection that stalls ends at its own limit, never before, and not long after: over plain sockets and over TLS,
//! HTTP/1.1 and HTTP/2. The limits are all different, so that it shows which one ended it.

use std::time::Duration;

use tests::{Frame, Http2, within};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{Instant, sleep},
};

use crate::transport::Server;

const HEADER: Duration = Duration::from_millis(600);
const BODY: Duration = Duration::from_millis(1000);
const STALL: Duration = Duration::from_millis(1400);
const IDLE: Duration = Duration::from_millis(1800);
const HANDSHAKE: Duration = Duration::from_millis(800);

const PROFILE: [&str; 14] = [
    "--read-header-timeout",
    "600ms",
    "--read-timeout",
    "1s",
    "--write-stall-timeout",
    "1400ms",
    "--idle-timeout",
    "1800ms",
    "--write-timeout",
    "20s",
    "--handler-timeout",
    "20s",
    "--tls-handshake-timeout",
    "800ms",
];

/// How much later than its limit a connection may end, on a machine that has other things to do.
const LATE: Duration = Duration::from_millis(500);

async fn start(encrypted: bool) -> Server {
    Server::start(encrypted, &PROFILE).await
}

/// Reads to the end, and gives what came and how long after `start` the end was.
async fn end(io: &mut (impl AsyncRead + Unpin), start: Instant) -> (String, Duration) {
    let mut text = Vec::new();
    // A client that is cut may read an error in the place of the end.
    let _ = within("the end", io.read_to_end(&mut text)).await;
    (String::from_utf8_lossy(&text).into_owned(), start.elapsed())
}

#[track_caller]
fn assert_at(took: Duration, limit: Duration, what: &str) {
    assert_between(took, took, limit, what);
}

/// At its limit, where the server's clock began between `most` and `least` ago.
#[track_caller]
fn assert_between(most: Duration, least: Duration, limit: Duration, what: &str) {
    assert!(most + Duration::from_millis(5) >= limit, "{what}: before its limit, after {most:?} of {limit:?}");
    assert!(least <= limit + LATE, "{what}: late, after {least:?} of {limit:?}");
}

async fn http1(encrypted: bool) {
    let server = start(encrypted).await;
    // The server's clock begins somewhere between these two.
    let silent = async {
        let before = Instant::now();
        let mut io = server.connect().await;
        let after = Instant::now();
        let (text, took) = end(&mut io, after).await;
        assert_eq!(text, "", "nobody asked anything");
        assert_between(before.elapsed(), took, HEADER, "silent");
    };
    let dripping = async {
        let before = Instant::now();
        let mut io = server.connect().await;
        let start = Instant::now();
        for byte in b"GET / HTTP/1.1" {
            io.write_all(&[*byte]).await.expect("the server reads");
            sleep(Duration::from_millis(30)).await;
        }
        let (text, took) = end(&mut io, start).await;
        assert!(text.starts_with("HTTP/1.1 408 "), "{text}");
        assert_between(before.elapsed(), took, HEADER, "a head that drips in");
    };
    let idle = async {
        let mut io = server.connect().await;
        let start = Instant::now();
        io.write_all(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n").await.expect("the server reads");
        let (text, took) = end(&mut io, start).await;
        assert_eq!(text.matches("HTTP/1.1 ").count(), 1, "one answer, and a plain end: {text}");
        assert_at(took, IDLE, "idle");
    };
    let pausing = async {
        let mut io = server.connect().await;
        // Longer than the limit of a head, shorter than that between requests.
        for _ in 0..3 {
            io.write_all(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n").await.expect("still open");
            let mut byte = [0];
            io.read_exact(&mut byte).await.expect("an answer");
            sleep(Duration::from_millis(900)).await;
        }
    };
    let uploading = async {
        let mut io = server.connect().await;
        // Before it is sent: the server's clock may begin before this task's next turn.
        let start = Instant::now();
        io.write_all(b"POST /echo HTTP/1.1\r\nhost: localhost\r\ncontent-length: 9\r\n\r\nabc").await.expect("open");
        let mut status = [0; 12];
        within("an answer", io.read_exact(&mut status)).await.expect("an answer");
        assert_at(start.elapsed(), BODY, &format!("a body that stops, {}", String::from_utf8_lossy(&status)));
        assert!(status.starts_with(b"HTTP/1.1 408"), "{}", String::from_utf8_lossy(&status));
        io.shutdown().await.expect("a clean end");
        end(&mut io, start).await;
    };
    tokio::join!(silent, dripping, idle, pausing, uploading);
}

#[tokio::test]
async fn http1_in_the_clear() {
    http1(false).await;
}

#[tokio::test]
async fn http1_over_tls() {
    http1(true).await;
}

async fn stopped_reader(encrypted: bool) {
    let server = start(encrypted).await;
    let mut io = server.connect().await;
    let start = Instant::now();
    io.write_all(b"GET /big?bytes=50000000 HTTP/1.1\r\nhost: localhost\r\n\r\n").await.expect("the server reads");
    io.flush().await.expect("the server reads");
    // What the kernel holds takes a moment to fill up; from then on nothing moves.
    let line = server.program.log().message("connection closed at a limit").await;
    assert_at(start.elapsed(), STALL, "a reader that takes nothing");
    assert_eq!(line["kind"], "write_stalled");
    let record = server.program.log().access("/big", 1).await.swap_remove(0);
    assert_eq!(record["outcome"], "truncated");
}

#[tokio::test]
async fn a_reader_that_stops_is_cut_at_the_stall_limit() {
    stopped_reader(false).await;
}

#[tokio::test]
async fn a_reader_that_stops_under_tls_is_cut_at_the_stall_limit() {
    stopped_reader(true).await;
}

/// With a request in flight, the streams have the limits: the connection lives on.
async fn http2_streams(encrypted: bool) {
    let server = start(encrypted).await;
    let slow_body = async {
        let mut client = Http2::begin(server.connect().await).await;
        // POST, without END_STREAM, and a part of the body.
        let head = [&[0x83, 0x86, 0x01, 4][..], b"test", &[0x04, 5], b"/echo"].concat();
        let start = Instant::now();
        client.send(Frame::HEADERS, Frame::END_HEADERS, 1, &head).await;
        client.send(Frame::DATA, 0, 1, b"abc").await;
        let answer = client.next(Frame::HEADERS).await;
        assert_at(start.elapsed(), BODY, "a body that stops");
        assert_eq!(answer.stream, 1);
        client.get(3, "/healthz").await;
        assert_eq!(client.next(Frame::HEADERS).await.stream, 3, "another stream is served");
    };
    let shut_window = async {
        let mut client = Http2::begin(server.connect().await).await;
        // The window of 64 KiB is used up at once.
        let start = Instant::now();
        client.get(1, "/big?bytes=1000000").await;
        let reset = client.next(Frame::RST_STREAM).await;
        assert_at(start.elapsed(), STALL, "a window that stays shut");
        assert_eq!((reset.stream, &reset.payload[..]), (1, &[0, 0, 0, 8][..]), "CANCEL");
        // The window of the connection is used up as well; a head needs none.
        client.get(3, "/healthz").await;
        assert_eq!(client.next(Frame::HEADERS).await.stream, 3, "another stream is served");
    };
    let pausing = async {
        let mut client = Http2::begin(server.connect().await).await;
        // Longer than the limit of a head, shorter than that between requests.
        for stream in [1, 3, 5] {
            client.get(stream, "/healthz").await;
            assert_eq!(client.next(Frame::HEADERS).await.stream, stream);
            sleep(Duration::from_millis(900)).await;
        }
    };
    let pinging = async {
        let io = server.connect().await;
        let start = Instant::now();
        let mut client = Http2::begin(io).await;
        // Pings are no activity (Kestrel thinks they are; Go does not).
        let goaway = loop {
            if client.try_send(Frame::PING, 0, 0, &[0; 8]).await.is_err() {
                break None;
            }
            match client.frame().await {
                Ok(frame) if frame.kind == Frame::GOAWAY => break Some(frame),
                Ok(_) => sleep(Duration::from_millis(50)).await,
                Err(_) => break None,
            }
        };
        assert_at(start.elapsed(), IDLE, "one that only pings");
        assert!(goaway.is_some(), "told before it is closed");
    };
    tokio::join!(slow_body, shut_window, pausing, pinging);
}

#[tokio::test]
async fn http2_streams_in_the_clear() {
    http2_streams(false).await;
}

#[tokio::test]
async fn http2_streams_over_tls() {
    http2_streams(true).await;
}

async fn http2(encrypted: bool) {
    let server = start(encrypted).await;
    let preface: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    let settings: &[u8] = b"\0\0\0\x04\0\0\0\0\0";
    // HEADERS without END_HEADERS.
    let block: &[u8] = b"\0\0\x01\x01\x01\0\0\0\x01\x82";
    let cases = [
        ("half a preface", preface[..10].to_vec(), HEADER),
        ("no SETTINGS", preface.to_vec(), HEADER),
        ("a header block without an end", [preface, settings, block].concat(), HEADER),
        ("no stream", [preface, settings].concat(), IDLE),
    ];
    let stalled = cases.map(|(what, bytes, limit)| {
        let server = &server;
        async move {
            let before = Instant::now();
            let mut io = server.connect().await;
            let start = Instant::now();
            io.write_all(&bytes).await.expect("the server reads");
            // Its end: GOAWAY and the close, or the close. A client that answers no PING is given a moment.
            let mut chunk = [0; 1024];
            let mut took = None;
            while let Ok(n) = within("the end", io.read(&mut chunk)).await {
                let goaway = chunk[..n].windows(9).any(|frame| frame[3] == 7 && frame[5..] == [0; 4]);
                if n == 0 || goaway {
                    took = Some(start.elapsed());
                    break;
                }
            }
            let took = took.unwrap_or_else(|| start.elapsed());
            assert_between(took + (start - before), took, limit, what);
        }
    });
    futures_util::future::join_all(stalled).await;
}

#[tokio::test]
async fn http2_in_the_clear() {
    http2(false).await;
}

#[tokio::test]
async fn http2_over_tls() {
    // A client without ALPN may speak either.
    http2(true).await;
}

#[tokio::test]
async fn a_handshake_that_stops_ends_at_its_own_limit() {
    let server = start(true).await;
    let start = Instant::now();
    let mut io = TcpStream::connect(server.address()).await.expect("it listens");
    // The beginning of a ClientHello.
    io.write_all(&[0x16, 0x03, 0x01, 0x01]).await.expect("the server reads");
    let (_, took) = end(&mut io, start).await;
    assert_at(took, HANDSHAKE, "half a handshake");
    // Nobody waited for it.
    let mut other = server.connect().await;
    other.write_all(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").await.expect("open");
    assert!(end(&mut other, start).await.0.starts_with("HTTP/1.1 200 "));
}
