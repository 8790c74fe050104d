//! The cell that the parts of one connection share.
//!
//! One writer a field, unless said otherwise, so most accesses are relaxed plain loads and stores: the connection's
//! task reads them after it polled the parts that write them, and the registry reads them for figures that may be a
//! moment old. What orders something says so.

mod flag;
mod note;
mod requests;
mod socket;

use std::{
    any::Any,
    fmt,
    net::SocketAddr,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicU8, AtomicU64, Ordering::Relaxed},
    },
    task::Waker,
};

use graceful_tasks as tasks;
use http::{Method, Uri};
use tokio::time::Instant;

use self::flag::Flag;
pub(crate) use self::{
    requests::{Live, Override, Requests},
    socket::Socket,
};
use crate::{
    CloseReason, ConnectionInfo, ConnectionState, Observer,
    roll::Hears,
    told::{Side, Signal, Told},
    upgrades::UpgradePlace,
};

pub(crate) struct Shared {
    pub(crate) id: u64,
    /// The other end of the socket.
    peer: Option<SocketAddr>,
    /// Who is behind that, where it is a proxy.
    client: OnceLock<SocketAddr>,
    pub(crate) opened: Instant,
    pub(crate) requests: Requests,
    pub(crate) socket: Socket,
    /// What stands for the socket once it is upgraded.
    upgraded_as: Mutex<Upgraded>,
    observer: Option<Arc<dyn Observer>>,
    /// What the server lets handlers look up.
    pub(crate) context: Option<Arc<dyn Any + Send + Sync>>,
    state: AtomicU8,
    reason: OnceLock<CloseReason>,
    http2: Flag,
    /// The connection is to end when what is in flight is answered.
    close_wanted: Flag,
    /// The next future that hyper hands to the executor is this request's stream, not the pump of a tunnel.
    stream_announced: Mutex<Option<Announced>>,
    /// The connection's entry among the live work, or the upgraded socket's; 0 if it has none.
    work: AtomicU64,
    told: Told,
    /// What the handshake agreed on, once it is done.
    #[cfg(feature = "tls")]
    tls: OnceLock<Box<crate::tls::TlsInfo>>,
}

impl Shared {
    pub(crate) fn new(
        id: u64,
        peer: Option<SocketAddr>,
        observer: Option<Arc<dyn Observer>>,
        context: Option<Arc<dyn Any + Send + Sync>>,
    ) -> Self {
        let shared = Self {
            id,
            peer,
            client: OnceLock::new(),
            opened: Instant::now(),
            requests: Requests::default(),
            socket: Socket::default(),
            upgraded_as: Mutex::default(),
            observer,
            context,
            state: AtomicU8::new(ConnectionState::New.to_u8()),
            reason: OnceLock::new(),
            http2: Flag::default(),
            close_wanted: Flag::default(),
            stream_announced: Mutex::new(None),
            work: AtomicU64::new(0),
            told: Told::new(),
            #[cfg(feature = "tls")]
            tls: OnceLock::new(),
        };
        shared.observe(ConnectionState::New);
        shared
    }

    pub(crate) fn peer(&self) -> Option<SocketAddr> {
        self.client.get().copied().or(self.peer)
    }

    pub(crate) fn set_client(&self, client: SocketAddr) {
        let _ = self.client.set(client);
    }

    // State.

    pub(crate) fn state(&self) -> ConnectionState {
        ConnectionState::from_u8(self.state.load(Relaxed))
    }

    /// HTTP/2 streams end in tasks of their own, so two of them may get here at once: the swap lets each change be told
    /// once. Nothing of HTTP/1 does before an upgrade, and a store is cheaper than a swap.
    pub(crate) fn set_state(&self, state: ConnectionState) {
        if self.state() == state {
            return;
        }
        if !self.is_http2() && !self.socket.is_upgrading() {
            self.state.store(state.to_u8(), Relaxed);
        } else if self.state.swap(state.to_u8(), Relaxed) == state.to_u8() {
            return;
        }
        self.observe(state);
    }

    fn observe(&self, state: ConnectionState) {
        if let Some(observer) = &self.observer {
            observer.state(&ConnectionInfo::of(self), state);
        }
    }

    /// Why the connection ended; the first reason counts.
    pub(crate) fn reason(&self) -> Option<CloseReason> {
        self.reason.get().copied()
    }

    pub(crate) fn set_reason(&self, reason: CloseReason) {
        let _ = self.reason.set(reason);
    }

    pub(crate) fn is_http2(&self) -> bool {
        self.http2.get()
    }

    pub(crate) fn set_http2(&self) {
        self.http2.set();
    }

    /// Ends the connection when what is in flight is answered. From any task.
    pub(crate) fn want_close(&self) {
        self.close_wanted.set();
        self.wake();
    }

    /// Whether the connection itself is to end when what is in flight is answered.
    pub(crate) fn is_close_wanted(&self) -> bool {
        self.close_wanted.get() || self.requests.is_last()
    }

    /// Whether the answer that goes out now is to be the last.
    pub(crate) fn is_last_answer(&self) -> bool {
        self.is_close_wanted() || self.signal() != Signal::None
    }

    /// hyper calls the service and hands over the stream's future right after, in one poll of the connection's task.
    pub(crate) fn announce_stream(&self, number: u64, work: tasks::Entry) {
        *lock(&self.stream_announced) = Some(Announced { number, work, thread: this_thread() });
    }

    /// What this thread has announced. Meanwhile another may hand over the tunnel of an extended CONNECT, which nobody
    /// announces.
    pub(crate) fn take_announced_stream(&self) -> Option<(u64, tasks::Entry)> {
        let announced = lock(&self.stream_announced).take_if(|announced| announced.thread == this_thread());
        announced.map(|Announced { number, work, .. }| (number, work))
    }

    // Live work.

    pub(crate) fn work(&self) -> Option<u64> {
        Some(self.work.load(Relaxed)).filter(|id| *id != 0)
    }

    pub(crate) fn set_work(&self, id: u64) {
        self.work.store(id, Relaxed);
    }

    // Requests.

    /// The number of the request that is about to begin, in the connection's task.
    pub(crate) fn next_request(&self) -> u64 {
        if self.is_http2() { self.requests.next_stream() } else { self.requests.next() }
    }

    /// With the number that it got.
    pub(crate) fn begin_request(&self, number: u64, method: &Method, uri: &Uri, work: &tasks::Entry) {
        let first = if self.is_http2() {
            self.requests.begin_stream(number, method.clone(), uri.clone(), work)
        } else {
            self.socket.begin_request();
            self.requests.begin(number, method, uri, work);
            true
        };
        if first {
            self.set_state(ConnectionState::Active);
        }
    }

    pub(crate) fn end_request(&self, number: u64) {
        let http2 = self.is_http2();
        let last = if http2 {
            self.requests.end_stream(number)
        } else {
            self.requests.end(number);
            true
        };
        if last {
            if self.state() == ConnectionState::Active && !self.socket.is_upgrading() {
                self.set_state(ConnectionState::Idle);
            }
            if http2 {
                // Streams end in tasks of their own; the connection's task has to start its idle clock.
                self.wake();
            }
        }
    }

    /// Which route the request took.
    pub(crate) fn set_route(&self, number: u64, route: &Arc<str>) {
        if self.is_http2() {
            self.requests.set_stream_route(number, route);
        } else {
            self.requests.set_route(number, route);
        }
    }

    /// The socket is about to be handed over; its place is given back with the connection's own.
    pub(crate) fn upgrade(&self, place: Option<UpgradePlace>, work: tasks::Entry) {
        self.set_work(work.id());
        *lock(&self.upgraded_as) = Upgraded { _place: place, work: Some(work) };
        self.socket.set_upgrading();
    }

    /// For the socket, to be polled through it.
    pub(crate) fn take_upgraded_work(&self) -> Option<tasks::Entry> {
        lock(&self.upgraded_as).work.take()
    }

    // The end.

    pub(crate) fn close_socket(&self) {
        self.socket.close();
        drop(std::mem::take(&mut *lock(&self.upgraded_as)));
        // Only there if the service panicked when it was called: it would keep itself listed by its label.
        drop(lock(&self.stream_announced).take());
        self.set_state(ConnectionState::Closed);
    }

    /// The client may still be sending: closing now would reset the connection under the answer.
    pub(crate) fn may_have_unread(&self) -> bool {
        !self.is_http2() && !self.socket.is_upgrading() && self.socket.has_unread()
    }

    // TLS.

    #[cfg(feature = "tls")]
    pub(crate) fn tls(&self) -> Option<&crate::tls::TlsInfo> {
        self.tls.get().map(Box::as_ref)
    }

    #[cfg(feature = "tls")]
    pub(crate) fn set_tls(&self, tls: crate::tls::TlsInfo) {
        // A socket has one handshake.
        let _ = self.tls.set(Box::new(tls));
    }

    /// Whether ALPN has settled that this is HTTP/2, or that it is not; `None` if it has not.
    #[cfg_attr(not(feature = "tls"), expect(clippy::unused_self, reason = "in the clear nothing is settled"))]
    pub(crate) fn agreed_http2(&self) -> Option<bool> {
        #[cfg(feature = "tls")]
        {
            self.tls()?.alpn().map(|alpn| alpn == "h2")
        }
        #[cfg(not(feature = "tls"))]
        {
            None
        }
    }

    // Signals and wakers: see `Told`.

    pub(crate) fn signal(&self) -> Signal {
        self.told.signal()
    }

    pub(crate) fn wake(&self) {
        self.told.wake();
    }

    pub(crate) fn listen(&self, waker: &Waker) {
        self.told.listen(waker);
    }

    pub(crate) fn listen_upgraded(&self, side: Side, waker: &Waker) {
        self.told.listen_upgraded(side, waker);
    }
}

impl Hears for Shared {
    fn hear(&self, signal: Signal) {
        self.told.raise(signal);
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared")
            .field("id", &self.id)
            .field("peer", &self.peer())
            .field("state", &self.state())
            .field("signal", &self.signal())
            .finish_non_exhaustive()
    }
}

/// What stands for an upgraded socket.
#[derive(Debug, Default)]
struct Upgraded {
    /// Among those that there may be.
    _place: Option<UpgradePlace>,
    /// Among the live work, until the socket takes it.
    work: Option<tasks::Entry>,
}

/// A stream whose future comes next.
#[derive(Debug)]
struct Announced {
    number: u64,
    work: tasks::Entry,
    thread: usize,
}

/// Which thread, among those that are alive.
fn this_thread() -> usize {
    thread_local!(static HERE: u8 = const { 0 });
    HERE.with(|here| std::ptr::from_ref(here).addr())
}

fn lock<T>(cell: &Mutex<T>) -> MutexGuard<'_, T> {
    cell.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_is_taken_by_the_thread_that_announced_it() {
        let shared = Shared::new(1, None, None, None);
        let work = tasks::Registry::new().kind::<&str>("request").enter("");
        shared.announce_stream(7, work);
        std::thread::scope(|scope| {
            let taken = scope.spawn(|| shared.take_announced_stream().is_some()).join().expect("no panic");
            assert!(!taken, "a tunnel that begins on another thread is not the stream that was announced here");
        });
        assert_eq!(shared.take_announced_stream().map(|(number, _)| number), Some(7));
        assert!(shared.take_announced_stream().is_none(), "once");
    }
}
