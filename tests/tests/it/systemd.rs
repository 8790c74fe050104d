//! What systemd is told, by a socket that stands in for it.

use std::{net::TcpListener, os::fd::AsRawFd, time::Duration};

use nix::sys::{
    signal::Signal,
    socket::{Shutdown, shutdown},
};
use tests::{Client, Program, within};
use tokio::net::UnixDatagram;

use crate::{PRODUCTION, playground_with};

async fn next(systemd: &UnixDatagram) -> String {
    let mut message = [0; 256];
    let n = within("a message", systemd.recv(&mut message)).await.expect("a socket of ours");
    String::from_utf8_lossy(&message[..n]).trim_end().to_owned()
}

#[tokio::test]
async fn it_is_told_of_the_start_the_life_and_the_end() {
    let folder = std::env::temp_dir().join(format!("graceful-systemd-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a temporary folder");
    let path = folder.join("notify");
    let systemd = UnixDatagram::bind(&path).expect("a socket");
    let env = [("NOTIFY_SOCKET", path.to_str().expect("UTF-8")), ("WATCHDOG_USEC", "200000")];
    let program = playground_with(&["--shutdown-timeout", "20s"], &env).await;
    assert_eq!(next(&systemd).await, "READY=1", "first of all");
    for _ in 0..3 {
        assert_eq!(next(&systemd).await, "WATCHDOG=1", "while it lives");
    }

    let mut client = program.in_flight("/slow?ms=1500").await;
    program.signal(Signal::SIGTERM);
    let mut told = Vec::new();
    while told.len() < 2 {
        let message = next(&systemd).await;
        if message != "WATCHDOG=1" {
            told.push(message);
        }
    }
    assert_eq!(told[0], "STOPPING=1");
    let more: u64 = told[1].strip_prefix("EXTEND_TIMEOUT_USEC=").expect("more time").parse().expect("a number");
    assert!(Duration::from_micros(more) <= Duration::from_secs(12), "{more} µs");
    client.until("waited 1500 ms").await;
    let ended = program.ended().await;
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let _ = std::fs::remove_dir_all(folder);
}

#[tokio::test]
async fn it_is_asked_for_time_from_the_signal_on() {
    let folder = std::env::temp_dir().join(format!("graceful-stopping-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a temporary folder");
    let path = folder.join("notify");
    let systemd = UnixDatagram::bind(&path).expect("a socket");
    let env = [("NOTIFY_SOCKET", path.to_str().expect("UTF-8"))];
    // Longer than the test has patience: it is asked before, not after.
    let program = playground_with(&["--drain-delay", "5m", "--shutdown-timeout", "6m"], &env).await;
    assert_eq!(next(&systemd).await, "READY=1");
    program.signal(Signal::SIGTERM);
    assert_eq!(next(&systemd).await, "STOPPING=1");
    assert_eq!(next(&systemd).await, "EXTEND_TIMEOUT_USEC=12000000");
    program.signal(Signal::SIGTERM);
    let ended = program.ended().await;
    assert_eq!(ended.code, Some(0), "nobody was there to be late: {}", ended.stderr);
    let _ = std::fs::remove_dir_all(folder);
}

#[tokio::test]
async fn a_runtime_that_is_stuck_is_not_alive() {
    let folder = std::env::temp_dir().join(format!("graceful-watchdog-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a temporary folder");
    let path = folder.join("notify");
    let systemd = UnixDatagram::bind(&path).expect("a socket");
    let env =
        [("NOTIFY_SOCKET", path.to_str().expect("UTF-8")), ("WATCHDOG_USEC", "100000"), ("TOKIO_WORKER_THREADS", "1")];
    let program = playground_with(&[], &env).await;
    assert_eq!(next(&systemd).await, "READY=1");
    assert_eq!(next(&systemd).await, "WATCHDOG=1");
    let _client = program.in_flight("/block?ms=30000").await;
    // What was under way may still come; then there is silence.
    let mut silent = false;
    for _ in 0..20 {
        let mut message = [0; 64];
        silent = tokio::time::timeout(Duration::from_secs(1), systemd.recv(&mut message)).await.is_err();
        if silent {
            break;
        }
    }
    assert!(silent, "ten pings were due in that second");
    drop(program);
    let _ = std::fs::remove_dir_all(folder);
}

/// Whoever watches the process sees it end, and starts it anew: it would be there for nobody.
#[tokio::test]
async fn a_socket_that_is_shut_down_ends_the_server() {
    let socket = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let ours = socket.try_clone().expect("a descriptor");
    let program = Program::start_on(PRODUCTION, socket, &[]).await;
    assert_eq!(Client::connect(program.address()).await.get("/healthz").await.status, 200);
    shutdown(ours.as_raw_fd(), Shutdown::Both).expect("a socket");
    let ended = program.ended().await;
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    assert!(ended.stderr.contains("no connection can be accepted any more"), "{}", ended.stderr);
    assert!(ended.log.lines().iter().any(|line| line["message"] == "server stopped"), "in order");
}
