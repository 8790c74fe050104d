//! What the connection answers by itself: worded by the server, told once, and never in the place of a service's bytes.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use graceful_answer::{Answer, ProblemDetails};
use graceful_connection::{CloseReason, Refused, Registry, Settings};
use http::Response;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::server::{Client, SECOND, assert_at, connect, connect_to, settings, with};

type Told = Arc<Mutex<Vec<String>>>;

fn connect_told(settings: Settings) -> (Client, Told) {
    let told = Told::default();
    let sink = Arc::clone(&told);
    let answer = move |refused: &Refused<'_>| -> Response<Bytes> {
        let head = refused.head().map(|head| format!(" {} {} {:?}", head.method, head.uri, head.version));
        let line = format!("{}{}", refused.refusal().as_str(), head.unwrap_or_default());
        sink.lock().expect("no panic").push(line);
        ProblemDetails::new().answer(refused)
    };
    (connect_to(Registry::builder().answer(answer).build(), settings), told)
}

/// Sends `request`, and gives the answer, what was told of it, and why the connection ended.
async fn refused(request: &str, settings: Settings) -> (String, String, CloseReason) {
    let (mut client, told) = connect_told(settings);
    client.send(request).await;
    let (answer, _) = client.rest_of_refused().await;
    let reason = client.ended().await.0.reason;
    let told = told.lock().expect("no panic").join(", ");
    (answer, told, reason)
}

impl Client {
    /// The rest; a connection that lingers is waited for as a client does that has read its answer.
    async fn rest_of_refused(&mut self) -> (String, std::time::Duration) {
        let answer = self.answer().await;
        let took = self.start.elapsed();
        self.io.shutdown().await.expect("a clean end");
        assert_eq!(self.rest().await.0, "", "one answer and the close");
        (answer, took)
    }
}

#[tokio::test(start_paused = true, crate = "crate::checked")]
async fn each_is_worded_by_the_server_and_told_once_with_what_is_known() {
    let line = format!("GET /{} HTTP/1.1\r\nhost: x\r\n\r\n", "x".repeat(3000));
    let long = format!("GET / HTTP/1.1\r\nhost: x\r\nx: {}\r\n\r\n", "x".repeat(3000));
    let many = format!("GET / HTTP/1.1\r\nhost: x\r\n{}\r\n", "a: b\r\n".repeat(101));
    // hyper has a limit of its own for a target, 65,534 bytes, however long a head may be.
    let longest = format!("GET /{} HTTP/1.1\r\nhost: x\r\n\r\n", "x".repeat(66_000));
    let upgrade = "GET /upgrade?x HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\n";
    let small = || with(|settings| settings.max_header_bytes = 2048);
    let large = with(|settings| settings.max_header_bytes = 1 << 20);
    let none_upgraded = with(|settings| settings.max_upgraded = Some(0));
    for (request, settings, status, detail, told) in [
        ("BOGUS REQUEST\r\n\r\n", settings(), "400 Bad Request", "malformed request", "bad_request"),
        ("GET / HTTP/9.9\r\nhost: x\r\n\r\n", settings(), "400 Bad Request", "malformed request", "bad_request"),
        (
            "HEAD /p?q HTTP/1.1\r\n\r\n",
            settings(),
            "400 Bad Request",
            "missing, doubled or malformed Host header",
            "bad_host HEAD /p?q HTTP/1.1",
        ),
        (&line, small(), "414 URI Too Long", "request line too long", "line_too_long"),
        (&longest, large, "414 URI Too Long", "request line too long", "line_too_long"),
        (&long, small(), "431 Request Header Fields Too Large", "request header fields too large", "head_too_large"),
        (&many, settings(), "431 Request Header Fields Too Large", "request header fields too large", "head_too_large"),
        (
            upgrade,
            none_upgraded,
            "503 Service Unavailable",
            "too many upgraded connections",
            "too_many_upgrades GET /upgrade?x HTTP/1.1",
        ),
    ] {
        let is_head = request.starts_with("HEAD");
        let (answer, seen, reason) =
            if is_head { refused_head(request).await } else { refused(request, settings).await };
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}\r\n")), "{answer}");
        for field in ["content-type: application/problem+json\r\n", "connection: close\r\n", "\r\ndate: "] {
            assert!(answer.contains(field), "{field:?} in {answer}");
        }
        assert!(is_head || answer.ends_with(&format!("\"detail\":\"{detail}\"}}")), "{answer}");
        assert_eq!(seen, told, "told once, with what is known");
        let by_hyper = !seen.contains(' ');
        assert_eq!(reason, if by_hyper { CloseReason::BadRequest } else { CloseReason::Done }, "{seen}");
    }
}

/// As `refused`, for a request whose answer has no body, whatever length it tells.
async fn refused_head(request: &str) -> (String, String, CloseReason) {
    let (mut client, told) = connect_told(settings());
    client.send(request).await;
    client.io.shutdown().await.expect("a clean end");
    let answer = client.rest().await.0;
    assert!(answer.ends_with("\r\n\r\n"), "a head alone: {answer}");
    let reason = client.ended().await.0.reason;
    let told = told.lock().expect("no panic").join(", ");
    (answer, told, reason)
}

#[tokio::test(start_paused = true, crate = "crate::checked")]
async fn a_head_that_is_late_is_worded_as_well() {
    let (mut client, told) = connect_told(settings());
    client.send("GET / HT").await;
    let (answer, took) = client.rest_of_refused().await;
    assert!(answer.starts_with("HTTP/1.1 408 Request Timeout\r\n") && answer.ends_with("arrive\"}"), "{answer}");
    assert_at(took, 5 * SECOND);
    assert_eq!(told.lock().expect("no panic").join(", "), "header_timeout");
    // Without a byte there is nobody to tell.
    let (mut client, told) = connect_told(settings());
    assert_eq!(client.rest().await.0, "");
    assert!(told.lock().expect("no panic").is_empty());
}

#[tokio::test(start_paused = true, crate = "crate::checked")]
async fn garbage_behind_a_request_is_answered_behind_its_answer() {
    let (mut client, told) = connect_told(settings());
    client.send("GET / HTTP/1.1\r\nhost: x\r\n\r\nBOGUS REQUEST\r\n\r\n").await;
    assert!(client.answer().await.ends_with("ok"));
    let (answer, _) = client.rest_of_refused().await;
    assert!(answer.starts_with("HTTP/1.1 400 ") && answer.contains("problem+json"), "{answer}");
    assert_eq!(told.lock().expect("no panic").join(", "), "bad_request");
}

/// A service may answer with a status, with a body, and through a tunnel with anything, that looks like hyper's own.
#[tokio::test(start_paused = true, crate = "crate::checked")]
async fn what_a_service_answers_is_never_replaced() {
    const LOOKS_LIKE_IT: &str = "HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
    let (mut client, told) = connect_told(settings());
    client.send("GET /status-400 HTTP/1.1\r\nhost: x\r\n\r\n").await;
    assert!(client.answer().await.starts_with("HTTP/1.1 400 Bad Request\r\n"));
    for path in ["/looks-like", "/looks-like-chunked"] {
        client.send(&format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n")).await;
        let mut seen = Vec::new();
        let end = if path == "/looks-like" { LOOKS_LIKE_IT } else { "\r\n0\r\n\r\n" };
        while !seen.ends_with(end.as_bytes()) {
            seen.push(client.io.read_u8().await.expect("a whole answer"));
            let text = String::from_utf8_lossy(&seen);
            assert!(!text.contains("problem+json"), "{path}: {text}");
        }
        assert!(String::from_utf8_lossy(&seen).contains(LOOKS_LIKE_IT), "{path}: as it was");
    }
    client.send("CONNECT x:1 HTTP/1.1\r\nhost: x:1\r\n\r\n").await;
    client.answer().await;
    client.send(LOOKS_LIKE_IT).await;
    let mut echo = vec![0; LOOKS_LIKE_IT.len()];
    client.io.read_exact(&mut echo).await.expect("an echo");
    assert_eq!(echo, LOOKS_LIKE_IT.as_bytes(), "a tunnel carries anything");
    assert!(told.lock().expect("no panic").is_empty(), "nothing was refused");
}

#[tokio::test(start_paused = true, crate = "crate::checked")]
async fn without_a_wording_it_is_plain_text() {
    let mut client = connect();
    client.send("BOGUS REQUEST\r\n\r\n").await;
    let (answer, _) = client.rest_of_refused().await;
    assert!(answer.contains("content-type: text/plain; charset=utf-8") && answer.ends_with("malformed request"));
}
