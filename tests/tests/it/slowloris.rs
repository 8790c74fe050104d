//! A thousand slow clients at one address, which come again whenever they are closed, and a client at another address
//! who is served all the while.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use tests::{Client, within};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
    task::JoinSet,
    time::{Instant, sleep, timeout},
};

use crate::playground;

const ATTACKERS: usize = 1000;

async fn connect_from(from: &str, to: SocketAddr) -> std::io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(format!("{from}:0").parse().expect("an address"))?;
    socket.connect(to).await
}

/// Sends a head byte by byte for as long as it is let, and begins anew. Counts how often it came.
async fn attack(to: SocketAddr, came: Arc<AtomicUsize>) {
    loop {
        if let Ok(mut stream) = connect_from("127.0.0.2", to).await {
            came.fetch_add(1, Relaxed);
            for byte in b"GET /healthz HTTP/1.1\r\nhost: test\r\ncookie: ".iter().chain(std::iter::repeat(&b'x')) {
                if stream.write_all(&[*byte]).await.is_err() {
                    break;
                }
                let mut answer = [0; 64];
                if let Ok(Ok(0) | Err(_)) = timeout(Duration::from_millis(500), stream.read(&mut answer)).await {
                    break;
                }
            }
        }
        sleep(Duration::from_millis(200)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_at_one_address_take_no_place_from_another() {
    // Fewer places than attackers: without the limit by address they would hold all of them.
    let limits = ["--max-connections-per-ip", "50", "--max-connections", "200", "--read-header-timeout", "2s"];
    let program = playground(&limits).await;
    let came = Arc::new(AtomicUsize::new(0));
    let mut attackers = JoinSet::new();
    for _ in 0..ATTACKERS {
        attackers.spawn(attack(program.address(), Arc::clone(&came)));
    }
    within("all of them to have come", async {
        while came.load(Relaxed) < ATTACKERS {
            sleep(Duration::from_millis(20)).await;
        }
    })
    .await;

    // Longer than the limit of a head: those who were let in are closed, and come again.
    let start = Instant::now();
    let (mut asked, mut slowest) = (0, Duration::ZERO);
    let mut kept = Client::connect(program.address()).await;
    while start.elapsed() < Duration::from_secs(5) {
        let begin = Instant::now();
        let mut fresh = Client::connect(program.address()).await;
        for client in [&mut kept, &mut fresh] {
            assert_eq!(client.get("/healthz").await.status, 200, "every one is served: {asked}");
        }
        asked += 2;
        slowest = slowest.max(begin.elapsed());
        sleep(Duration::from_millis(20)).await;
    }
    assert!(asked >= 50, "while it went on: {asked}");
    // The attackers and both ends share the machine with other tests.
    assert!(slowest < Duration::from_secs(2), "nobody waited for long: {slowest:?}");
    assert!(came.load(Relaxed) > 2 * ATTACKERS, "and they came again");

    attackers.shutdown().await;
    let ended = program.terminate().await;
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let lines = ended.log.lines().iter().filter(|line| line["target"] == "graceful::server").count();
    assert!(lines < 20, "they fill no log: {lines}");
}
