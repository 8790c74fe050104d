//! Which connections are kept behind an answer, and which are not: HTTP/1.0 and 1.1, answers without a body, bodies that
//! nobody read. After Go's `TestHTTP10KeepAlive…`, `TestHandlerBodyClose` and their neighbours.

use graceful_connection::CloseReason;

use crate::server::{Client, SECOND, assert_at, connect};

const NEXT: &str = "GET / HTTP/1.1\r\nhost: x\r\n\r\n";

impl Client {
    /// Whether another request is answered on the same connection.
    async fn is_kept(&mut self) -> bool {
        self.io_write(NEXT).await;
        let kept = self.try_answer().await.is_some_and(|answer| answer.starts_with("HTTP/1.1 200 "));
        if kept {
            assert_eq!(self.registry.gauges().idle, 1);
        }
        kept
    }
}

/// Sends `request`, reads an answer with this status, and says whether the connection is kept.
async fn is_kept_after(request: &str, status: u16) -> bool {
    let mut client = connect();
    client.io_write(request).await;
    let answer = if request.starts_with("HEAD") { client.head().await } else { client.answer().await };
    let (version, rest) = answer.split_once(' ').expect("a status line");
    assert!(rest.starts_with(&status.to_string()), "{request:?}: {answer}");
    let says_close = answer.contains("\r\nconnection: close\r\n");
    let says_keep = version == "HTTP/1.1" || answer.contains("\r\nconnection: keep-alive\r\n");
    let kept = client.is_kept().await;
    assert!(!kept || (says_keep && !says_close), "one that is closed is not kept: {answer}");
    kept
}

#[tokio::test(start_paused = true, crate = "crate::checked")]
async fn http_1_0_is_closed_unless_it_asks_to_be_kept() {
    assert!(!is_kept_after("GET / HTTP/1.0\r\n\r\n", 200).await, "it did not ask");
    assert!(is_kept_after("GET / HTTP/1.0\r\nconnection: keep-alive\r\n\r\n", 200).await, "it asked");
    // Without a length the end of the connection is the end of the body.
    let endless = "GET /looks-like-chunked HTTP/1.0\r\nconnection: keep-alive\r\n\r\n";
    let mut client = connect();
    client.send(endless).await;
    let (text, _) = client.rest().await;
    assert!(text.starts_with("HTTP/1.0 200 ") && !text.contains("chunked"), "1.0 knows no chunks: {text}");
}

#[tokio::test(start_paused = true, crate = "crate::checked")]
async fn an_answer_without_a_body_keeps_the_connection() {
    for (request, status) in [
        ("GET /204 HTTP/1.1\r\nhost: x\r\n\r\n", 204),
        ("GET /304 HTTP/1.1\r\nhost: x\r\n\r\n", 304),
        ("GET /204-and-more HTTP/1.1\r\nhost: x\r\n\r\n", 204),
        ("GET /304-and-more HTTP/1.1\r\nhost: x\r\n\r\n", 304),
        ("HEAD / HTTP/1.1\r\nhost: x\r\n\r\n", 200),
        ("GET /204 HTTP/1.0\r\nconnection: keep-alive\r\n\r\n", 204),
        ("HEAD / HTTP/1.0\r\nconnection: keep-alive\r\n\r\n", 200),
    ] {
        assert!(is_kept_after(request, status).await, "{request:?}");
    }
}

/// RFC 9110, 8.6. A proxy that believed it would wait for what does not come.
#[tokio::test(start_paused = true, crate = "crate::checked")]
async fn what_has_no_content_tells_no_length() {
    for path in ["/204", "/204-and-more", "/304", "/304-and-more"] {
        let mut client = connect();
        client.send(&format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n")).await;
        let head = client.head().await;
        assert!(!head.contains("content-length"), "{head}");
    }
}

#[tokio::test(start_paused = true, crate = "crate::checked")]
async fn either_side_says_that_it_is_the_last() {
    for request in [
        "GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n",
        "GET / HTTP/1.1\r\nhost: x\r\nConnection: TE, Close\r\n\r\n",
        "GET /say-close HTTP/1.1\r\nhost: x\r\n\r\n",
        "GET /say-close HTTP/1.0\r\nconnection: keep-alive\r\n\r\n",
    ] {
        assert!(!is_kept_after(request, 200).await, "{request:?}");
    }
}

/// A little of an unread body is passed over; a lot of it costs the connection, and the answer is still read.
#[tokio::test(start_paused = true, crate = "crate::checked")]
async fn a_body_that_nobody_read() {
    for (length, kept) in [(8, true), (1 << 20, false)] {
        for chunked in [false, true] {
            for close in [false, true] {
                let fields = if close { "connection: close\r\n" } else { "" };
                let (framing, body) = if chunked {
                    (
                        "transfer-encoding: chunked\r\n".to_owned(),
                        format!("{length:x}\r\n{}\r\n0\r\n\r\n", "x".repeat(length)),
                    )
                } else {
                    (format!("content-length: {length}\r\n"), "x".repeat(length))
                };
                let what = format!("{length} bytes, chunked: {chunked}, close: {close}");
                let request = format!("POST / HTTP/1.1\r\nhost: x\r\n{fields}{framing}\r\n{body}");
                assert_eq!(is_kept_after(&request, 200).await, kept && !close, "{what}");
            }
        }
    }
}

#[tokio::test(start_paused = true, crate = "crate::checked")]
async fn a_body_that_is_to_come_is_never_taken_for_the_next_request() {
    let mut client = connect();
    client.send("POST /early HTTP/1.1\r\nhost: x\r\ncontent-length: 45\r\n\r\n").await;
    assert!(client.answer().await.starts_with("HTTP/1.1 413 "));
    // The body, which looks like one.
    client.io_write("GET /secret HTTP/1.1\r\nhost: x\r\n\r\n").await;
    client.io_write(NEXT).await;
    assert!(client.try_answer().await.is_none(), "nothing more is answered");
}

#[tokio::test(crate = "crate::checked", start_paused = true)]
async fn the_idle_time_counts_from_the_last_answer_whatever_the_timer_was_armed_for() {
    let mut client = connect();
    // The timer is armed for the limit of the first; the second is answered in the poll that ends the first.
    client.send("GET /patiently HTTP/1.1\r\nhost: x\r\n\r\nGET / HTTP/1.1\r\nhost: x\r\n\r\n").await;
    client.answer().await;
    client.answer().await;
    let (ended, took) = client.ended().await;
    assert_eq!(ended.reason, CloseReason::IdleTimeout);
    assert_at(took, (10 + 120) * SECOND);
}

#[tokio::test(crate = "crate::checked", start_paused = true)]
async fn the_idle_time_begins_anew_with_each_answer() {
    let mut client = connect();
    for _ in 0..3 {
        client.send(NEXT).await;
        client.answer().await;
        tokio::time::sleep(100 * SECOND).await;
    }
    let (ended, took) = client.ended().await;
    assert_eq!(ended.reason, CloseReason::IdleTimeout);
    assert_at(took, (2 * 100 + 120) * SECOND);
}
