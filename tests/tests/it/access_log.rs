//! One access record a request, at its true end, through the whole stack.

use std::collections::HashSet;

use nix::sys::signal::Signal;
use tests::{Client, Line, Program};

use crate::playground;

#[tokio::test]
async fn each_end_has_its_outcome() {
    let program = playground(&[]).await;
    let address = program.address();

    let mut client = Client::connect(address).await;
    client.send("HEAD /big?bytes=1000 HTTP/1.1\r\nhost: test\r\n\r\n").await;
    let head = client.head().await;
    assert_eq!((head.status, head.header("content-length")), (200, Some("1000")), "a head with the body's length");
    check(&program, "/big", 200, "complete", Some(0)).await;

    let missing = client.get("/nowhere").await;
    assert_eq!(missing.status, 404, "the connection went on behind the HEAD");
    let record = check(&program, "/nowhere", 404, "complete", Some(0)).await;
    assert!(record["route"].is_null(), "no route took it");
    assert_eq!(record.request_id(), Some(missing.request_id()));

    let wrong = client.get("/echo").await;
    assert_eq!((wrong.status, wrong.header("allow")), (405, Some("POST")));
    client.send("POST /echo HTTP/1.1\r\nhost: test\r\nuser-agent: me\r\ncontent-length: 5\r\n\r\nhello").await;
    assert_eq!(client.answer().await.body, "hello");
    let records = program.log().access("/echo", 2).await;
    assert_eq!((&records[0]["status"], &records[0]["route"]), (&405.into(), &"/echo".into()));
    assert_eq!((records[1].number("bytes_in"), records[1].number("bytes")), (5.0, 5.0));
    assert_eq!(records[1]["user_agent"], "me");

    assert_eq!(client.get("/stream?n=3&ms=1").await.body, "line 1\nline 2\nline 3\n");
    let record = check(&program, "/stream", 200, "complete", Some(21)).await;
    assert!(record["bytes_expected"].is_null(), "nobody knew how long it would be");

    // A client that leaves before there is a head …
    drop(program.in_flight("/slow?ms=600000").await);
    let record = check(&program, "/slow", 499, "client_gone", Some(0)).await;
    assert!(record["ttfb_ms"].is_null(), "there was no first byte");

    // … and one that leaves in the middle of the body.
    let mut client = Client::connect(address).await;
    client.send("GET /stream?n=100000&ms=10 HTTP/1.1\r\nhost: test\r\n\r\n").await;
    client.until("line 2\n").await;
    drop(client);
    let records = program.log().access("/stream", 2).await;
    assert_eq!((&records[1]["status"], &records[1]["outcome"]), (&200.into(), &"truncated".into()), "{records:?}");

    let ended = program.terminate().await;
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let records: Vec<_> = ended.log.lines().into_iter().filter(Line::is_access).collect();
    let ids: HashSet<_> = records.iter().map(Line::request_id).collect();
    assert_eq!((records.len(), ids.len()), (7, 7), "one record a request, none twice");
}

#[tokio::test]
async fn without_names_of_routes_there_is_none() {
    let program = playground(&["--route-names=off", "--problem-details"]).await;
    let mut client = Client::connect(program.address()).await;
    assert_eq!(client.get("/big?bytes=1").await.body.len(), 1);
    assert!(check(&program, "/big", 200, "complete", Some(1)).await["route"].is_null());
    let panicked = client.get("/panic").await;
    assert_eq!((panicked.status, panicked.header("content-type")), (500, Some("application/problem+json")));
    assert_eq!(program.terminate().await.code, Some(0));
}

async fn check(program: &Program, path: &str, status: u16, outcome: &str, bytes: Option<u64>) -> Line {
    let record = program.log().access(path, 1).await.swap_remove(0);
    assert_eq!((&record["status"], &record["outcome"]), (&status.into(), &outcome.into()), "{record:?}");
    assert_eq!(record["bytes"].as_u64(), bytes, "{record:?}");
    assert_eq!(record["level"], if status >= 500 { "WARN" } else { "INFO" });
    record
}

#[tokio::test]
async fn a_handler_that_takes_too_long_is_503_and_the_connection_is_kept() {
    let program = playground(&["--handler-timeout", "200ms"]).await;
    let mut client = Client::connect(program.address()).await;
    let answer = client.get("/slow?ms=600000").await;
    assert_eq!((answer.status, answer.body.as_str()), (503, "handler timed out"));
    assert_eq!(client.get("/healthz").await.status, 200);
    // A stream whose head is out is not the handler any more.
    assert!(client.get("/stream?n=5&ms=100").await.body.ends_with("line 5\n"), "never cut");

    let record = check(&program, "/slow", 503, "complete", Some(17)).await;
    assert!(record.number("ttfb_ms") >= 200.0, "{record:?}");
    assert_eq!(program.terminate().await.code, Some(0));
}

#[tokio::test]
async fn a_body_that_takes_too_long_is_408_and_the_handler_can_tell() {
    let program = playground(&["--read-timeout", "300ms"]).await;
    let mut client = Client::connect(program.address()).await;
    client.send("POST /echo HTTP/1.1\r\nhost: test\r\ncontent-length: 10\r\n\r\nhalf").await;
    let answer = client.answer().await;
    assert_eq!((answer.status, answer.body.as_str()), (408, "the request body took too long"));
    assert_eq!(client.rest().await.expect("a plain end"), "", "and then the connection is closed");
    let record = check(&program, "/echo", 408, "complete", Some(30)).await;
    assert_eq!(record.number("bytes_in"), 4.0);
    assert_eq!(program.terminate().await.code, Some(0));
}

#[tokio::test]
async fn a_reader_that_stops_is_cut() {
    let program = playground(&["--write-stall-timeout", "500ms"]).await;
    let mut client = Client::connect(program.address()).await;
    client.send("GET /big?bytes=67108864 HTTP/1.1\r\nhost: test\r\n\r\n").await;
    assert_eq!(client.head().await.status, 200);
    let line = program.log().message("connection closed at a limit").await;
    assert_eq!((&line["kind"], &line["peer"]), (&"write_stalled".into(), &client.address().to_string().into()));
    // What is open for ever by its nature is not cut as long as it is read.
    let mut events = Client::connect(program.address()).await;
    events.send("GET /events HTTP/1.1\r\nhost: test\r\n\r\n").await;
    events.until("data: tick 3\n\n").await;
    drop(events);
    let record = program.log().access("/events", 1).await.swap_remove(0);
    assert_eq!(record["outcome"], "truncated", "it has no end: whoever leaves it, leaves it in the middle");
    assert_eq!(program.terminate().await.code, Some(0));
}

#[tokio::test]
async fn the_total_limit_for_a_response_spares_event_streams() {
    let program = playground(&["--write-timeout", "1s"]).await;
    let mut events = Client::connect(program.address()).await;
    events.send("GET /events HTTP/1.1\r\nhost: test\r\n\r\n").await;
    let head = events.head().await;
    assert_eq!(head.header("content-type"), Some("text/event-stream"));
    let mut stream = Client::connect(program.address()).await;
    stream.send("GET /stream?n=1000&ms=100 HTTP/1.1\r\nhost: test\r\n\r\n").await;
    assert!(!stream.rest().await.unwrap_or_default().ends_with("\r\n0\r\n\r\n"), "cut at the limit, not ended");
    events.until("data: tick 3\n\n").await;
    drop(events);
    assert_eq!(program.terminate().await.code, Some(0));
}

/// Built in memory, as most answers are, and larger than what the kernel takes: until the client has read it, it is in
/// flight, for the record, for the limit and for whoever waits for it at a shutdown.
#[tokio::test]
async fn an_answer_in_one_piece_is_in_flight_until_the_client_has_read_it() {
    let limits = ["--max-in-flight", "1", "--max-queue", "0", "--write-stall-timeout", "1s"];
    let program = playground(&limits).await;
    let mut client = Client::connect(program.address()).await;
    client.send("GET /big?bytes=67108864 HTTP/1.1\r\nhost: test\r\n\r\n").await;
    assert_eq!(client.head().await.status, 200);
    let other = Client::connect(program.address()).await.get("/healthz").await;
    assert_eq!(other.status, 503, "it holds its place, with 64 MiB behind it");

    let line = program.log().message("connection closed at a limit").await;
    assert_eq!((&line["kind"], &line["peer"]), (&"write_stalled".into(), &client.address().to_string().into()));
    let record = program.log().access("/big", 1).await.swap_remove(0);
    assert_eq!(record["outcome"], "truncated", "{record:?}");
    assert!(record.number("bytes") < record.number("bytes_expected"), "{record:?}");
    assert_eq!(program.terminate().await.code, Some(0));
}

#[tokio::test]
async fn records_of_what_is_cut_by_the_shutdown_are_written() {
    let program = playground(&["--shutdown-timeout", "500ms"]).await;
    let mut client = Client::connect(program.address()).await;
    client.send("GET /stream?n=1000&ms=100 HTTP/1.1\r\nhost: test\r\n\r\n").await;
    client.until("line 1\n").await;
    program.signal(Signal::SIGTERM);
    let ended = program.ended().await;
    assert_eq!(ended.code, Some(3));
    let record = ended.log.access("/stream", 1).await.swap_remove(0);
    assert_eq!(record["outcome"], "truncated");
}
