use std::{
    future::{pending, poll_fn},
    io,
    pin::pin,
    task::Poll,
};

use tokio::time::{Instant, sleep_until};

use crate::{AcceptError, Accepted, Backoff, ListenAddr, Listener};

/// Accepts from several listeners at once, in turns: none of them, however busy, keeps the others waiting.
///
/// With listeners of different kinds, see [`AnyListener`](crate::AnyListener). More than one of them costs two allocations
/// and one for each listener a connection.
///
/// # When one of them fails
///
/// An error about one connection ([`AcceptError::Connection`]) passes through. A listener that fails otherwise rests
/// for 5 ms, twice as long after each further failure, at most 1 s (see [`Backoff`]), while the others are accepted
/// from. Its error is given out when it is the first of a burst, and when no other is left that does not rest: so the
/// server hears of it, and does not wait, with its own [`Backoff`], on behalf of those that work.
///
/// See the [crate docs](crate).
#[derive(Debug)]
pub struct Several<L> {
    sources: Vec<Source<L>>,
    /// Who is asked first.
    next: usize,
}

#[derive(Debug)]
struct Source<L> {
    listener: L,
    backoff: Backoff,
    rests_until: Option<Instant>,
}

impl<L> Several<L> {
    /// Accepts from all of them. From none, nothing is ever accepted.
    pub fn new(listeners: impl IntoIterator<Item = L>) -> Self {
        let source = |listener| Source { listener, backoff: Backoff::new(), rests_until: None };
        Self { sources: listeners.into_iter().map(source).collect(), next: 0 }
    }

    /// The listeners inside, in their order.
    pub fn iter(&self) -> impl Iterator<Item = &L> {
        self.sources.iter().map(|source| &source.listener)
    }

    /// The listeners inside, to change them.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut L> {
        self.sources.iter_mut().map(|source| &mut source.listener)
    }
}

impl<L: Listener> Listener for Several<L> {
    type Io = L::Io;

    async fn accept(&mut self) -> io::Result<Accepted<L::Io>> {
        if let [only] = &mut *self.sources {
            return only.listener.accept().await;
        }
        loop {
            let Some((at, accepted)) = first_of(&mut self.sources, self.next).await else {
                continue; // one is rested
            };
            self.next = (at + 1) % self.sources.len();
            let source = &mut self.sources[at];
            match accepted {
                Ok(accepted) => {
                    // The end of its burst is for who heard of its beginning to notice.
                    let _ = source.backoff.succeeded();
                    return Ok(accepted);
                }
                Err(error) if AcceptError::of(&error) == AcceptError::Connection => return Err(error),
                Err(error) => {
                    let failed = source.backoff.failed();
                    source.rests_until = Some(Instant::now() + failed.wait);
                    if failed.warn || self.sources.iter().all(|source| source.rests_until.is_some()) {
                        return Err(error);
                    }
                }
            }
        }
    }

    /// Whether any of them could.
    fn close_queue(&mut self) -> bool {
        // Each of them, also after one that could.
        self.iter_mut().map(L::close_queue).filter(|could| *could).count() > 0
    }

    /// That of the first listener; [`iter`](Several::iter) leads to the others.
    fn local_addr(&self) -> io::Result<ListenAddr> {
        let first = self.sources.first().ok_or(io::ErrorKind::NotFound)?;
        first.listener.local_addr()
    }
}

impl<L> FromIterator<L> for Several<L> {
    fn from_iter<I: IntoIterator<Item = L>>(listeners: I) -> Self {
        Self::new(listeners)
    }
}

/// What the first source to have something has, and which it is; `None` when one is rested. Those before `start` are
/// asked last.
async fn first_of<L: Listener>(
    sources: &mut [Source<L>],
    start: usize,
) -> Option<(usize, io::Result<Accepted<L::Io>>)> {
    if sources.iter().any(|source| source.rests_until.is_some()) {
        let now = Instant::now();
        for source in &mut *sources {
            source.rests_until = source.rests_until.filter(|&until| until > now);
        }
    }
    let first_rested = sources.iter().filter_map(|source| source.rests_until).min();
    let (before, after) = sources.split_at_mut(start);
    let in_turn = (start..).zip(after).chain((0..).zip(before));
    let mut accepts: Vec<_> = in_turn
        .filter(|(_, source)| source.rests_until.is_none())
        .map(|(at, source)| (at, Box::pin(source.listener.accept())))
        .collect();
    let mut rested = pin!(async {
        match first_rested {
            Some(until) => sleep_until(until).await,
            None => pending().await,
        }
    });
    // Those that are not first are dropped, which loses nothing: `accept` is cancel-safe.
    poll_fn(|cx| {
        for (at, accept) in &mut accepts {
            if let Poll::Ready(accepted) = accept.as_mut().poll(cx) {
                return Poll::Ready(Some((*at, accepted)));
            }
        }
        rested.as_mut().poll(cx).map(|()| None)
    })
    .await
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::advance;
    use tokio_test::{assert_pending, assert_ready, task};

    use super::*;
    use crate::{
        Limited, Peer,
        mock::{Scripted, ScriptedListener, accept_now},
    };

    fn scripts<const N: usize>() -> ([Scripted; N], Several<ScriptedListener>) {
        let scripts = [(); N].map(|()| Scripted::new());
        let several = scripts.iter().map(Scripted::listener).collect();
        (scripts, several)
    }

    fn peer(port: u16) -> Peer {
        Peer::Tcp(([127, 0, 0, 1], port).into())
    }

    #[tokio::test]
    async fn who_has_one_gives_it_and_who_waits_is_woken() {
        let ([a, b], mut several) = scripts();
        b.connect_from(peer(1));
        assert_eq!(accept_now(&mut several).expect("b's").peer, peer(1));
        let mut accept = task::spawn(several.accept());
        assert_pending!(accept.poll(), "nobody is there");
        a.connect_from(peer(2));
        assert!(accept.is_woken(), "any of them wakes");
        assert_eq!(assert_ready!(accept.poll()).expect("a's").peer, peer(2));
    }

    #[tokio::test]
    async fn a_busy_one_leaves_the_others_their_turn() {
        let ([a, b, c], mut several) = scripts();
        for _ in 0..10 {
            a.connect_from(peer(1));
            b.connect_from(peer(2));
            c.connect_from(peer(3));
        }
        let order: Vec<_> = (0..30).map(|_| accept_now(&mut several).expect("one of them").peer).collect();
        assert_eq!(order, [peer(1), peer(2), peer(3)].repeat(10), "in turns");
    }

    #[tokio::test]
    async fn a_cancelled_accept_loses_nothing_of_any() {
        let ([a, b], mut several) = scripts();
        for round in 0..5 {
            let mut accept = task::spawn(several.accept());
            assert_pending!(accept.poll());
            a.connect_from(peer(1));
            b.connect_from(peer(2));
            drop(accept);
            let both = [(); 2].map(|()| accept_now(&mut several).expect("kept").peer);
            assert!(both == [peer(1), peer(2)] || both == [peer(2), peer(1)], "round {round}: {both:?}");
        }
        assert_eq!((a.accepted(), b.accepted()), (5, 5));
    }

    #[tokio::test]
    async fn an_error_of_one_connection_passes_and_is_nobodys_rest() {
        let ([a, b], mut several) = scripts();
        a.fail(io::ErrorKind::ConnectionAborted);
        a.connect_from(peer(1));
        b.connect_from(peer(2));
        assert_eq!(accept_now(&mut several).expect_err("a's").kind(), io::ErrorKind::ConnectionAborted);
        assert_eq!(accept_now(&mut several).expect("b's turn").peer, peer(2));
        assert_eq!(accept_now(&mut several).expect("a's").peer, peer(1));
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_is_broken_is_told_once_and_does_not_starve_the_others() {
        let ([a, b], mut several) = scripts();
        let broken = || io::Error::other("broken");
        for _ in 0..100 {
            a.fail(broken());
        }
        assert_eq!(accept_now(&mut several).expect_err("told").to_string(), "broken");
        let began = Instant::now();
        for n in 0..1000 {
            b.connect_from(peer(n));
            assert_eq!(accept_now(&mut several).expect("b lives").peer, peer(n), "and nothing waits for a");
            advance(Duration::from_millis(10)).await;
        }
        assert_eq!(began.elapsed(), Duration::from_secs(10));
        // 5 + 10 + … + 640 ms, then each second.
        let asked = 100 - a.left();
        assert!((10..=20).contains(&asked), "it was asked now and then only: {asked}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_rested_one_is_asked_again_without_anything_else_happening() {
        let ([a, _b], mut several) = scripts();
        a.fail(io::Error::other("for a moment"));
        accept_now(&mut several).expect_err("told");
        a.connect_from(peer(1));
        let mut accept = task::spawn(several.accept());
        assert_pending!(accept.poll(), "it rests");
        advance(Duration::from_millis(6)).await;
        assert!(accept.is_woken(), "and wakes by itself");
        assert_eq!(assert_ready!(accept.poll()).expect("a's").peer, peer(1));
    }

    #[tokio::test(start_paused = true)]
    async fn when_none_is_left_the_server_hears_of_it() {
        let ([a, b], mut several) = scripts();
        for script in [&a, &b] {
            for _ in 0..10 {
                script.fail(io::Error::other("no descriptors"));
            }
        }
        let mut errors = 0;
        for _ in 0..5 {
            errors += usize::from(several.accept().await.is_err());
        }
        assert_eq!(errors, 5, "each time, so that its own back-off takes over");
    }

    #[tokio::test]
    async fn one_is_as_good_as_itself_and_none_as_silence() {
        let ([a], mut several) = scripts();
        for _ in 0..2 {
            a.fail(io::Error::other("broken"));
            accept_now(&mut several).expect_err("each error is the server's, as without the wrapper");
        }
        a.connect_from(peer(1));
        accept_now(&mut several).expect("a's");
        assert!(several.local_addr().is_ok());
        let mut none = Several::<ScriptedListener>::new([]);
        assert_eq!(none.local_addr().expect_err("it has none").kind(), io::ErrorKind::NotFound);
        assert_pending!(task::spawn(none.accept()).poll());
    }

    #[tokio::test]
    async fn places_that_were_taken_in_advance_come_back() {
        let scripts = [Scripted::new(), Scripted::new()];
        let mut several = Several::new(scripts.iter().map(|script| Limited::new(script.listener(), 1)));
        for _ in 0..3 {
            scripts[0].connect();
            let held = accept_now(&mut several).expect("a place under a limit of its own");
            let open: Vec<_> = several.iter().map(|listener| listener.limit().open()).collect();
            assert_eq!(open, [1, 0]);
            drop(held);
        }
    }
}
