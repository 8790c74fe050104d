//! A WebSocket through the whole stack, by tokio-tungstenite.

use std::{sync::Arc, time::Duration};

use axum::{Router, extract::WebSocketUpgrade, routing::any};
use futures_util::{SinkExt, StreamExt};
use graceful::{BoundServer, Config, Server, ShutdownSignal, handler::ws::WebSocketExt};
use nix::sys::signal::Signal;
use tests::within;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::{Notify, mpsc},
    time::timeout,
};
use tokio_tungstenite::{client_async, tungstenite::Message};

use crate::playground;

#[tokio::test]
async fn it_says_everything_twice_and_is_recorded_as_an_upgrade() {
    let program = playground(&["--handler-timeout", "1s", "--idle-timeout", "1s", "--write-timeout", "1s"]).await;
    let stream = TcpStream::connect(program.address()).await.expect("somebody listens");
    let peer = stream.local_addr().expect("an address").to_string();
    let url = format!("ws://{}/ws", program.address());
    let (mut socket, head) = within("the handshake", client_async(url, stream)).await.expect("an upgrade");
    assert_eq!(head.status().as_u16(), 101);
    assert!(head.headers().contains_key("x-request-id"), "an upgrade has an id, too");

    // The record is there while the socket lives: it ends with the head.
    let record = program.log().access("/ws", 1).await.swap_remove(0);
    assert_eq!((&record["status"], &record["outcome"]), (&101.into(), &"upgraded".into()));
    assert_eq!(record["peer"], peer);

    let large = "x".repeat(500_000);
    for text in ["hello", "", "gr\u{fc}n", &large] {
        socket.send(Message::text(text)).await.expect("the server reads");
        let echo = within("the echo", socket.next()).await.expect("an answer").expect("a message");
        assert_eq!(echo, Message::text(text));
    }
    // Longer than every limit that HTTP has here: none applies any more.
    tokio::time::sleep(Duration::from_millis(1500)).await;
    socket.send(Message::binary(vec![0, 255])).await.expect("the server reads");
    let echo = within("the echo", socket.next()).await.expect("an answer").expect("a message");
    assert_eq!(echo, Message::binary(vec![0, 255]));

    socket.close(None).await.expect("the server reads");
    while let Some(Ok(_)) = within("the close", socket.next()).await {}
    let ended = program.terminate().await;
    assert_eq!(ended.code, Some(0), "a closed socket holds nothing: {}", ended.stderr);
}

#[tokio::test]
async fn it_takes_no_place_among_the_requests() {
    let program = playground(&["--max-in-flight", "1", "--max-queue", "0"]).await;
    let url = format!("ws://{}/ws", program.address());
    let mut sockets = Vec::new();
    for _ in 0..5 {
        let stream = TcpStream::connect(program.address()).await.expect("somebody listens");
        sockets.push(within("the handshake", client_async(&url, stream)).await.expect("an upgrade").0);
    }
    for socket in &mut sockets {
        socket.close(None).await.expect("the server reads");
        while let Some(Ok(_)) = within("the close", socket.next()).await {}
    }
    assert_eq!(program.terminate().await.code, Some(0));
}

#[tokio::test]
async fn it_is_told_when_the_server_ends() {
    let program = playground(&[]).await;
    let stream = TcpStream::connect(program.address()).await.expect("somebody listens");
    let url = format!("ws://{}/ws", program.address());
    let (mut socket, _) = within("the handshake", client_async(url, stream)).await.expect("an upgrade");
    socket.send(Message::text("hello")).await.expect("the server reads");
    within("the echo", socket.next()).await.expect("an answer").expect("a message");
    program.signal(Signal::SIGTERM);
    let Message::Close(Some(close)) = within("the close", socket.next()).await.expect("one more").expect("a message")
    else {
        panic!("a socket is closed with a reason");
    };
    assert_eq!(u16::from(close.code), 1001, "going away (RFC 6455, 7.4.1)");
    // tokio-tungstenite answers by itself.
    while let Some(Ok(_)) = within("the end", socket.next()).await {}
    let ended = program.ended().await;
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
}

/// After Autobahn's families 2, 4, 6 and 9: who breaks a rule is told which (RFC 6455, 7.4.1).
#[tokio::test]
async fn a_client_that_breaks_the_protocol_is_told_why() {
    let program = playground(&[]).await;
    // Masked with zeros, which changes nothing.
    let masked = |head: &[u8], payload: &[u8]| [head, &[0; 4], payload].concat();
    for (what, bytes, code) in [
        ("a reserved opcode", masked(&[0x83, 0x80], b""), 1002),
        ("a reserved bit", masked(&[0xc1, 0x80], b""), 1002),
        ("a frame without a mask", vec![0x81, 0x00], 1002),
        ("a ping in pieces", masked(&[0x09, 0x80], b""), 1002),
        ("text that is not UTF-8", masked(&[0x81, 0x82], b"\xc3\x28"), 1007),
        ("a frame of 32 MiB", masked(&[0x82, 0xff, 0, 0, 0, 0, 2, 0, 0, 0], b""), 1009),
    ] {
        let mut io = TcpStream::connect(program.address()).await.expect("somebody listens");
        let request = "GET /ws HTTP/1.1\r\nhost: test\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
            sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
        io.write_all(request.as_bytes()).await.expect("the server reads");
        io.write_all(&bytes).await.expect("the server reads");
        let mut answer = Vec::new();
        within(what, io.read_to_end(&mut answer)).await.expect("closed, not reset");
        let head = answer.windows(4).position(|end| end == b"\r\n\r\n").expect("a head");
        assert!(answer.starts_with(b"HTTP/1.1 101 "), "{what}");
        let frame = &answer[head + 4..];
        assert_eq!(frame.first(), Some(&0x88), "{what}: a Close: {frame:?}");
        assert_eq!(u16::from_be_bytes([frame[2], frame[3]]), code, "{what}");
    }
    assert_eq!(program.terminate().await.code, Some(0));
}

async fn bind(router: Router) -> BoundServer {
    let mut config = Config::default();
    config.listen = "127.0.0.1:0".to_owned();
    config.debug_listen = None;
    config.shutdown_timeout = Some(Duration::from_secs(5));
    Server::new(router).config(config).bind().await.expect("a free port")
}

/// A ticker has nothing to read, and never calls `recv`.
#[tokio::test]
async fn one_that_only_sends_is_told_when_the_server_ends_as_well() {
    let ticker = async |upgrade: WebSocketUpgrade, ShutdownSignal(shutdown): ShutdownSignal| {
        upgrade.on_upgrade(async move |socket| {
            let mut socket = socket.until_shutdown(&shutdown);
            while socket.send("tick".into()).await.is_ok() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        })
    };
    let bound = bind(Router::new().route("/ws", any(ticker))).await;
    let (address, shutdown) = (bound.local_addr().expect("TCP"), bound.shutdown());
    #[expect(clippy::disallowed_methods, reason = "the test waits for it")]
    let server = tokio::spawn(bound.run());
    let stream = TcpStream::connect(address).await.expect("somebody listens");
    let (mut socket, _) =
        within("the handshake", client_async(format!("ws://{address}/ws"), stream)).await.expect("101");
    within("a tick", socket.next()).await.expect("one").expect("a message");
    shutdown.trigger();
    let close = loop {
        match within("the close", socket.next()).await {
            Some(Ok(Message::Close(close))) => break close,
            Some(Ok(_)) => {}
            end => panic!("cut, and not told: {end:?}"),
        }
    };
    assert_eq!(close.map(|close| u16::from(close.code)), Some(1001));
    while let Some(Ok(_)) = within("the end", socket.next()).await {}
    let report = within("the server to end", server).await.expect("no panic").expect("a clean end");
    assert!(report.is_clean(), "{report}");
}

/// A handler that waits for other things as well drops `recv` again and again. Here, while the Close cannot go out yet.
#[tokio::test]
async fn what_was_wrong_is_not_lost_with_a_recv_that_is_dropped() {
    const MOMENT: Duration = Duration::from_millis(100);
    let (said, mut says) = mpsc::unbounded_channel();
    let (full, dropped) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let handler = {
        let (full, dropped) = (full.clone(), dropped.clone());
        async move |upgrade: WebSocketUpgrade, ShutdownSignal(shutdown): ShutdownSignal| {
            upgrade.on_upgrade(async move |socket| {
                let mut socket = socket.until_shutdown(&shutdown);
                while timeout(MOMENT, socket.send(vec![0; 1 << 20].into())).await.is_ok() {}
                full.notify_one();
                for time in 1.. {
                    match timeout(MOMENT, socket.recv()).await {
                        Ok(last) => return said.send(last.map(|last| last.is_err())).expect("the test waits"),
                        Err(_) if time == 5 => dropped.notify_one(),
                        Err(_) => {}
                    }
                }
            })
        }
    };
    let bound = bind(Router::new().route("/ws", any(handler))).await;
    let (address, shutdown) = (bound.local_addr().expect("TCP"), bound.shutdown());
    let client = async {
        let mut io = TcpStream::connect(address).await.expect("somebody listens");
        let request = "GET /ws HTTP/1.1\r\nhost: test\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
            sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
        io.write_all(request.as_bytes()).await.expect("the server reads");
        within("nothing more fits", full.notified()).await;
        // A reserved opcode.
        io.write_all(&[0x83, 0x80, 0, 0, 0, 0]).await.expect("the server reads");
        within("it is looked for, and dropped", dropped.notified()).await;
        let mut all = Vec::new();
        within("the end", io.read_to_end(&mut all)).await.expect("closed, not reset");
        assert!(all.ends_with(b"\x88\x10\x03\xeaprotocol error"), "{:?}", &all[all.len() - 32..]);
        assert_eq!(says.recv().await.expect("the handler ends"), Some(true), "the handler is told as well");
        shutdown.trigger();
    };
    let (report, ()) = tokio::join!(bound.run(), client);
    assert!(report.expect("a clean end").is_clean());
}
