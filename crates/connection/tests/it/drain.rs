//! The signal to drain, and the one that forces.

use graceful_connection::{CloseReason, Gauges, Registry};
use tokio::io::AsyncReadExt;

use crate::server::{SECOND, assert_at, connect, connect_to, settings};

const GET: &str = "GET / HTTP/1.1\r\nhost: x\r\n\r\n";

#[tokio::test(start_paused = true, crate = "crate::checked")]
async fn an_idle_connection_closes_at_once() {
    let mut client = connect();
    client.send(GET).await;
    client.answer().await;
    client.registry.drain();
    let (rest, took) = client.rest().await;
    assert_eq!(rest, "");
    assert!(took < SECOND, "{took:?}");
    assert_eq!(client.ended().await.0.reason, CloseReason::Drained);
}

#[tokio::test(start_paused = true, crate = "crate::checked")]
async fn one_that_never_spoke_closes_at_once() {
    let client = connect();
    client.registry.drain();
    let (ended, took) = client.ended().await;
    assert_eq!(ended.reason, CloseReason::Drained);
    assert!(took < SECOND, "{took:?}");
}

/// In a last call the client is accepted after the signal, and what it sends comes a moment later.
#[tokio::test(start_paused = true, crate = "crate::checked")]
async fn one_that_has_only_just_come_is_given_the_time_to_speak() {
    for before in [true, false] {
        let registry = Registry::new();
        if before {
            registry.drain();
        }
        let mut client = connect_to(registry.clone(), settings());
        registry.drain();
        tokio::time::sleep(SECOND / 5).await;
        client.send(GET).await;
        let answer = client.answer().await;
        assert!(answer.contains("connection: close") && answer.ends_with("ok"), "{answer}");

        let client = connect_to(registry.clone(), settings());
        let (ended, took) = client.ended().await;
        assert_eq!(ended.reason, CloseReason::Drained);
        assert!(took < SECOND / 2, "not for long: {took:?}");
    }
}

#[tokio::test(start_paused = true, crate = "crate::checked")]
async fn a_request_that_is_already_there_is_served() {
    let mut client = connect();
    client.send(GET).await;
    client.answer().await;
    // In the socket, unseen by the server: the signal comes first.
    client.registry.drain();
    client.send(GET).await;
    let answer = client.answer().await;
    assert!(answer.contains("connection: close"), "{answer}");
    assert!(answer.ends_with("ok"), "{answer}");
    assert_eq!(client.rest().await.0, "");
}

#[tokio::test(start_paused = true, crate = "crate::checked")]
async fn what_is_in_flight_is_answered_in_full_and_is_the_last() {
    let mut client = connect();
    client.send("GET /slow HTTP/1.1\r\nhost: x\r\n\r\n").await;
    tokio::time::sleep(SECOND).await;
    client.registry.drain();
    let answer = client.answer().await;
    assert_at(client.start.elapsed(), 10 * SECOND);
    assert!(answer.contains("connection: close"), "{answer}");
    assert!(answer.ends_with("slow"), "{answer}");
    assert_eq!(client.rest().await.0, "");
    let registry = client.registry.clone();
    assert_eq!(client.ended().await.0.reason, CloseReason::Drained);
    registry.closed().await;
}

#[tokio::test(start_paused = true, crate = "crate::checked")]
async fn half_a_head_holds_it_up_for_the_header_limit_only() {
    let mut client = connect();
    client.send("GET / HT").await;
    tokio::time::sleep(SECOND).await;
    client.registry.drain();
    let (_, took) = client.rest().await;
    assert!(took <= 5 * SECOND + SECOND / 10, "{took:?}");
}

#[tokio::test(start_paused = true, crate = "crate::checked")]
async fn force_drops_what_is_in_flight() {
    let mut client = connect();
    client.send("GET /stuck HTTP/1.1\r\nhost: x\r\n\r\n").await;
    while client.registry.gauges().requests == 0 {
        tokio::task::yield_now().await;
    }
    client.registry.drain();
    tokio::time::sleep(SECOND).await;
    let late = &client.registry.list()[0].requests;
    assert_eq!(late.len(), 1, "it is still waited for");
    assert_eq!((late[0].method.as_str(), late[0].uri.path()), ("GET", "/stuck"), "and can be named");
    assert!(late[0].age >= SECOND);
    client.registry.force();
    let mut rest = Vec::new();
    client.io.read_to_end(&mut rest).await.expect("the end");
    let registry = client.registry.clone();
    assert_eq!(client.ended().await.0.reason, CloseReason::Forced);
    assert_eq!(registry.gauges(), Gauges::default(), "every gauge is back at zero");
}

#[tokio::test(start_paused = true, crate = "crate::checked")]
async fn retiring_closes_nothing_but_makes_the_next_answer_the_last() {
    let mut client = connect();
    client.send(GET).await;
    client.answer().await;
    client.registry.retire();
    tokio::time::sleep(10 * SECOND).await;
    assert_eq!(client.registry.gauges().idle, 1, "still there");
    client.send(GET).await;
    let answer = client.answer().await;
    assert!(answer.contains("connection: close") && answer.ends_with("ok"), "{answer}");
    assert_eq!(client.rest().await.0, "");
}
