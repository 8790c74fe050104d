//! Over real sockets, with many clients at once.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering::Relaxed},
    },
};

use graceful_connection::tls::{
    ClientAuth,
    rustls::{
        client::Resumption,
        version::{TLS12, TLS13},
    },
};
use tokio::{
    io::AsyncWriteExt,
    net::{TcpListener, TcpStream},
    time::{Instant, timeout},
};

use crate::{
    authority::Authority,
    client::{Client, get, shown},
    server::{SECOND, Server},
};

async fn listen(server: &Server) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let server = server.clone();
    tokio::spawn(async move {
        loop {
            let (socket, _) = listener.accept().await.expect("a client");
            tokio::spawn(server.serve(socket));
        }
    });
    address
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2, crate = "crate::checked")]
async fn twenty_certificates_under_load_and_no_failed_request() {
    const SWAPS: u32 = 20;
    let authority = Arc::new(Authority::new());
    let files = authority.issue("0", &["localhost"]);
    let server = Server::new(files.settings());
    let address = listen(&server).await;
    let stop = Arc::new(AtomicBool::new(false));
    let requests = Arc::new(AtomicU32::new(0));
    let newest = Arc::new(AtomicU32::new(0));

    let mut clients = Vec::new();
    for number in 0..12 {
        let (stop, requests, newest) = (Arc::clone(&stop), Arc::clone(&requests), Arc::clone(&newest));
        let client = Client::new(&authority);
        clients.push(tokio::spawn(async move {
            let (keep_alive, resume) = (number % 2 == 0, number % 3 == 0);
            let mut kept = None;
            while !stop.load(Relaxed) {
                let mut io = match kept.take() {
                    Some(io) => io,
                    None => {
                        let at_least = newest.load(Relaxed);
                        let mut client = client.clone();
                        if !resume {
                            client.config.resumption = Resumption::disabled();
                        }
                        let socket = TcpStream::connect(address).await.expect("the server listens");
                        let io = client.connect(socket).await.expect("a handshake");
                        let shown: u32 = shown(&io).parse().expect("a number");
                        // Who resumes remembers the certificate of the first time.
                        assert!(resume || shown >= at_least, "{shown} was shown when {at_least} was already served");
                        io
                    }
                };
                let answer = get(&mut io, "/").await.expect("an answer");
                assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
                requests.fetch_add(1, Relaxed);
                if keep_alive {
                    kept = Some(io);
                } else {
                    io.shutdown().await.expect("a clean end");
                }
            }
        }));
    }

    for swap in 1..=SWAPS {
        let before = requests.load(Relaxed);
        authority.renew(&files, &swap.to_string());
        server.acceptor.reload().expect("good files");
        newest.store(swap, Relaxed);
        while requests.load(Relaxed) < before + 20 {
            tokio::task::yield_now().await;
            assert!(clients.iter().all(|client| !client.is_finished()), "a request failed");
        }
    }
    stop.store(true, Relaxed);
    for client in clients {
        client.await.expect("no request failed");
    }
    server.registry.drain();
    server.registry.closed().await;
    server.assert_empty();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2, crate = "crate::checked")]
async fn two_hundred_silent_clients_delay_nobody() {
    let authority = Authority::new();
    let server = Server::new(authority.issue("one", &["localhost"]).settings());
    let address = listen(&server).await;
    let mut silent = Vec::new();
    for _ in 0..200 {
        silent.push(TcpStream::connect(address).await.expect("the server listens"));
    }
    let start = Instant::now();
    for _ in 0..20 {
        let socket = TcpStream::connect(address).await.expect("the server listens");
        let mut io = Client::new(&authority).connect(socket).await.expect("a handshake");
        get(&mut io, "/").await.expect("an answer");
    }
    assert!(start.elapsed() < 4 * SECOND, "within the limit of a handshake: {:?}", start.elapsed());
    assert!(server.registry.len() >= 200, "they are all still there");
    server.registry.force();
    server.registry.closed().await;
    server.assert_empty();
    drop(silent);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2, crate = "crate::checked")]
async fn two_hundred_clients_get_through_one_place() {
    let authority = Authority::new();
    let settings = authority.issue("one", &["localhost"]).settings().max_handshakes(Some(1)).handshake_timeout(None);
    let server = Server::new(settings.client_auth(ClientAuth::Required(authority.root_file())));
    let address = listen(&server).await;
    let shown = authority.issue("client", &[]);
    let mut clients = Vec::new();
    for number in 0..200 {
        let version = if number % 2 == 0 { &TLS12 } else { &TLS13 };
        let client = Client::build(&authority, &[version], Some(&shown));
        clients.push(tokio::spawn(async move {
            let socket = TcpStream::connect(address).await.expect("the server listens");
            let mut io = client.connect(socket).await.expect("a handshake");
            get(&mut io, "/").await.expect("an answer")
        }));
    }
    for client in clients {
        let answer = timeout(60 * SECOND, client).await.expect("nobody is forgotten").expect("no panic");
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }
}
