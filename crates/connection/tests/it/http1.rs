//! HTTP/1.1: each limit ends a connection at its own time, and none ends one that it does not mean.

use std::{convert::Infallible, future::pending, sync::Arc, time::Duration};

use graceful_connection::{CloseReason, Connection, MinRate, Registry, RequestBody};
use http::{Request, Response};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use crate::server::{Body, SECOND, assert_at, connect, connect_with, settings, with};

const GET: &str = "GET / HTTP/1.1\r\nhost: x\r\n\r\n";

#[tokio::test(start_paused = true, crate = "crate::checked")]
async fn a_silent_connection_is_closed_without_a_byte() {
    let mut client = connect();
    let (rest, took) = client.rest().await;
    assert_eq!(rest, "", "nobody asked anything");
    assert_at(took, 5 * SECOND);
    assert_eq!(client.ended().await.0.reason, CloseReason::HeaderTimeout);
}

#[tokio::test(start_paused = true, crate = "crate::checked")]
async fn a_head_that_drips_in_gets_408_at_the_limit_of_the_whole_head() {
    // The second one stalls inside what could still be the HTTP/2 preface.
    for drip in [GET, "PRI * HTTP/2.0\r\n\r\nSM"] {
        let mut client = connect();
        for byte in drip.bytes().take(9) {
            client.send(&char::from(byte).to_string()).await;
            tokio::time::sleep(SECOND / 2).await;
        }
        let (rest, took) = client.rest().await;
        assert!(rest.starts_with("HTTP/1.1 408 "), "{rest}");
        assert!(rest.contains("connection: close"), "{rest}");
        assert_at(took, 5 * SECOND);
        assert_eq!(client.ended().await.0.reason, CloseReason::HeaderTimeout);
    }
}

#[tokio::test(start_paused = true, crate = "crate::checked")]
async fn a_client_that_connects_and_leaves_is_no_error() {
    let client = connect();
    let (mut io, server, registry) = (client.io, client.server, client.registry);
    io.shutdown().await.expect("a clean end");
    let ended = server.await.expect("no panic");
    assert_eq!(ended.reason, CloseReason::Done);
    assert!(registry.is_empty());
}

#[tokio::test(start_paused = true, crate = "crate::checked")]
async fn a_pause_longer_than_the_header_limit_is_served() {
    let mut client = connect();
    for _ in 0..3 {
        client.send(GET).await;
        assert!(client.answer().await.ends_with("ok"));
        assert_eq!(client.registry.gauges().idle, 1);
        tokio::time::sleep(100 * SECOND).await;
    }
}

#[tokio::test(start_paused = true, crate = "crate::checked")]
async fn an_idle_connection_is_closed_with_a_plain_end() {
    let mut client = connect();
    client.send(GET).await;
    client.answer().await;
    let (rest, took) = client.rest().await;
    assert_eq!(rest, "", "no bytes, just the end");
    assert_at(took, 120 * SECOND);
    assert_eq!(client.ended().await.0.reason, CloseReason::IdleTimeout);
}

#[tokio::test(start_paused = true, crate = "crate::checked")]
async fn a_head_after_a_pause_has_its_own_clock() {
    let mut client = connect();
    client.send(GET).await;
    client.answer().await;
    tokio::time::sleep(60 * SECOND).await;
    client.send("GET / HT").await;
    let (rest, took) = client.rest().await;
    assert!(rest.starts_with("HTTP/1.1 408 "), "{rest}");
    assert_at(took, 65 * SECOND);
}

/// Half of the next head is there before the response is out: it is read in the same breath, or while the handler works.
#[tokio::test(start_paused = true, crate = "crate::checked")]
async fn a_head_that_begins_before_the_last_response_is_out_has_its_own_clock() {
    // As much as is read at first, so that what follows is read behind the response.
    let mut request = "GET / HTTP/1.1\r\nhost: x\r\nfiller: ".to_owned();
    request += &"x".repeat(512 - request.len() - 4);
    request += "\r\n\r\n";
    let mut client = connect();
    client.send(&(request + "GET / HT")).await;
    client.answer().await;
    let (rest, took) = client.rest().await;
    assert!(rest.starts_with("HTTP/1.1 408 "), "{rest}");
    assert_at(took, 5 * SECOND);

    let mut client = connect();
    client.send("GET /slow HTTP/1.1\r\nhost: x\r\n\r\n").await;
    tokio::time::sleep(SECOND).await;
    client.send("GET / HT").await;
    client.answer().await;
    let (rest, took) = client.rest().await;
    assert!(rest.starts_with("HTTP/1.1 408 "), "{rest}");
    assert_at(took, 15 * SECOND);
}

#[tokio::test(start_paused = true, crate = "crate::checked")]
async fn what_is_left_of_a_body_is_no_head() {
    let mut client = connect();
    client.send("POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 1000\r\n\r\n").await;
    client.send(&"x".repeat(1000)).await;
    client.answer().await;
    let (rest, took) = client.rest().await;
    assert_eq!(rest, "");
    assert!(took >= 120 * SECOND || took < 4 * SECOND, "idle, or closed behind the answer: {took:?}");
}

#[tokio::test(start_paused = true, crate = "crate::checked")]
async fn a_body_that_stops_is_an_error_with_a_name_and_its_answer_goes_out() {
    let mut client = connect();
    client.send("POST /read HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\nabc").await;
    let answer = client.answer().await;
    assert_at(client.start.elapsed(), 30 * SECOND);
    assert!(answer.starts_with("HTTP/1.1 408 ") && answer.ends_with("too slow"), "{answer}");
    assert!(answer.contains("connection: close"), "no request can follow, and the client is told: {answer}");
    // The rest of the body, and what is smuggled behind it, is not a request.
    client.send("defghij").await;
    client.send("GET /secret HTTP/1.1\r\nhost: x\r\n\r\n").await;
    client.io.shutdown().await.expect("a clean end");
    assert_eq!(client.rest().await.0, "", "nothing more is taken as a request");
}

#[tokio::test(start_paused = true, crate = "crate::checked")]
async fn a_body_in_time_is_read() {
    let mut client = connect();
    client.send("POST /read HTTP/1.1\r\nhost: x\r\ncontent-length: 6\r\n\r\nabc").await;
    tokio::time::sleep(29 * SECOND).await;
    client.send("def").await;
    assert!(client.answer().await.ends_with("6 bytes"));
}

#[tokio::test(start_paused = true, crate = "crate::checked")]
async fn a_slow_handler_is_cut_at_the_write_limit() {
    let mut client = connect();
    client.send("GET /stuck HTTP/1.1\r\nhost: x\r\n\r\n").await;
    let (rest, took) = client.rest().await;
    assert_eq!(rest, "");
    assert_at(took, 60 * SECOND);
    assert_eq!(client.ended().await.0.reason, CloseReason::WriteTimeout);
}

#[tokio::test(start_paused = true, crate = "crate::checked")]
async fn two_requests_that_together_pass_the_write_limit_are_both_served() {
    let mut settings = settings();
    settings.write = Some(15 * SECOND);
    let mut client = connect_with(settings);
    for _ in 0..2 {
        client.send("GET /slow HTTP/1.1\r\nhost: x\r\n\r\n").await;
        assert!(client.answer().await.ends_with("slow"));
    }
}

#[tokio::test(start_paused = true, crate = "crate::checked")]
async fn a_reader_that_stops_is_cut_at_the_stall_limit() {
    for write in [Some(60 * SECOND), None] {
        let mut settings = settings();
        settings.write = write;
        let mut client = connect_with(settings);
        client.send("GET /big HTTP/1.1\r\nhost: x\r\n\r\n").await;
        tokio::time::sleep(10 * SECOND).await;
        let mut some = [0; 1024];
        client.io.read_exact(&mut some).await.expect("the first bytes");
        let (ended, took) = client.ended().await;
        assert_eq!(ended.reason, CloseReason::WriteStalled);
        assert_at(took, 30 * SECOND);
    }
}

#[tokio::test(start_paused = true, crate = "crate::checked")]
async fn a_slow_reader_is_cut_at_the_write_limit() {
    let mut client = connect();
    client.send("GET /big HTTP/1.1\r\nhost: x\r\n\r\n").await;
    let mut some = [0; 1024];
    while client.io.read_exact(&mut some).await.is_ok() {
        tokio::time::sleep(SECOND).await;
    }
    let (ended, took) = client.ended().await;
    assert_eq!(ended.reason, CloseReason::WriteTimeout);
    assert!(took >= 60 * SECOND && took < 66 * SECOND, "{took:?}");
}

#[tokio::test(start_paused = true, crate = "crate::checked")]
async fn events_live_on_past_the_write_limit_and_stalled_ones_do_not() {
    let mut client = connect();
    client.send("GET /events HTTP/1.1\r\nhost: x\r\n\r\n").await;
    let mut seen = Vec::new();
    while client.start.elapsed() < 600 * SECOND {
        let mut some = [0; 256];
        let n = client.io.read(&mut some).await.expect("events");
        assert!(n > 0, "cut after {:?}", client.start.elapsed());
        seen.extend_from_slice(&some[..n]);
    }
    assert!(String::from_utf8_lossy(&seen).matches("data: tick").count() >= 59);
    // Now it stops reading: the events fill the socket, and then the stall clock runs.
    let ended = tokio::time::timeout(10_000 * SECOND, client.ended()).await.expect("cut in the end").0;
    assert_eq!(ended.reason, CloseReason::WriteStalled);
}

#[tokio::test(start_paused = true, crate = "crate::checked")]
async fn limits_that_are_off_or_zero_do_not_fire() {
    for off in [None, Some(Duration::ZERO), Some(Duration::MAX)] {
        let mut settings = settings();
        settings.read_header = off;
        settings.read_body = off;
        settings.write = off;
        settings.idle = off;
        let mut client = connect_with(settings);
        tokio::time::sleep(1000 * SECOND).await;
        client.send("POST /read HTTP/1.1\r\nhost: x\r\ncontent-length: 3\r\n\r\nab").await;
        tokio::time::sleep(1000 * SECOND).await;
        client.send("c").await;
        assert!(client.answer().await.ends_with("3 bytes"));
        tokio::time::sleep(1000 * SECOND).await;
        client.send(GET).await;
        assert!(client.answer().await.ends_with("ok"));
    }
}

#[tokio::test(start_paused = true, crate = "crate::checked")]
async fn an_early_answer_waits_for_the_client_to_read_it() {
    let mut client = connect();
    client.send("POST /early HTTP/1.1\r\nhost: x\r\ncontent-length: 1000000\r\n\r\n").await;
    let answer = client.answer().await;
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
    // The client goes on sending for a while: nothing refuses it, and nothing is kept of it.
    for _ in 0..100 {
        client.send(&"x".repeat(4096)).await;
    }
    assert_eq!(client.registry.len(), 1, "still there to take what comes");
    drop(client.io);
    let ended = client.server.await.expect("no panic");
    assert_eq!(ended.reason, CloseReason::Done);
}

#[tokio::test(start_paused = true, crate = "crate::checked")]
async fn lingering_ends_at_its_limit() {
    let mut client = connect();
    client.send("POST /early HTTP/1.1\r\nhost: x\r\ncontent-length: 1000000\r\n\r\n").await;
    client.answer().await;
    while client.io.write_all(&[b'x'; 1024]).await.is_ok() {
        tokio::time::sleep(SECOND / 10).await;
    }
    // The client finds out with the next piece it sends.
    let took = client.ended().await.1;
    assert!(took >= 3 * SECOND && took <= 3 * SECOND + SECOND / 5, "{took:?}");
}

#[tokio::test(start_paused = true, crate = "crate::checked")]
async fn a_head_over_the_limit_gets_431_and_the_close() {
    let mut client = connect();
    client.send("GET / HTTP/1.1\r\nhost: x\r\nx: ").await;
    let mut sent = 0;
    // More than the limit is sent; the answer must survive it.
    while sent < 80 << 10 {
        if client.io.write_all(&[b'x'; 1024]).await.is_err() {
            break;
        }
        sent += 1024;
    }
    let answer = client.answer().await;
    assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
    client.io.shutdown().await.expect("a clean end");
    let (ended, took) = client.ended().await;
    assert_eq!(ended.reason, CloseReason::BadRequest);
    assert!(took < SECOND, "{took:?}");
}

#[tokio::test(start_paused = true, crate = "crate::checked")]
async fn pipelined_requests_are_answered_in_order() {
    let mut client = connect();
    client.send(&GET.repeat(3)).await;
    for _ in 0..3 {
        assert!(client.answer().await.ends_with("ok"));
    }
    assert_eq!(client.registry.gauges().idle, 1);
}

#[tokio::test(start_paused = true, crate = "crate::checked")]
async fn requests_that_come_while_a_handler_works_wait_their_turn() {
    let mut client = connect();
    for path in ["/slow", "/quick", "/"] {
        client.send(&format!("GET {path} HTTP/1.1\r\nhost: x\r\nx: {}\r\n\r\n", "x".repeat(400))).await;
        tokio::time::sleep(SECOND / 100).await;
    }
    for answer in ["slow", "quick", "ok"] {
        assert!(client.answer().await.ends_with(answer), "{answer}");
    }
    assert_at(client.start.elapsed(), 10 * SECOND + SECOND / 20);
    // A body of the next one is no end of anything, and its line is known to have ended.
    client.send("GET /slow HTTP/1.1\r\nhost: x\r\n\r\n").await;
    client.send("POST /read HTTP/1.1\r\nhost: x\r\ncontent-length: 1000\r\n\r\n").await;
    client.send(&"x".repeat(1000)).await;
    assert!(client.answer().await.ends_with("slow"));
    assert!(client.answer().await.ends_with("1000 bytes"));
}

#[tokio::test(crate = "crate::checked")]
async fn a_reset_drops_the_handler_at_once() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let mut client = TcpStream::connect(listener.local_addr().expect("bound")).await.expect("a client");
    let (socket, _) = listener.accept().await.expect("a socket");
    let registry = crate::checked::registered(Registry::new());
    let service = tower::service_fn(|_: Request<RequestBody>| pending::<Result<Response<Body>, Infallible>>());
    let connection = tokio::spawn(Connection::new(socket, registry.open(None), service, Arc::new(settings())));
    client.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.expect("the server reads");
    while registry.gauges().requests == 0 {
        tokio::task::yield_now().await;
    }
    // Closed so, TCP sends a reset.
    client.set_zero_linger().expect("an option");
    drop(client);
    let ended = connection.await.expect("no panic");
    assert_eq!(ended.reason, CloseReason::Broken);
    assert!(ended.error.is_some(), "which says why");
}

#[tokio::test(start_paused = true, crate = "crate::checked")]
async fn a_client_that_leaves_drops_the_handler() {
    let client = connect();
    let (mut io, server, registry, start) = (client.io, client.server, client.registry, client.start);
    io.write_all(b"GET /stuck HTTP/1.1\r\nhost: x\r\n\r\n").await.expect("the server reads");
    while registry.gauges().requests == 0 {
        tokio::task::yield_now().await;
    }
    drop(io);
    assert_eq!(server.await.expect("no panic").reason, CloseReason::HalfClosed);
    assert_at(start.elapsed(), SECOND / 10);
    assert_eq!(registry.gauges().connections(), 0);
}

#[tokio::test(start_paused = true, crate = "crate::checked")]
async fn a_client_that_leaves_inside_a_body_is_known_at_once() {
    let client = connect();
    let (mut io, server, start) = (client.io, client.server, client.start);
    io.write_all(b"POST /read HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\nabc").await.expect("the server reads");
    drop(io);
    server.await.expect("no panic");
    assert!(start.elapsed() < SECOND / 10, "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true, crate = "crate::checked")]
async fn a_quick_handler_answers_a_client_that_closed_its_side() {
    for path in ["/quick", "/"] {
        let mut client = connect();
        client.send(&format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n")).await;
        client.io.shutdown().await.expect("a clean end");
        let (rest, _) = client.rest().await;
        assert!(rest.starts_with("HTTP/1.1 200 "), "{path}: {rest}");
        assert_eq!(client.ended().await.0.reason, CloseReason::Done, "{path}");
    }
}

#[tokio::test(start_paused = true, crate = "crate::checked")]
async fn without_the_grace_a_closed_side_is_a_client_that_left() {
    let mut client = connect_with(with(|settings| settings.half_close_grace = None));
    client.send("GET /quick HTTP/1.1\r\nhost: x\r\n\r\n").await;
    client.io.shutdown().await.expect("a clean end");
    assert_eq!(client.rest().await.0, "");
}

#[tokio::test(start_paused = true, crate = "crate::checked")]
async fn a_handler_moves_its_own_limits() {
    for (path, due, extension) in
        [("/patient", 300 * SECOND, true), ("/hasty", SECOND, true), ("/patient", 300 * SECOND, false)]
    {
        let mut client = connect_with(with(|settings| settings.control_extension = extension));
        client.send(&format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n")).await;
        let (ended, took) = client.ended().await;
        assert_eq!(ended.reason, CloseReason::WriteTimeout, "{path}");
        assert_at(took, due);
    }
    let mut client = connect();
    client.send("POST /read-long HTTP/1.1\r\nhost: x\r\ncontent-length: 3\r\n\r\nab").await;
    tokio::time::sleep(50 * SECOND).await;
    client.send("c").await;
    assert!(client.answer().await.ends_with("3 bytes"));
    // The next request has the usual limits again.
    let start = tokio::time::Instant::now();
    client.send("GET /stuck HTTP/1.1\r\nhost: x\r\n\r\n").await;
    client.rest().await;
    assert_at(start.elapsed(), 60 * SECOND);
}

#[tokio::test(start_paused = true, crate = "crate::checked")]
async fn a_handler_finds_its_own_request_and_a_task_of_its_own_does_not() {
    let (mut one, mut two) = (connect(), connect());
    two.send(GET).await;
    two.answer().await;
    for client in [&mut one, &mut two] {
        client.send("GET /whose HTTP/1.1\r\nhost: x\r\n\r\n").await;
    }
    assert!(one.answer().await.ends_with("Some(1) false"));
    assert!(two.answer().await.ends_with("Some(2) false"));
}

#[tokio::test(start_paused = true, crate = "crate::checked")]
async fn a_handler_closes_its_connection_after_the_answer() {
    let mut client = connect();
    client.send("GET /last HTTP/1.1\r\nhost: x\r\n\r\n").await;
    let answer = client.answer().await;
    assert!(answer.contains("connection: close") && answer.ends_with("last"), "{answer}");
    assert_eq!(client.rest().await.0, "");
    assert_eq!(client.ended().await.0.reason, CloseReason::Retired);
}

#[tokio::test(start_paused = true, crate = "crate::checked")]
async fn a_connection_carries_as_many_requests_as_it_may() {
    let mut client = connect_with(with(|settings| settings.max_requests = Some(3)));
    for request in 1..=3 {
        client.send(GET).await;
        let answer = client.answer().await;
        assert_eq!(answer.contains("connection: close"), request == 3, "request {request}: {answer}");
    }
    assert_eq!(client.rest().await.0, "");
    assert_eq!(client.ended().await.0.reason, CloseReason::Retired);
}

#[tokio::test(start_paused = true, crate = "crate::checked")]
async fn a_connection_grows_as_old_as_it_may() {
    // Idle at that age, and in the middle of something.
    for (path, due) in [("/", 100), ("/slow", 110)] {
        let mut client = connect_with(with(|settings| settings.max_age = Some(100 * SECOND)));
        while client.start.elapsed() < 80 * SECOND {
            client.send(GET).await;
            client.answer().await;
            tokio::time::sleep(8 * SECOND).await;
        }
        client.send(&format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n")).await;
        client.answer().await;
        client.rest().await;
        let (ended, took) = client.ended().await;
        assert_eq!(ended.reason, CloseReason::Retired, "{path}");
        assert!(took >= 90 * SECOND && took <= due * SECOND + 11 * SECOND, "{path}: {took:?}");
    }
}

#[tokio::test(start_paused = true, crate = "crate::checked")]
async fn a_body_below_the_minimum_rate_is_too_slow_and_one_above_it_is_not() {
    let rate = MinRate::new(240, 5 * SECOND);
    for (bytes, answer) in [(100, "too slow"), (300, "18000 bytes")] {
        let settings = with(|settings| {
            settings.read_body = None;
            settings.min_body_rate = rate;
        });
        let mut client = connect_with(settings);
        client.send("POST /read HTTP/1.1\r\nhost: x\r\ncontent-length: 18000\r\n\r\n").await;
        for _ in 0..18_000 / bytes {
            client.io.write_all(&vec![b'x'; bytes]).await.expect("the server reads, or lingers");
            tokio::time::sleep(SECOND).await;
            if client.registry.gauges().requests == 0 {
                break;
            }
        }
        assert!(client.answer().await.ends_with(answer), "{bytes} bytes a second");
    }
}

#[tokio::test(start_paused = true, crate = "crate::checked")]
async fn a_reader_below_the_minimum_rate_is_cut() {
    let settings = with(|settings| {
        settings.write = None;
        settings.min_write_rate = MinRate::new(2000, 5 * SECOND);
    });
    let mut client = connect_with(settings);
    client.send("GET /big HTTP/1.1\r\nhost: x\r\n\r\n").await;
    let mut some = [0; 1024];
    while client.io.read_exact(&mut some).await.is_ok() {
        tokio::time::sleep(SECOND).await;
    }
    let (ended, took) = client.ended().await;
    assert_eq!(ended.reason, CloseReason::WriteStalled);
    assert!(took > 5 * SECOND && took < 30 * SECOND, "{took:?}");
}

#[tokio::test(start_paused = true, crate = "crate::checked")]
async fn a_request_line_over_the_limit_gets_414_and_the_close() {
    let mut client = connect();
    client.send("GET /").await;
    for _ in 0..80 {
        if client.io.write_all(&[b'x'; 1024]).await.is_err() {
            break;
        }
    }
    let answer = client.answer().await;
    assert!(answer.starts_with("HTTP/1.1 414 "), "{answer}");
    client.io.shutdown().await.expect("a clean end");
    assert_eq!(client.rest().await.0, "");
    let (ended, took) = client.ended().await;
    assert_eq!(ended.reason, CloseReason::BadRequest);
    assert!(took < SECOND, "{took:?}");
}

#[tokio::test(start_paused = true, crate = "crate::checked")]
async fn too_many_header_fields_get_431() {
    let mut client = connect();
    client.send(&format!("GET / HTTP/1.1\r\nhost: x\r\n{}\r\n", "a: b\r\n".repeat(101))).await;
    assert!(client.answer().await.starts_with("HTTP/1.1 431 "));
}

#[tokio::test(start_paused = true, crate = "crate::checked")]
async fn a_host_is_asked_for_once() {
    for (fields, expected) in [
        ("", "HTTP/1.1 400 "),
        ("host: a\r\nhost: a\r\n", "HTTP/1.1 400 "),
        ("host: a b\r\n", "HTTP/1.1 400 "),
        ("host: a\r\n", "HTTP/1.1 200 "),
    ] {
        let mut client = connect();
        client
            .send(&format!(
                "GET / HTTP/1.1\r\n{fields}\r\nGET /secret HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"
            ))
            .await;
        let answer = client.answer().await;
        assert!(answer.starts_with(expected), "{fields:?}: {answer}");
        if expected.contains("400") {
            assert_eq!(client.rest().await.0, "", "nothing behind it is taken as a request");
        }
    }
    let mut client = connect();
    client.send("GET / HTTP/1.0\r\n\r\n").await;
    assert!(client.answer().await.starts_with("HTTP/1.0 200 "), "HTTP/1.0 needs none");
}

#[tokio::test(start_paused = true, crate = "crate::checked")]
async fn a_length_of_both_kinds_is_answered_and_is_the_last() {
    for fields in ["content-length: 5\r\ntransfer-encoding: chunked", "transfer-encoding: chunked\r\nContent-Length: 5"]
    {
        let mut client = connect();
        client.send(&format!("POST /read HTTP/1.1\r\nhost: x\r\n{fields}\r\n\r\n0\r\n\r\n{GET}")).await;
        let answer = client.answer().await;
        assert!(answer.starts_with("HTTP/1.1 200 ") && answer.contains("connection: close"), "{answer}");
        assert_eq!(client.rest().await.0, "", "what could have been smuggled is not answered");
    }
}

/// Wherever it stands, nothing behind such a request is answered.
#[tokio::test(start_paused = true, crate = "crate::checked")]
async fn a_length_of_both_kinds_cannot_hide_behind_something_else() {
    let both = "POST /read HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n";
    let post = "POST /read HTTP/1.1\r\nhost: x\r\ncontent-length: 3\r\n\r\nabc";
    let slow = "GET /slow HTTP/1.1\r\nhost: x\r\n\r\n";
    for (front, first) in [("\r\n", "0 bytes"), (GET, "ok"), (post, "3 bytes"), (slow, "slow")] {
        // In one piece, and while the first one is with its handler.
        for pause in [Duration::ZERO, SECOND / 100] {
            let mut client = connect();
            client.send(front).await;
            tokio::time::sleep(pause).await;
            client.send(&format!("{both}{GET}")).await;
            let mut answers = vec![client.answer().await];
            while !answers.last().is_some_and(|answer| answer.contains("connection: close")) {
                answers.push(client.answer().await);
            }
            assert!(answers[0].ends_with(first), "{front:?}: {answers:?}");
            assert!(answers.len() <= 2, "{front:?}: what could have been smuggled is not answered: {answers:?}");
            client.io.shutdown().await.expect("a clean end");
            assert_eq!(client.rest().await.0, "", "{front:?}");
        }
    }
}

/// It is cut, what it sends is dropped, and the connection is not used again.
#[tokio::test(start_paused = true, crate = "crate::checked")]
async fn a_body_without_end_for_a_reader_that_stops() {
    for (write, stall, due) in [
        (Some(60), Some(20), Some((20, CloseReason::WriteStalled))),
        (Some(60), None, Some((60, CloseReason::WriteTimeout))),
        (None, None, None),
    ] {
        let mut client = connect_with(with(|settings| {
            settings.write = write.map(|seconds| seconds * SECOND);
            settings.write_stall = stall.map(|seconds| seconds * SECOND);
        }));
        client.send(&format!("GET /endless HTTP/1.1\r\nhost: x\r\n\r\n{GET}")).await;
        let Some((due, reason)) = due else {
            tokio::time::sleep(100_000 * SECOND).await;
            assert_eq!(client.registry.gauges().requests, 1, "off is off");
            continue;
        };
        let registry = client.registry.clone();
        let (ended, took) = client.ended().await;
        assert_eq!((ended.reason, ended.requests), (reason, 1), "the request behind it was not begun");
        assert_at(took, due * SECOND);
        assert_eq!(registry.gauges().requests, 0, "the body is dropped");
    }
}

#[tokio::test(start_paused = true, crate = "crate::checked")]
async fn connect_answered_2xx_is_a_tunnel() {
    let mut client = connect();
    client.send("CONNECT x:1 HTTP/1.1\r\nhost: x:1\r\n\r\n").await;
    assert!(client.answer().await.starts_with("HTTP/1.1 200 "));
    tokio::time::sleep(1000 * SECOND).await;
    client.send("ping").await;
    let mut echo = [0; 4];
    client.io.read_exact(&mut echo).await.expect("an echo");
    assert_eq!(client.registry.gauges().upgraded, 1);
}
