//! How large a head may be: refused at once beyond the limit, before the rest of it is there, and never below it.

use std::time::Duration;

use tests::within;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::Instant,
};

use crate::transport::Server;

const LIMIT: usize = 16 << 10;

/// What stands in front of the part that grows, the limit's status, and what stands behind it.
const KINDS: [(&str, u16, &str); 4] = [
    ("GET /", 414, " HTTP/1.1\r\nhost: x\r\n\r\n"),
    ("GET /healthz HTTP/1.1\r\nhost: x\r\na: ", 431, "\r\n\r\n"),
    ("GET /healthz HTTP/1.1\r\nhost: x\r\n", 431, ": b\r\n\r\n"),
    ("GET /healthz HTTP/1.1\r\nhost: x\r\ncookie: ", 431, "\r\n\r\n"),
];

async fn status(server: &Server, parts: &[&str]) -> (u16, Duration) {
    let mut io = server.connect().await;
    for part in parts {
        // It may have closed in the middle.
        let _ = io.write_all(part.as_bytes()).await;
        let _ = io.flush().await;
    }
    let start = Instant::now();
    let mut line = [0; 12];
    within("an answer", io.read_exact(&mut line)).await.expect("an answer, no reset");
    let text = std::str::from_utf8(&line[9..]).expect("a status");
    (text.parse().expect("a number"), start.elapsed())
}

async fn heads(encrypted: bool) {
    let limit = LIMIT.to_string();
    let server = Server::start(encrypted, &["--max-header-bytes", &limit, "--read-header-timeout", "20s"]).await;
    for (front, refused, behind) in KINDS {
        // Below half of it, always served; the target is no route.
        let half = "x".repeat(LIMIT / 2 - 100);
        let served = if refused == 414 { 404 } else { 200 };
        assert_eq!(status(&server, &[front, &half, behind]).await.0, served, "{front}");
        // Beyond it, although the end has not come, and never will.
        for times in [1, 4, 64] {
            let (status, took) = status(&server, &[front, &"x".repeat(LIMIT * times)]).await;
            assert_eq!(status, refused, "{front} and {times} times the limit");
            assert!(took < Duration::from_secs(1), "at once, not at the limit of time: {took:?}");
        }
    }
    // hyper's limit of their number is a hundred.
    let fields = |count: usize| "a: b\r\n".repeat(count);
    let head = "GET /healthz HTTP/1.1\r\nhost: x\r\n";
    assert_eq!(status(&server, &[head, &fields(99), "\r\n"]).await.0, 200);
    assert_eq!(status(&server, &[head, &fields(100), "\r\n"]).await.0, 431);
    // In pieces that end anywhere, also in the middle of the limit (hyper's `max_buf_size_split_header_boundary`).
    let long = "x".repeat(LIMIT + 10);
    for cut in [LIMIT - 45, LIMIT - 1, LIMIT] {
        let (one, two) = long.split_at(cut);
        assert_eq!(status(&server, &[KINDS[1].0, one, two, KINDS[1].2]).await.0, 431, "cut at {cut}");
    }
    assert_eq!(server.program.terminate().await.code, Some(0));
}

#[tokio::test]
async fn in_the_clear() {
    heads(false).await;
}

#[tokio::test]
async fn under_tls() {
    heads(true).await;
}
