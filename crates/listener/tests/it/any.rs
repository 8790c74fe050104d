use std::{io::IoSlice, net::SocketAddr};

use graceful_listener::{
    AnyIo, AnyListener, BindError, Guarded, Listener, Peer, ResetSwitch, Resettable, Several, TcpListener, ZeroLinger,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
};

fn local(listener: &impl Listener) -> SocketAddr {
    listener.local_addr().expect("bound").socket_addr().expect("TCP")
}

async fn bytes_go_both_ways(mut client: impl AsyncRead + AsyncWrite + Unpin, mut server: AnyIo) {
    client.write_all(b"ping").await.expect("write");
    let mut read = [0; 4];
    server.read_exact(&mut read).await.expect("read");
    assert_eq!(&read, b"ping");
    assert!(server.is_write_vectored(), "hyper copies what it could send as it is, if this is lost");
    let written = server.write_vectored(&[IoSlice::new(b"head"), IoSlice::new(b"body")]).await.expect("write");
    assert_eq!(written, 8, "both in one call");
    server.flush().await.expect("flush");
    server.shutdown().await.expect("shutdown");
    let mut read = String::new();
    client.read_to_string(&mut read).await.expect("read");
    assert_eq!(read, "headbody", "and shutdown reaches it as well");
}

#[tokio::test]
async fn tcp_by_its_address() {
    let mut listener = AnyListener::bind("127.0.0.1:0").await.expect("bind");
    let client = TcpStream::connect(local(&listener)).await.expect("connect");
    let accepted = listener.accept().await.expect("accept");
    assert_eq!(accepted.peer, Peer::Tcp(client.local_addr().expect("bound")));
    bytes_go_both_ways(client, accepted.io).await;
}

#[tokio::test]
async fn an_error_is_that_of_its_kind() {
    let error = AnyListener::bind("localhost").await.expect_err("no port");
    assert!(matches!(error, BindError::BadAddress { .. }), "{error:?}");
    assert!(error.to_string().contains("give host:port"), "{error}");
    #[cfg(unix)]
    {
        let error = AnyListener::bind("unix:").await.expect_err("no path");
        assert!(error.is_usage() && error.to_string().contains("give unix:/path"), "{error}");
    }
}

#[cfg(unix)]
#[tokio::test]
async fn unix_by_its_prefix_and_several_kinds_in_one() {
    use tokio::net::UnixStream;

    use crate::unix::{Dir, address};

    let dir = Dir::new();
    let path = dir.join("app.sock");
    let unix = AnyListener::bind(&address(&path)).await.expect("bind");
    let tcp = AnyListener::bind("127.0.0.1:0").await.expect("bind");
    let (addr, other) = (local(&tcp), TcpListener::bind("127.0.0.1:0").await.expect("bind"));
    let other_addr = local(&other);
    let mut listener = Several::new([unix, tcp, other.into()]);
    assert_eq!(listener.iter().count(), 3);
    for _ in 0..3 {
        let client = UnixStream::connect(&path).await.expect("connect");
        let accepted = listener.accept().await.expect("accept");
        assert_eq!(accepted.peer, Peer::Unix);
        bytes_go_both_ways(client, accepted.io).await;
        for addr in [addr, other_addr] {
            let client = TcpStream::connect(addr).await.expect("connect");
            let accepted = listener.accept().await.expect("accept");
            assert_eq!(accepted.peer.socket_addr(), client.local_addr().ok());
            bytes_go_both_ways(client, accepted.io).await;
        }
    }
    drop(listener);
    assert!(!path.exists(), "each ends as it does alone");
}

#[tokio::test]
async fn one_that_is_flooded_leaves_the_other_its_turn() {
    let listeners = [TcpListener::bind("127.0.0.1:0").await, TcpListener::bind("127.0.0.1:0").await];
    let [flooded, quiet] = listeners.map(|listener| listener.expect("bind"));
    let (flooded_addr, quiet_addr) = (local(&flooded), local(&quiet));
    let mut listener = Several::new([flooded, quiet]);
    let mut clients = Vec::new();
    for _ in 0..50 {
        clients.push(TcpStream::connect(flooded_addr).await.expect("connect"));
    }
    let patient = TcpStream::connect(quiet_addr).await.expect("connect");
    let mut before = 0;
    while listener.accept().await.expect("accept").peer.socket_addr() != patient.local_addr().ok() {
        before += 1;
    }
    // The reactor hears of both sockets in one turn of its own, but perhaps not in the first.
    assert!(before <= 3, "{before} went before it");
}

/// Whether the client learns of the end by a reset, and not by a clean close.
async fn is_reset(mut client: TcpStream) -> bool {
    client.read(&mut [0]).await.is_err_and(|error| error.kind() == std::io::ErrorKind::ConnectionReset)
}

#[tokio::test]
async fn a_switch_makes_every_end_a_reset() {
    let mut listener = AnyListener::bind("127.0.0.1:0").await.expect("bind");
    let addr = local(&listener);
    let switch = ResetSwitch::new();
    for on in [false, true] {
        let client = TcpStream::connect(addr).await.expect("connect");
        let accepted = listener.accept().await.expect("accept");
        let io = Guarded::new(Resettable::new(accepted.io, switch.clone()), ());
        if on {
            switch.on();
        }
        drop(io);
        assert_eq!(is_reset(client).await, on);
    }
}

#[tokio::test]
async fn a_reset_reaches_through_the_wrappers() {
    let listener = AnyListener::bind("127.0.0.1:0").await.expect("bind");
    let addr = local(&listener);
    let listener = graceful_listener::PerIp::new(graceful_listener::Limited::new(listener, 10), 10);
    let mut listener = graceful_listener::Proxied::new(listener, []);
    let client = TcpStream::connect(addr).await.expect("connect");
    let io = listener.accept().await.expect("accept").io;
    io.set_zero_linger().expect("option");
    drop(io);
    assert!(is_reset(client).await);
    #[cfg(unix)]
    {
        let (one, _other) = tokio::net::UnixStream::pair().expect("pair");
        one.set_zero_linger().expect("nothing to do is no error");
    }
}

#[tokio::test]
async fn what_is_unsent_does_not_outlive_a_reset() {
    let mut listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let client = TcpStream::connect(local(&listener)).await.expect("connect");
    let switch = ResetSwitch::new();
    let mut io = Resettable::new(listener.accept().await.expect("accept").io, switch.clone());
    // A client that does not read, and more than its kernel and ours take.
    let piece = vec![0; 1 << 20];
    while tokio_test::task::spawn(io.write(&piece)).poll().is_ready() {}
    switch.on();
    drop(io);
    let mut client = client;
    let mut read = 0;
    let error = loop {
        match client.read(&mut vec![0; 1 << 20]).await {
            Ok(0) => panic!("a clean end after {read} bytes: the kernel went on for us"),
            Ok(n) => read += n,
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
}
