//! HTTP/2 with prior knowledge: limits a stream, idle and drain a connection. The client is the `h2` crate.

use bytes::Bytes;
use graceful_connection::{CloseReason, Registry};
use h2::client::SendRequest;
use http::Request;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    task::JoinHandle,
    time::Instant,
};

use crate::server::{SECOND, assert_at, connect, connect_to, connect_with, settings, with};

struct Client {
    send: SendRequest<Bytes>,
    /// Resolves when the connection is over.
    connection: JoinHandle<Result<(), h2::Error>>,
    server: JoinHandle<graceful_connection::Ended>,
    registry: Registry,
    start: Instant,
}

async fn handshake(client: crate::server::Client) -> Client {
    let crate::server::Client { io, server, registry, start } = client;
    let (send, connection) = h2::client::Builder::new().initial_window_size(65_535).handshake(io).await.expect("h2");
    Client { send, connection: tokio::spawn(connection), server, registry, start }
}

async fn get(send: &SendRequest<Bytes>, path: &str) -> Result<http::Response<h2::RecvStream>, h2::Error> {
    let mut send = send.clone().ready().await?;
    let request = Request::get(format!("http://x{path}")).body(()).expect("a request");
    send.send_request(request, true)?.0.await
}

/// An extended CONNECT that was answered: what goes in, and what comes out.
async fn tunnel(client: &Client) -> (h2::SendStream<Bytes>, h2::RecvStream) {
    let mut send = client.send.clone().ready().await.expect("open");
    while !send.is_extended_connect_protocol_enabled() {
        tokio::time::sleep(SECOND / 10).await;
    }
    let request = Request::connect("http://x/ws")
        .extension(h2::ext::Protocol::from_static("websocket"))
        .body(())
        .expect("a request");
    let (response, stream) = send.send_request(request, false).expect("open");
    (stream, response.await.expect("an answer").into_body())
}

#[tokio::test(start_paused = true, crate = "crate::checked")]
async fn streams_run_side_by_side() {
    let client = handshake(connect()).await;
    let (slow, quick) = tokio::join!(get(&client.send, "/slow"), async {
        let response = get(&client.send, "/").await;
        (response, client.start.elapsed())
    });
    assert_eq!(slow.expect("an answer").status(), 200);
    let (quick, took) = quick;
    assert_eq!(quick.expect("an answer").status(), 200);
    assert!(took < SECOND, "not behind the slow one: {took:?}");
}

#[tokio::test(start_paused = true, crate = "crate::checked")]
async fn a_silent_peer_after_the_preface_is_idle() {
    let client = handshake(connect()).await;
    let ended = client.server.await.expect("no panic");
    assert_eq!(ended.reason, CloseReason::IdleTimeout);
    assert_at(client.start.elapsed(), 120 * SECOND);
}

#[tokio::test(start_paused = true, crate = "crate::checked")]
async fn pings_are_not_activity() {
    let mut settings = settings();
    settings.idle = Some(10 * SECOND);
    let crate::server::Client { io, server, start, .. } = connect_with(settings);
    let (_send, mut connection) = h2::client::handshake(io).await.expect("h2");
    let mut pings = connection.ping_pong().expect("once");
    tokio::spawn(connection);
    let pinging = tokio::spawn(async move {
        while pings.ping(h2::Ping::opaque()).await.is_ok() {
            tokio::time::sleep(SECOND).await;
        }
    });
    assert_eq!(server.await.expect("no panic").reason, CloseReason::IdleTimeout);
    assert_at(start.elapsed(), 10 * SECOND);
    pinging.await.expect("no panic");
}

#[tokio::test(start_paused = true, crate = "crate::checked")]
async fn a_late_handler_resets_its_stream_only() {
    let client = handshake(connect()).await;
    let error = get(&client.send, "/stuck").await.expect_err("a reset");
    assert_at(client.start.elapsed(), 60 * SECOND);
    assert_eq!(error.reason(), Some(h2::Reason::CANCEL), "{error}");
    assert_eq!(get(&client.send, "/").await.expect("the connection lives").status(), 200);
    assert_eq!(client.registry.gauges().requests, 0);
}

#[tokio::test(start_paused = true, crate = "crate::checked")]
async fn a_handler_finds_its_own_stream() {
    let client = handshake(connect_with(with(|settings| settings.control_extension = false))).await;
    let (hasty, stuck, whose) =
        tokio::join!(get(&client.send, "/hasty"), get(&client.send, "/patient"), get(&client.send, "/whose"));
    assert!(hasty.is_err() && stuck.is_err(), "each at its own limit");
    assert_at(client.start.elapsed(), 300 * SECOND);
    let mut body = whose.expect("an answer").into_body();
    assert_eq!(body.data().await.expect("a text").expect("a text"), "Some(3) false");
}

#[tokio::test(start_paused = true, crate = "crate::checked")]
async fn a_window_that_stays_shut_resets_its_stream() {
    let client = handshake(connect()).await;
    let response = get(&client.send, "/big").await.expect("a head");
    // Held, not read: the window of 64 KiB fills up and no update is sent.
    let mut body = response.into_body();
    while client.registry.gauges().requests > 0 {
        tokio::time::sleep(SECOND / 10).await;
    }
    let took = client.start.elapsed();
    assert!(took >= 20 * SECOND && took < 21 * SECOND, "{took:?}");
    let error = loop {
        match body.data().await {
            Some(Ok(data)) => body.flow_control().release_capacity(data.len()).expect("held"),
            Some(Err(error)) => break error,
            None => panic!("a cut response must not look whole"),
        }
    };
    assert_eq!(error.reason(), Some(h2::Reason::CANCEL), "{error}");
    assert_eq!(get(&client.send, "/").await.expect("the connection lives").status(), 200);
}

#[tokio::test(start_paused = true, crate = "crate::checked")]
async fn a_body_that_stops_is_an_error_with_a_name() {
    let client = handshake(connect()).await;
    let mut send = client.send.clone().ready().await.expect("open");
    let request = Request::post("http://x/read").body(()).expect("a request");
    let (response, mut stream) = send.send_request(request, false).expect("open");
    stream.send_data(Bytes::from_static(b"abc"), false).expect("open");
    assert_eq!(response.await.expect("an answer").status(), 408);
    assert_at(client.start.elapsed(), 30 * SECOND);
}

#[tokio::test(start_paused = true, crate = "crate::checked")]
async fn a_drain_lets_streams_end_and_takes_no_more() {
    let client = handshake(connect()).await;
    let slow = tokio::spawn({
        let send = client.send.clone();
        async move { get(&send, "/slow").await }
    });
    tokio::time::sleep(SECOND).await;
    client.registry.drain();
    assert_eq!(slow.await.expect("no panic").expect("answered in full").status(), 200);
    assert_at(client.start.elapsed(), 10 * SECOND);
    assert_eq!(client.server.await.expect("no panic").reason, CloseReason::Drained);
    assert!(get(&client.send, "/").await.is_err(), "the connection is over");
    drop(client.send);
    client.connection.await.expect("no panic").expect("a clean end");
}

#[tokio::test(start_paused = true, crate = "crate::checked")]
async fn a_drain_of_an_idle_connection_ends_it() {
    let client = handshake(connect()).await;
    get(&client.send, "/").await.expect("an answer");
    client.registry.drain();
    client.server.await.expect("no panic");
    assert!(client.start.elapsed() < SECOND, "{:?}", client.start.elapsed());
}

/// In a last call the client is accepted after the signal: it would be told to go elsewhere before it has asked for
/// anything.
#[tokio::test(start_paused = true, crate = "crate::checked")]
async fn one_that_has_only_just_come_is_served_once() {
    let registry = Registry::new();
    registry.drain();
    let client = handshake(connect_to(registry, settings())).await;
    tokio::time::sleep(SECOND / 5).await;
    assert_eq!(get(&client.send, "/").await.expect("an answer").status(), 200);
    assert_eq!(client.server.await.expect("no panic").reason, CloseReason::Drained);
    assert!(client.start.elapsed() < SECOND / 2, "{:?}", client.start.elapsed());
}

#[tokio::test(start_paused = true, crate = "crate::checked")]
async fn a_peer_that_never_answers_the_goaway_is_not_waited_for_long() {
    let crate::server::Client { mut io, server, registry, start } = connect();
    // The preface and empty SETTINGS, then nothing: no PONG.
    io.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.expect("the server reads");
    tokio::time::sleep(SECOND).await;
    registry.drain();
    assert_eq!(server.await.expect("no panic").reason, CloseReason::Drained);
    assert_at(start.elapsed(), 2 * SECOND);
}

#[tokio::test(start_paused = true, crate = "crate::checked")]
async fn a_request_that_crosses_the_goaway_is_answered_and_its_peer_not_waited_for_after_that() {
    let crate::server::Client { mut io, server, registry, start } = connect();
    io.write_all(&frames(true, b"")).await.expect("the server reads");
    // One request, so that it is no newcomer.
    io.write_all(b"\0\0\x08\x01\x05\0\0\0\x01\x82\x86\x41\x01x\x04\x01/").await.expect("the server reads");
    tokio::time::sleep(SECOND).await;
    registry.drain();
    tokio::time::sleep(SECOND / 2).await;
    // `GET /slow`, which takes ten seconds; no PONG, before it or after it.
    io.write_all(b"\0\0\x0c\x01\x05\0\0\0\x03\x82\x86\x41\x01x\x04\x05/slow").await.expect("the server reads");
    let ended = server.await.expect("no panic");
    assert_eq!((ended.reason, ended.requests), (CloseReason::Drained, 2));
    assert_at(start.elapsed(), SECOND + SECOND / 2 + 10 * SECOND + SECOND);
    let mut answers = Vec::new();
    io.read_to_end(&mut answers).await.expect("a plain end");
    assert!(answers.ends_with(b"slow"), "answered in full: {answers:?}");
}

#[tokio::test(start_paused = true, crate = "crate::checked")]
async fn force_drops_the_handlers_of_all_streams() {
    let client = handshake(connect()).await;
    let stuck = tokio::spawn({
        let send = client.send.clone();
        async move { get(&send, "/stuck").await }
    });
    while client.registry.gauges().requests == 0 {
        tokio::task::yield_now().await;
    }
    client.registry.force();
    assert_eq!(client.server.await.expect("no panic").reason, CloseReason::Forced);
    assert!(stuck.await.expect("no panic").is_err());
    client.registry.closed().await;
}

/// The client's preface, and frames by hand.
fn frames(settings: bool, more: &[u8]) -> Vec<u8> {
    let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    if settings {
        bytes.extend_from_slice(b"\0\0\0\x04\0\0\0\0\0");
    }
    bytes.extend_from_slice(more);
    bytes
}

#[tokio::test(start_paused = true, crate = "crate::checked")]
async fn settings_that_never_come_end_at_the_header_limit() {
    let crate::server::Client { mut io, server, start, .. } = connect();
    io.write_all(&frames(false, b"")).await.expect("the server reads");
    assert_eq!(server.await.expect("no panic").reason, CloseReason::HeaderTimeout);
    assert_at(start.elapsed(), 5 * SECOND);
}

#[tokio::test(start_paused = true, crate = "crate::checked")]
async fn a_header_block_that_never_ends_ends_at_the_header_limit() {
    let crate::server::Client { mut io, server, start, .. } = connect();
    // HEADERS of stream 1, END_STREAM but not END_HEADERS, with `:method: GET`.
    io.write_all(&frames(true, b"\0\0\x01\x01\x01\0\0\0\x01\x82")).await.expect("the server reads");
    for _ in 0..4 {
        tokio::time::sleep(SECOND).await;
        // An empty CONTINUATION keeps it going, but restarts nothing.
        io.write_all(b"\0\0\0\x09\0\0\0\0\x01").await.expect("the server reads");
    }
    let ended = server.await.expect("no panic");
    assert_eq!(ended.reason, CloseReason::HeaderTimeout, "{ended:?}");
    assert_at(start.elapsed(), 5 * SECOND);
}

#[tokio::test(start_paused = true, crate = "crate::checked")]
async fn a_handler_moves_its_own_limits() {
    for (path, due) in [("/patient", 300 * SECOND), ("/hasty", SECOND)] {
        let client = handshake(connect()).await;
        get(&client.send, path).await.expect_err("a reset");
        assert_at(client.start.elapsed(), due);
        assert_eq!(get(&client.send, "/").await.expect("the connection lives").status(), 200);
    }
}

#[tokio::test(start_paused = true, crate = "crate::checked")]
async fn a_connection_carries_as_many_requests_as_it_may() {
    let client = handshake(connect_with(with(|settings| settings.max_requests = Some(2)))).await;
    for _ in 0..2 {
        assert_eq!(get(&client.send, "/").await.expect("an answer").status(), 200);
    }
    assert_eq!(client.server.await.expect("no panic").reason, CloseReason::Retired);
    assert!(get(&client.send, "/").await.is_err(), "GOAWAY");
}

#[tokio::test(start_paused = true, crate = "crate::checked")]
async fn a_tunnel_over_a_stream_is_work_and_lives_as_long_as_it_likes() {
    let client = handshake(connect()).await;
    let (mut stream, mut echo) = tunnel(&client).await;
    for _ in 0..3 {
        // Longer than any limit: idle, body and write.
        tokio::time::sleep(1000 * SECOND).await;
        stream.send_data(Bytes::from_static(b"ping"), false).expect("open");
        assert_eq!(echo.data().await.expect("an echo").expect("open"), "ping");
    }
    assert_eq!(client.registry.gauges().requests, 1, "it counts as work");
    stream.send_data(Bytes::new(), true).expect("open");
    assert!(echo.data().await.is_none_or(|end| end.is_ok_and(|data| data.is_empty())), "and ends with both sides");
    while client.registry.gauges().requests > 0 {
        tokio::time::sleep(SECOND / 10).await;
    }
    assert_eq!(client.registry.gauges().idle, 1);
}

#[tokio::test(start_paused = true, crate = "crate::checked")]
async fn limits_that_are_off_do_not_fire() {
    let client = handshake(connect_with(with(|settings| {
        settings.read_header = None;
        settings.read_body = None;
        settings.write = None;
        settings.write_stall = None;
        settings.idle = None;
    })))
    .await;
    tokio::time::sleep(10_000 * SECOND).await;
    let mut send = client.send.clone().ready().await.expect("open");
    let request = Request::post("http://x/read").body(()).expect("a request");
    let (response, mut stream) = send.send_request(request, false).expect("open");
    let mut held = get(&client.send, "/big").await.expect("a head").into_body();
    stream.send_data(Bytes::from_static(b"abc"), false).expect("open");
    tokio::time::sleep(10_000 * SECOND).await;
    stream.send_data(Bytes::from_static(b"def"), true).expect("open");
    assert_eq!(response.await.expect("an answer").status(), 200);
    // The other answer waits for the window of the connection, which this one has used up.
    assert!(client.registry.gauges().requests > 0, "a window that stays shut is waited for");
    let first = held.data().await.expect("a body").expect("it was not cut");
    assert!(!first.is_empty());
}

/// Kestrel's `DATA_Sent_TooSlowly`: progress by a byte restarts the stall limit, and not the total one.
#[tokio::test(start_paused = true, crate = "crate::checked")]
async fn a_window_that_opens_by_a_byte_at_a_time_ends_at_the_write_limit() {
    let client = handshake(connect()).await;
    let mut body = get(&client.send, "/big").await.expect("a head").into_body();
    let mut held = 0;
    while client.registry.gauges().requests > 0 {
        if let Ok(Some(Ok(data))) = tokio::time::timeout(SECOND / 100, body.data()).await {
            held += data.len();
        }
        if held > 0 {
            // The connection's window and the stream's.
            let _ = body.flow_control().release_capacity(1);
            held -= 1;
        }
        tokio::time::sleep(SECOND).await;
    }
    let took = client.start.elapsed();
    // h2's client tells of its window when half of it is free again, so a byte a second may be none at all to the server.
    assert!(took >= 20 * SECOND && took <= 62 * SECOND, "{took:?}");
    assert_eq!(get(&client.send, "/").await.expect("the connection lives").status(), 200);
}

/// Kestrel's `DATA_Received_TooSlowly`.
#[tokio::test(start_paused = true, crate = "crate::checked")]
async fn a_body_below_the_minimum_rate_is_too_slow_and_one_above_it_is_not() {
    for (bytes, status) in [(100, 408), (300, 200)] {
        let client = handshake(connect_with(with(|settings| {
            settings.read_body = None;
            settings.min_body_rate = graceful_connection::MinRate::new(240, 5 * SECOND);
        })))
        .await;
        let mut send = client.send.clone().ready().await.expect("open");
        let request = Request::post("http://x/read").body(()).expect("a request");
        let (response, mut stream) = send.send_request(request, false).expect("open");
        let sending = tokio::spawn(async move {
            for _ in 0..60 {
                if stream.send_data(Bytes::from(vec![b'x'; bytes]), false).is_err() {
                    return;
                }
                tokio::time::sleep(SECOND).await;
            }
            let _ = stream.send_data(Bytes::new(), true);
        });
        assert_eq!(response.await.expect("an answer").status(), status, "{bytes} bytes a second");
        sending.abort();
    }
}

/// Kestrel's `HEADERS_NotReceivedAfterFirstRequest` and `…WithoutAllCONTINUATIONs`, behind a first request.
#[tokio::test(start_paused = true, crate = "crate::checked")]
async fn a_header_block_behind_a_first_request_has_its_own_clock() {
    let crate::server::Client { mut io, server, start, .. } = connect();
    // `GET /` of stream 1, whole.
    io.write_all(&frames(true, b"\0\0\x06\x01\x05\0\0\0\x01\x82\x86\x84\x41\x01x")).await.expect("the server reads");
    tokio::time::sleep(50 * SECOND).await;
    // HEADERS of stream 3, without END_HEADERS.
    io.write_all(b"\0\0\x01\x01\x01\0\0\0\x03\x82").await.expect("it is idle, within its limit");
    let ended = server.await.expect("no panic");
    assert_eq!((ended.reason, ended.requests), (CloseReason::HeaderTimeout, 1));
    assert_at(start.elapsed(), 55 * SECOND);
}

#[tokio::test(start_paused = true, crate = "crate::checked")]
async fn force_ends_a_tunnel_and_a_drain_does_not() {
    let client = handshake(connect()).await;
    let (mut stream, mut echo) = tunnel(&client).await;
    client.registry.drain();
    tokio::time::sleep(1000 * SECOND).await;
    stream.send_data(Bytes::from_static(b"ping"), false).expect("open");
    assert_eq!(echo.data().await.expect("an echo").expect("open"), "ping", "a drain waits for it");
    client.registry.force();
    assert_eq!(client.server.await.expect("no panic").reason, CloseReason::Forced);
    assert!(echo.data().await.is_none_or(|end| end.is_err()), "cut");
    client.registry.closed().await;
}

/// RFC 9110, 9.3.2: hyper leaves it out over HTTP/1, and not over HTTP/2, where a client takes it for a breach of the
/// protocol (RFC 9113, 8.1.1).
#[tokio::test(start_paused = true, crate = "crate::checked")]
async fn an_answer_to_head_has_no_content() {
    let client = handshake(connect()).await;
    for (path, length) in [("/big", Some("1048576")), ("/", Some("2")), ("/endless", None)] {
        let mut send = client.send.clone().ready().await.expect("open");
        let request = Request::head(format!("http://x{path}")).body(()).expect("a request");
        let response = send.send_request(request, true).expect("open").0.await.expect(path);
        let told = response.headers().get("content-length").map(|length| length.to_str().expect("digits"));
        assert_eq!(told, length, "{path}: as for GET");
        assert!(response.body().is_end_stream(), "{path}: known with the head");
    }
    assert_eq!(client.registry.gauges().requests, 0, "nothing is left of them");
}

/// RFC 9110, 15.3.5 and 15.4.5, and 8.6 for the length.
#[tokio::test(start_paused = true, crate = "crate::checked")]
async fn an_answer_without_content_has_none_whatever_the_service_gives() {
    let client = handshake(connect()).await;
    for path in ["/204", "/204-and-more", "/304", "/304-and-more"] {
        let response = get(&client.send, path).await.expect(path);
        assert_eq!(response.status().as_str(), &path[1..4]);
        assert_eq!(response.headers().get("content-length"), None, "{path}");
        assert!(response.body().is_end_stream(), "{path}: known with the head");
    }
    assert_eq!(client.registry.gauges().requests, 0, "nothing is left of them");
}
