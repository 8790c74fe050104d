use std::{
    any::Any,
    fmt,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use graceful_answer::Answer;
use graceful_tasks as tasks;
use http::{Method, Uri};
use tokio::{task::JoinHandle, time::Instant};

use crate::{
    CloseReason, ConnectionInfo, ConnectionState, Observer, Refused,
    live::{self, Kinds},
    refusal::Wording,
    roll::Roll,
    shared::{Live, Shared},
    told::Signal,
    upgrades::Upgrades,
};

/// Every connection from accept to close, upgraded sockets included.
///
/// It is touched when a connection opens and closes, never by a request: gauges are worked out by walking it when
/// somebody asks. Clones are the same registry.
#[derive(Clone)]
pub struct Registry {
    inner: Arc<Inner>,
}

struct Inner {
    roll: Roll<Shared>,
    observer: Option<Arc<dyn Observer>>,
    context: Option<Arc<dyn Any + Send + Sync>>,
    upgrades: Upgrades,
    wording: Wording,
    kinds: Kinds,
    opened: AtomicU64,
    /// By [`CloseReason`].
    closed: [AtomicU64; CloseReason::ALL.len()],
}

/// How many connections there are in each state, and how many requests are in flight.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Gauges {
    /// Accepted, without a request yet.
    pub new: usize,
    /// With a request in flight or coming in.
    pub active: usize,
    /// Kept alive between requests.
    pub idle: usize,
    /// Handed over to an upgrade.
    pub upgraded: usize,
    /// Requests between their head and the end of their response.
    pub requests: usize,
}

impl Gauges {
    /// All open sockets.
    #[must_use]
    pub const fn connections(&self) -> usize {
        self.new + self.active + self.idle + self.upgraded
    }
}

/// What is still open, as a shutdown that ran out of time names it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Open {
    /// Counts up from 1, never reused.
    pub id: u64,
    /// The client's address, where it has one.
    pub peer: Option<SocketAddr>,
    /// Where it stands.
    pub state: ConnectionState,
    /// How long it has been open.
    pub age: Duration,
    /// Its [entry](graceful_tasks::Entry::id) in the registry of live work: after an upgrade, that of the socket. `None`
    /// if it was not [spawned](Registry::spawn) by its registry.
    pub entry: Option<u64>,
    /// Its requests in flight.
    pub requests: Vec<OpenRequest>,
}

impl Open {
    /// Whether it is in the middle of nothing: without a request, and without a part of one. What it is open for, as the
    /// end of a handshake or the answer to a GOAWAY, nobody misses when it is closed.
    #[must_use]
    pub fn is_at_rest(&self) -> bool {
        self.requests.is_empty() && matches!(self.state, ConnectionState::New | ConnectionState::Idle)
    }
}

/// A request in flight.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct OpenRequest {
    /// Its method.
    pub method: Method,
    /// Where it goes, query and all: not for a log that others read. Over HTTP/1 it is cut off after about a hundred
    /// bytes.
    pub uri: Uri,
    /// The route that it took, if [that was said](crate::ConnectionControl::set_route).
    pub route: Option<Arc<str>>,
    /// How long it has been in flight.
    pub age: Duration,
    /// Its [entry](graceful_tasks::Entry::id) in the registry of live work.
    pub entry: u64,
}

impl Registry {
    /// The kind of connections among the [live work](RegistryBuilder::live_work).
    pub const CONNECTION: &str = live::CONNECTION;

    /// The kind of requests among the live work.
    pub const REQUEST: &str = live::REQUEST;

    /// The kind of upgraded sockets among the live work.
    pub const UPGRADED: &str = live::UPGRADED;

    /// An empty registry.
    #[must_use]
    pub fn new() -> Self {
        Self::builder().build()
    }

    /// An empty registry with an observer, or with something that handlers can look up, or with other live work.
    pub fn builder() -> RegistryBuilder {
        RegistryBuilder::default()
    }

    /// Registers an accepted socket, before anything is read from it, so that a shutdown knows it from the start.
    ///
    /// The [`Place`] goes to [`Connection::new`](crate::Connection::new) and is given back when the socket closes.
    #[must_use]
    pub fn open(&self, peer: Option<SocketAddr>) -> Place {
        let id = self.inner.opened.fetch_add(1, Relaxed) + 1;
        // Made before the lock is taken: it tells the observer, which is foreign code.
        let shared = Arc::new(Shared::new(id, peer, self.inner.observer.clone(), self.inner.context.clone()));
        self.inner.roll.enter(id, Arc::clone(&shared));
        Place { entry: Arc::new(Entry { shared, registry: Arc::clone(&self.inner) }) }
    }

    /// [Opens](Self::open) a place for an accepted socket, and runs what `serve` makes of it in a task that is listed
    /// among the [live work](RegistryBuilder::live_work), with the place of the caller.
    ///
    /// # Panics
    ///
    /// If it is not called from within a tokio runtime.
    #[track_caller]
    pub fn spawn<F>(&self, peer: Option<SocketAddr>, serve: impl FnOnce(Place) -> F) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        let place = self.open(peer);
        let kinds = &self.inner.kinds;
        let entry = kinds.connection(place.shared());
        place.shared().set_work(entry.id());
        kinds.connections.spawn_as(entry, serve(place))
    }

    /// How many connections there are: open sockets, and those whose last request is not over yet.
    #[must_use]
    pub fn len(&self) -> usize {
        self.inner.roll.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Counts the connections by state, walking them: the cost is linear in their number.
    #[must_use]
    pub fn gauges(&self) -> Gauges {
        let mut gauges = Gauges::default();
        for shared in self.inner.roll.members() {
            match shared.state() {
                ConnectionState::New => gauges.new += 1,
                ConnectionState::Active => gauges.active += 1,
                ConnectionState::Idle => gauges.idle += 1,
                ConnectionState::Upgraded => gauges.upgraded += 1,
                ConnectionState::Closed => {}
            }
            gauges.requests += shared.requests.in_flight() as usize;
        }
        gauges
    }

    /// How many connections were opened so far.
    #[must_use]
    pub fn opened(&self) -> u64 {
        self.inner.opened.load(Relaxed)
    }

    /// How many were closed so far, by reason. The sum of them and of those open is [`opened`](Self::opened), but for
    /// what changes meanwhile. An upgraded connection counts as [`CloseReason::Upgraded`] when its socket is closed.
    pub fn closed_by_reason(&self) -> impl Iterator<Item = (CloseReason, u64)> {
        CloseReason::ALL.into_iter().zip(&self.inner.closed).map(|(reason, count)| (reason, count.load(Relaxed)))
    }

    /// Lists what is open, oldest first.
    #[must_use]
    pub fn list(&self) -> Vec<Open> {
        let now = Instant::now();
        let members = self.inner.roll.members();
        members
            .iter()
            .map(|shared| Open {
                id: shared.id,
                peer: shared.peer(),
                state: shared.state(),
                age: now.duration_since(shared.opened),
                entry: shared.work(),
                requests: shared
                    .requests
                    .list()
                    .into_iter()
                    .map(|Live { method, uri, route, since, entry, .. }| {
                        let age = now.duration_since(since.instant());
                        OpenRequest { method, uri, route, age, entry }
                    })
                    .collect(),
            })
            .collect()
    }

    /// Lets every connection, also those opened later, end with its next answer: HTTP/1 answers carry
    /// `Connection: close` from now on. Nothing is closed for it, and new connections are served as before.
    ///
    /// For the time in which a load balancer finds out that it should look elsewhere.
    pub fn retire(&self) {
        self.inner.roll.tell(Signal::Retire);
    }

    /// Asks every connection, also those opened later, to end when what is in flight is answered.
    ///
    /// HTTP/1 answers carry `Connection: close` from now on, HTTP/2 connections send GOAWAY, idle ones close after a
    /// last look at the socket: a request that the kernel already holds is still served.
    pub fn drain(&self) {
        self.inner.roll.tell(Signal::Drain);
    }

    /// Ends every connection, also those opened later, at once: what is in flight is dropped, and reads and writes of an
    /// upgraded socket fail.
    pub fn force(&self) {
        self.inner.roll.tell(Signal::Force);
    }

    /// Waits until no socket is open and no request is left. It can be dropped and called again at any time.
    pub async fn closed(&self) {
        self.inner.roll.emptied().await;
    }
}

impl Default for Registry {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { inner: _ } = self;
        f.debug_struct("Registry").field("open", &self.len()).finish_non_exhaustive()
    }
}

/// Makes a [`Registry`].
#[derive(Default)]
#[must_use = "it does nothing until it builds"]
pub struct RegistryBuilder {
    observer: Option<Arc<dyn Observer>>,
    context: Option<Arc<dyn Any + Send + Sync>>,
    wording: Wording,
    work: Option<tasks::Registry>,
}

impl RegistryBuilder {
    /// Its connections tell `observer` of every change of their state.
    pub fn observer(mut self, observer: impl Observer) -> Self {
        self.observer = Some(Arc::new(observer));
        self
    }

    /// Its connections' handlers find `context` by
    /// [`ConnectionControl::context`](crate::ConnectionControl::context): something of the server's, at no cost a request.
    pub fn context<T: Any + Send + Sync>(mut self, context: T) -> Self {
        self.context = Some(Arc::new(context));
        self
    }

    /// What its connections answer where they have to do it themselves: see [`Refused`]. It is asked once for each such
    /// answer, so it is also the place to write it down. It runs in the connection's task; if it panics, the connection
    /// ends. Default: [`PlainText`](graceful_answer::PlainText).
    pub fn answer(mut self, answer: impl for<'a> Answer<Refused<'a>>) -> Self {
        self.wording = Wording::new(answer);
        self
    }

    /// Its connections, requests and upgraded sockets are listed among the live work of `registry`; unless this says
    /// otherwise, of the [current](graceful_tasks::Registry::current) one.
    pub fn live_work(mut self, registry: &tasks::Registry) -> Self {
        self.work = Some(registry.clone());
        self
    }

    /// The registry, empty.
    #[must_use]
    pub fn build(self) -> Registry {
        let Self { observer, context, wording, work } = self;
        let inner = Inner {
            roll: Roll::new(),
            observer,
            context,
            wording,
            upgrades: Upgrades::default(),
            kinds: Kinds::of(&work.unwrap_or_else(tasks::Registry::current)),
            opened: AtomicU64::new(0),
            closed: Default::default(),
        };
        Registry { inner: Arc::new(inner) }
    }
}

impl fmt::Debug for RegistryBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { observer, context, wording: _, work } = self;
        f.debug_struct("RegistryBuilder")
            .field("observer", &observer.is_some())
            .field("context", &context.is_some())
            .field("work", work)
            .finish_non_exhaustive()
    }
}

/// A connection's place in the [`Registry`], given back when it is dropped.
///
/// It lives as long as the socket: in [`Connection`](crate::Connection), and after an upgrade with whoever took the
/// socket over.
#[derive(Debug)]
pub struct Place {
    entry: Arc<Entry>,
}

impl Place {
    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.entry.shared
    }

    pub(crate) const fn entry(&self) -> &Arc<Entry> {
        &self.entry
    }

    /// Says who the client is, where that is known only after the accept: behind a proxy that tells it. The first call
    /// counts.
    pub fn set_client(&self, client: SocketAddr) {
        self.entry.shared.set_client(client);
    }

    /// Keeps the connection's entry, though the socket is closed, until this is dropped: for what is still to be done about
    /// it, as a line in a log, before [`Registry::closed`] says that all is over.
    #[must_use]
    pub fn keep_entry(&self) -> EntryGuard {
        EntryGuard { _entry: Arc::clone(&self.entry) }
    }

    pub(crate) fn upgrades(&self) -> Upgrades {
        self.entry.registry.upgrades.clone()
    }

    /// What is known of the connection.
    #[must_use]
    pub fn info(&self) -> ConnectionInfo<'_> {
        ConnectionInfo::of(self.shared())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let shared = &self.entry.shared;
        // Nobody said why: the socket was dropped before it was served, or by whoever took it over.
        let reason = shared.reason().unwrap_or(CloseReason::Done);
        shared.set_reason(reason);
        shared.close_socket();
        self.entry.registry.closed[reason as usize].fetch_add(1, Relaxed);
    }
}

/// Keeps an entry in the [`Registry`]: see [`Place::keep_entry`].
#[derive(Debug)]
pub struct EntryGuard {
    _entry: Arc<Entry>,
}

/// An entry in the [`Registry`]: held by the socket, by the connection's task and by every request, so that it goes when
/// the last of them has gone. A forced shutdown thus waits until the handlers that it drops are dropped.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) shared: Arc<Shared>,
    registry: Arc<Inner>,
}

impl Entry {
    /// How refusals are worded.
    pub(crate) fn wording(&self) -> &Wording {
        &self.registry.wording
    }

    pub(crate) fn kinds(&self) -> &Kinds {
        &self.registry.kinds
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.registry.roll.leave(self.shared.id);
    }
}

impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inner").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use tokio_test::task;

    use super::*;

    #[test]
    fn a_place_is_given_back_when_dropped() {
        let registry = Registry::new();
        let place = registry.open(None);
        assert_eq!(registry.gauges().new, 1);
        assert_eq!(registry.gauges().connections(), 1);
        drop(place);
        assert!(registry.is_empty());
        assert_eq!(registry.gauges(), Gauges::default());
    }

    #[test]
    fn an_entry_that_is_kept_outlives_the_socket() {
        let registry = Registry::new();
        let place = registry.open(None);
        let kept = place.keep_entry();
        drop(place);
        assert_eq!((registry.len(), registry.gauges()), (1, Gauges::default()), "the socket is closed");
        drop(kept);
        assert!(registry.is_empty());
    }

    #[test]
    fn closed_wakes_with_the_last_one() {
        let registry = Registry::new();
        let (one, two) = (registry.open(None), registry.open(None));
        let mut closed = task::spawn(registry.closed());
        assert!(closed.poll().is_pending());
        drop(one);
        assert!(!closed.is_woken(), "one is still open");
        drop(two);
        assert!(closed.is_woken());
        assert!(closed.poll().is_ready());
    }

    #[test]
    fn one_opened_after_the_signal_is_told_as_well() {
        let registry = Registry::new();
        registry.drain();
        assert_eq!(registry.open(None).shared().signal(), Signal::Drain);
        registry.force();
        registry.drain();
        assert_eq!(registry.open(None).shared().signal(), Signal::Force, "a signal is only ever raised");
    }

    #[test]
    fn live_work_ends_with_the_socket_also_where_a_service_panicked() {
        let work = tasks::Registry::new();
        let place = Registry::builder().live_work(&work).build().open(None);
        let shared = place.shared();
        shared.announce_stream(1, place.entry().kinds().request(shared, 1));
        shared.upgrade(None, place.entry().kinds().upgraded(shared));
        assert_eq!(work.len(), 2);
        drop(place);
        assert!(work.is_empty(), "a label that keeps its entry: {:#}", work.snapshot());
    }

    #[test]
    fn list_names_what_is_open() {
        let registry = Registry::new();
        let peer = "192.0.2.1:1234".parse().expect("an address");
        let _one = registry.open(Some(peer));
        let _two = registry.open(None);
        let list = registry.list();
        assert_eq!(list.iter().map(|open| open.id).collect::<Vec<_>>(), [1, 2], "oldest first");
        assert_eq!(list[0].peer, Some(peer));
        assert_eq!(list[0].state, ConnectionState::New);
    }
}
