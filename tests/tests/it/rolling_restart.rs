//! Two generations of the template on one port, under steady load: the new one is there before the old one is told to
//! end, and no client loses a request.

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use bytes::Bytes;
use h2::client::SendRequest;
use http::Request;
use tests::{Client, Program, within};
use tokio::{net::TcpStream, task::JoinSet, time::Instant};

use crate::PRODUCTION;

/// How often the server is restarted.
const ROUNDS: usize = 20;

/// Clients of each kind, and how long one waits between its requests: some 1,500 requests a second.
const EACH: usize = 3;
const PAUSE: Duration = Duration::from_millis(5);

/// A time in which the old one tells the clients that it goes, and the new one already serves.
const ARGS: [&str; 4] = ["--drain-delay", "100ms", "--log-level", "info,access=off"];

#[tokio::test(flavor = "multi_thread")]
async fn with_an_inherited_socket_no_request_is_lost() {
    let socket = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = socket.local_addr().expect("bound");
    let start = async || Program::start_on(PRODUCTION, socket.try_clone().expect("a descriptor"), &ARGS).await;
    roll("an inherited socket", address, start).await;
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn with_a_port_that_both_bind_no_request_is_lost() {
    // Keeps the port, and accepts nothing: it does not listen.
    let port = tokio::net::TcpSocket::new_v4().expect("a socket");
    port.set_reuseport(true).expect("an option of Linux");
    port.bind("127.0.0.1:0".parse().expect("an address")).expect("a free port");
    let address = port.local_addr().expect("bound");
    let listen = address.to_string();
    let args = [&["--listen", &listen, "--reuse-port"], &ARGS[..]].concat();
    roll("SO_REUSEPORT", address, async || Program::start(PRODUCTION, &args).await).await;
}

#[expect(clippy::print_stdout, reason = "the figures are of interest where the test passes, too")]
async fn roll(how: &str, address: SocketAddr, start: impl AsyncFn() -> Program) {
    let mut old = start().await;
    let load = Load::start(address);
    load.served("the first generation").await;
    for round in 1..=ROUNDS {
        let new = start().await;
        let ended = old.terminate().await;
        assert_eq!(ended.code, Some(0), "round {round}: {}", ended.stderr);
        load.served("those that are left").await;
        old = new;
    }
    let tally = load.stop().await;
    assert_eq!(old.terminate().await.code, Some(0));
    let Tally { answered, retried, slowest, lost, .. } = &*tally;
    let [answered, retried] =
        [answered, retried].map(|counts| counts.iter().map(|count| count.load(Relaxed)).collect::<Vec<_>>());
    let slowest = *slowest.lock().unwrap_or_else(PoisonError::into_inner);
    println!(
        "{how}: answered {answered:?} (h1 kept alive, h1 closed, h2), sent twice {retried:?}, slowest {slowest:?}"
    );
    let lost = lost.lock().unwrap_or_else(PoisonError::into_inner);
    assert!(lost.is_empty(), "{} requests were lost over {how}: {:?}", lost.len(), &lost[..lost.len().min(10)]);
}

/// The three kinds of clients.
const KINDS: [&str; 3] = ["h1 kept alive", "h1 closed", "h2"];

/// What became of the requests.
#[derive(Default)]
struct Tally {
    over: AtomicBool,
    answered: [AtomicUsize; 3],
    /// Sent once more, as RFC 9110 (9.2.2) lets a client do it: the connection had served before, and was closed before
    /// anything of an answer was there. Or refused by an HTTP/2 server that says that it was not begun.
    retried: [AtomicUsize; 3],
    slowest: Mutex<Duration>,
    lost: Mutex<Vec<String>>,
}

struct Load {
    tally: Arc<Tally>,
    clients: JoinSet<()>,
}

impl Load {
    fn start(address: SocketAddr) -> Self {
        let tally = Arc::new(Tally::default());
        let mut clients = JoinSet::new();
        for _ in 0..EACH {
            clients.spawn(client(Kept(None), 0, address, Arc::clone(&tally)));
            clients.spawn(client(Closed, 1, address, Arc::clone(&tally)));
            clients.spawn(client(Http2(None), 2, address, Arc::clone(&tally)));
        }
        Self { tally, clients }
    }

    /// Waits until each kind of client has been served some more.
    async fn served(&self, by: &str) {
        let count = |kind: usize| self.tally.answered[kind].load(Relaxed);
        let before = [0, 1, 2].map(count);
        within(&format!("clients to be served by {by}"), async {
            while (0..3).any(|kind| count(kind) < before[kind] + EACH) {
                tokio::time::sleep(PAUSE).await;
            }
        })
        .await;
    }

    async fn stop(mut self) -> Arc<Tally> {
        self.tally.over.store(true, Relaxed);
        while let Some(client) = within("the clients to end", self.clients.join_next()).await {
            client.expect("no panic");
        }
        self.tally
    }
}

/// One that asks again and again.
trait Asks {
    /// Asks once. `Err` says whether the request may be sent again.
    async fn ask(&mut self, address: SocketAddr) -> Result<(), (bool, io::Error)>;
}

async fn client(mut asks: impl Asks, kind: usize, address: SocketAddr, tally: Arc<Tally>) {
    while !tally.over.load(Relaxed) {
        let begin = Instant::now();
        let mut asked = asks.ask(address).await;
        if let Err((true, _)) = asked {
            tally.retried[kind].fetch_add(1, Relaxed);
            asked = asks.ask(address).await;
        }
        match asked {
            Ok(()) => {
                tally.answered[kind].fetch_add(1, Relaxed);
            }
            Err((_, error)) => {
                let lost = format!("{}: {error}", KINDS[kind]);
                tally.lost.lock().unwrap_or_else(PoisonError::into_inner).push(lost);
            }
        }
        {
            let mut slowest = tally.slowest.lock().unwrap_or_else(PoisonError::into_inner);
            *slowest = begin.elapsed().max(*slowest);
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// A connection for as long as the server keeps it.
struct Kept(Option<Client>);

impl Asks for Kept {
    async fn ask(&mut self, address: SocketAddr) -> Result<(), (bool, io::Error)> {
        let (mut client, reused) = match self.0.take() {
            Some(client) => (client, true),
            None => (Client::try_connect(address).await.map_err(|error| (false, error))?, false),
        };
        let asked = async {
            client.try_send("GET /api/work HTTP/1.1\r\nhost: test\r\n\r\n").await?;
            client.try_answer().await
        };
        let answer = asked.await.map_err(|error| (reused && client.has_read_nothing(), error))?;
        assert_eq!(answer.status, 200);
        // Told to go, it goes.
        self.0 = Some(client).filter(|_| answer.header("connection") != Some("close"));
        Ok(())
    }
}

/// A connection for each request.
struct Closed;

impl Asks for Closed {
    async fn ask(&mut self, address: SocketAddr) -> Result<(), (bool, io::Error)> {
        let asked = async {
            let mut client = Client::try_connect(address).await?;
            client.try_send("GET /api/work HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n").await?;
            client.try_answer().await
        };
        let answer = asked.await.map_err(|error| (false, error))?;
        assert_eq!(answer.status, 200);
        Ok(())
    }
}

struct Http2(Option<SendRequest<Bytes>>);

impl Http2 {
    #[expect(clippy::disallowed_methods, reason = "it ends with the connection")]
    async fn connect(address: SocketAddr) -> io::Result<SendRequest<Bytes>> {
        let stream = TcpStream::connect(address).await?;
        let (client, connection) = h2::client::handshake(stream).await.map_err(io::Error::other)?;
        tokio::spawn(async move {
            let _ = connection.await;
        });
        Ok(client)
    }
}

impl Asks for Http2 {
    async fn ask(&mut self, address: SocketAddr) -> Result<(), (bool, io::Error)> {
        let request = || Request::get("http://test/api/work").body(()).expect("a request");
        let mut sent = None;
        if let Some(Ok(mut client)) = match self.0.take() {
            Some(client) => Some(client.ready().await),
            None => None,
        } {
            // What the client itself refuses, after GOAWAY, was not sent.
            sent = client.send_request(request(), true).ok();
            self.0 = sent.is_some().then_some(client);
        }
        let (response, _) = match sent {
            Some(sent) => sent,
            None => {
                let connected = async { Self::connect(address).await?.ready().await.map_err(io::Error::other) };
                let mut client = connected.await.map_err(|error| (false, error))?;
                let sent = client.send_request(request(), true).map_err(|error| (false, io::Error::other(error)))?;
                self.0 = Some(client);
                sent
            }
        };
        let answered = within("an answer", response).await.map_err(|error| {
            self.0 = None;
            // A GOAWAY that the stream is not a part of, or REFUSED_STREAM (RFC 9113, 8.7).
            let not_begun = error.is_go_away() || error.reason() == Some(h2::Reason::REFUSED_STREAM);
            (not_begun, io::Error::other(error))
        })?;
        assert_eq!(answered.status().as_u16(), 200);
        let mut body = answered.into_body();
        while let Some(chunk) = within("the body", body.data()).await {
            chunk.map_err(|error| (false, io::Error::other(error)))?;
        }
        Ok(())
    }
}
