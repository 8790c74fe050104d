//! A shutdown always returns, and names exactly those who were late.
//!
//! Late is who was in the middle of something at the deadline: a request (its head on HTTP/1, its handler, its answer), or
//! an upgraded socket. Whoever was not is closed in time and never named: silent or idle connections, halves of an
//! HTTP/2 preface or header block, peers without a stream that answer no PING, halves of a TLS handshake.

use std::{
    any::Any,
    future::pending,
    net::SocketAddr,
    path::PathBuf,
    sync::{
        Arc, Condvar, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread,
    time::Duration,
};

use axum::{
    Router,
    extract::{Path, State, WebSocketUpgrade},
    response::Response,
    routing::get,
};
use futures_util::future::join_all;
use graceful::{Config, Error, Report, Server, ShutdownSignal, handler::ws::WebSocketExt};
use tests::{Frame, Http2, within};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
    runtime::Handle,
    sync::watch,
    time::Instant,
};
use tokio_rustls::rustls::{
    ClientConfig, ClientConnection, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, ServerName},
};

use crate::tls::{self, Files};

/// Longer than what is given to the peer of a GOAWAY and to a handshake, which is 1 s.
const TIMEOUT: Duration = Duration::from_secs(2);

/// How long `run` may take beyond it.
const GRACE: Duration = Duration::from_millis(500);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Guest {
    Silent,
    Idle,
    HalfHead,
    /// Its handler waits for ever.
    Stuck,
    /// Its handler does not even wait: it keeps the thread.
    Blocking,
    /// A WebSocket that reads nothing, and so does not answer the Close.
    DeafSocket,
    /// Takes the head of a big answer, and then nothing.
    Stalled,
    HalfPreface,
    /// Says its preface, and answers neither SETTINGS nor PING. So do all that follow.
    Http2Silent,
    Http2Idle,
    Http2HalfBlock,
    Http2Stuck,
    Http2Blocking,
    Http2Stalled,
    /// Not a byte of a TLS handshake.
    NoHello,
    /// A part of a `ClientHello`.
    HalfHello,
    /// A whole one, and no answer to the server's.
    HalfHandshake,
}

impl Guest {
    /// In the clear, and inside TLS.
    const ANY: [Self; 14] = [
        Self::Silent,
        Self::Idle,
        Self::HalfHead,
        Self::Stuck,
        Self::Blocking,
        Self::DeafSocket,
        Self::Stalled,
        Self::HalfPreface,
        Self::Http2Silent,
        Self::Http2Idle,
        Self::Http2HalfBlock,
        Self::Http2Stuck,
        Self::Http2Blocking,
        Self::Http2Stalled,
    ];

    const TLS: [Self; 3] = [Self::NoHello, Self::HalfHello, Self::HalfHandshake];

    /// Whether a handler hears of it.
    const fn asks(self) -> bool {
        matches!(
            self,
            Self::Idle
                | Self::Stuck
                | Self::Blocking
                | Self::Stalled
                | Self::Http2Idle
                | Self::Http2Stuck
                | Self::Http2Blocking
                | Self::Http2Stalled
        )
    }

    /// Whether its handler keeps a thread.
    const fn blocks(self) -> bool {
        matches!(self, Self::Blocking | Self::Http2Blocking)
    }

    /// What the report says of it: its state, or its request's path; `None` if it is not late.
    const fn late(self) -> Option<&'static str> {
        match self {
            Self::HalfHead => Some("active"),
            Self::DeafSocket => Some("upgraded"),
            Self::Stuck | Self::Http2Stuck => Some("/stuck"),
            Self::Blocking | Self::Http2Blocking => Some("/block"),
            Self::Stalled | Self::Http2Stalled => Some("/big"),
            Self::Silent
            | Self::Idle
            | Self::HalfPreface
            | Self::Http2Silent
            | Self::Http2Idle
            | Self::Http2HalfBlock
            | Self::NoHello
            | Self::HalfHello
            | Self::HalfHandshake => None,
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 6)]
async fn each_alone_in_the_clear() {
    join_all(Guest::ANY.map(|guest| check(vec![guest], None))).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 6)]
async fn each_alone_over_tls() {
    let files = Files::new();
    let trusted = files.write("one");
    let guests = Guest::ANY.into_iter().chain(Guest::TLS);
    join_all(guests.map(|guest| check(vec![guest], Some((&files, &trusted))))).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 6)]
async fn all_together() {
    let files = Files::new();
    let trusted = files.write("one");
    let clear = check(Guest::ANY.to_vec(), None);
    let tls = check([&Guest::ANY[..], &Guest::TLS].concat(), Some((&files, &trusted)));
    tokio::join!(clear, tls);
}

/// A handshake, or the answer to a GOAWAY, has up to 1 s; where there is less, it is cut, and still nobody has lost
/// anything.
#[tokio::test(flavor = "multi_thread", worker_threads = 6)]
async fn however_short_the_time_who_is_in_the_middle_of_nothing_is_not_late() {
    let files = Files::new();
    let trusted = files.write("one");
    let guests: Vec<_> = Guest::ANY.into_iter().chain(Guest::TLS).filter(|guest| guest.late().is_none()).collect();
    let clear = Guest::ANY.into_iter().filter(|guest| guest.late().is_none()).collect();
    let soon = Duration::from_millis(300);
    tokio::join!(check_within(soon, clear, None), check_within(soon, guests, Some((&files, &trusted))));
}

async fn check(guests: Vec<Guest>, tls: Option<(&Files, &CertificateDer<'static>)>) {
    let took = check_within(TIMEOUT, guests.clone(), tls).await;
    let all_in_time = guests.iter().all(|guest| guest.late().is_none());
    assert!(took < TIMEOUT || !all_in_time, "nobody is waited for to the deadline: {guests:?} took {took:?}");
}

/// Has the guests in the middle of what they do, ends the server, and looks at how; gives how long it took.
async fn check_within(
    timeout: Duration,
    mut guests: Vec<Guest>,
    tls: Option<(&Files, &CertificateDer<'static>)>,
) -> Duration {
    let over = format!("{guests:?}{}", if tls.is_some() { " over TLS" } else { "" });
    let house = House::default();
    let mut config = Config::default();
    config.listen = "127.0.0.1:0".to_owned();
    config.debug_listen = None;
    config.shutdown_timeout = Some(timeout);
    // However slowly the guests arrive on a busy machine, no limit but the shutdown's ends them.
    (config.read_header_timeout, config.tls_handshake_timeout) = (Some(30 * TIMEOUT), Some(30 * TIMEOUT));
    if let Some((files, _)) = tls {
        let [_, chain, _, key] = files.args().map(PathBuf::from);
        (config.tls_cert, config.tls_key) = (Some(chain), Some(key));
    }
    let bound = Server::new(house.router()).config(config).bind().await.expect("a free port");
    let (address, shutdown) = (bound.local_addr().expect("TCP"), bound.shutdown());
    #[expect(clippy::disallowed_methods, reason = "the test waits for it")]
    let server = tokio::spawn(bound.run());
    let (_poke, _release) = (Poke::start(), Release(Arc::clone(&house.blocked)));

    let arrive = |&guest| arrive(guest, address, tls.map(|(_, trusted)| trusted));
    // Those last that keep a thread: until they do, nothing keeps the others from arriving.
    guests.sort_by_key(|guest| guest.blocks());
    let (others, blocking) = guests.split_at(guests.partition_point(|guest| !guest.blocks()));
    let mut arrived = join_all(others.iter().map(arrive)).await;
    let mut begun = house.begun.subscribe();
    let mut asking = others.iter().filter(|guest| guest.asks()).count();
    within("the handlers to begin", begun.wait_for(|begun| *begun == asking)).await.expect("the sender is in `house`");
    // One after the other: the task of the next, woken by the one before (that waits for a place to shake hands, say),
    // would be next on the thread that this one keeps, and tokio lets no other thread have it.
    for guest in blocking {
        arrived.push(arrive(guest).await);
        asking += 1;
        within("it to block", begun.wait_for(|begun| *begun == asking)).await.expect("the sender is in `house`");
    }
    shutdown.trigger();
    let begin = Instant::now();
    let ended = within("the server to end", server).await.expect("no panic");
    let took = begin.elapsed();

    let mut due: Vec<_> = guests
        .iter()
        .zip(&arrived)
        .filter_map(|(guest, arrived)| Some((arrived.peer.to_string(), guest.late()?.to_owned())))
        .collect();
    due.sort_unstable();
    let report = report(ended);
    let mut late: Vec<_> = report.late().map(|(_, late)| (detail(late, "peer"), said(late))).collect();
    late.sort_unstable();
    assert_eq!(late, due, "exactly those who are late are named: {over}: {report:#}");
    assert!(took < timeout + GRACE, "{over} took {took:?}");
    took
}

/// What came of it, well or not.
fn report(ended: Result<Report, Error>) -> Report {
    match ended {
        Ok(report) => report,
        Err(Error::Forced(report)) => *report,
        Err(other) => panic!("{other}"),
    }
}

/// The state of a connection, or the path of a request.
fn said(late: &graceful::shutdown::Late) -> String {
    match late.what.as_str() {
        "connection" => detail(late, "state"),
        "request" => detail(late, "path"),
        other => panic!("what is {other}?"),
    }
}

fn detail(late: &graceful::shutdown::Late, name: &str) -> String {
    let found = late.details.iter().find(|detail| detail.0 == name);
    found.unwrap_or_else(|| panic!("no {name} in {late}")).1.clone()
}

/// What the handlers share with the test.
#[derive(Clone, Default)]
struct House {
    /// How many handlers have begun.
    begun: watch::Sender<usize>,
    blocked: Arc<Blocked>,
}

#[derive(Default)]
struct Blocked {
    released: Mutex<bool>,
    changed: Condvar,
}

impl Blocked {
    fn wait(&self) {
        let released = self.released.lock().unwrap_or_else(PoisonError::into_inner);
        let _released = self.changed.wait_while(released, |released| !*released);
    }

    fn release(&self) {
        *self.released.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.changed.notify_all();
    }
}

/// Lets the blocked threads go with the test.
struct Release(Arc<Blocked>);

impl Drop for Release {
    fn drop(&mut self) {
        self.0.release();
    }
}

impl House {
    fn router(&self) -> Router {
        async fn one(State(house): State<House>, Path(path): Path<String>) -> String {
            house.begun.send_modify(|begun| *begun += 1);
            match path.as_str() {
                "stuck" => pending().await,
                "block" => {
                    house.blocked.wait();
                    String::new()
                }
                "big" => "x".repeat(16 << 20),
                _ => "ok".to_owned(),
            }
        }
        async fn ws(upgrade: WebSocketUpgrade, ShutdownSignal(shutdown): ShutdownSignal) -> Response {
            upgrade.on_upgrade(async move |socket| {
                let mut socket = socket.until_shutdown(&shutdown);
                while let Some(Ok(_)) = socket.recv().await {}
            })
        }
        Router::new().route("/ws", get(ws)).route("/{path}", get(one)).with_state(self.clone())
    }
}

/// Wakes an idle worker now and then, as `graceful::main` does: the one that waits for timers and sockets may be blocked.
struct Poke(Arc<AtomicBool>);

impl Poke {
    fn start() -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let (poke, runtime) = (Self(Arc::clone(&over)), Handle::current());
        thread::spawn(move || {
            while !over.load(Relaxed) {
                runtime.spawn(async {});
                thread::sleep(Duration::from_millis(10));
            }
        });
        poke
    }
}

impl Drop for Poke {
    fn drop(&mut self) {
        self.0.store(true, Relaxed);
    }
}

/// A guest that is in the middle of what it does.
struct Arrived {
    peer: SocketAddr,
    _socket: Box<dyn Any + Send>,
}

trait Socket: AsyncRead + AsyncWrite + Unpin + Send + 'static {}
impl<Io: AsyncRead + AsyncWrite + Unpin + Send + 'static> Socket for Io {}

async fn arrive(guest: Guest, address: SocketAddr, trusted: Option<&CertificateDer<'static>>) -> Arrived {
    let mut stream = within("a connection", TcpStream::connect(address)).await.expect("somebody listens");
    let peer = stream.local_addr().expect("connected");
    let socket: Box<dyn Any + Send> = match (guest, trusted) {
        (Guest::NoHello, _) => Box::new(stream),
        (Guest::HalfHello | Guest::HalfHandshake, _) => {
            let hello = hello();
            let part = if guest == Guest::HalfHello { &hello[..hello.len() / 2] } else { &hello };
            stream.write_all(part).await.expect("it reads");
            if guest == Guest::HalfHandshake {
                within("its hello", stream.read_u8()).await.expect("an answer");
            }
            Box::new(stream)
        }
        (_, None) => speak(guest, stream).await,
        (_, Some(trusted)) => speak(guest, tls::shake_hands(stream, trusted).await.expect("a handshake")).await,
    };
    Arrived { peer, _socket: socket }
}

async fn speak(guest: Guest, mut io: impl Socket) -> Box<dyn Any + Send> {
    match guest {
        Guest::Silent | Guest::NoHello | Guest::HalfHello | Guest::HalfHandshake => {}
        Guest::HalfHead => say(&mut io, "GET /idle HTTP/1.1\r\nhost: te", "").await,
        Guest::HalfPreface => say(&mut io, "PRI * HTTP/2.0\r\n", "").await,
        Guest::Idle => say(&mut io, "GET /idle HTTP/1.1\r\nhost: test\r\n\r\n", "\r\n\r\nok").await,
        Guest::Stuck => say(&mut io, "GET /stuck HTTP/1.1\r\nhost: test\r\n\r\n", "").await,
        Guest::Blocking => say(&mut io, "GET /block HTTP/1.1\r\nhost: test\r\n\r\n", "").await,
        Guest::Stalled => say(&mut io, "GET /big HTTP/1.1\r\nhost: test\r\n\r\n", "\r\n\r\n").await,
        Guest::DeafSocket => {
            let request = "GET /ws HTTP/1.1\r\nhost: test\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
                           sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
            say(&mut io, request, "\r\n\r\n").await;
        }
        Guest::Http2Silent
        | Guest::Http2Idle
        | Guest::Http2HalfBlock
        | Guest::Http2Stuck
        | Guest::Http2Blocking
        | Guest::Http2Stalled => return speak_http2(guest, io).await,
    }
    Box::new(io)
}

async fn speak_http2(guest: Guest, io: impl Socket) -> Box<dyn Any + Send> {
    let mut client = Http2::begin(io).await;
    match guest {
        Guest::Http2Idle => {
            client.get(1, "/idle").await;
            client.next(Frame::DATA).await;
        }
        Guest::Http2HalfBlock => {
            client.send(Frame::HEADERS, Frame::END_STREAM, 1, &Http2::<TcpStream>::head("/idle")).await;
        }
        Guest::Http2Stuck => client.get(1, "/stuck").await,
        Guest::Http2Blocking => client.get(1, "/block").await,
        Guest::Http2Stalled => {
            client.get(1, "/big").await;
            client.next(Frame::DATA).await;
        }
        _ => {
            client.next(Frame::SETTINGS).await;
        }
    }
    Box::new(client)
}

/// Sends `what`, and reads to where `until` ends, or not at all.
async fn say(io: &mut impl Socket, what: &str, until: &str) {
    io.write_all(what.as_bytes()).await.expect("it reads");
    io.flush().await.expect("it reads");
    let mut read = Vec::new();
    while !read.ends_with(until.as_bytes()) {
        read.push(within("an answer", io.read_u8()).await.expect("an answer"));
    }
}

/// The first bytes of a TLS client.
fn hello() -> Vec<u8> {
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth();
    let name = ServerName::try_from("localhost").expect("a name");
    let mut client = ClientConnection::new(Arc::new(config), name).expect("a good configuration");
    let mut hello = Vec::new();
    client.write_tls(&mut hello).expect("a buffer");
    hello
}
