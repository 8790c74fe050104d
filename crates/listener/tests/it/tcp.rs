use std::{net::SocketAddr, time::Duration};

#[cfg(target_os = "linux")]
use futures_util::future::join_all;
use graceful_listener::{BindError, ListenAddr, Listener, Peer, TcpListener, TcpOptions};
use socket2::SockRef;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_test::task;

fn local(listener: &impl Listener) -> SocketAddr {
    listener.local_addr().expect("bound").socket_addr().expect("TCP")
}

#[tokio::test]
async fn a_connection_carries_bytes_and_its_peer() {
    let mut listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let mut client = TcpStream::connect(local(&listener)).await.expect("connect");
    let mut accepted = listener.accept().await.expect("accept");
    assert_eq!(accepted.peer, Peer::Tcp(client.local_addr().expect("bound")));
    client.write_all(b"ping").await.expect("write");
    let mut read = [0; 4];
    accepted.io.read_exact(&mut read).await.expect("read");
    assert_eq!(&read, b"ping");
}

#[tokio::test]
async fn a_cancelled_accept_loses_no_connection() {
    let mut listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let addr = local(&listener);
    for _ in 0..20 {
        let mut accept = task::spawn(listener.accept());
        assert!(accept.poll().is_pending());
        let client = TcpStream::connect(addr).await.expect("connect");
        // Dropped with a connection in the queue.
        drop(accept);
        let accepted = listener.accept().await.expect("accept");
        assert_eq!(accepted.peer.socket_addr(), client.local_addr().ok(), "each connection is seen, in order");
    }
}

#[tokio::test]
async fn all_addresses_are_of_both_kinds_and_v4_looks_like_v4() {
    for address in [":0", "[::]:0"] {
        let mut listener = TcpListener::bind(address).await.expect("bind");
        let port = local(&listener).port();
        let _client = TcpStream::connect(("127.0.0.1", port)).await.expect("over IPv4");
        let peer = listener.accept().await.expect("accept").peer;
        assert_eq!(peer.ip(), Some([127, 0, 0, 1].into()), "{address}");
        assert!(peer.to_string().starts_with("127.0.0.1:"), "not ::ffff:127.0.0.1: {peer}");
        if TcpStream::connect(("::1", port)).await.is_ok() {
            let peer = listener.accept().await.expect("accept").peer;
            assert_eq!(peer.ip(), Some("::1".parse().expect("an address")), "{address}");
        }
    }
}

#[tokio::test]
async fn only_v6_leaves_v4_alone() {
    let listener = TcpOptions::new().only_v6(true).bind("[::]:0").await.expect("bind");
    TcpStream::connect(("127.0.0.1", local(&listener).port())).await.expect_err("not over IPv4");
}

#[tokio::test]
async fn a_name_is_looked_up_and_v4_goes_first() {
    let listener = TcpListener::bind("localhost:0").await.expect("bind");
    assert_eq!(local(&listener).ip().to_string(), "127.0.0.1");
}

#[tokio::test]
async fn an_address_in_use_says_so() {
    let first = TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let port = local(&first).port();
    for host in ["127.0.0.1", "localhost"] {
        let address = format!("{host}:{port}");
        let error = TcpListener::bind(&address).await.expect_err("in use");
        assert!(matches!(error, BindError::InUse { .. }), "{error:?}");
        assert_eq!(
            error.to_string(),
            format!(
                "cannot listen on {address}: the address is in use, by another process or another address given \
                 here ([::] takes in 0.0.0.0); stop it or choose another address"
            )
        );
        assert!(!error.is_usage());
    }
}

#[tokio::test]
async fn an_address_can_be_had_again_at_once_after_connections() {
    // One of its own: the system may give a free port of 127.0.0.1 to another test.
    let mut first = TcpListener::bind("127.0.0.77:0").await.expect("bind");
    let addr = local(&first);
    let mut client = TcpStream::connect(addr).await.expect("connect");
    // The server closes first: its side stays in TIME_WAIT.
    drop(first.accept().await.expect("accept"));
    assert_eq!(client.read(&mut [0]).await.expect("a clean end"), 0);
    drop((client, first));
    TcpListener::bind(&addr.to_string()).await.expect("SO_REUSEADDR");
}

#[tokio::test]
async fn an_address_of_another_machine_says_so() {
    // TEST-NET-3, RFC 5737.
    let error = TcpListener::bind("203.0.113.1:0").await.expect_err("not ours");
    assert!(matches!(error, BindError::NotAvailable { .. }), "{error:?}");
    assert!(error.to_string().starts_with("cannot listen on 203.0.113.1:0: this machine has no such address"));
}

#[tokio::test]
async fn a_bad_address_is_an_error_of_usage() {
    for address in ["", "8080", "127.0.0.1:http", "::1:80", ":70000"] {
        let error = TcpListener::bind(address).await.expect_err("not an address");
        assert!(error.is_usage(), "{error}");
        assert_eq!(error.address(), address);
    }
}

#[cfg(unix)]
#[tokio::test]
async fn sockets_that_ask_for_it_share_a_port() {
    let options = TcpOptions::new().reuse_port(true);
    let first = options.bind("127.0.0.1:0").await.expect("bind");
    let address = local(&first).to_string();
    let _second = options.bind(&address).await.expect("both asked for it");
    let error = TcpListener::bind(&address).await.expect_err("this one did not");
    assert!(matches!(error, BindError::InUse { .. }), "{error:?}");
}

/// Two generations of a server on one port. The kernel has picked one of them for each client by the time that the first
/// packet is there; without this, those that it picked the old one for would be reset, or refused.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn who_waits_at_a_closed_queue_is_accepted_and_who_comes_goes_to_the_next_listener() {
    let options = TcpOptions::new().reuse_port(true);
    let mut old = options.bind("127.0.0.1:0").await.expect("bind");
    let address = local(&old);
    let mut waiting = Vec::new();
    for _ in 0..20 {
        waiting.push(TcpStream::connect(address).await.expect("connect"));
    }
    let mut new = options.bind(&address.to_string()).await.expect("both asked for it");
    assert!(old.close_queue());
    let coming: Vec<_> = (0..20)
        .map(|_| async move { TcpStream::connect(address).await.expect("the other one listens").local_addr() })
        .collect();
    let server = async {
        for client in &waiting {
            let accepted = old.accept().await.expect("accept");
            assert_eq!(accepted.peer.socket_addr(), client.local_addr().ok(), "nobody was lost, and nobody was added");
        }
        assert!(task::spawn(old.accept()).poll().is_pending(), "the queue is empty, and stays so");
        drop(old);
        let mut peers = Vec::new();
        for _ in 0..20 {
            // Some of them a second later: it was the old one that did not hear them.
            peers.push(new.accept().await.expect("accept").peer.socket_addr().expect("TCP"));
        }
        peers.sort_unstable();
        peers
    };
    let (clients, peers) = tokio::join!(join_all(coming), server);
    let mut clients: Vec<_> = clients.into_iter().map(|client| client.expect("bound")).collect();
    clients.sort_unstable();
    assert_eq!(clients, peers);
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_queue_that_others_may_share_is_not_closed() {
    let std = std::net::TcpListener::bind("127.0.0.1:0").expect("bind");
    let shared = std.try_clone().expect("a descriptor");
    let mut ours = TcpListener::from_std(std).expect("taken over");
    assert!(!ours.close_queue());
    drop(ours);
    let client = TcpStream::connect(shared.local_addr().expect("bound")).await.expect("connect");
    assert_eq!(shared.accept().expect("accept").1, client.local_addr().expect("bound"));
}

#[tokio::test]
async fn connections_have_the_options_that_were_asked_for() {
    for (options, nodelay, keep_alive) in [
        (TcpOptions::new(), true, Some(15)),
        (TcpOptions::new().nodelay(false).keep_alive(None), false, None),
        (TcpOptions::new().keep_alive(Duration::from_secs(60)), true, Some(60)),
        (TcpOptions::new().keep_alive(Duration::from_millis(1)), true, Some(1)),
        (TcpOptions::new().keep_alive(Duration::MAX), true, Some(32_767)),
    ] {
        let mut listener = options.bind("127.0.0.1:0").await.expect("bind");
        let _client = TcpStream::connect(local(&listener)).await.expect("connect");
        let accepted = listener.accept().await.expect("accept");
        assert_eq!(accepted.io.nodelay().expect("option"), nodelay, "{options:?}");
        let socket = SockRef::from(&accepted.io);
        assert_eq!(socket.keepalive().expect("option"), keep_alive.is_some(), "{options:?}");
        if let Some(seconds) = keep_alive {
            let asked = Duration::from_secs(seconds);
            assert_eq!(socket.tcp_keepalive_time().expect("option"), asked, "{options:?}");
            assert_eq!(socket.tcp_keepalive_interval().expect("option"), asked, "{options:?}");
        }
    }
}

#[tokio::test]
async fn a_socket_of_stds_is_taken_over() {
    // Blocking, as std makes it: it must not block the runtime.
    let std = std::net::TcpListener::bind("127.0.0.1:0").expect("bind");
    let addr = std.local_addr().expect("bound");
    let mut listener = TcpListener::from_std(std).expect("taken over");
    assert_eq!(listener.local_addr().expect("bound"), ListenAddr::Tcp(addr));
    assert!(task::spawn(listener.accept()).poll().is_pending(), "nobody is there yet, and nothing blocks");
    let _client = TcpStream::connect(addr).await.expect("connect");
    assert!(listener.accept().await.expect("accept").io.nodelay().expect("option"));
}

#[tokio::test]
async fn a_client_that_left_while_it_waited_does_not_stop_the_listener() {
    let mut listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let gone = TcpStream::connect(local(&listener)).await.expect("connect");
    gone.set_zero_linger().expect("option");
    drop(gone); // a reset, in the queue
    let here = TcpStream::connect(local(&listener)).await.expect("connect");
    let peer = here.local_addr().expect("bound");
    loop {
        match listener.accept().await {
            Ok(accepted) if accepted.peer == Peer::Tcp(peer) => break,
            Ok(_) => {} // accepted, and dead; whoever reads learns it
            Err(error) => {
                assert_eq!(graceful_listener::AcceptError::of(&error), graceful_listener::AcceptError::Connection);
            }
        }
    }
}

#[test]
fn what_it_promises_of_threads() {
    fn send<T: Send>(_: &T) {}
    fn send_sync_static<T: Send + Sync + 'static>() {}
    send_sync_static::<TcpListener>();
    send_sync_static::<TcpOptions>();
    send_sync_static::<BindError>();
    send_sync_static::<graceful_listener::ConnectionLimit>();
    send_sync_static::<graceful_listener::PerIpLimit>();
    send_sync_static::<graceful_listener::LimitedIo<graceful_listener::PerIpIo<TcpStream>>>();
    send_sync_static::<graceful_listener::ConnectionRate>();
    send_sync_static::<graceful_listener::AnyListener>();
    send_sync_static::<graceful_listener::ProxyIo<graceful_listener::Resettable<graceful_listener::AnyIo>>>();
    send_sync_static::<graceful_listener::ProxyError>();
    // A server that is generic over its listener can spawn its loop.
    fn generic<L: Listener>(listener: &mut L) {
        send(&listener.accept());
    }
    let _ = generic::<graceful_listener::Limited<graceful_listener::PerIp<TcpListener>>>;
    let _ = generic::<graceful_listener::Proxied<graceful_listener::Several<graceful_listener::AnyListener>>>;
}
