//! Connections, requests and upgraded sockets in the registry of live work: listed from begin to end, with what they are
//! and where they wait.

use graceful_connection::Registry;
use graceful_tasks::{Dump, Live, State};
use http::Request;
use tokio::io::AsyncWriteExt;

use crate::server::{Client, SECOND, connect_to, settings};

fn server() -> (graceful_tasks::Registry, Client) {
    let work = graceful_tasks::Registry::new();
    let client = connect_to(Registry::builder().live_work(&work).build(), settings());
    (work, client)
}

async fn settle() {
    for _ in 0..10 {
        tokio::task::yield_now().await;
    }
}

fn only<'a>(dump: &'a Dump, kind: &str) -> &'a Live {
    let mut of_kind = dump.entries.iter().filter(|live| live.kind == kind);
    let live = of_kind.next().unwrap_or_else(|| panic!("no {kind} in {dump:#}"));
    assert!(of_kind.next().is_none(), "one {kind}: {dump:#}");
    live
}

#[tokio::test(start_paused = true)]
async fn a_request_is_listed_with_its_connection_until_its_last_byte() {
    let (work, mut client) = server();
    settle().await;
    let dump = work.snapshot();
    let connection = only(&dump, Registry::CONNECTION).clone();
    assert_eq!(connection.label, "new");
    assert!(connection.spawned_at.file().ends_with("server.rs"), "where it was spawned: {}", connection.spawned_at);

    client.send("GET /stuck?secret=1 HTTP/1.1\r\nhost: x\r\n\r\n").await;
    settle().await;
    tokio::time::advance(3 * SECOND).await;
    let dump = work.snapshot();
    let request = only(&dump, Registry::REQUEST);
    assert_eq!(request.label, "GET /stuck", "without the query");
    assert_eq!(request.parent, Some(connection.id));
    assert_eq!((request.age, request.polls), (3 * SECOND, 1));
    assert_eq!(request.state.since(), Some(3 * SECOND), "it waits since its poll");
    assert_eq!(only(&dump, Registry::CONNECTION).label, "active");
    let open = &client.registry.list()[0];
    assert_eq!((open.entry, open.requests[0].entry), (Some(connection.id), request.id), "found again by the registry");

    client.registry.force();
    client.registry.closed().await;
    settle().await;
    assert!(work.is_empty(), "{:#}", work.snapshot());
}

#[tokio::test(start_paused = true)]
async fn between_requests_only_the_connection_is_listed() {
    let (work, mut client) = server();
    for _ in 0..3 {
        client.send("GET / HTTP/1.1\r\nhost: x\r\n\r\n").await;
        assert!(client.answer().await.ends_with("ok"));
    }
    settle().await;
    let dump = work.snapshot();
    assert_eq!(dump.entries.len(), 1, "{dump:#}");
    assert_eq!(only(&dump, Registry::CONNECTION).label, "idle");
    let kinds = work.stats().kinds;
    assert_eq!(kinds.iter().find(|kind| kind.kind == Registry::REQUEST).expect("a kind").entered, 3);
}

#[tokio::test]
async fn a_dump_says_where_a_handler_waits() {
    let (work, mut client) = server();
    client.send("GET /slow HTTP/1.1\r\nhost: x\r\n\r\n").await;
    check_place(&work).await;
}

#[tokio::test]
async fn a_dump_says_where_the_handler_of_a_stream_waits() {
    let (work, client) = server();
    let (mut send, connection) = h2::client::handshake(client.io).await.expect("h2");
    tokio::spawn(connection);
    let request = Request::get("http://x/slow").body(()).expect("a request");
    let _response = send.send_request(request, true).expect("sent").0;
    check_place(&work).await;
}

async fn check_place(work: &graceful_tasks::Registry) {
    while work.snapshot().entries.iter().all(|live| live.kind != Registry::REQUEST || live.polls == 0) {
        tokio::task::yield_now().await;
    }
    let dump = work.dump().await;
    let request = only(&dump, Registry::REQUEST);
    let place = dump.place(request.id).unwrap_or_else(|| panic!("a place: {request:#}"));
    assert!(place.starts_with("sleep at ") && place.contains("server.rs:"), "{place}");
    assert_eq!(request.polls, 1, "the poll that the dump caused is not counted: {request:#}");
}

#[tokio::test(start_paused = true)]
async fn a_stream_is_listed_until_it_is_reset() {
    let (work, client) = server();
    let (send, connection) = h2::client::handshake(client.io).await.expect("h2");
    tokio::spawn(connection);
    let mut streams = Vec::new();
    for _ in 0..3 {
        let request = Request::get("http://x/stuck").body(()).expect("a request");
        let mut send = send.clone().ready().await.expect("room");
        streams.push(send.send_request(request, true).expect("sent").0);
    }
    settle().await;
    let requests = work.kind::<&str>("request");
    assert!(requests.is_empty(), "another kind of label");
    let count = |work: &graceful_tasks::Registry| {
        work.snapshot().entries.iter().filter(|live| live.kind == Registry::REQUEST).count()
    };
    assert_eq!(count(&work), 3);
    drop(streams.pop());
    settle().await;
    assert_eq!(count(&work), 2, "a stream that the client gave up");
    drop((streams, send));
    client.registry.force();
    client.registry.closed().await;
    settle().await;
    assert!(work.is_empty(), "{:#}", work.snapshot());
}

#[tokio::test(start_paused = true)]
async fn an_upgraded_socket_takes_the_place_of_its_request() {
    let (work, mut client) = server();
    client.send("GET /upgrade HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\n").await;
    assert!(client.answer().await.starts_with("HTTP/1.1 101 "));
    settle().await;
    let dump = work.snapshot();
    assert_eq!(dump.entries.len(), 1, "neither the connection nor the request: {dump:#}");
    let upgraded = only(&dump, Registry::UPGRADED);
    assert_eq!(upgraded.label, "upgraded");
    assert_eq!(client.registry.list()[0].entry, Some(upgraded.id));
    assert!(matches!(upgraded.state, State::Waiting { .. }), "its owner reads: {upgraded:#}");
    client.io.shutdown().await.expect("a clean end");
    client.registry.closed().await;
    settle().await;
    assert!(work.is_empty(), "{:#}", work.snapshot());
}
