//! Where the public port listens, and whom it believes: several addresses, Unix sockets, proxies, limits by address.

use std::time::Duration;

use futures_util::future::join_all;
use graceful::{Config, Server};
use nix::sys::signal::Signal;
use tests::within;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream, UnixStream},
    time::{Instant, sleep},
};

use crate::playground;

const GET: &[u8] = b"GET /healthz HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n";

async fn ask<Io: AsyncReadExt + AsyncWriteExt + Unpin>(mut io: Io, request: &[u8]) -> String {
    io.write_all(request).await.expect("the server reads");
    let mut answer = String::new();
    // A connection that is refused may be reset before it is read to its end.
    let _ = within("the end", io.read_to_string(&mut answer)).await;
    answer
}

#[test]
fn several_addresses_are_one_server() {
    tests::leaves_nothing(several_addresses());
}

async fn several_addresses() {
    let folder = std::env::temp_dir().join(format!("graceful-public-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a temporary folder");
    let path = folder.join("app.sock");
    let listen = format!("127.0.0.1:0,unix:{}", path.display());
    let app = axum::Router::new().route("/healthz", axum::routing::get(async || "ok"));
    let mut config = Config::default();
    config.listen = listen;
    config.debug_listen = None;
    let server = Server::new(app).config(config).bind().await.expect("free addresses");
    let (address, shutdown) = (server.local_addr().expect("TCP"), server.shutdown());
    let clients = async {
        for _ in 0..3 {
            let tcp = TcpStream::connect(address).await.expect("it listens");
            assert!(ask(tcp, GET).await.ends_with("ok"));
            let unix = UnixStream::connect(&path).await.expect("it listens there, too");
            assert!(ask(unix, GET).await.ends_with("ok"));
        }
        shutdown.trigger();
    };
    let (report, ()) = tokio::join!(server.run(), clients);
    assert!(report.expect("a clean end").is_clean());
    assert!(!path.exists(), "the socket's file is removed at the end");
    let _ = std::fs::remove_dir_all(folder);
}

#[tokio::test]
async fn a_trusted_proxy_names_the_client_who_is_logged_and_counted() {
    let program = playground(&["--proxy-protocol", "127.0.0.0/8", "--max-connections-per-ip", "1"]).await;
    let connect = || async { TcpStream::connect(program.address()).await.expect("it listens") };
    let named = [b"PROXY TCP4 192.0.2.7 198.51.100.1 5000 443\r\n", GET].concat();
    assert!(ask(connect().await, &named).await.starts_with("HTTP/1.1 200 "));
    let record = program.log().access("/healthz", 1).await.swap_remove(0);
    assert_eq!(record["peer"], "192.0.2.7:5000");

    // One connection for each client, however many the proxy makes.
    let mut first = connect().await;
    first
        .write_all(b"PROXY TCP4 192.0.2.8 198.51.100.1 5000 443\r\nGET /slow?ms=600000 HTTP/1.1\r\nhost: x\r\n\r\n")
        .await
        .expect("open");
    program.log().message("waiting").await;
    let second = [b"PROXY TCP4 192.0.2.8 198.51.100.1 5001 443\r\n", GET].concat();
    assert_eq!(ask(connect().await, &second).await, "", "one too many from there");
    assert!(ask(connect().await, &named).await.starts_with("HTTP/1.1 200 "), "another one is served");
    drop(first);

    // Without a header, or with one that is none, a trusted proxy is not served.
    assert_eq!(ask(connect().await, GET).await, "");
    let line = program.log().message("no PROXY header").await;
    assert_eq!((&line["kind"], &line["source"]), (&"proxy_protocol".into(), &"http".into()));
}

#[tokio::test]
async fn a_proxy_that_speaks_for_itself_is_no_client() {
    let args = ["--proxy-protocol", "127.0.0.1", "--max-connections-per-ip", "1", "--max-connection-rate-per-ip", "1"];
    let program = playground(&args).await;
    let mut open = Vec::new();
    for n in 1..=5 {
        let mut io = TcpStream::connect(program.address()).await.expect("it listens");
        io.write_all(b"PROXY UNKNOWN\r\nGET /healthz HTTP/1.1\r\nhost: x\r\n\r\n").await.expect("open");
        let mut status = [0; 13];
        within("an answer", io.read_exact(&mut status)).await.unwrap_or_else(|error| panic!("check {n}: {error}"));
        assert_eq!(&status, b"HTTP/1.1 200 ");
        open.push(io);
    }
}

#[tokio::test]
async fn proxies_that_go_wrong_do_not_fill_the_log() {
    let program = playground(&["--proxy-protocol", "127.0.0.1"]).await;
    for _ in 0..30 {
        assert_eq!(ask(TcpStream::connect(program.address()).await.expect("it listens"), GET).await, "");
        // A check whether anybody is there: it has done nothing wrong.
        let mut check = TcpStream::connect(program.address()).await.expect("it listens");
        check.shutdown().await.expect("open");
        assert_eq!(ask(check, b"").await, "");
    }
    let ended = program.terminate().await;
    let lines = ended.log.lines();
    let of_kind = |kind| lines.iter().filter(move |line| line["kind"] == kind).collect::<Vec<_>>();
    assert_eq!(of_kind("proxy_protocol").len(), 10, "the first few");
    let noise = of_kind("noise");
    assert_eq!((noise.len(), &noise[0]["count"], &noise[0]["kinds"]), (1, &20.into(), &"proxy_protocol=20".into()));
}

#[tokio::test]
async fn a_proxy_that_says_nothing_is_closed_at_the_limit_of_a_head() {
    let program = playground(&["--proxy-protocol", "127.0.0.1", "--read-header-timeout", "300ms"]).await;
    let silent = TcpStream::connect(program.address()).await.expect("it listens");
    assert_eq!(ask(silent, b"").await, "");
    let line = program.log().message("no PROXY header").await;
    assert_eq!(line["error"], "it did not come in time");
}

#[tokio::test]
async fn a_proxy_that_says_nothing_does_not_hold_up_a_shutdown() {
    let program = playground(&["--proxy-protocol", "127.0.0.1", "--read-header-timeout", "off"]).await;
    let silent = TcpStream::connect(program.address()).await.expect("it listens");
    // The one behind it is served: so both are accepted.
    let named = [b"PROXY TCP4 192.0.2.7 198.51.100.1 5000 443\r\n", GET].concat();
    let other = TcpStream::connect(program.address()).await.expect("it listens");
    assert!(ask(other, &named).await.starts_with("HTTP/1.1 200 "));
    program.signal(Signal::SIGTERM);
    assert_eq!(ask(silent, b"").await, "");
    let ended = program.ended().await;
    assert_eq!(ended.code, Some(0), "nobody was late: {}", ended.stderr);
    assert!(!ended.log.lines().iter().any(|line| line["kind"] == "proxy_protocol"), "it has done nothing wrong");
}

#[tokio::test]
async fn who_is_not_trusted_is_not_believed() {
    let program = playground(&["--proxy-protocol", "10.0.0.0/8"]).await;
    let lie = [b"PROXY TCP4 192.0.2.7 198.51.100.1 5000 443\r\n", GET].concat();
    let stream = TcpStream::connect(program.address()).await.expect("it listens");
    let answer = ask(stream, &lie).await;
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
}

/// A token bucket for each address: a burst, and then the rate. Who is refused is closed at once, and others are served.
#[tokio::test]
async fn one_address_connects_no_faster_than_it_may() {
    let args = ["--max-connection-rate-per-ip", "1", "--max-connection-burst-per-ip", "5"];
    let program = playground(&args).await;
    let ask_from = async |address: &str| {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.bind(format!("{address}:0").parse().expect("an address")).expect("a loopback address");
        let stream = within("connecting", socket.connect(program.address())).await.expect("accepted, if not kept");
        ask(stream, GET).await
    };
    let start = Instant::now();
    let mut served = 0;
    for _ in 0..30 {
        served += usize::from(ask_from("127.0.0.2").await.starts_with("HTTP/1.1 200 "));
    }
    let more = usize::try_from(start.elapsed().as_secs()).expect("a few seconds") + 1;
    assert!(served >= 5 && served <= 5 + more, "the burst, and one a second: {served} in {:?}", start.elapsed());
    for _ in 0..5 {
        assert!(ask_from("127.0.0.3").await.starts_with("HTTP/1.1 200 "), "another address has its own");
    }
    // In a second or so there is room again.
    within("room", async {
        while !ask_from("127.0.0.2").await.starts_with("HTTP/1.1 200 ") {
            sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
    assert_eq!(program.terminate().await.code, Some(0));
}

#[tokio::test]
async fn behind_a_proxy_the_rate_is_the_clients() {
    let args = ["--proxy-protocol", "127.0.0.1", "--max-connection-rate-per-ip", "1"];
    let program = playground(&args).await;
    let ask_for = async |client: &str| {
        let stream = TcpStream::connect(program.address()).await.expect("it listens");
        ask(stream, &[format!("PROXY TCP4 {client} 198.51.100.1 5000 443\r\n").as_bytes(), GET].concat()).await
    };
    let served = join_all((0..20).map(|_| ask_for("192.0.2.7"))).await;
    let served = served.iter().filter(|answer| answer.starts_with("HTTP/1.1 200 ")).count();
    assert!((1..20).contains(&served), "some are refused: {served}");
    // The proxy itself is not counted: twenty connections of it are no reason to refuse another client.
    assert!(ask_for("192.0.2.8").await.starts_with("HTTP/1.1 200 "));
    assert_eq!(program.terminate().await.code, Some(0));
}
