//! A listener that does what a test says.

use std::{
    collections::VecDeque,
    io,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard},
    task::{Poll, Waker},
};

use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio_test::task;

use crate::{Accepted, ListenAddr, Listener, Peer};

/// The test's side: what comes next.
#[derive(Clone, Default)]
pub(crate) struct Scripted {
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    next: VecDeque<io::Result<(DuplexStream, Peer)>>,
    endless: bool,
    accepted: usize,
    waker: Option<Waker>,
}

/// The other end of a scripted connection.
pub(crate) struct Client(DuplexStream);

impl Client {
    pub(crate) async fn send(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).await.expect("the server reads");
    }

    pub(crate) async fn is_closed(&mut self) -> bool {
        matches!(self.0.read(&mut [0]).await, Ok(0))
    }
}

impl Scripted {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// There is always one more connection.
    pub(crate) fn endless() -> Self {
        let script = Self::new();
        script.state().endless = true;
        script
    }

    pub(crate) fn connect(&self) -> Client {
        self.connect_from(LOCAL)
    }

    pub(crate) fn connect_from(&self, peer: impl Into<Peer>) -> Client {
        let (client, server) = tokio::io::duplex(64);
        self.push(Ok((server, peer.into())));
        Client(client)
    }

    pub(crate) fn fail(&self, error: impl Into<io::Error>) {
        self.push(Err(error.into()));
    }

    pub(crate) fn accepted(&self) -> usize {
        self.state().accepted
    }

    /// How much of what was to come has not.
    pub(crate) fn left(&self) -> usize {
        self.state().next.len()
    }

    pub(crate) fn listener(&self) -> ScriptedListener {
        ScriptedListener(self.clone())
    }

    fn push(&self, next: io::Result<(DuplexStream, Peer)>) {
        let mut state = self.state();
        state.next.push_back(next);
        if let Some(waker) = state.waker.take() {
            waker.wake();
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }
}

/// The server's side.
pub(crate) struct ScriptedListener(Scripted);

impl Listener for ScriptedListener {
    type Io = DuplexStream;

    async fn accept(&mut self) -> io::Result<Accepted<DuplexStream>> {
        std::future::poll_fn(|cx| {
            let mut state = self.0.state();
            if state.next.is_empty() && state.endless {
                state.next.push_back(Ok((tokio::io::duplex(1).1, LOCAL.into())));
            }
            let Some(next) = state.next.pop_front() else {
                state.waker = Some(cx.waker().clone());
                return Poll::Pending;
            };
            Poll::Ready(next.map(|(io, peer)| {
                state.accepted += 1;
                Accepted::new(io, peer)
            }))
        })
        .await
    }

    fn close_queue(&mut self) -> bool {
        true
    }

    fn local_addr(&self) -> io::Result<ListenAddr> {
        Ok(ListenAddr::Tcp(LOCAL))
    }
}

/// One accept that must not wait.
pub(crate) fn accept_now<L: Listener>(listener: &mut L) -> io::Result<Accepted<L::Io>> {
    let mut accept = task::spawn(listener.accept());
    match accept.poll() {
        Poll::Ready(accepted) => accepted,
        Poll::Pending => panic!("accept waits though there is something to accept"),
    }
}

const LOCAL: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 4000);
