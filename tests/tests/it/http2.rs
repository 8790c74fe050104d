//! HTTP/2 without TLS, by the `h2` crate: streams live and die alone.

use std::net::SocketAddr;

use axum::{Router, routing::any};
use bytes::Bytes;
use graceful::{Config, Server, recovery::abort};
use h2::{Reason, client::SendRequest};
use http::{Request, response};
use nix::sys::signal::Signal;
use tests::{Frame, Http2, within};
use tokio::net::TcpStream;

use crate::playground;

pub(crate) async fn connect(address: SocketAddr) -> SendRequest<Bytes> {
    let stream = within("a connection", TcpStream::connect(address)).await.expect("somebody listens");
    let (client, connection) = within("the handshake", h2::client::handshake(stream)).await.expect("HTTP/2");
    #[expect(clippy::disallowed_methods, reason = "it ends with the connection")]
    tokio::spawn(async move {
        let _ = connection.await;
    });
    client
}

/// The whole answer to a request without a body.
pub(crate) async fn fetch(
    client: SendRequest<Bytes>,
    request: Request<()>,
) -> Result<(response::Parts, Vec<u8>), h2::Error> {
    let mut client = within("a place for a stream", client.ready()).await?;
    let (response, _) = client.send_request(request, true)?;
    let (head, mut body) = within("a head", response).await?.into_parts();
    let mut bytes = Vec::new();
    while let Some(chunk) = within("the body", body.data()).await {
        let chunk = chunk?;
        let _ = body.flow_control().release_capacity(chunk.len());
        bytes.extend_from_slice(&chunk);
    }
    Ok((head, bytes))
}

fn get(path: &str) -> Request<()> {
    Request::get(format!("http://test{path}")).body(()).expect("a request")
}

#[tokio::test]
async fn it_is_answered_recorded_and_goes_away_when_told() {
    let program = playground(&[]).await;
    let client = connect(program.address()).await;
    let (head, body) = fetch(client.clone(), get("/api/work")).await.expect("an answer");
    assert_eq!((head.status.as_u16(), body.as_slice()), (200, br#"{"ok":true}"#.as_slice()));
    let record = program.log().access("/api/work", 1).await.swap_remove(0);
    assert_eq!((&record["version"], &record["outcome"]), (&"HTTP/2".into(), &"complete".into()));

    // Begun before the signal, answered after it; a new stream after GOAWAY is refused.
    let mut ready = client.clone().ready().await.expect("a place");
    let (slow, _) = ready.send_request(get("/slow?ms=1000"), true).expect("a stream");
    fetch(client.clone(), get("/healthz")).await.expect("an answer: the server has seen both");
    program.signal(Signal::SIGTERM);
    let slow = within("the answer", slow).await.expect("answered in full");
    assert_eq!(slow.status().as_u16(), 200);
    drop((slow, ready, client));
    let ended = program.ended().await;
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
}

/// RFC 9113, 6.8: a first GOAWAY that still allows every stream, and only when the client has had the time to read it the
/// one that says which were the last.
#[tokio::test]
async fn goaway_is_said_twice_so_that_no_request_on_its_way_is_lost() {
    for answers_ping in [true, false] {
        let program = playground(&[]).await;
        let mut client = Http2::begin(TcpStream::connect(program.address()).await.expect("somebody listens")).await;
        client.get(1, "/slow?ms=1000").await;
        program.log().message("waiting").await;
        program.signal(Signal::SIGTERM);

        let first = client.next(Frame::GOAWAY).await;
        assert_eq!(first.last_stream(), u32::MAX >> 1, "every stream is allowed");
        assert_eq!(first.payload[4..8], [0; 4], "NO_ERROR");
        let ping = client.next(Frame::PING).await;
        assert_eq!(ping.flags & Frame::ACK, 0);
        // It was on its way: the server cannot know that it was sent after the GOAWAY was read.
        client.get(3, "/healthz").await;
        if answers_ping {
            client.send(Frame::PING, Frame::ACK, 0, &ping.payload).await;
            let second = client.next(Frame::GOAWAY).await;
            assert_eq!(second.last_stream(), 3, "both are served, and nothing more");
        }
        let mut ended = Vec::new();
        while let Ok(frame) = client.frame().await {
            if frame.kind == Frame::DATA && frame.flags & Frame::END_STREAM != 0 {
                ended.push(frame.stream);
            }
        }
        assert!(ended.contains(&1), "the one in flight is answered in full, with a PONG or without");
        assert_eq!(program.log().access("/healthz", 1).await[0]["status"], 200, "and so is the other");
        let ended = program.ended().await;
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    }
}

#[tokio::test]
async fn one_stream_panics_one_is_cut_and_one_times_out_and_the_others_go_on() {
    let program = playground(&["--handler-timeout", "2s"]).await;
    let client = connect(program.address()).await;
    let calm = fetch(client.clone(), get("/stream?n=30&ms=100"));
    let panic = fetch(client.clone(), get("/panic"));
    let cut = fetch(client.clone(), get("/panic-body"));
    let late = fetch(client.clone(), get("/slow?ms=600000"));
    let (calm, panic, cut, late) = tokio::join!(calm, panic, cut, late);

    let (head, body) = panic.expect("an answer");
    assert_eq!((head.status.as_u16(), body.as_slice()), (500, b"internal error".as_slice()));
    let error = cut.expect_err("never a clean end");
    assert_eq!(error.reason(), Some(Reason::INTERNAL_ERROR), "the stream is reset: {error}");
    let (head, body) = late.expect("an answer");
    assert_eq!((head.status.as_u16(), body.as_slice()), (503, b"handler timed out".as_slice()));
    let (head, body) = calm.expect("an answer");
    assert_eq!(head.status.as_u16(), 200);
    assert!(body.ends_with(b"line 30\n"), "the other stream was not disturbed");
    assert_eq!(fetch(client.clone(), get("/healthz")).await.expect("an answer").0.status.as_u16(), 200);
    drop(client);
    assert_eq!(program.terminate().await.code, Some(0));
}

#[tokio::test]
async fn a_stream_that_the_client_resets_is_recorded_and_gives_its_place_back() {
    let program = playground(&["--max-in-flight", "1", "--max-queue", "0"]).await;
    let client = connect(program.address()).await;
    let mut ready = client.clone().ready().await.expect("a place");
    let (slow, mut stream) = ready.send_request(get("/slow?ms=600000"), true).expect("a stream");
    let (busy, _) = fetch(client.clone(), get("/healthz")).await.expect("an answer");
    assert_eq!((busy.status.as_u16(), &busy.headers["retry-after"]), (503, &"1".parse().expect("a value")));
    stream.send_reset(Reason::CANCEL);
    drop(slow);
    let record = program.log().access("/slow", 1).await.swap_remove(0);
    assert_eq!((&record["status"], &record["outcome"]), (&499.into(), &"client_gone".into()));
    assert_eq!(fetch(client.clone(), get("/healthz")).await.expect("an answer").0.status.as_u16(), 200);
    drop((ready, client));
    assert_eq!(program.terminate().await.code, Some(0));
}

#[tokio::test]
async fn a_client_that_never_closes_does_not_keep_the_process() {
    // It answers no ping and reads no GOAWAY: its connection is not driven any more.
    let program = playground(&["--shutdown-timeout", "1s"]).await;
    let stream = TcpStream::connect(program.address()).await.expect("somebody listens");
    let (client, mut connection) = h2::client::handshake(stream).await.expect("HTTP/2");
    let request = fetch(client.clone(), get("/healthz"));
    let (head, _) = tokio::select! {
        answer = request => answer.expect("an answer"),
        _ = &mut connection => panic!("closed before the answer"),
    };
    assert_eq!(head.status.as_u16(), 200);
    program.signal(Signal::SIGTERM);
    let ended = program.ended().await;
    assert!(matches!(ended.code, Some(0 | 3)), "{:?} {}", ended.code, ended.stderr);
    assert!(ended.took < std::time::Duration::from_secs(4), "{:?}", ended.took);
    drop((client, connection));
}

/// RFC 9110, 9.3.2: the answer to HEAD has no content, whoever gives it. A client takes DATA in it for a breach of the
/// protocol (RFC 9113, 8.1.1), and the answer is lost.
#[tokio::test]
async fn an_answer_to_head_has_no_content_whoever_gives_it() {
    let program = playground(&["--max-in-flight", "1", "--max-queue", "0", "--handler-timeout", "1s"]).await;
    let client = connect(program.address()).await;
    let head = |path: &str| Request::head(format!("http://test{path}")).body(()).expect("a request");
    for (path, status, length) in [("/panic", 500, "14"), ("/slow?ms=5000", 503, "17")] {
        let (head, body) = fetch(client.clone(), head(path)).await.expect(path);
        assert_eq!((head.status.as_u16(), body.len()), (status, 0), "{path}");
        assert_eq!(head.headers["content-length"], length, "{path}: what GET would have sent");
    }
    let _busy = program.in_flight("/slow?ms=900").await;
    let (head, body) = fetch(client.clone(), head("/healthz")).await.expect("server busy");
    assert_eq!((head.status.as_u16(), body.len()), (503, 0));
}

/// There is no body that could be cut, and none is polled: as over HTTP/1.
#[tokio::test]
async fn an_answer_to_head_that_is_aborted_is_an_empty_500() {
    let mut config = Config::default();
    config.listen = "127.0.0.1:0".to_owned();
    config.debug_listen = None;
    let app = Router::new().route("/", any(async || -> &str { abort() }));
    let bound = Server::new(app).config(config).bind().await.expect("a free port");
    let (address, shutdown) = (bound.local_addr().expect("TCP"), bound.shutdown());
    let client = async {
        let client = connect(address).await;
        let error = fetch(client.clone(), get("/")).await.expect_err("a reset");
        assert_eq!(error.reason(), Some(Reason::INTERNAL_ERROR));
        let request = Request::head("http://test/").body(()).expect("a request");
        let (head, body) = fetch(client, request).await.expect("an answer");
        assert_eq!((head.status.as_u16(), body.len()), (500, 0));
        shutdown.trigger();
    };
    let (report, ()) = tokio::join!(bound.run(), client);
    assert!(report.expect("a clean end").is_clean());
}
