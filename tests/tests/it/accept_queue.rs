//! A client whose handshake the kernel has finished believes that it is connected. SIGTERM must not take that back.

use std::{
    collections::HashSet,
    future::IntoFuture,
    io::Write,
    net::{SocketAddr, TcpStream},
    sync::Arc,
};

use axum::{Router, routing::get};
use graceful::{Config, Server, Shutdown};
use nix::sys::signal::Signal;
use tests::{Client, PATIENCE, within};
use tokio::{sync::Semaphore, time::Instant};

use crate::playground;

const EACH: usize = 100;
const REQUEST: &[u8] = b"GET /healthz HTTP/1.1\r\nhost: test\r\n\r\n";

/// How many of the idle and of the queued clients have no answer.
async fn lost(clients: &mut [Client]) -> [usize; 2] {
    let mut lost = [0, 0];
    for (i, client) in clients.iter_mut().enumerate() {
        match client.try_answer().await {
            Ok(answer) => assert_eq!(answer.status, 200),
            Err(_) => lost[i / EACH] += 1,
        }
    }
    lost
}

#[tokio::test]
async fn who_waits_in_the_kernel_at_the_order_to_end_is_served() {
    check(None).await;
}

/// Those in the queue are there because the limit is reached; the idle connections that leave make room for them.
#[tokio::test]
async fn who_waits_for_a_place_at_the_order_to_end_is_served() {
    check(Some(EACH)).await;
}

async fn check(max_connections: Option<usize>) {
    let mut config = Config::default();
    config.listen = "127.0.0.1:0".to_owned();
    config.debug_listen = None;
    config.max_connections = max_connections;
    let bound = Server::new(router()).config(config).bind().await.expect("a free port");
    let (address, shutdown) = (bound.local_addr().expect("an address"), bound.shutdown());
    #[expect(clippy::disallowed_methods, reason = "the test waits for it")]
    let server = tokio::spawn(bound.run());

    let mut clients = wait_in_the_kernel(address, &shutdown).await;
    assert_eq!(lost(&mut clients).await, [0, 0], "of {EACH} idle and {EACH} queued clients");
    let report = within("the server to end", server).await.expect("no panic").expect("a clean end");
    assert!(report.is_clean(), "{report}");
}

/// And so are they if nobody leaves.
#[tokio::test]
async fn who_waits_for_a_place_that_nobody_leaves_is_served() {
    let (begun, release) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
    let held = {
        let (begun, release) = (Arc::clone(&begun), Arc::clone(&release));
        async move || {
            begun.add_permits(1);
            release.acquire().await.expect("open").forget();
            "done\n"
        }
    };
    let mut config = Config::default();
    config.listen = "127.0.0.1:0".to_owned();
    config.debug_listen = None;
    config.max_connections = Some(2);
    let bound = Server::new(router().route("/held", get(held))).config(config).bind().await.expect("a free port");
    let (address, shutdown) = (bound.local_addr().expect("an address"), bound.shutdown());
    #[expect(clippy::disallowed_methods, reason = "the test waits for it")]
    let server = tokio::spawn(bound.run());

    let mut held = Vec::new();
    for _ in 0..2 {
        let mut client = Client::connect(address).await;
        client.send("GET /held HTTP/1.1\r\nhost: test\r\n\r\n").await;
        within("its handler", begun.acquire()).await.expect("open").forget();
        held.push(client);
    }
    let mut waiting = Vec::new();
    for _ in 0..20 {
        let mut client = Client::connect(address).await;
        client.send(REQUEST).await;
        waiting.push(client);
    }
    shutdown.trigger();
    for client in &mut waiting {
        let answer = within("an answer", client.try_answer()).await.expect("no handshake is taken back");
        assert_eq!(answer.status, 200);
    }
    release.add_permits(2);
    for client in &mut held {
        assert_eq!(client.answer().await.body, "done\n");
    }
    let report = within("the server to end", server).await.expect("no panic").expect("a clean end");
    assert!(report.is_clean(), "{report}");
}

/// What the same clients see of `axum::serve`: not a test of it, but that the test above is one.
#[tokio::test]
#[expect(clippy::print_stdout, reason = "the figures are what it is for")]
async fn what_a_plain_server_does_to_them() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let (address, shutdown) = (listener.local_addr().expect("an address"), Shutdown::new());
    let triggered = shutdown.clone();
    let serve = axum::serve(listener, router()).with_graceful_shutdown(async move { triggered.triggered().await });
    #[expect(clippy::disallowed_methods, reason = "the test waits for it")]
    let server = tokio::spawn(serve.into_future());

    let mut clients = wait_in_the_kernel(address, &shutdown).await;
    let [idle, queued] = lost(&mut clients).await;
    println!("axum::serve loses {idle} of {EACH} idle and {queued} of {EACH} queued clients");
    within("the server to end", server).await.expect("no panic").expect("a clean end");
}

fn router() -> Router {
    Router::new().route("/healthz", get(async || "ok\n"))
}

/// Clients with a request in the kernel, on idle connections and in the accept queue, and then the order to end.
///
/// Server and clients share one thread, so that the server learns of nothing before all of it has happened, and of the
/// order to end first.
async fn wait_in_the_kernel(address: SocketAddr, shutdown: &Shutdown) -> Vec<Client> {
    let (mut sockets, mut clients) = (Vec::new(), Vec::new());
    for _ in 0..EACH {
        let socket = TcpStream::connect(address).expect("somebody listens");
        let mut idle = Client::from_std(socket.try_clone().expect("room for a descriptor"));
        assert_eq!(idle.get("/healthz").await.status, 200);
        sockets.push(socket);
        clients.push(idle);
    }
    // No await from here on.
    for _ in 0..EACH {
        sockets.push(TcpStream::connect(address).expect("the kernel has room for them"));
    }
    for socket in &mut sockets {
        socket.write_all(REQUEST).expect("the kernel takes it");
    }
    #[cfg(target_os = "linux")]
    {
        let all = Waiting { connections: EACH, requests: 2 * EACH };
        let (begin, mut waiting) = (Instant::now(), Waiting::at(address));
        while waiting != all && begin.elapsed() < PATIENCE {
            std::thread::yield_now();
            waiting = Waiting::at(address);
        }
        assert_eq!(waiting, all, "they do wait in the kernel");
    }
    shutdown.trigger();
    clients.extend(sockets.split_off(EACH).into_iter().map(Client::from_std));
    clients
}

/// What the kernel holds for a server that has not asked for it.
#[cfg(target_os = "linux")]
#[derive(Debug, PartialEq)]
struct Waiting {
    /// In the accept queue.
    connections: usize,
    /// Connections, there and elsewhere, with a whole request to be read.
    requests: usize,
}

#[cfg(target_os = "linux")]
impl Waiting {
    /// As `proc_pid_net(5)` has it: local address, remote address, state, `tx_queue:rx_queue`, which is the length of the
    /// accept queue for a socket that listens.
    fn at(address: SocketAddr) -> Self {
        const ESTABLISHED: &str = "01";
        const LISTENS: &str = "0A";
        let table = std::fs::read_to_string("/proc/net/tcp").expect("a Linux");
        let port = format!(":{:04X}", address.port());
        // By client: the kernel may list one twice while others come and go.
        let (mut connections, mut requests) = (0, HashSet::new());
        for line in table.lines().skip(1) {
            let fields: Vec<_> = line.split_whitespace().collect();
            let &[_, local, client, state, queues, ..] = &fields[..] else { continue };
            if !local.ends_with(&port) {
                continue;
            }
            let unread = queues.split_once(':').map(|(_, unread)| usize::from_str_radix(unread, 16));
            let unread = unread.expect("two queues").expect("a number");
            match state {
                LISTENS => connections = unread,
                ESTABLISHED if unread == REQUEST.len() => {
                    requests.insert(client);
                }
                _ => {}
            }
        }
        Self { connections, requests: requests.len() }
    }
}

#[tokio::test]
async fn who_waits_in_the_kernel_at_sigterm_is_served() {
    let program = playground(&[]).await;
    let mut clients = Vec::new();
    for _ in 0..EACH {
        let mut idle = Client::connect(program.address()).await;
        idle.get("/healthz").await;
        clients.push(idle);
    }
    // From here on the process sees nothing, so that all of it is there at once when it goes on: the signal, a request on
    // each idle connection, and connections that nobody has accepted.
    program.signal(Signal::SIGSTOP);
    for _ in 0..EACH {
        clients.push(Client::connect(program.address()).await);
    }
    for client in &mut clients {
        client.send(REQUEST).await;
    }
    program.signal(Signal::SIGTERM);
    program.signal(Signal::SIGCONT);

    assert_eq!(lost(&mut clients).await, [0, 0], "of {EACH} idle and {EACH} queued clients");
    let ended = program.ended().await;
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
}
