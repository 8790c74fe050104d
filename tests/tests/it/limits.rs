//! A connection that stalls ends at its own limit, never before, and not long after: over plain sockets and over TLS,
//! HTTP/1.1 and HTTP/2. The limits are all different, so that it shows which one ended it.

use std::{net::SocketAddr, time::Duration};

use tests::{Program, within};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
    time::{Instant, sleep},
};

use crate::{playground, tls};

const HEADER: Duration = Duration::from_millis(600);
const BODY: Duration = Duration::from_millis(1000);
const STALL: Duration = Duration::from_millis(1400);
const IDLE: Duration = Duration::from_millis(1800);
const HANDSHAKE: Duration = Duration::from_millis(800);

const PROFILE: [&str; 12] = [
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
];

/// How much later than its limit a connection may end, on a machine that has other things to do.
const LATE: Duration = Duration::from_millis(500);

trait Io: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Io for T {}

/// A server in the profile, with or without TLS.
struct Server {
    program: Program,
    tls: Option<(tls::Files, tokio_rustls::rustls::pki_types::CertificateDer<'static>)>,
}

impl Server {
    async fn start(encrypted: bool) -> Self {
        if !encrypted {
            return Self { program: playground(&PROFILE).await, tls: None };
        }
        let files = tls::Files::new();
        let certificate = files.write("limits");
        let args = [&PROFILE[..], &files.args(), &["--tls-handshake-timeout", "800ms"]].concat();
        // The template: the playground is built without TLS.
        Self { program: crate::production(&args).await, tls: Some((files, certificate)) }
    }

    fn address(&self) -> SocketAddr {
        self.program.address()
    }

    async fn connect(&self) -> Box<dyn Io> {
        match &self.tls {
            None => Box::new(TcpStream::connect(self.address()).await.expect("it listens")),
            Some((_, certificate)) => Box::new(tls::connect(self.address(), certificate).await.expect("a handshake")),
        }
    }
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
    assert!(took + Duration::from_millis(5) >= limit, "{what}: before its limit, after {took:?} of {limit:?}");
    assert!(took <= limit + LATE, "{what}: late, after {took:?} of {limit:?}");
}

async fn http1(encrypted: bool) {
    let server = Server::start(encrypted).await;
    let silent = async {
        let mut io = server.connect().await;
        let (text, took) = end(&mut io, Instant::now()).await;
        assert_eq!(text, "", "nobody asked anything");
        assert_at(took, HEADER, "silent");
    };
    let dripping = async {
        let mut io = server.connect().await;
        let start = Instant::now();
        for byte in b"GET / HTTP/1.1" {
            io.write_all(&[*byte]).await.expect("the server reads");
            sleep(Duration::from_millis(30)).await;
        }
        let (text, took) = end(&mut io, start).await;
        assert!(text.starts_with("HTTP/1.1 408 "), "{text}");
        assert_at(took, HEADER, "a head that drips in");
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
        let path = if encrypted { "/api/jobs" } else { "/echo" };
        let request = format!("POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-length: 9\r\n\r\nabc");
        // Before it is sent: the server's clock may begin before this task's next turn.
        let start = Instant::now();
        io.write_all(request.as_bytes()).await.expect("the server reads");
        let mut status = [0; 12];
        within("an answer", io.read_exact(&mut status)).await.expect("an answer");
        assert_at(start.elapsed(), BODY, "a body that stops");
        assert!(status.starts_with(b"HTTP/1.1 4"), "{}", String::from_utf8_lossy(&status));
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

#[tokio::test]
async fn a_reader_that_stops_is_cut_at_the_stall_limit() {
    let server = Server::start(false).await;
    let mut io = server.connect().await;
    io.write_all(b"GET /big?bytes=50000000 HTTP/1.1\r\nhost: localhost\r\n\r\n").await.expect("the server reads");
    let start = Instant::now();
    // What the kernel holds takes a moment to fill up; from then on nothing moves.
    server.program.log().message("connection closed at a limit").await;
    assert_at(start.elapsed(), STALL, "a reader that takes nothing");
    let record = server.program.log().access("/big", 1).await.swap_remove(0);
    assert_eq!(record["outcome"], "truncated");
}

async fn http2(encrypted: bool) {
    let server = Server::start(encrypted).await;
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
            assert_at(took.unwrap_or_else(|| start.elapsed()), limit, what);
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
    let server = Server::start(true).await;
    let mut io = TcpStream::connect(server.address()).await.expect("it listens");
    // The beginning of a ClientHello.
    io.write_all(&[0x16, 0x03, 0x01, 0x01]).await.expect("the server reads");
    let start = Instant::now();
    let (_, took) = end(&mut io, start).await;
    assert_at(took, HANDSHAKE, "half a handshake");
    // Nobody waited for it.
    let mut other = server.connect().await;
    other.write_all(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").await.expect("open");
    assert!(end(&mut other, start).await.0.starts_with("HTTP/1.1 200 "));
}
