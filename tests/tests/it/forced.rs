//! A shutdown always returns: at its deadline, or at the second signal. What was left is named, and the exit code is 3.

use std::time::Duration;

use nix::sys::signal::Signal;
use tests::{Client, Ended};

use crate::{playground, playground_with};

/// The last word of a thread that is blocked is waited for, and the machine may be busy.
const GRACE: Duration = Duration::from_secs(3);

#[tokio::test]
async fn a_handler_that_never_ends_is_cut_at_the_deadline_and_named() {
    let program = playground(&["--shutdown-timeout", "1s", "--handler-timeout", "off"]).await;
    let mut client = program.in_flight("/slow?ms=600000").await;
    let peer = client.address().to_string();
    program.signal(Signal::SIGTERM);
    let ended = program.ended().await;
    assert!(client.try_answer().await.is_err(), "there is no answer");
    check_forced(&ended, "/slow", &peer, "at the deadline");
    check_place(&ended, "sleep at ", "time.rs:");
    assert!(ended.took < Duration::from_secs(1) + GRACE, "{:?}", ended.took);

    let record = ended.log.access("/slow", 1).await.swap_remove(0);
    assert_eq!((&record["status"], &record["outcome"]), (&499.into(), &"client_gone".into()), "and it is recorded");
}

#[tokio::test]
async fn a_handler_that_blocks_its_thread_does_not_keep_the_process() {
    let program = playground(&["--shutdown-timeout", "1s"]).await;
    let client = program.in_flight("/block?ms=600000").await;
    program.signal(Signal::SIGTERM);
    let ended = program.ended().await;
    check_forced(&ended, "/block", &client.address().to_string(), "at the deadline");
    check_place(&ended, "running on tokio-", "");
    assert!(ended.took < Duration::from_secs(1) + GRACE, "{:?}", ended.took);
}

#[tokio::test]
async fn handlers_that_block_every_thread_do_not_keep_the_process() {
    let program = playground_with(&["--shutdown-timeout", "1s"], &[("TOKIO_WORKER_THREADS", "1")]).await;
    let _client = program.in_flight("/block?ms=600000").await;
    program.signal(Signal::SIGTERM);
    let ended = program.ended().await;
    assert_eq!(ended.code, Some(3), "{}", ended.stderr);
    assert!(ended.took < Duration::from_secs(1) + GRACE, "{:?}", ended.took);
}

#[tokio::test]
async fn a_second_signal_forces_at_once() {
    for second in [Signal::SIGTERM, Signal::SIGINT] {
        let mut ended = forced_by(second).await;
        // Where somebody waits is read from the debug information, in the quarter of a second that a forced end has. On a busy
        // machine that may be too short: then it goes without.
        for _ in 0..5 {
            if !ended.log.lines().iter().any(|line| line["late"].as_str().is_some_and(|late| !late.contains(" place=")))
            {
                break;
            }
            ended = forced_by(second).await;
        }
        check_place(&ended, "sleep at ", "time.rs:");
    }
}

async fn forced_by(second: Signal) -> Ended {
    let program = playground(&["--shutdown-timeout", "10m"]).await;
    let client = program.in_flight("/slow?ms=600000").await;
    program.signal(Signal::SIGTERM);
    program.log().message("shutdown signal").await;
    program.signal(second);
    let ended = program.ended().await;
    check_forced(&ended, "/slow", &client.address().to_string(), "forced");
    assert!(ended.took < GRACE, "{second}: {:?}", ended.took);
    assert_eq!(ended.log.message("second shutdown signal, forcing").await["signal"], second.as_str());
    ended
}

#[tokio::test]
async fn a_websocket_that_stays_is_cut_at_the_deadline_and_named() {
    let program = playground(&["--shutdown-timeout", "1s"]).await;
    let mut client = Client::connect(program.address()).await;
    client
        .send(
            "GET /ws HTTP/1.1\r\nhost: test\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
             sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        )
        .await;
    assert_eq!(client.head().await.status, 101);
    program.signal(Signal::SIGTERM);
    let ended = program.ended().await;
    assert_eq!(ended.code, Some(3), "{}", ended.stderr);
    let late = ended.log.message("closed by force").await["late"].to_string();
    assert!(late.contains(&client.address().to_string()) && late.contains("upgraded"), "{late}");
    assert!(ended.took < Duration::from_secs(1) + GRACE, "{:?}", ended.took);
}

/// The line in the log and the report say what the late one did, and where in the source.
fn check_place(ended: &Ended, does: &str, file: &str) {
    let lines = ended.log.lines();
    for (message, field) in [("closed by force", "late"), ("server stopped by force", "report")] {
        let line = lines.iter().find(|line| line["message"] == message).expect(message);
        let text = line[field].as_str().expect("text");
        let place = text.split_once(" place='").and_then(|(_, rest)| rest.split_once('\'')).expect(text).0;
        assert!(place.starts_with(does) && place.contains(file), "the place where it waits: {text}");
    }
}

/// Exit code 3, one line on standard error, and lines in the log that name the request.
fn check_forced(ended: &Ended, path: &str, peer: &str, why: &str) {
    assert_eq!(ended.code, Some(3), "{}", ended.stderr);
    assert!(ended.stderr.starts_with("error: shutdown (SIG"), "{}", ended.stderr);
    assert_eq!(ended.stderr.lines().count(), 1, "one line: {}", ended.stderr);
    let lines = ended.log.lines();
    let find = |message: &str| lines.iter().find(|line| line["message"] == message).expect(message);
    let (late, report) = (find("closed by force"), find("server stopped by force"));
    for text in [&late["late"], &report["report"]] {
        let text = text.as_str().expect("text");
        for part in ["method=GET", &format!("path={path} "), &format!("route={path} "), &format!("peer={peer} "), why] {
            assert!(text.contains(part), "{part} is missing: {text}");
        }
        assert!(!text.contains("600000"), "without the query: {text}");
    }
    assert_eq!(report["level"], "ERROR");
}
