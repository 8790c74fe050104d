//! Which request a line belongs to, with many requests at once on one connection.

use std::collections::HashMap;

use futures_util::future::join_all;
use http::Request;
use tests::{Client, Ended, Line};

use crate::{http2, playground};

const LINES: u64 = 50;

#[tokio::test]
async fn lines_of_pipelined_requests_do_not_mix() {
    let program = playground(&[]).await;
    let mut client = Client::connect(program.address()).await;
    let mut pipelined = String::new();
    for i in 0..16 {
        pipelined += &format!("GET /log?n={LINES} HTTP/1.1\r\nhost: test\r\nx-request-id: pipelined-{i}\r\n\r\n");
    }
    // One without an id, between those that have one: nothing of them is left for it.
    pipelined += "GET /log?n=50 HTTP/1.1\r\nhost: test\r\n\r\n";
    client.send(pipelined).await;
    let mut ids = Vec::new();
    for i in 0..17 {
        let answer = client.answer().await;
        assert_eq!(answer.status, 200);
        if i < 16 {
            assert_eq!(answer.request_id(), format!("pipelined-{i}"), "answers in the order of the requests");
        } else {
            assert_eq!(answer.request_id().len(), 36, "a UUID of its own");
        }
        ids.push(answer.request_id().to_owned());
    }
    drop(client);
    check_lines(&program.terminate().await, &ids);
}

#[tokio::test]
async fn lines_of_concurrent_streams_do_not_mix() {
    let program = playground(&[]).await;
    let client = http2::connect(program.address()).await;
    let ids: Vec<_> = (0..64).map(|i| format!("stream-{i}")).collect();
    let answers = join_all(ids.iter().map(|id| {
        let request = Request::get(format!("http://test/log?n={LINES}")).header("x-request-id", id);
        http2::fetch(client.clone(), request.body(()).expect("a request"))
    }))
    .await;
    for (id, answer) in ids.iter().zip(answers) {
        let (head, body) = answer.expect("an answer");
        assert_eq!((head.status.as_u16(), body.as_slice()), (200, b"wrote 50 lines\n".as_slice()));
        assert_eq!(head.headers["x-request-id"], id.as_str());
    }
    drop(client);
    let ended = program.terminate().await;
    check_lines(&ended, &ids);

    let order: Vec<_> = ended.log.lines().into_iter().filter(|line| line["message"] == "a line").collect();
    let turns = order.windows(2).filter(|pair| pair[0].request_id() != pair[1].request_id()).count();
    assert!(turns >= ids.len(), "they did run side by side: {turns} turns");
}

/// Each request has its lines, all of them, in order, and its access record; lines of the server have no request.
fn check_lines(ended: &Ended, ids: &[String]) {
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let mut numbers: HashMap<String, Vec<u64>> = HashMap::new();
    let mut records: HashMap<String, u32> = HashMap::new();
    for line in ended.log.lines() {
        let id = line.request_id().map(str::to_owned);
        if line["message"] == "a line" {
            assert_eq!(line["path"], "/log");
            let n = line["n"].as_u64().expect("a number");
            numbers.entry(id.expect("a line of a request")).or_default().push(n);
        } else if line.is_access() {
            *records.entry(id.expect("a record of a request")).or_default() += 1;
        } else {
            assert_eq!(id, None, "a line of the server belongs to no request: {line:?}");
        }
    }
    for id in ids {
        assert_eq!(numbers.remove(id), Some((1..=LINES).collect()), "{id}");
        assert_eq!(records.remove(id), Some(1), "{id}");
    }
    assert!(numbers.is_empty() && records.is_empty(), "{numbers:?} {records:?}");
}

#[tokio::test]
async fn a_bad_id_is_replaced_and_never_echoed() {
    let program = playground(&[]).await;
    let mut client = Client::connect(program.address()).await;
    let long = "a".repeat(129);
    for bad in ["", "two words", "quote\"", "caf\u{e9}", "semi;colon", "<b>", long.as_str()] {
        client.send(format!("GET /log HTTP/1.1\r\nhost: test\r\nx-request-id: {bad}\r\n\r\n")).await;
        let answer = client.answer().await;
        assert_eq!(answer.status, 200);
        assert_eq!(answer.request_id().len(), 36, "a UUID in place of {bad:?}");
        assert_eq!(answer.headers.iter().filter(|header| header.0 == "x-request-id").count(), 1);
    }
    for good in ["a", &"a".repeat(128), "1-5759e988/b:c+d=e._F"] {
        client.send(format!("GET /log HTTP/1.1\r\nhost: test\r\nx-request-id: {good}\r\n\r\n")).await;
        assert_eq!(client.answer().await.request_id(), good);
    }
    drop(client);
    let ended = program.terminate().await;
    let log = format!("{:?}", ended.log.lines());
    for bad in ["two words", "quote", "semi;colon", "<b>", &long] {
        assert!(!log.contains(bad), "{bad:?} is in the log");
    }
    assert_eq!(ended.log.lines().iter().filter(|line| Line::is_access(line)).count(), 10);
}

#[tokio::test]
async fn the_trace_of_the_client_is_in_the_span() {
    let program = playground(&[]).await;
    let mut client = Client::connect(program.address()).await;
    let (trace, parent) = ("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331");
    client.send(format!("GET /log HTTP/1.1\r\nhost: test\r\ntraceparent: 00-{trace}-{parent}-01\r\n\r\n")).await;
    client.answer().await;
    client.send("GET /log HTTP/1.1\r\nhost: test\r\ntraceparent: 00-garbage\r\n\r\n").await;
    client.answer().await;
    let records = program.log().access("/log", 2).await;
    assert_eq!((&records[0]["trace_id"], &records[0]["parent_id"]), (&trace.into(), &parent.into()));
    assert!(records[1]["trace_id"].is_null(), "{:?}", records[1]);
    drop(client);
    assert_eq!(program.terminate().await.code, Some(0));
}
