//! The cell of atomics that the parts of one connection share.
//!
//! One writer a field, unless said otherwise, so most accesses are relaxed plain loads and stores: the connection's
//! task reads them after it polled the parts that write them, and the registry reads them for figures that may be a
//! moment old. What orders something says so.

use std::{
    net::SocketAddr,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{
            AtomicBool, AtomicU8, AtomicU32, AtomicU64,
            Ordering::{AcqRel, Acquire, Relaxed, Release},
        },
    },
    task::Waker,
};

use http::{Method, Uri};
use tokio::time::Instant;

use crate::ConnectionState;

/// What the registry asks of a connection. Only ever raised.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Signal {
    None,
    Drain,
    Force,
}

#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) id: u64,
    pub(crate) peer: Option<SocketAddr>,
    pub(crate) opened: Instant,
    state: AtomicU8,
    signal: AtomicU8,
    http2: AtomicBool,
    /// Set before hyper can hand the socket to whoever upgraded it, so that its first poll there is already gated.
    upgrading: AtomicBool,
    /// Requests between their head and the end of their response's body.
    in_flight: AtomicU32,
    started: AtomicU64,
    /// What is in flight, by the number it began with, so that a shutdown can name what it waits for. Uncontended: one
    /// entry for HTTP/1, the streams of one connection for HTTP/2.
    requests: Mutex<Vec<(u64, Live)>>,
    /// Bytes came in since the connection's task last looked.
    read_seen: AtomicBool,
    /// Bytes came in since the last request began: a part of a head, or a body.
    unread_head: AtomicBool,
    /// A part of a request's body was handed over since the connection's task last looked (h1).
    body_seen: AtomicBool,
    /// A request's body was dropped before its end.
    unread_body: AtomicBool,
    /// The socket took no byte when it was last asked to.
    write_blocked: AtomicBool,
    written: AtomicU64,
    /// The response in flight (h1) has no total write limit.
    write_unlimited: AtomicBool,
    lingering: AtomicBool,
    /// The next future that hyper hands to the executor is a stream, not the pump of a tunnel.
    stream_announced: AtomicBool,
    socket_open: AtomicBool,
    /// The connection's own task. Kept, not taken, by a wake: a second signal must get through as well.
    task: Mutex<Option<Waker>>,
    /// What the handshake agreed on, once it is done.
    #[cfg(feature = "tls")]
    tls: std::sync::OnceLock<std::sync::Arc<crate::tls::TlsInfo>>,
    /// Reader and writer of an upgraded socket, which no longer runs in the connection's task.
    upgraded: [Mutex<Option<Waker>>; 2],
}

impl Shared {
    pub(crate) fn new(id: u64, peer: Option<SocketAddr>) -> Self {
        Self {
            id,
            peer,
            opened: Instant::now(),
            state: AtomicU8::new(ConnectionState::New.to_u8()),
            signal: AtomicU8::new(0),
            http2: AtomicBool::new(false),
            upgrading: AtomicBool::new(false),
            in_flight: AtomicU32::new(0),
            started: AtomicU64::new(0),
            requests: Mutex::new(Vec::new()),
            read_seen: AtomicBool::new(false),
            unread_head: AtomicBool::new(false),
            body_seen: AtomicBool::new(false),
            unread_body: AtomicBool::new(false),
            write_blocked: AtomicBool::new(false),
            written: AtomicU64::new(0),
            write_unlimited: AtomicBool::new(false),
            lingering: AtomicBool::new(false),
            stream_announced: AtomicBool::new(false),
            socket_open: AtomicBool::new(true),
            task: Mutex::new(None),
            #[cfg(feature = "tls")]
            tls: std::sync::OnceLock::new(),
            upgraded: [Mutex::new(None), Mutex::new(None)],
        }
    }

    // State.

    pub(crate) fn state(&self) -> ConnectionState {
        ConnectionState::from_u8(self.state.load(Relaxed))
    }

    pub(crate) fn set_state(&self, state: ConnectionState) {
        self.state.store(state.to_u8(), Relaxed);
    }

    pub(crate) fn is_http2(&self) -> bool {
        self.http2.load(Relaxed)
    }

    pub(crate) fn set_http2(&self) {
        self.http2.store(true, Relaxed);
    }

    pub(crate) fn is_upgrading(&self) -> bool {
        self.upgrading.load(Acquire)
    }

    /// Pairs with the `Acquire` in [`is_upgrading`](Self::is_upgrading), which the new owner's first poll makes.
    pub(crate) fn set_upgrading(&self) {
        self.upgrading.store(true, Release);
    }

    pub(crate) fn is_socket_open(&self) -> bool {
        self.socket_open.load(Acquire)
    }

    pub(crate) fn close_socket(&self) {
        self.socket_open.store(false, Release);
        self.set_state(ConnectionState::Closed);
    }

    // Requests.

    pub(crate) fn in_flight(&self) -> u32 {
        self.in_flight.load(Acquire)
    }

    pub(crate) fn started(&self) -> u64 {
        self.started.load(Relaxed)
    }

    /// Gives the number to end it with.
    pub(crate) fn begin_request(&self, live: Live) -> u64 {
        // Requests begin in the connection's own task only.
        let number = self.started.load(Relaxed) + 1;
        self.started.store(number, Relaxed);
        self.lock_requests().push((number, live));
        if !self.is_http2() {
            self.unread_head.store(false, Relaxed);
            self.unread_body.store(false, Relaxed);
            self.write_unlimited.store(false, Relaxed);
        }
        if self.in_flight.fetch_add(1, AcqRel) == 0 {
            self.set_state(ConnectionState::Active);
        }
        number
    }

    pub(crate) fn requests(&self) -> Vec<Live> {
        self.lock_requests().iter().map(|(_, live)| live.clone()).collect()
    }

    fn lock_requests(&self) -> MutexGuard<'_, Vec<(u64, Live)>> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn end_request(&self, number: u64) {
        {
            let mut requests = self.lock_requests();
            if let Some(at) = requests.iter().position(|(other, _)| *other == number) {
                let _ended = requests.swap_remove(at);
            }
        }
        // AcqRel: whoever sees zero also sees all that the request did.
        if self.in_flight.fetch_sub(1, AcqRel) == 1 {
            if self.state() == ConnectionState::Active && !self.is_upgrading() {
                self.set_state(ConnectionState::Idle);
            }
            if self.is_http2() {
                // Streams end in tasks of their own; the connection's task has to start its idle clock.
                self.wake();
            }
        }
    }

    /// hyper calls the service and hands over the stream's future right after, in one poll of the connection's task.
    pub(crate) fn announce_stream(&self) {
        self.stream_announced.store(true, Relaxed);
    }

    pub(crate) fn take_announced_stream(&self) -> bool {
        self.stream_announced.swap(false, Relaxed)
    }

    // The socket.

    pub(crate) fn count_read(&self) {
        self.read_seen.store(true, Relaxed);
        self.unread_head.store(true, Relaxed);
    }

    pub(crate) fn take_read_seen(&self) -> bool {
        take(&self.read_seen)
    }

    pub(crate) fn set_body_seen(&self) {
        self.body_seen.store(true, Relaxed);
    }

    pub(crate) fn take_body_seen(&self) -> bool {
        take(&self.body_seen)
    }

    pub(crate) fn count_written(&self, bytes: usize) {
        self.written.store(self.written.load(Relaxed) + bytes as u64, Relaxed);
        self.set_write_blocked(false);
    }

    pub(crate) fn written(&self) -> u64 {
        self.written.load(Relaxed)
    }

    pub(crate) fn is_write_blocked(&self) -> bool {
        self.write_blocked.load(Relaxed)
    }

    pub(crate) fn set_write_blocked(&self, blocked: bool) {
        if self.write_blocked.load(Relaxed) != blocked {
            self.write_blocked.store(blocked, Relaxed);
        }
    }

    pub(crate) fn is_write_unlimited(&self) -> bool {
        self.write_unlimited.load(Relaxed)
    }

    pub(crate) fn set_write_unlimited(&self) {
        self.write_unlimited.store(true, Relaxed);
    }

    // The end.

    pub(crate) fn set_unread_body(&self) {
        self.unread_body.store(true, Relaxed);
    }

    /// A head has begun to come in.
    pub(crate) fn has_unread_head(&self) -> bool {
        self.unread_head.load(Relaxed)
    }

    /// The client may still be sending: closing now would reset the connection under the answer.
    pub(crate) fn may_have_unread(&self) -> bool {
        !self.is_http2() && !self.is_upgrading() && (self.unread_body.load(Relaxed) || self.unread_head.load(Relaxed))
    }

    pub(crate) fn is_lingering(&self) -> bool {
        self.lingering.load(Relaxed)
    }

    pub(crate) fn set_lingering(&self) {
        self.lingering.store(true, Relaxed);
    }

    // TLS.

    #[cfg(feature = "tls")]
    pub(crate) fn tls(&self) -> Option<&std::sync::Arc<crate::tls::TlsInfo>> {
        self.tls.get()
    }

    #[cfg(feature = "tls")]
    pub(crate) fn set_tls(&self, tls: std::sync::Arc<crate::tls::TlsInfo>) {
        // A socket has one handshake.
        let _ = self.tls.set(tls);
    }

    /// Whether ALPN has settled that this is HTTP/2, or that it is not; `None` if it has not.
    #[cfg_attr(not(feature = "tls"), expect(clippy::unused_self, reason = "in the clear nothing is settled"))]
    pub(crate) fn agreed_http2(&self) -> Option<bool> {
        #[cfg(feature = "tls")]
        {
            self.tls().and_then(|tls| tls.alpn()).map(|alpn| alpn == "h2")
        }
        #[cfg(not(feature = "tls"))]
        {
            None
        }
    }

    // Signals and wakers.

    pub(crate) fn signal(&self) -> Signal {
        match self.signal.load(Acquire) {
            0 => Signal::None,
            1 => Signal::Drain,
            _ => Signal::Force,
        }
    }

    /// Raises the signal, then wakes whoever runs the socket. Pairs with [`listen`](Self::listen) and
    /// [`listen_upgraded`](Self::listen_upgraded): they store a waker first and look at the signal after, so one of the
    /// two sides always sees the other.
    pub(crate) fn raise(&self, signal: Signal) {
        self.signal.fetch_max(signal as u8, AcqRel);
        self.wake();
        for waker in &self.upgraded {
            wake(waker);
        }
    }

    pub(crate) fn wake(&self) {
        wake(&self.task);
    }

    pub(crate) fn listen(&self, waker: &Waker) {
        store(&self.task, waker);
    }

    pub(crate) fn listen_upgraded(&self, side: Side, waker: &Waker) {
        store(&self.upgraded[side as usize], waker);
    }
}

/// A request in flight.
#[derive(Clone, Debug)]
pub(crate) struct Live {
    pub(crate) method: Method,
    pub(crate) uri: Uri,
    pub(crate) since: Instant,
}

/// A side of an upgraded socket; reader and writer may be two tasks.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Side {
    Read,
    Write,
}

/// Nearly always unset: a load is cheaper than a swap, and what is set meanwhile is seen at the next look.
fn take(flag: &AtomicBool) -> bool {
    let set = flag.load(Relaxed);
    if set {
        flag.store(false, Relaxed);
    }
    set
}

fn wake(slot: &Mutex<Option<Waker>>) {
    // Cloned, so that no foreign code runs under the lock.
    let waker = slot.lock().unwrap_or_else(PoisonError::into_inner).clone();
    if let Some(waker) = waker {
        waker.wake();
    }
}

fn store(slot: &Mutex<Option<Waker>>, waker: &Waker) {
    let mut slot = slot.lock().unwrap_or_else(PoisonError::into_inner);
    if !slot.as_ref().is_some_and(|stored| stored.will_wake(waker)) {
        *slot = Some(waker.clone());
    }
}
