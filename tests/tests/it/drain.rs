//! SIGTERM under load: what is in flight is answered in full, nothing new is taken, and the process ends cleanly.

use std::{io, net::SocketAddr};

use futures_util::future::join_all;
use nix::sys::signal::Signal;
use tests::{Client, Line, within};
use tokio::net::TcpStream;

use crate::playground;

const TARGET: &str = "graceful::shutdown";

#[tokio::test]
async fn sixty_four_requests_are_answered_in_full_and_the_next_client_is_refused() {
    let mut program = playground(&[]).await;
    let address = program.address();
    // Ends after all of them, so that the process lives while the next client tries.
    let mut last = program.in_flight("/slow?ms=3000").await;
    let mut clients = join_all((0..64).map(|_| program.in_flight("/slow?ms=500"))).await;
    program.signal(Signal::SIGTERM);

    within("the listener to close", refused(address)).await;
    assert!(program.is_running(), "refused while the others are still served");
    for client in &mut clients {
        let answer = client.answer().await;
        assert_eq!((answer.status, answer.body.as_str()), (200, "waited 500 ms\n"), "answered in full");
        assert_eq!(client.rest().await.expect("a plain end"), "", "then closed, not reset");
    }
    let answer = last.answer().await;
    assert_eq!(answer.body, "waited 3000 ms\n");
    assert_eq!(answer.header("connection"), Some("close"), "told to go");

    let ended = program.ended().await;
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert_eq!(ended.stderr, "");
    let lines = ended.log.lines();
    let at = |message: &str| lines.iter().position(|line| line["message"] == message).expect(message);
    let (signal, stopped) = (at("shutdown signal"), at("server stopped"));
    assert_eq!(lines[signal]["signal"], "SIGTERM");
    assert_eq!((&lines[signal]["target"], &lines[stopped]["target"]), (&TARGET.into(), &TARGET.into()));
    let slow = lines[signal..stopped].iter().filter(|line| line["path"] == "/slow" && line.is_access());
    let slow: Vec<_> = slow.map(|line| (&line["status"], &line["outcome"])).collect();
    assert_eq!(slow.len(), 65, "between the two lines");
    assert!(slow.iter().all(|(status, outcome)| **status == 200 && **outcome == "complete"), "{slow:?}");
    assert_eq!(stopped, lines.len() - 1, "and nothing after it");
}

/// Until a new connection is refused. One that the kernel still takes is closed by the server.
async fn refused(address: SocketAddr) {
    loop {
        match TcpStream::connect(address).await {
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => return,
            _ => tokio::task::yield_now().await,
        }
    }
}

#[tokio::test]
async fn either_signal_ends_it_and_idle_connections_do_not_keep_it() {
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let program = playground(&[]).await;
        // One kept alive after an answer, one that never said anything.
        let mut idle = Client::connect(program.address()).await;
        idle.get("/healthz").await;
        let mut silent = Client::connect(program.address()).await;
        program.signal(signal);
        assert_eq!(idle.rest().await.expect("a plain end"), "", "{signal}");
        assert_eq!(silent.rest().await.expect("a plain end"), "", "{signal}");
        let ended = program.ended().await;
        assert_eq!(ended.code, Some(0), "{signal}: {}", ended.stderr);
        assert_eq!(ended.log.message("shutdown signal").await["signal"], signal.as_str());
        assert!(!ended.log.lines().iter().any(Line::is_forced), "{signal}");
    }
}

#[tokio::test]
async fn a_download_that_is_under_way_is_finished() {
    let program = playground(&[]).await;
    let mut client = Client::connect(program.address()).await;
    client.send("GET /stream?n=20&ms=50 HTTP/1.1\r\nhost: test\r\n\r\n").await;
    client.until("line 1\n").await;
    program.signal(Signal::SIGTERM);
    let rest = client.rest().await.expect("a plain end");
    assert!(rest.contains("line 20\n") && rest.ends_with("\r\n0\r\n\r\n"), "to its last chunk: {rest:?}");
    assert_eq!(program.ended().await.code, Some(0));
}

trait Forced {
    fn is_forced(&self) -> bool;
}

impl Forced for Line {
    fn is_forced(&self) -> bool {
        self["message"] == "closed by force"
    }
}
