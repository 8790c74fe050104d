//! What takes long because it is long: with the total limit for a response off, or lifted by an event stream, it goes on
//! beyond every other limit, over each version and transport, for as long as the client reads.

use std::time::Duration;

use tests::{Frame, Http2, within};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::{Instant, sleep},
};

use crate::transport::Server;

/// Every limit but that for the whole response is shorter than what follows.
const ARGS: [&str; 12] = [
    "--write-timeout",
    "off",
    "--write-stall-timeout",
    "1s",
    "--idle-timeout",
    "1s",
    "--read-timeout",
    "1s",
    "--read-header-timeout",
    "1s",
    "--handler-timeout",
    "1s",
];

const LONG: Duration = Duration::from_secs(4);

async fn http1(server: &Server, path: &str, done: &str) {
    let mut io = server.connect().await;
    let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n");
    io.write_all(request.as_bytes()).await.expect("the server reads");
    io.flush().await.expect("the server reads");
    let start = Instant::now();
    let mut text = Vec::new();
    while !String::from_utf8_lossy(&text).contains(done) {
        let read = within("more", io.read_buf(&mut text)).await.expect("not cut");
        assert!(read > 0, "{path}: cut after {:?}", start.elapsed());
    }
    assert!(start.elapsed() >= LONG, "{path} is long: {:?}", start.elapsed());
}

/// Takes a big answer slowly, but steadily.
async fn slow_download(server: &Server) {
    const BYTES: usize = 24 << 20;
    let mut io = server.connect().await;
    let request = format!("GET /big?bytes={BYTES} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
    io.write_all(request.as_bytes()).await.expect("the server reads");
    io.flush().await.expect("the server reads");
    let start = Instant::now();
    let (mut sum, mut piece) = (0, vec![0; 256 << 10]);
    loop {
        let read = within("more", io.read(&mut piece)).await.expect("not cut");
        if read == 0 {
            break;
        }
        sum += read;
        // As fast as it takes to be LONG about it.
        let due = LONG.mul_f64(sum as f64 / BYTES as f64);
        sleep(due.saturating_sub(start.elapsed())).await;
    }
    assert!(sum > BYTES, "all of it, and the head");
    assert!(start.elapsed() >= LONG, "{:?}", start.elapsed());
}

async fn http2(server: &Server, path: &str, done: &[u8]) {
    let mut client = Http2::begin(server.connect().await).await;
    let start = Instant::now();
    client.get(1, path).await;
    loop {
        let frame = client.next(Frame::DATA).await;
        if frame.payload.windows(done.len()).any(|window| window == done) {
            break;
        }
        assert!(frame.flags & Frame::END_STREAM == 0, "{path}: ended early");
    }
    assert!(start.elapsed() >= LONG, "{path} is long: {:?}", start.elapsed());
}

async fn all(encrypted: bool) {
    let server = Server::start(encrypted, &ARGS).await;
    tokio::join!(
        http1(&server, "/events", "tick 6"),
        http1(&server, "/stream?n=11&ms=500", "line 11"),
        http2(&server, "/events", b"tick 6"),
        http2(&server, "/stream?n=11&ms=500", b"line 11"),
        slow_download(&server),
    );
    assert_eq!(server.program.terminate().await.code, Some(0));
}

#[tokio::test]
async fn in_the_clear() {
    all(false).await;
}

#[tokio::test]
async fn under_tls() {
    all(true).await;
}
