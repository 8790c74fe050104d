//! Out of descriptors, for real. In a process of its own: the limit is the whole process'.
#![cfg(unix)]

use std::{cell::Cell, fs::File, time::Duration};

use graceful_listener::{AcceptError, Backoff, Burst, Listener, TcpListener};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tokio::{net::TcpStream, sync::watch, time::Instant};

#[tokio::test(start_paused = true)]
async fn a_server_out_of_descriptors_lives_on() {
    let mut listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let addr = listener.local_addr().expect("bound").socket_addr().expect("TCP");
    // The clients' own sockets come first: they are of the same process.
    let mut clients = Vec::new();
    for _ in 0..8 {
        clients.push(TcpStream::connect(addr).await.expect("connect"));
    }
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).expect("limit");
    setrlimit(Resource::RLIMIT_NOFILE, 128, hard).expect("a lower limit");
    let mut hoard = Vec::new();
    while let Ok(file) = File::open("/dev/null") {
        hoard.push(file);
    }

    let (failures, mut failed) = watch::channel(0);
    let warnings = Cell::new(0);
    let server = async {
        let start = Instant::now();
        let mut backoff = Backoff::new();
        let mut accepted = Vec::new();
        while accepted.len() < 8 {
            match listener.accept().await {
                Ok(connection) => {
                    accepted.push(connection);
                    if let Some(burst) = backoff.succeeded() {
                        return (accepted, burst, start.elapsed());
                    }
                }
                Err(error) => {
                    assert_eq!(AcceptError::of(&error), AcceptError::Resource, "{error}");
                    failures.send_modify(|count| *count += 1);
                    let failed = backoff.failed();
                    warnings.set(warnings.get() + u32::from(failed.warn));
                    tokio::time::sleep(failed.wait).await;
                }
            }
        }
        panic!("the burst has no end");
    };
    let relief = async {
        failed.wait_for(|&count| count == 12).await.expect("the server runs");
        drop(hoard);
    };
    let ((mut accepted, burst, took), ()) = tokio::join!(server, relief);

    let Burst { errors, lasted, .. } = burst;
    assert_eq!((errors, warnings.get()), (12, 1), "every failure counted, one warning");
    // 5 + 10 + … + 640 ms, then three of a second; the clock is paused, so nothing else takes time.
    assert_eq!(lasted.as_millis() / 100, 42, "{lasted:?}");
    assert!(took < Duration::from_secs(6), "accepted as soon as there was room: {took:?}");

    // All that waited in the queue are served, and so is who comes now.
    while accepted.len() < 8 {
        accepted.push(listener.accept().await.expect("accept"));
    }
    let _late = TcpStream::connect(addr).await.expect("connect");
    listener.accept().await.expect("accept");
}
