//! A client that sends half a head: closed at the limit, and no obstacle to a shutdown. `axum::serve` keeps it for ever.

use std::time::Duration;

use nix::sys::signal::Signal;
use tests::Client;
use tokio::time::Instant;

use crate::playground;

const HALF: &str = "GET /healthz HTTP/1.1\r\nhost: te";

#[tokio::test]
async fn it_gets_408_at_the_limit_of_the_whole_head() {
    let program = playground(&["--read-header-timeout", "500ms"]).await;
    let mut client = Client::connect(program.address()).await;
    let begin = Instant::now();
    // Bytes that drip in do not start the clock anew.
    let mut bytes = HALF.bytes();
    while begin.elapsed() < Duration::from_millis(400) {
        if let Some(byte) = bytes.next() {
            client.send([byte]).await;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let answer = client.rest().await.expect("a plain end");
    assert!(begin.elapsed() >= Duration::from_millis(500), "not before: {:?}", begin.elapsed());
    assert!(answer.starts_with("HTTP/1.1 408 ") && answer.contains("connection: close"), "{answer}");

    // What never became a request is added up: a scanner must not fill the log.
    let ended = program.terminate().await;
    assert_eq!(ended.code, Some(0));
    let line = ended.log.wait_for("sum", 1, |line| line["kind"] == "noise").await.swap_remove(0);
    assert_eq!((&line["target"], &line["source"]), (&"graceful::server".into(), &"http".into()));
    assert_eq!((&line["count"], &line["kinds"]), (&1.into(), &"header_timeout=1".into()));
    assert_eq!(ended.log.lines().last().expect("lines")["message"], "server stopped", "the last word is the last");
}

#[tokio::test]
async fn half_of_a_later_head_gets_408_and_a_line_of_its_own() {
    let program = playground(&["--read-header-timeout", "300ms"]).await;
    let mut client = Client::connect(program.address()).await;
    assert_eq!(client.get("/healthz").await.status, 200);
    client.send(HALF).await;
    let answer = client.rest().await.expect("a plain end");
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");

    let line = program.log().message("connection closed at a limit").await;
    for (field, value) in [
        ("target", "graceful::server"),
        ("kind", "header_timeout"),
        ("source", "http"),
        ("peer", client.address().to_string().as_str()),
    ] {
        assert_eq!(line[field], value, "{field}");
    }
    assert_eq!(program.terminate().await.code, Some(0));
}

#[tokio::test]
async fn a_client_that_says_nothing_is_closed_without_a_word() {
    let program = playground(&["--read-header-timeout", "300ms"]).await;
    let mut client = Client::connect(program.address()).await;
    assert_eq!(client.rest().await.expect("a plain end"), "");
    assert_eq!(program.terminate().await.code, Some(0));
}

#[tokio::test]
async fn a_shutdown_does_not_wait_for_the_other_half_beyond_its_limit() {
    let program = playground(&["--read-header-timeout", "1s"]).await;
    let mut client = Client::connect(program.address()).await;
    client.send(HALF).await;
    program.signal(Signal::SIGTERM);
    client.rest().await.expect("a plain end");
    let ended = program.ended().await;
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(ended.took < Duration::from_secs(4), "{:?}", ended.took);
}

#[tokio::test]
async fn a_shutdown_returns_even_where_there_is_no_such_limit() {
    let program = playground(&["--read-header-timeout", "off", "--shutdown-timeout", "1s"]).await;
    let mut client = Client::connect(program.address()).await;
    client.send(HALF).await;
    program.signal(Signal::SIGTERM);
    let ended = program.ended().await;
    assert_eq!(ended.code, Some(3), "{}", ended.stderr);
    assert!(ended.took < Duration::from_secs(4), "{:?}", ended.took);
    let late = ended.log.message("closed by force").await["late"].to_string();
    assert!(late.contains(&client.address().to_string()), "it is named: {late}");
}

#[tokio::test]
async fn a_shutdown_returns_with_half_a_body_and_with_a_reader_that_stopped() {
    let program = playground(&["--shutdown-timeout", "1s"]).await;
    let mut upload = Client::connect(program.address()).await;
    upload.send("POST /echo HTTP/1.1\r\nhost: test\r\ncontent-length: 100\r\n\r\nhalf of it").await;
    let mut stalled = Client::connect(program.address()).await;
    stalled.send("GET /big?bytes=67108864 HTTP/1.1\r\nhost: test\r\n\r\n").await;
    assert_eq!(stalled.head().await.status, 200);
    program.signal(Signal::SIGTERM);
    let ended = program.ended().await;
    assert_eq!(ended.code, Some(3), "{}", ended.stderr);
    assert!(ended.took < Duration::from_secs(4), "{:?}", ended.took);
    for client in [upload, stalled] {
        let peer = format!("peer={}", client.address());
        let named = ended.log.lines().iter().filter(|line| line["late"].to_string().contains(&peer)).count();
        assert_eq!(named, 1, "{peer} is named once");
    }
}
