use std::{io::IoSlice, net::SocketAddr};

use graceful_listener::{Limited, Listener, Logged, PerIp, PerIpLimit, TcpListener, WhenFull};
use tokio::{
    io::{AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
};
use tokio_test::task;

fn local(listener: &impl Listener) -> SocketAddr {
    listener.local_addr().expect("bound").socket_addr().expect("TCP")
}

async fn bind() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").await.expect("bind")
}

/// Whether the server has closed the connection, cleanly or not.
async fn is_closed(client: &mut TcpStream) -> bool {
    matches!(client.read(&mut [0]).await, Ok(0) | Err(_))
}

#[tokio::test]
async fn over_the_limit_a_client_waits_in_the_kernel_and_is_served_later() {
    let mut listener = Limited::new(bind().await, 1);
    let addr = local(&listener);
    let _first_client = TcpStream::connect(addr).await.expect("connect");
    let first = listener.accept().await.expect("accept");
    // The kernel shakes hands for it and keeps what it says.
    let mut second_client = TcpStream::connect(addr).await.expect("connect");
    second_client.write_all(b"hello").await.expect("write");
    {
        let mut accept = task::spawn(listener.accept());
        assert!(accept.poll().is_pending());
        assert!(!accept.is_woken());
        drop(first);
        assert!(accept.is_woken());
    }
    let mut second = listener.accept().await.expect("accept");
    let mut read = [0; 5];
    second.io.read_exact(&mut read).await.expect("read");
    assert_eq!(&read, b"hello", "nothing of what it said meanwhile is lost");
}

#[tokio::test]
async fn refused_means_closed_at_once() {
    let mut listener = Limited::new(bind().await, 1).when_full(WhenFull::Refuse);
    let limit = listener.limit().clone();
    let addr = local(&listener);
    let mut first_client = TcpStream::connect(addr).await.expect("connect");
    let mut first = listener.accept().await.expect("accept");
    let mut refused = TcpStream::connect(addr).await.expect("the kernel shakes hands");
    tokio::select! {
        _ = listener.accept() => panic!("there is no place"),
        closed = is_closed(&mut refused) => assert!(closed),
    }
    assert_eq!((limit.refused(), limit.open()), (1, 1));
    first.io.write_all(b"x").await.expect("the first is not touched");
    assert_eq!(first_client.read_u8().await.expect("read"), b'x');
}

#[tokio::test]
async fn one_address_cannot_take_all_and_another_is_served() {
    let limit = PerIpLimit::new(2);
    let mut listener = Logged::new(PerIp::new(Limited::new(bind().await, 100), &limit));
    let addr = local(&listener);
    let mut held = Vec::new();
    let mut clients = Vec::new();
    for _ in 0..2 {
        clients.push(TcpStream::connect(addr).await.expect("connect"));
        held.push(listener.accept().await.expect("accept"));
    }
    let mut greedy = TcpStream::connect(addr).await.expect("connect");
    tokio::select! {
        _ = listener.accept() => panic!("one too many for its address"),
        closed = is_closed(&mut greedy) => assert!(closed),
    }
    let socket = tokio::net::TcpSocket::new_v4().expect("socket");
    socket.bind("127.0.0.2:0".parse().expect("an address")).expect("all of 127/8 is ours");
    let _other = socket.connect(addr).await.expect("connect");
    let other = listener.accept().await.expect("another address is served");
    assert_eq!(other.peer.ip(), Some([127, 0, 0, 2].into()));
    let total = listener.get_ref().get_ref().limit().clone();
    assert_eq!((limit.refused(), limit.addresses(), total.open()), (1, 2, 3));
    drop((held, other));
    assert_eq!((limit.addresses(), total.open()), (0, 0), "every place came back");
}

#[tokio::test]
#[expect(clippy::disallowed_methods, reason = "the test waits for the task")]
async fn a_place_goes_where_the_connection_goes_and_comes_back_once() {
    let mut listener = PerIp::new(Limited::new(bind().await, 10), 10);
    let (limit, total) = (listener.limit().clone(), listener.get_ref().limit().clone());
    let mut client = TcpStream::connect(local(&listener)).await.expect("connect");
    let mut upgraded = listener.accept().await.expect("accept").io;
    // As after an upgrade: another task owns the connection, the server has forgotten it.
    let echo = tokio::spawn(async move {
        let byte = upgraded.read_u8().await.expect("read");
        upgraded.write_u8(byte).await.expect("write");
        assert!(upgraded.read_u8().await.is_err(), "until the client goes");
    });
    client.write_u8(7).await.expect("write");
    assert_eq!(client.read_u8().await.expect("read"), 7);
    assert_eq!((limit.addresses(), total.open()), (1, 1), "an upgraded connection still has its place");
    drop(client);
    echo.await.expect("ends");
    assert_eq!((limit.addresses(), total.open()), (0, 0));

    // A panic on the way gives it back too.
    let _client = TcpStream::connect(local(&listener)).await.expect("connect");
    let lost = listener.accept().await.expect("accept").io;
    let died = tokio::spawn(async move {
        let _lost = lost;
        panic!("with the connection in hand");
    });
    assert!(died.await.expect_err("a panic").is_panic());
    assert_eq!((limit.addresses(), total.open()), (0, 0));

    // Taken apart, it is the guard that counts.
    let _client = TcpStream::connect(local(&listener)).await.expect("connect");
    let (inner, place) = listener.accept().await.expect("accept").io.into_parts();
    drop(place);
    assert_eq!((limit.addresses(), total.open()), (0, 1));
    drop(inner);
    assert_eq!(total.open(), 0);
}

#[tokio::test]
async fn vectored_writes_reach_the_socket() {
    let mut listener = PerIp::new(Limited::new(bind().await, 10), 10);
    let mut client = TcpStream::connect(local(&listener)).await.expect("connect");
    let mut io = listener.accept().await.expect("accept").io;
    assert!(io.is_write_vectored(), "hyper copies what it could send as it is, if this is lost");
    let written = io.write_vectored(&[IoSlice::new(b"head"), IoSlice::new(b"body")]).await.expect("write");
    assert_eq!(written, 8, "both in one call");
    io.flush().await.expect("flush");
    io.shutdown().await.expect("shutdown");
    let mut read = String::new();
    client.read_to_string(&mut read).await.expect("read");
    assert_eq!(read, "headbody", "and shutdown reaches it as well");
}
