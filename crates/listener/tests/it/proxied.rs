use std::{net::SocketAddr, time::Duration};

use graceful_listener::{
    AnyListener, ConnectionRate, Guarded, IpPrefix, Limited, Listener, PerIp, PerIpLimit, Proxied, ProxyError, Rate,
    Several, TcpListener,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

fn local(listener: &impl Listener) -> SocketAddr {
    listener.local_addr().expect("bound").socket_addr().expect("TCP")
}

/// Connects from an address of 127/8 that plays the proxy, or somebody else.
async fn connect_from(from: [u8; 4], to: SocketAddr) -> TcpStream {
    let socket = tokio::net::TcpSocket::new_v4().expect("socket");
    socket.bind((from, 0).into()).expect("all of 127/8 is ours");
    socket.connect(to).await.expect("connect")
}

const PROXY: [u8; 4] = [127, 0, 0, 9];

fn proxies() -> [IpPrefix; 1] {
    ["127.0.0.9".parse().expect("a range")]
}

#[tokio::test]
async fn a_silent_proxy_holds_up_nobody() {
    let mut listener = Proxied::new(TcpListener::bind("127.0.0.1:0").await.expect("bind"), proxies());
    let addr = local(&listener);
    let _silent = connect_from(PROXY, addr).await;
    let mut silent = listener.accept().await.expect("accept does not wait for the header").io;
    let mut other = connect_from(PROXY, addr).await;
    other.write_all(b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\nhello").await.expect("write");
    let mut accepted = listener.accept().await.expect("accept").io;
    accepted.header().await.expect("a header");
    let mut read = [0; 5];
    accepted.read_exact(&mut read).await.expect("read");
    assert_eq!((&read, accepted.peer().to_string().as_str()), (b"hello", "192.0.2.1:1"));
    accepted.write_all(b"world").await.expect("write");
    other.read_exact(&mut read).await.expect("read");
    assert_eq!(&read, b"world");
    // The deadline is its owner's.
    assert!(timeout(Duration::ZERO, silent.header()).await.is_err());
}

#[tokio::test]
async fn a_proxy_that_leaves_or_forgets_the_header_and_a_stranger_that_sends_one() {
    let mut listener = Proxied::new(TcpListener::bind("127.0.0.1:0").await.expect("bind"), proxies());
    let addr = local(&listener);
    drop(connect_from(PROXY, addr).await);
    let mut io = listener.accept().await.expect("accept").io;
    let error = io.header().await.expect_err("it left");
    assert!(matches!(error, ProxyError::Closed { after: 0 }), "a health check that only connects: {error:?}");

    let mut forgets = connect_from(PROXY, addr).await;
    forgets.write_all(b"GET / HTTP/1.1\r\n").await.expect("write");
    let mut io = listener.accept().await.expect("accept").io;
    assert!(matches!(io.header().await, Err(ProxyError::Missing)));

    let mut stranger = connect_from([127, 0, 0, 8], addr).await;
    stranger.write_all(b"PROXY TCP4 10.0.0.1 10.0.0.2 1 2\r\n").await.expect("write");
    let mut io = listener.accept().await.expect("accept").io;
    assert!(io.header().await.expect("none is expected").is_none());
    assert_eq!(io.peer().ip(), Some([127, 0, 0, 8].into()), "nobody can give himself another address");
    assert_eq!(io.read_u8().await.expect("read"), b'P');
}

/// All of it in the order that a server uses it, and the limits on who is really there.
#[tokio::test]
async fn behind_a_proxy_the_limits_count_the_client() {
    let limit = PerIpLimit::new(1);
    let rate = ConnectionRate::new(2, Duration::from_secs(3600));
    let listener = Several::new([AnyListener::bind("127.0.0.1:0").await.expect("bind")]);
    let listener = PerIp::new(Limited::new(listener, 100), limit.clone().exempt(proxies()));
    let listener = Rate::new(listener, rate.clone().exempt(proxies()));
    let mut listener = Proxied::new(listener, proxies());
    let addr = local(&listener);

    let mut held = Vec::new();
    let mut admitted = Vec::new();
    for client in ["192.0.2.1", "192.0.2.2", "192.0.2.1", "192.0.2.2", "192.0.2.3"] {
        let mut proxy = connect_from(PROXY, addr).await;
        proxy.write_all(format!("PROXY TCP4 {client} 198.51.100.1 1 443\r\n").as_bytes()).await.expect("write");
        let mut io = listener.accept().await.expect("the proxy itself is exempt").io;
        io.header().await.expect("a header");
        let place = if rate.admit(io.peer()) { limit.admit(io.peer()) } else { None };
        admitted.push(place.is_some());
        held.push(place.map(|place| Guarded::new(io, place)));
    }
    assert_eq!(admitted, [true, true, false, false, true], "one for each client, not one for the proxy");
    assert_eq!((limit.addresses(), limit.refused()), (3, 2));
    held.clear();
    assert_eq!(limit.addresses(), 0, "each place came back");
    assert!(!rate.admit("192.0.2.1:9".parse::<SocketAddr>().expect("an address").into()), "two an hour were had");
}

#[cfg(unix)]
#[tokio::test]
async fn a_proxy_on_a_unix_socket() {
    use crate::unix::{Dir, address};

    let dir = Dir::new();
    let path = dir.join("app.sock");
    let listener = AnyListener::bind(&address(&path)).await.expect("bind");
    let mut listener = Proxied::new(listener, []).trust_unix(true);
    let mut proxy = tokio::net::UnixStream::connect(&path).await.expect("connect");
    proxy.write_all(b"PROXY TCP6 2001:db8::1 2001:db8::2 1 2\r\n").await.expect("write");
    let mut io = listener.accept().await.expect("accept").io;
    io.header().await.expect("a header");
    assert_eq!(io.peer().to_string(), "[2001:db8::1]:1");
}
