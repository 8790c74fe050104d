//! `Expect: 100-continue`: who is told to go on, and when. After Go's `TestServerExpect`.

use crate::server::{SECOND, assert_at, connect};

const CONTINUE: &str = "HTTP/1.1 100 Continue\r\n\r\n";

#[tokio::test(start_paused = true, crate = "crate::checked")]
async fn it_is_told_when_the_handler_first_reads_and_not_otherwise() {
    for (path, version, expect, length, told, status) in [
        ("/read", "1.1", "100-continue", 3, true, 200),
        ("/read", "1.1", "100-cOntInUE", 3, true, 200),
        // No body to wait for.
        ("/read", "1.1", "100-continue", 0, false, 200),
        // The handler does not want it.
        ("/", "1.1", "100-continue", 3, false, 200),
        ("/early", "1.1", "100-continue", 1_000_000, false, 413),
        // HTTP/1.0 knows no 1xx (RFC 9110, 10.1.1).
        ("/read", "1.0", "100-continue", 3, false, 200),
        ("/read", "1.1", "", 3, false, 200),
        // hyper passes over what it does not know, as RFC 9110 allows; Go answers 417.
        ("/read", "1.1", "a-pony", 3, false, 200),
    ] {
        let what = format!("{path} HTTP/{version} expect {expect:?} of {length} bytes");
        let mut client = connect();
        let expect_field = if expect.is_empty() { String::new() } else { format!("expect: {expect}\r\n") };
        client
            .send(&format!("POST {path} HTTP/{version}\r\nhost: x\r\n{expect_field}content-length: {length}\r\n\r\n"))
            .await;
        if told {
            assert_eq!(client.head().await, CONTINUE, "{what}");
        }
        if path == "/read" {
            client.io_write(&"x".repeat(length)).await;
        }
        let answer = client.answer().await;
        assert!(answer.starts_with(&format!("HTTP/{version} {status} ")), "{what}: {answer}");
        // Who was not told to go on may send the body or not: what comes next cannot be told apart.
        let unread = path != "/read";
        assert_eq!(answer.contains("connection: close"), unread, "{what}: {answer}");
    }
}

#[tokio::test(start_paused = true, crate = "crate::checked")]
async fn a_body_that_is_announced_and_never_comes_ends_at_the_body_limit() {
    let mut client = connect();
    client.send("POST /read HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: 3\r\n\r\n").await;
    assert_eq!(client.head().await, CONTINUE);
    assert!(client.answer().await.starts_with("HTTP/1.1 408 "));
    assert_at(client.start.elapsed(), 30 * SECOND);
}

#[tokio::test(start_paused = true, crate = "crate::checked")]
async fn what_the_client_does_after_an_answer_without_it_is_no_request() {
    let mut client = connect();
    client.send("POST /early HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: 1000\r\n\r\n").await;
    assert!(client.answer().await.starts_with("HTTP/1.1 413 "));
    client.io_write("GET /secret HTTP/1.1\r\nhost: x\r\n\r\n").await;
    assert!(client.try_answer().await.is_none());
}
