//! Where the public port listens, and whom it believes: several addresses, Unix sockets, proxies, limits by address.

use std::time::Duration;

use graceful::{Config, Server};
use nix::sys::signal::Signal;
use tests::{Client, within};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpStream, UnixStream},
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

#[tokio::test]
async fn several_addresses_are_one_server() {
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

#[tokio::test]
async fn one_address_cannot_hold_every_place() {
    let program =
        playground(&["--max-connections-per-ip", "50", "--max-connections", "200", "--read-header-timeout", "60s"])
            .await;
    // A thousand half heads from one address, and a client at another.
    let mut attackers = Vec::new();
    for _ in 0..1000 {
        let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
        socket.bind("127.0.0.2:0".parse().expect("an address")).expect("a loopback address");
        let mut stream = within("connecting", socket.connect(program.address())).await.expect("accepted, if not kept");
        let _ = stream.write_all(b"GET / HTTP/1.1\r\nhost").await;
        attackers.push(stream);
        if attackers.len() % 100 == 0 {
            let answer = tokio::time::timeout(Duration::from_secs(10), async {
                let mut client = Client::connect(program.address()).await;
                client.send("GET /healthz HTTP/1.1\r\nhost: test\r\n\r\n").await;
                client.head().await.status
            });
            assert_eq!(answer.await, Ok(200), "with {} attackers", attackers.len());
        }
    }
}
