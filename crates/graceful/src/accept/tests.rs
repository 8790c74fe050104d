//! The last call: who is taken in, and for how long.

use std::{
    collections::VecDeque,
    future::{pending, ready},
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
};

use axum::Router;
use graceful_listener::{ListenAddr, Proxied};
use tokio::net::UnixStream;

use super::*;
use crate::stack::plain;

/// A queue that gives what it is told to, a moment apart.
struct Queue {
    next: VecDeque<io::Result<()>>,
    endless: bool,
    accepted: Arc<AtomicUsize>,
    closed: Arc<AtomicBool>,
}

const MOMENT: Duration = Duration::from_millis(10);

impl Queue {
    fn new(next: impl IntoIterator<Item = io::Result<()>>) -> Self {
        Self { next: next.into_iter().collect(), endless: false, accepted: Arc::default(), closed: Arc::default() }
    }

    fn endless() -> Self {
        Self { endless: true, ..Self::new([]) }
    }

    /// Ends at once, and says how many were taken in on the last call, and how long it took.
    async fn stop(self) -> (usize, Duration) {
        let (accepted, closed) = (Arc::clone(&self.accepted), Arc::clone(&self.closed));
        let begin = Instant::now();
        accept(Proxied::new(self, []), serve(), ready(())).await.expect("it is not broken");
        assert!(closed.load(Relaxed), "nobody new gets in, where that can be had");
        (accepted.load(Relaxed), begin.elapsed())
    }
}

impl Listener for Queue {
    type Io = UnixStream;

    async fn accept(&mut self) -> io::Result<Accepted<UnixStream>> {
        sleep(MOMENT).await;
        match self.next.pop_front() {
            None if !self.endless => pending().await,
            None | Some(Ok(())) => {}
            Some(Err(error)) => return Err(error),
        }
        self.accepted.fetch_add(1, Relaxed);
        Ok(Accepted::new(UnixStream::pair()?.0, Peer::Unix))
    }

    fn close_queue(&mut self) -> bool {
        self.closed.store(true, Relaxed);
        true
    }

    fn local_addr(&self) -> io::Result<ListenAddr> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

fn serve() -> Serve<impl HttpService> {
    Serve {
        service: plain(Router::new()),
        settings: Arc::default(),
        registry: Registry::new(),
        log: ServerLog::default(),
        per_address: PerAddress::unlimited(),
        reset: ResetSwitch::new(),
        #[cfg(feature = "tls")]
        tls: Tls::default(),
    }
}

#[tokio::test(start_paused = true)]
async fn an_empty_queue_is_left_after_a_while() {
    let (accepted, took) = Queue::new([]).stop().await;
    assert_eq!(accepted, 0);
    assert!(took >= QUIET && took < 2 * QUIET, "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn all_who_wait_are_taken_in() {
    let (accepted, took) = Queue::new((0..50).map(|_| Ok(()))).stop().await;
    assert_eq!(accepted, 50);
    assert!(took >= 50 * MOMENT + QUIET && took < LAST_CALL, "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_queue_that_never_ends_is_left_all_the_same() {
    let (accepted, took) = Queue::endless().stop().await;
    assert!(accepted > 50, "{accepted}");
    assert!(took >= LAST_CALL && took < LAST_CALL + 2 * MOMENT, "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn an_error_does_not_end_it() {
    let errors = || [Err(io::ErrorKind::ConnectionAborted.into()), Err(io::Error::from_raw_os_error(EMFILE))];
    let (accepted, _) = Queue::new(errors().into_iter().chain([Ok(())]).chain(errors()).chain([Ok(())])).stop().await;
    assert_eq!(accepted, 2, "those behind it are taken in");

    let (accepted, took) = Queue::new((0..1000).flat_map(|_| errors())).stop().await;
    assert_eq!(accepted, 0);
    assert!(took >= LAST_CALL && took < LAST_CALL + 2 * MOMENT, "errors without end are left as well: {took:?}");
}

/// Gives one error after the other, at once, as a socket does.
struct Failing {
    error: i32,
    asked: Arc<AtomicUsize>,
}

impl Failing {
    fn with(error: i32) -> Self {
        Self { error, asked: Arc::default() }
    }
}

impl Listener for Failing {
    type Io = UnixStream;

    async fn accept(&mut self) -> io::Result<Accepted<UnixStream>> {
        self.asked.fetch_add(1, Relaxed);
        Err(io::Error::from_raw_os_error(self.error))
    }

    fn local_addr(&self) -> io::Result<ListenAddr> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

#[tokio::test(start_paused = true)]
async fn errors_that_are_there_at_once_end_it_as_well() {
    let begin = Instant::now();
    let end = accept(Proxied::new(Failing::with(EMFILE), []), serve(), ready(()));
    assert!(timeout(60 * LAST_CALL, end).await.expect("it ends").is_ok());
    assert!(begin.elapsed() < LAST_CALL + 2 * RETRY, "{:?}", begin.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_listener_that_is_broken_is_given_up() {
    for (errno, broken) in [(EINVAL, true), (EMFILE, false)] {
        let listener = Failing::with(errno);
        let asked = Arc::clone(&listener.asked);
        let begin = Instant::now();
        match timeout(60 * BROKEN, accept(Proxied::new(listener, []), serve(), pending())).await {
            Ok(Err(error)) => {
                assert!(broken, "{error}");
                assert_eq!(error.raw_os_error(), Some(errno));
                assert!(begin.elapsed() >= BROKEN && begin.elapsed() < 2 * BROKEN, "{:?}", begin.elapsed());
                assert!(asked.load(Relaxed) < 30, "with longer and longer waits: {}", asked.load(Relaxed));
            }
            other => assert!(!broken, "connections that end give descriptors back: {other:?}"),
        }
    }
}

/// Too many open files, on every Unix.
const EMFILE: i32 = 24;

/// Of a socket that does not listen, or not any more, on every Unix.
const EINVAL: i32 = 22;
