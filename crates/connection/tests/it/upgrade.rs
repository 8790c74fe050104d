//! A socket that was upgraded: no HTTP limit applies, it is still known, and force still ends it.

use std::io;

use graceful_connection::{CloseReason, Registry};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::server::{Client, SECOND, connect, connect_to, with};

pub(crate) async fn echo(upgrade: hyper::upgrade::OnUpgrade) -> io::Result<()> {
    let upgraded = upgrade.await.map_err(io::Error::other)?;
    let (mut read, mut write) = tokio::io::split(TokioIo::new(upgraded));
    tokio::io::copy(&mut read, &mut write).await?;
    Ok(())
}

/// An upgraded connection; `early` are the bytes that the client sends right behind its request.
async fn upgraded(early: &str) -> Client {
    let mut client = connect();
    client
        .send(&format!("GET /upgrade HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\n{early}"))
        .await;
    let answer = client.answer().await;
    assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
    client
}

#[tokio::test(start_paused = true, crate = "crate::checked")]
async fn no_http_limit_applies_after_it() {
    let mut client = upgraded("").await;
    for _ in 0..3 {
        tokio::time::sleep(1000 * SECOND).await;
        client.send("ping").await;
        let mut echo = [0; 4];
        client.io.read_exact(&mut echo).await.expect("an echo");
        assert_eq!(&echo, b"ping");
    }
    let gauges = client.registry.gauges();
    assert_eq!((gauges.upgraded, gauges.requests), (1, 0), "{gauges:?}");
}

#[tokio::test(start_paused = true, crate = "crate::checked")]
async fn bytes_right_behind_the_request_reach_the_other_side() {
    let mut client = upgraded("early").await;
    let mut echo = [0; 5];
    client.io.read_exact(&mut echo).await.expect("an echo");
    assert_eq!(&echo, b"early");
}

#[tokio::test(start_paused = true, crate = "crate::checked")]
async fn bytes_that_come_while_the_handler_works_reach_the_other_side() {
    let mut client = connect();
    client.send("GET /upgrade-slowly HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\n").await;
    tokio::time::sleep(SECOND / 10).await;
    // More than is read ahead at once.
    let early = "early ".repeat(200);
    client.send(&early).await;
    assert!(client.answer().await.starts_with("HTTP/1.1 101 "));
    let mut echo = vec![0; early.len()];
    client.io.read_exact(&mut echo).await.expect("an echo");
    assert_eq!(echo, early.as_bytes());
}

#[tokio::test(start_paused = true, crate = "crate::checked")]
async fn it_is_closed_when_its_owner_drops_it() {
    let mut client = upgraded("").await;
    client.io.shutdown().await.expect("a clean end");
    assert_eq!(client.rest().await.0, "");
    client.registry.closed().await;
    assert_eq!(client.ended().await.0.reason, CloseReason::Upgraded);
}

#[tokio::test(start_paused = true, crate = "crate::checked")]
async fn force_ends_it_while_its_owner_waits() {
    let mut client = upgraded("").await;
    client.registry.drain();
    tokio::time::sleep(SECOND).await;
    assert_eq!(client.registry.gauges().upgraded, 1, "draining alone does not cut it");
    client.registry.force();
    assert_eq!(client.rest().await.0, "");
    client.registry.closed().await;
}

#[tokio::test(start_paused = true, crate = "crate::checked")]
async fn there_are_as_many_as_there_may_be() {
    let registry = Registry::new();
    let settings = with(|settings| settings.max_upgraded = Some(1));
    let request = "GET /upgrade HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\n";
    let mut first = connect_to(registry.clone(), settings.clone());
    first.send(request).await;
    assert!(first.answer().await.starts_with("HTTP/1.1 101 "));
    let mut second = connect_to(registry.clone(), settings.clone());
    second.send(request).await;
    let answer = second.answer().await;
    assert!(answer.starts_with("HTTP/1.1 503 ") && answer.contains("retry-after: 1"), "{answer}");
    // A request that only asks keeps no place: this one is answered 200.
    let mut third = connect_to(registry.clone(), with(|settings| settings.max_upgraded = Some(2)));
    for _ in 0..3 {
        third.send("GET / HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\n").await;
        assert!(third.answer().await.starts_with("HTTP/1.1 200 "));
    }
    // The place comes back with the socket.
    first.io.shutdown().await.expect("a clean end");
    first.rest().await;
    drop((first, second, third));
    registry.closed().await;
    let mut last = connect_to(registry, settings);
    last.send(request).await;
    assert!(last.answer().await.starts_with("HTTP/1.1 101 "));
}

/// More than any buffer holds, right behind the request (Go's `TestServerHijackGetsBackgroundByte_big`).
#[tokio::test(start_paused = true, crate = "crate::checked")]
async fn a_lot_right_behind_the_request_reaches_the_other_side_too() {
    let mut client = connect();
    let early = "0123456789abcdef".repeat(4 << 10);
    let request = "GET /upgrade HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\n";
    let (mut read, mut write) = tokio::io::split(&mut client.io);
    let sent = format!("{request}{early}");
    let mut seen = Vec::new();
    let (written, ()) = tokio::join!(write.write_all(sent.as_bytes()), async {
        while !seen.windows(4).any(|end| end == b"\r\n\r\n") || seen.len() < early.len() {
            assert!(read.read_buf(&mut seen).await.expect("no reset") > 0, "cut after {} bytes", seen.len());
        }
        while !seen.ends_with(early.as_bytes()) {
            assert!(read.read_buf(&mut seen).await.expect("no reset") > 0, "cut after {} bytes", seen.len());
        }
    });
    written.expect("the server reads");
}

/// Go's `TestHandlerPanicWithHijack`.
#[tokio::test(start_paused = true, crate = "crate::checked")]
async fn a_panic_in_what_was_upgraded_closes_it_and_leaves_nothing() {
    let mut client = connect();
    client.send("GET /upgrade-panic HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\n").await;
    assert!(client.answer().await.starts_with("HTTP/1.1 101 "));
    assert_eq!(client.rest().await.0, "");
    client.registry.closed().await;
}

/// A 101 whose socket nobody takes is no upgrade.
#[tokio::test(start_paused = true, crate = "crate::checked")]
async fn an_upgrade_that_nobody_takes_is_closed() {
    let mut client = connect();
    client.send("GET /upgrade-nobody HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\n").await;
    assert!(client.answer().await.starts_with("HTTP/1.1 101 "));
    assert_eq!(client.rest().await.0, "");
    client.registry.closed().await;
    assert_eq!(client.ended().await.0.reason, CloseReason::Done);
}

/// Go's `TestDisableKeepAliveUpgrade`: "the last answer" does not close what it has just handed over.
#[tokio::test(start_paused = true, crate = "crate::checked")]
async fn one_that_begins_while_connections_retire_lives_on() {
    let mut client = connect();
    client.registry.retire();
    client.send("GET /upgrade HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\n").await;
    let answer = client.answer().await;
    assert!(answer.starts_with("HTTP/1.1 101 ") && answer.contains("connection: upgrade"), "{answer}");
    tokio::time::sleep(1000 * SECOND).await;
    client.send("ping").await;
    let mut echo = [0; 4];
    client.io.read_exact(&mut echo).await.expect("an echo");
}
