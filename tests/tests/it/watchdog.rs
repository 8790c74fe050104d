//! The server watches its live work: a poll that keeps its worker, and more work than there should be.

use tests::Client;

use crate::playground;

#[tokio::test]
async fn a_handler_that_blocks_its_worker_is_named_while_it_does() {
    let program = playground(&["--stuck-after", "100ms"]).await;
    let _client = program.in_flight("/block?ms=600000").await;
    let line = program.log().message("a poll does not come back: its worker runs nothing else").await;
    assert_eq!(line["level"], "WARN");
    assert_eq!(line["kind"], "request");
    let label = line["label"].as_str().expect("text");
    assert!(label.starts_with("GET /block route /block from 127.0.0.1:"), "{label}");
    assert!(line["thread"].as_str().is_some_and(|thread| thread.starts_with("tokio-")), "{line:?}");
}

#[tokio::test]
async fn more_live_work_than_there_should_be_is_said_once_with_the_most_numerous() {
    let program = playground(&["--high-water", "8", "--stuck-after", "50ms"]).await;
    let mut clients = Vec::new();
    for _ in 0..9 {
        let mut client = Client::connect(program.address()).await;
        client.get("/healthz").await;
        clients.push(client);
    }
    let line = program.log().message("live work above the high-water mark").await;
    assert_eq!((&line["mark"], &line["level"]), (&8.into(), &"WARN".into()));
    let top = line["top"].as_str().expect("text");
    assert!(top.contains("connection, ") && top.contains("accept.rs:"), "what there is, and from where: {top}");
    let ended = program.terminate().await;
    let warned =
        ended.log.lines().iter().filter(|line| line["message"] == "live work above the high-water mark").count();
    assert_eq!(warned, 1, "once");
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
}
