use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed, Ordering::SeqCst},
    },
};

use tokio::sync::Notify;

use crate::{Accepted, Guarded, ListenAddr, Listener, refuse::refuse};

/// A connection that holds a place under a [`ConnectionLimit`].
pub type LimitedIo<Io> = Guarded<Io, Place>;

/// At most so many connections at a time. When the [queue is closed](Listener::close_queue), whoever is in it is let in all
/// the same: a client whose handshake the kernel has finished would be reset else, and they are no more than the queue held.
///
/// ```
/// # use graceful_listener::{BindError, Limited, Listener, TcpListener, WhenFull};
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), BindError> {
/// let listener = TcpListener::bind("127.0.0.1:0").await?;
/// let mut listener = Limited::new(listener, 10_000).when_full(WhenFull::Refuse);
/// let limit = listener.limit().clone(); // for a gauge, or to change it while the server runs
/// assert_eq!(limit.open(), 0);
/// limit.set(20_000);
/// # Ok(()) }
/// ```
///
/// See the [crate docs](crate).
#[derive(Debug)]
pub struct Limited<L> {
    inner: L,
    limit: ConnectionLimit,
    when_full: WhenFull,
    queue_is_closed: bool,
}

/// What becomes of a connection for which there is no place.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum WhenFull {
    /// It waits in the kernel's queue until another connection ends. The kernel bounds that queue
    /// ([`TcpOptions::backlog`](crate::TcpOptions::backlog)). A client notices only that it is slow; as Go's
    /// `netutil.LimitListener`.
    #[default]
    Wait,
    /// It is accepted and closed at once, and counted: a load balancer turns to another server without delay.
    Refuse,
}

impl<L> Limited<L> {
    /// At most `limit` connections from `inner` at a time, `None` for any number.
    ///
    /// Give several listeners clones of one [`ConnectionLimit`] to limit their sum. With [`WhenFull::Wait`], each of them
    /// holds a place in advance while it waits for a connection, so that as many places less one may stand empty, and a
    /// limit below the number of listeners leaves some of them out.
    pub fn new(inner: L, limit: impl Into<ConnectionLimit>) -> Self {
        Self { inner, limit: limit.into(), when_full: WhenFull::default(), queue_is_closed: false }
    }

    /// What becomes of a connection for which there is no place. Default: [`WhenFull::Wait`].
    #[must_use]
    pub fn when_full(self, when_full: WhenFull) -> Self {
        Self { when_full, ..self }
    }

    /// The limit, to read and change it while the server runs.
    pub const fn limit(&self) -> &ConnectionLimit {
        &self.limit
    }

    /// The listener inside.
    pub const fn get_ref(&self) -> &L {
        &self.inner
    }

    /// The listener inside, to change it.
    pub const fn get_mut(&mut self) -> &mut L {
        &mut self.inner
    }

    /// The listener inside, without the limit.
    pub fn into_inner(self) -> L {
        self.inner
    }
}

impl<L: Listener> Listener for Limited<L> {
    type Io = LimitedIo<L::Io>;

    async fn accept(&mut self) -> io::Result<Accepted<Self::Io>> {
        if self.when_full == WhenFull::Wait {
            // Before accept, or the connection that is over the limit would be one that the client has already got.
            let place = if self.queue_is_closed { self.limit.exceed() } else { self.limit.take().await };
            let accepted = self.inner.accept().await?;
            return Ok(accepted.map_io(|io| Guarded::new(io, place.opened())));
        }
        loop {
            let accepted = self.inner.accept().await?;
            if let Some(place) = self.limit.try_take() {
                return Ok(accepted.map_io(|io| Guarded::new(io, place.opened())));
            }
            self.limit.shared.refused.fetch_add(1, Relaxed);
            refuse(accepted, "connection_limit").await;
        }
    }

    fn close_queue(&mut self) -> bool {
        self.queue_is_closed = self.inner.close_queue();
        self.queue_is_closed
    }

    fn local_addr(&self) -> io::Result<ListenAddr> {
        self.inner.local_addr()
    }
}

/// How many connections there may be, and how many there are. Clones are the same limit.
#[derive(Clone, Debug)]
pub struct ConnectionLimit {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    limit: AtomicUsize,
    /// Open connections, and the places that waiting acceptors hold in advance.
    taken: AtomicUsize,
    open: AtomicUsize,
    refused: AtomicU64,
    freed: Notify,
}

impl ConnectionLimit {
    /// At most `limit` connections, `None` for any number. With 0 there is none until [`set`](Self::set) says otherwise.
    pub fn new(limit: impl Into<Option<usize>>) -> Self {
        Self {
            shared: Arc::new(Shared {
                limit: AtomicUsize::new(limit.into().unwrap_or(usize::MAX)),
                taken: AtomicUsize::new(0),
                open: AtomicUsize::new(0),
                refused: AtomicU64::new(0),
                freed: Notify::new(),
            }),
        }
    }

    /// Changes the limit from now on. Connections that are open stay, also those over a lower limit, and a listener that
    /// already waits for a connection still accepts that one.
    pub fn set(&self, limit: impl Into<Option<usize>>) {
        self.shared.limit.store(limit.into().unwrap_or(usize::MAX), SeqCst);
        self.shared.freed.notify_waiters();
    }

    /// The limit, `None` for any number.
    #[must_use]
    pub fn limit(&self) -> Option<usize> {
        Some(self.shared.limit.load(SeqCst)).filter(|&limit| limit != usize::MAX)
    }

    /// How many connections are open.
    #[must_use]
    pub fn open(&self) -> usize {
        self.shared.open.load(Relaxed)
    }

    /// How many connections were closed at once for want of a place ([`WhenFull::Refuse`]).
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.shared.refused.load(Relaxed)
    }

    /// Waits for a place. Cancel-safe. In no strict order: the few acceptors that share a limit are alike.
    async fn take(&self) -> Place {
        loop {
            let mut freed = std::pin::pin!(self.shared.freed.notified());
            // Enlisted before looking: a place that is freed in between wakes this one.
            freed.as_mut().enable();
            if let Some(place) = self.try_take() {
                return place;
            }
            freed.await;
        }
    }

    /// A place, also over the limit.
    fn exceed(&self) -> Place {
        self.shared.taken.fetch_add(1, SeqCst);
        Place { limit: self.clone(), open: false }
    }

    fn try_take(&self) -> Option<Place> {
        let limit = self.shared.limit.load(SeqCst);
        // Pairs with the subtraction in `Place::drop`, and both with the `Notify` between them.
        let taken = self.shared.taken.fetch_update(SeqCst, SeqCst, |taken| (taken < limit).then(|| taken + 1));
        taken.ok().map(|_| Place { limit: self.clone(), open: false })
    }
}

impl From<usize> for ConnectionLimit {
    fn from(limit: usize) -> Self {
        Self::new(limit)
    }
}

impl From<Option<usize>> for ConnectionLimit {
    fn from(limit: Option<usize>) -> Self {
        Self::new(limit)
    }
}

impl From<&Self> for ConnectionLimit {
    fn from(limit: &Self) -> Self {
        limit.clone()
    }
}

/// A place under a [`ConnectionLimit`]; given back when it is dropped.
#[derive(Debug)]
pub struct Place {
    limit: ConnectionLimit,
    /// Whether a connection has it, or still the acceptor.
    open: bool,
}

impl Place {
    fn opened(mut self) -> Self {
        self.limit.shared.open.fetch_add(1, Relaxed);
        self.open = true;
        self
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let shared = &self.limit.shared;
        if self.open {
            shared.open.fetch_sub(1, Relaxed);
        }
        shared.taken.fetch_sub(1, SeqCst);
        // If nobody waits, the next one who does looks once more for nothing. If who is woken is being dropped, `Notify`
        // hands the wake on.
        shared.freed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use std::{future::poll_fn, pin::pin};

    use tokio_test::{assert_pending, assert_ready, task};

    use super::*;
    use crate::mock::{Scripted, accept_now};

    #[tokio::test]
    async fn who_is_in_a_queue_that_was_closed_is_let_in() {
        let script = Scripted::endless();
        let mut listener = Limited::new(script.listener(), 1);
        let limit = listener.limit().clone();
        let first = accept_now(&mut listener).expect("a place");
        assert!(listener.close_queue());
        let more = [0; 3].map(|_| accept_now(&mut listener).expect("it is in the queue"));
        assert_eq!((limit.open(), script.accepted()), (4, 4));
        drop((first, more));
        assert_eq!(limit.open(), 0);
        let only = limit.try_take();
        assert!(only.is_some() && limit.try_take().is_none(), "each place was given back once");
    }

    #[tokio::test]
    async fn over_the_limit_the_next_one_is_not_accepted() {
        let script = Scripted::endless();
        let mut listener = Limited::new(script.listener(), 2);
        let limit = listener.limit().clone();
        let first = accept_now(&mut listener).expect("a place");
        let _second = accept_now(&mut listener).expect("a place");
        assert_eq!((limit.open(), script.accepted()), (2, 2));

        let mut third = task::spawn(listener.accept());
        assert_pending!(third.poll(), "no place");
        assert_eq!(script.accepted(), 2, "what is over the limit stays with the kernel");
        drop(first);
        assert!(third.is_woken(), "a connection that ends makes room");
        let third = assert_ready!(third.poll()).expect("accepted");
        assert_eq!((limit.open(), script.accepted()), (2, 3));
        drop(third);
        assert_eq!(limit.open(), 1);
        assert_eq!(limit.refused(), 0, "waiting is not refusing");
    }

    #[tokio::test]
    async fn a_cancelled_accept_gives_its_place_back() {
        let script = Scripted::new();
        let mut listener = Limited::new(script.listener(), 1);
        let limit = listener.limit().clone();
        for _ in 0..3 {
            let mut accept = task::spawn(listener.accept());
            assert_pending!(accept.poll(), "has the place, waits for a connection");
            assert_eq!(limit.shared.taken.load(SeqCst), 1, "the place is taken before accept");
            assert_eq!(limit.open(), 0, "but it is no connection yet");
            drop(accept);
            assert_eq!(limit.shared.taken.load(SeqCst), 0, "given back");
        }
        script.connect();
        let held = accept_now(&mut listener).expect("a place");
        let mut waiting = task::spawn(listener.accept());
        assert_pending!(waiting.poll());
        drop(waiting);
        drop(held);
        assert_eq!(limit.shared.taken.load(SeqCst), 0, "one that waited for a place took none along");
    }

    #[tokio::test]
    async fn a_wake_for_an_acceptor_that_goes_reaches_another() {
        let limit = ConnectionLimit::new(1);
        let place = limit.try_take().expect("a place");
        let mut one = task::spawn(limit.take());
        let mut other = task::spawn(limit.take());
        assert_pending!(one.poll());
        assert_pending!(other.poll());
        drop(place);
        assert!(one.is_woken() != other.is_woken(), "one place wakes one");
        let (woken, asleep) = if one.is_woken() { (one, &mut other) } else { (other, &mut one) };
        drop(woken);
        assert!(asleep.is_woken(), "the wake is handed on");
        assert_ready!(asleep.poll());
    }

    #[tokio::test]
    async fn an_error_of_accept_passes_and_gives_the_place_back() {
        for when_full in [WhenFull::Wait, WhenFull::Refuse] {
            let script = Scripted::new();
            script.fail(io::ErrorKind::ConnectionAborted);
            let mut listener = Limited::new(script.listener(), 1).when_full(when_full);
            let error = accept_now(&mut listener).expect_err("the error is the server's");
            assert_eq!(error.kind(), io::ErrorKind::ConnectionAborted);
            assert_eq!(listener.limit().shared.taken.load(SeqCst), 0);
        }
    }

    #[tokio::test]
    async fn refusing_closes_at_once_and_counts() {
        let script = Scripted::new();
        let mut listener = Limited::new(script.listener(), 1).when_full(WhenFull::Refuse);
        let limit = listener.limit().clone();
        let _client = script.connect();
        let first = accept_now(&mut listener).expect("a place");
        let mut refused = [script.connect(), script.connect()];
        {
            let mut accept = task::spawn(listener.accept());
            assert_pending!(accept.poll(), "both refused, waits for the next");
            for client in &mut refused {
                assert!(client.is_closed().await, "a refused client is not left waiting");
            }
            assert_eq!((limit.refused(), limit.open()), (2, 1));
        }
        drop(first);
        script.connect();
        accept_now(&mut listener).expect("there is room again");
    }

    #[tokio::test]
    async fn a_flood_of_refusals_lets_the_task_breathe() {
        let script = Scripted::endless();
        let mut listener = Limited::new(script.listener(), 0).when_full(WhenFull::Refuse);
        let mut accept = pin!(listener.accept());
        let first_poll = poll_fn(|cx| std::task::Poll::Ready(accept.as_mut().poll(cx).is_pending())).await;
        assert!(first_poll, "a poll ends though there is always one more to refuse");
        assert!(script.accepted() > 1, "but not after each");
    }

    #[tokio::test]
    async fn the_limit_can_be_changed_while_it_is_in_use() {
        let script = Scripted::endless();
        let mut listener = Limited::new(script.listener(), 1);
        let limit = listener.limit().clone();
        let first = accept_now(&mut listener).expect("a place");
        {
            let mut accept = task::spawn(listener.accept());
            assert_pending!(accept.poll());
            limit.set(2);
            assert!(accept.is_woken(), "a higher limit wakes who waits");
            let _second = assert_ready!(accept.poll()).expect("a place");
            assert_eq!((limit.limit(), limit.open()), (Some(2), 2));
            limit.set(1);
            assert_eq!(limit.open(), 2, "a lower limit closes nothing");
        }
        assert_eq!(limit.open(), 1);
        {
            let mut accept = task::spawn(listener.accept());
            assert_pending!(accept.poll(), "but holds for the next");
            drop(first);
            assert_ready!(accept.poll()).expect("a place");
        }
        limit.set(None);
        assert_eq!(limit.limit(), None);
        let many: Vec<_> = (0..100).map(|_| accept_now(&mut listener).expect("no limit")).collect();
        assert_eq!(limit.open(), many.len());
    }

    #[tokio::test]
    async fn listeners_share_a_limit() {
        let script = Scripted::endless();
        let limit = ConnectionLimit::new(1);
        let mut a = Limited::new(script.listener(), &limit);
        let mut b = Limited::new(script.listener(), limit.clone());
        let held = accept_now(&mut a).expect("a place");
        let mut waiting = task::spawn(b.accept());
        assert_pending!(waiting.poll(), "the sum is limited");
        drop(held);
        assert_ready!(waiting.poll()).expect("a place");
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    #[expect(clippy::disallowed_methods, reason = "the test waits for every task")]
    async fn the_limit_holds_under_threads_and_no_wake_is_lost() {
        let limit = ConnectionLimit::new(3);
        let tasks: Vec<_> = (0..32)
            .map(|_| {
                let limit = limit.clone();
                tokio::spawn(async move {
                    for _ in 0..200 {
                        let place = limit.take().await.opened();
                        assert!(limit.open() <= 3, "never more than the limit");
                        tokio::task::yield_now().await;
                        drop(place);
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await.expect("no task fails");
        }
        assert_eq!((limit.open(), limit.shared.taken.load(SeqCst)), (0, 0), "each place came back exactly once");
    }
}
