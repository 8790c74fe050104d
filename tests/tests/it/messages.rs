//! What is an HTTP/1 message and what is not, in the clear and under TLS: the rows of Go's `TestServerValidatesHeaders`
//! and its neighbours, hyper's `parse_errors_send_4xx_response`, and what smuggles requests. Each case has a request
//! behind it; behind what is refused it is never answered.

use tests::{Client, Line, within};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::{playground, transport::Server};

const BEHIND: &str = "GET /canary HTTP/1.1\r\nhost: x\r\n\r\n";

/// One answer of 4xx, and the close.
const REFUSED: &[&str] = &[
    // The target and the version.
    "GET /healthz\r\n\r\n",
    "GET  /healthz HTTP/1.1\r\nhost: x\r\n\r\n",
    "GET\t/healthz HTTP/1.1\r\nhost: x\r\n\r\n",
    "GET /health z HTTP/1.1\r\nhost: x\r\n\r\n",
    "GET /healthz HTTP/1.1 \r\nhost: x\r\n\r\n",
    " GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n",
    "GET /healthz HTTP/1.2\r\nhost: x\r\n\r\n",
    "GET /healthz HTTP/2.0\r\nhost: x\r\n\r\n",
    "GET /healthz HTTP/5.6\r\nhost: x\r\n\r\n",
    "GET /healthz http/1.1\r\nhost: x\r\n\r\n",
    "GET /healthz ICE/1.0\r\nhost: x\r\n\r\n",
    "GET /healthz RTSP/1.1\r\nhost: x\r\n\r\n",
    "G\0T /healthz HTTP/1.1\r\nhost: x\r\n\r\n",
    "G() /healthz HTTP/1.1\r\nhost: x\r\n\r\n",
    // Whom it is for.
    "GET /healthz HTTP/1.1\r\n\r\n",
    "GET /healthz HTTP/1.1\r\nhost: x\r\nhost: x\r\n\r\n",
    "GET /healthz HTTP/1.1\r\nhost: a b\r\n\r\n",
    "GET /healthz HTTP/1.1\r\nhost: user@x\r\n\r\n",
    // Its fields.
    "GET /healthz HTTP/1.1\r\nhost : x\r\n\r\n",
    "GET /healthz HTTP/1.1\r\nhost: x\r\n: y\r\n\r\n",
    "GET /healthz HTTP/1.1\r\n host: x\r\n\r\n",
    "GET /healthz HTTP/1.1\r\nhost: x\r\na: b\r\n c\r\n\r\n",
    "GET /healthz HTTP/1.1\r\nhost: x\r\na: b\rc\r\n\r\n",
    "GET /healthz HTTP/1.1\r\nhost: x\r\na: b\rZGET: c\r\n\r\n",
    "GET /healthz HTTP/1.1\r\nhost: x\r\na: b\0c\r\n\r\n",
    "GET /healthz HTTP/1.1\r\nhost: x\r\na(): b\r\n\r\n",
    "GET /healthz HTTP/1.1\r\nhost: x\r\n\u{e4}: b\r\n\r\n",
    "GET /healthz HTTP/1.1\r\nhost: x\r\nno colon\r\n\r\n",
    "GET /healthz HTTP/1.1\rhost: x\r\r",
    // How long its body is.
    "POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: abc\r\n\r\n",
    "POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: -1\r\n\r\n",
    "POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: +3\r\n\r\nabc",
    "POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: 0x3\r\n\r\nabc",
    "POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: 3, 3\r\n\r\nabc",
    "POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: 3 4\r\n\r\nabc",
    "POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: \r\n\r\n",
    "POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: 3\r\ncontent-length: 4\r\n\r\nabc",
    "POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: 18446744073709551615\r\n\r\nabc",
    "POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: 18446744073709551616\r\n\r\nabc",
    "POST /echo HTTP/1.1\r\nhost: x\r\ntransfer-encoding: identity\r\n\r\n",
    "POST /echo HTTP/1.1\r\nhost: x\r\ntransfer-encoding: xchunked\r\n\r\n0\r\n\r\n",
    "POST /echo HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked, identity\r\n\r\n0\r\n\r\n",
    "POST /echo HTTP/1.1\r\nhost: x\r\ntransfer-encoding: gzip\r\n\r\n0\r\n\r\n",
    "POST /echo HTTP/1.1\r\nhost: x\r\ntransfer-encoding: \x0bchunked\r\n\r\n0\r\n\r\n",
    "POST /echo HTTP/1.0\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    // Its chunks. The handler reads, and answers 400.
    "POST /echo HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\nzz\r\nabc\r\n0\r\n\r\n",
    "POST /echo HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n-1\r\nabc\r\n0\r\n\r\n",
    "POST /echo HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n0x3\r\nabc\r\n0\r\n\r\n",
    "POST /echo HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n 3\r\nabc\r\n0\r\n\r\n",
    "POST /echo HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n\r\nabc\r\n0\r\n\r\n",
    "POST /echo HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\nfffffffffffffffff\r\nabc\r\n0\r\n\r\n",
    "POST /echo HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n2\r\nabc\r\n0\r\n\r\n",
    "POST /echo HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n3\nabc\r\n0\r\n\r\n",
    "POST /echo HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\n0\r\n\r\n",
    "POST /echo HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n3;a\nb\r\nabc\r\n0\r\n\r\n",
    "POST /echo HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n3;a\rb\r\nabc\r\n0\r\n\r\n",
    "POST /echo HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\n\r\n",
    // Its trailers.
    "POST /echo HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nno colon\r\n\r\n",
    "POST /echo HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n: y\r\n\r\n",
];

/// One good answer, and the close.
const LAST: &[&str] = &[
    "GET /healthz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n",
    "GET /healthz HTTP/1.0\r\n\r\n",
    // Both lengths: it has the second, and it is the last (RFC 9112, 6.1).
    "POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    "POST /echo HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\ncontent-length: 3\r\n\r\n0\r\n\r\n",
    "\r\nPOST /echo HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\ncontent-length: 3\r\n\r\n0\r\n\r\n",
];

/// A good answer, and the one behind it.
const SERVED: &[&str] = &[
    "GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n",
    "GET http://x/healthz HTTP/1.1\r\nhost: x\r\n\r\n",
    "GET /healthz HTTP/1.1\r\nhost:\r\n\r\n",
    "GET /healthz HTTP/1.1\nhost: x\n\n",
    "\r\n\r\nGET /healthz HTTP/1.1\r\nhost: x\r\n\r\n",
    "GET /healthz HTTP/1.0\r\nconnection: keep-alive\r\n\r\n",
    "GET /healthz HTTP/1.1\r\nhost: x\r\ncontent-length: 3\r\n\r\nabc",
    "GET /healthz HTTP/1.1\r\nhost: x\r\nconnection: upgrade, http2-settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABk\r\n\r\n",
    "POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: 3\r\ncontent-length: 3\r\n\r\nabc",
    "POST /echo HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n3;a=b\r\nabc\r\n0\r\nx: y\r\n\r\n",
    "POST /echo HTTP/1.1\r\nhost: x\r\ntransfer-encoding: Chunked\r\n\r\n3 \r\nabc\r\n0\r\n\r\n",
];

/// The statuses that come back for `request` with another one behind it, and whether the server closes.
async fn exchange(server: &Server, request: &str, answers: usize) -> (Vec<u16>, bool) {
    let mut io = server.connect().await;
    io.write_all(format!("{request}{BEHIND}").as_bytes()).await.expect("the server reads");
    io.flush().await.expect("the server reads");
    let mut text = Vec::new();
    let closed = loop {
        let mut bytes = [0; 4096];
        let read = within(&format!("an answer to {request:?}"), io.read(&mut bytes)).await.expect("no reset");
        text.extend_from_slice(&bytes[..read]);
        // Where more than one answer is expected, the connection is kept, and nothing more comes.
        if read == 0 || (answers > 1 && statuses(&text).len() >= answers) {
            break read == 0;
        }
    };
    (statuses(&text), closed)
}

fn statuses(text: &[u8]) -> Vec<u16> {
    // A body may stand right in front of the next answer.
    let text = String::from_utf8_lossy(text);
    let answers = text.split("HTTP/1.").skip(1);
    answers.filter_map(|answer| answer.get(2..5)?.parse().ok()).collect()
}

async fn all(encrypted: bool) {
    let server = Server::start(encrypted, &[]).await;
    for request in REFUSED {
        let (statuses, closed) = exchange(&server, request, 1).await;
        assert!(closed && statuses.len() == 1, "one answer and the close: {request:?}: {statuses:?}");
        assert!((400..500).contains(&statuses[0]), "refused: {request:?}: {statuses:?}");
    }
    for request in LAST {
        let (statuses, closed) = exchange(&server, request, 1).await;
        assert!(closed, "the last one: {request:?}: {statuses:?}");
        assert_eq!(statuses, [200], "{request:?}");
    }
    for request in SERVED {
        let (statuses, closed) = exchange(&server, request, 2).await;
        assert!(!closed, "kept: {request:?}");
        assert_eq!(statuses, [200, 404], "{request:?}");
    }
    let ended = server.program.terminate().await;
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let of = |path: &str| ended.log.lines().iter().filter(|line| line.is_access() && line["path"] == path).count();
    assert_eq!(of("/canary"), SERVED.len(), "behind what was refused, it was never taken for a request");
    let all = ended.log.lines().iter().filter(|line| line.is_access()).count();
    assert_eq!(all, REFUSED.len() + LAST.len() + 2 * SERVED.len(), "and whatever was answered is on record, once");
    assert!(!ended.log.lines().iter().any(|line: &Line| line["message"] == "panic"));
}

/// It is answered before any of it is read, and by the handler where its length is not told.
#[tokio::test]
async fn a_body_that_is_too_big_is_answered_as_everything_else() {
    for (args, kind, told) in [
        (&["--max-body-bytes", "10"][..], "text/plain; charset=utf-8", "request body too large"),
        (&["--max-body-bytes", "10", "--problem-details"], "application/problem+json", "\"status\":413,"),
    ] {
        let program = playground(args).await;
        let mut client = Client::connect(program.address()).await;
        client.send("POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: 11\r\n\r\n").await;
        let answer = client.answer().await;
        assert_eq!((answer.status, answer.header("content-type")), (413, Some(kind)), "{}", answer.body);
        assert!(answer.body.contains(told), "{}", answer.body);
        drop(client);

        let mut client = Client::connect(program.address()).await;
        for (body, status) in [("a\r\n0123456789", 200), ("b\r\n0123456789a", 413)] {
            let chunked = "POST /echo HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n";
            client.send(format!("{chunked}{body}\r\n0\r\n\r\n")).await;
            assert_eq!(client.answer().await.status, status, "{body}");
        }
        drop(client);
        assert_eq!(program.terminate().await.code, Some(0));
    }
}

#[tokio::test]
async fn in_the_clear() {
    all(false).await;
}

#[tokio::test]
async fn under_tls() {
    all(true).await;
}
