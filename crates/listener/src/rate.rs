mod buckets;

use std::{
    io,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use tokio::time::Instant;

use self::buckets::{Buckets, Rule, Taken};
use crate::{Accepted, IpPrefix, ListenAddr, Listener, Peer, key::AddressKey, refuse::refuse};

/// At most so many *new* connections a time from one address; one too many is closed at once and counted.
///
/// [`PerIp`](crate::PerIp) bounds how many an address holds, this how fast it comes and goes: TLS handshakes are dear,
/// and a client that connects, asks and leaves is never over a limit of what is open.
///
/// ```
/// use std::time::Duration;
/// use graceful_listener::{ConnectionRate, Rate, TcpListener};
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let listener = TcpListener::bind("127.0.0.1:0").await?;
/// // 20 a second in the long run, 100 at once after a silence of 5 s.
/// let rate = ConnectionRate::new(20, Duration::from_secs(1)).burst(100).exempt(["10.0.0.0/8".parse()?]);
/// let listener = Rate::new(listener, &rate);
/// # Ok(()) }
/// ```
///
/// See the [crate docs](crate).
#[derive(Debug)]
pub struct Rate<L> {
    inner: L,
    rate: ConnectionRate,
}

impl<L> Rate<L> {
    /// New connections from `inner` at most at this rate for each address, `None` at any.
    ///
    /// Give several listeners clones of one [`ConnectionRate`] to count them together.
    pub fn new(inner: L, rate: impl Into<ConnectionRate>) -> Self {
        Self { inner, rate: rate.into() }
    }

    /// The rate, to read its counters while the server runs.
    pub const fn rate(&self) -> &ConnectionRate {
        &self.rate
    }

    /// The listener inside.
    pub const fn get_ref(&self) -> &L {
        &self.inner
    }

    /// The listener inside, to change it.
    pub const fn get_mut(&mut self) -> &mut L {
        &mut self.inner
    }

    /// The listener inside, without the rate.
    pub fn into_inner(self) -> L {
        self.inner
    }
}

impl<L: Listener> Listener for Rate<L> {
    type Io = L::Io;

    async fn accept(&mut self) -> io::Result<Accepted<L::Io>> {
        loop {
            let accepted = self.inner.accept().await?;
            if self.rate.admit(accepted.peer) {
                return Ok(accepted);
            }
            refuse(accepted, "connection_rate").await;
        }
    }

    fn close_queue(&mut self) -> bool {
        self.inner.close_queue()
    }

    fn local_addr(&self) -> io::Result<ListenAddr> {
        self.inner.local_addr()
    }
}

/// How fast one address may connect: a token bucket for each. Clones count together.
///
/// - Addresses count as one, or not at all, as in a [`PerIpLimit`](crate::PerIpLimit).
/// - A refused connection takes no token: who keeps knocking is still admitted at the rate.
/// - The table forgets an address whose bucket must be full again, at the latest after twice the time that an empty one
///   takes to fill, and has at most [`max_addresses`](Self::max_addresses) entries.
#[derive(Clone, Debug)]
pub struct ConnectionRate {
    key: AddressKey,
    /// `None`: any rate.
    rule: Option<Rule>,
    max_addresses: usize,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    began: Instant,
    refused: AtomicU64,
    untracked: AtomicU64,
    buckets: Mutex<Buckets>,
}

impl ConnectionRate {
    /// At most `connections` in each `per` for each address in the long run, and [as many at once](Self::burst).
    ///
    /// Both count as at least one, of a connection and of a nanosecond.
    #[must_use]
    pub fn new(connections: u32, per: Duration) -> Self {
        Self { rule: Some(Rule::new(connections, per)), ..Self::unlimited() }
    }

    /// Any rate: nothing is counted.
    #[must_use]
    pub fn unlimited() -> Self {
        Self {
            key: AddressKey::new(),
            rule: None,
            max_addresses: 65_536,
            shared: Arc::new(Shared {
                began: Instant::now(),
                refused: AtomicU64::new(0),
                untracked: AtomicU64::new(0),
                buckets: Mutex::default(),
            }),
        }
    }

    /// How many connections an address may make at once when it has been silent long enough, at least 1. Default: as many
    /// as [`new`](Self::new) was given. A browser opens six to a host.
    ///
    /// Set this and what follows before the rate is cloned: clones keep their own.
    #[must_use]
    pub fn burst(self, connections: u32) -> Self {
        Self { rule: self.rule.map(|rule| rule.burst(connections)), ..self }
    }

    /// How many leading bits make an IPv6 address one address, 0 to 128. Default: 64.
    #[must_use]
    pub fn v6_prefix(self, bits: u8) -> Self {
        Self { key: self.key.v6_prefix(bits), ..self }
    }

    /// Addresses that are neither limited nor counted, as those of load balancers and health checks. Default: none.
    #[must_use]
    pub fn exempt(self, prefixes: impl IntoIterator<Item = IpPrefix>) -> Self {
        Self { key: self.key.exempt(prefixes), ..self }
    }

    /// How many addresses are known at a time. Default: 65,536, which take at most 9 MB.
    ///
    /// When the table is full, an address that is not in it is admitted without being counted, and
    /// [`untracked`](Self::untracked) says so; those that are in it stay limited. To refuse it instead would let anyone
    /// who has many addresses keep everyone else out, and one who has so many gains nothing by it: each of them may
    /// connect anyway. The total limit, [`Limited`](crate::Limited), holds for all.
    #[must_use]
    pub fn max_addresses(self, entries: usize) -> Self {
        Self { max_addresses: entries, ..self }
    }

    /// How many connections were refused.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.shared.refused.load(Relaxed)
    }

    /// How many connections were admitted without being counted, as the table was full.
    #[must_use]
    pub fn untracked(&self) -> u64 {
        self.shared.untracked.load(Relaxed)
    }

    /// How many addresses are known: the size of the table.
    #[must_use]
    pub fn addresses(&self) -> usize {
        let now = self.shared.now();
        self.rule.map_or(0, |rule| self.shared.buckets().len(rule, now))
    }

    /// Counts a new connection from `peer`, or refuses it.
    ///
    /// For a server that learns its peer later than from `accept`, as behind a proxy: see [`Proxied`](crate::Proxied).
    #[must_use]
    pub fn admit(&self, peer: Peer) -> bool {
        let Some(rule) = self.rule else { return true };
        let Some(key) = self.key.of(peer) else { return true };
        let now = self.shared.now();
        let taken = self.shared.buckets().take(key, rule, now, self.max_addresses);
        match taken {
            Taken::Token => true,
            Taken::Untracked => {
                self.shared.untracked.fetch_add(1, Relaxed);
                true
            }
            Taken::Empty => {
                self.shared.refused.fetch_add(1, Relaxed);
                false
            }
        }
    }
}

impl From<&Self> for ConnectionRate {
    fn from(rate: &Self) -> Self {
        rate.clone()
    }
}

impl From<Option<Self>> for ConnectionRate {
    fn from(rate: Option<Self>) -> Self {
        rate.unwrap_or_else(Self::unlimited)
    }
}

impl Shared {
    /// Nanoseconds since the rate was made; they last for 584 years.
    fn now(&self) -> u64 {
        buckets::nanos(Instant::now().saturating_duration_since(self.began))
    }

    fn buckets(&self) -> MutexGuard<'_, Buckets> {
        // Nothing in here panics half-way.
        self.buckets.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, SocketAddr};

    use tokio::time::advance;
    use tokio_test::{assert_pending, task};

    use super::*;
    use crate::mock::{Scripted, accept_now};

    const SECOND: Duration = Duration::from_secs(1);

    fn peer(text: &str) -> Peer {
        Peer::Tcp(SocketAddr::new(text.parse().expect("an address"), 5000))
    }

    fn admitted(rate: &ConnectionRate, peer: Peer, attempts: usize) -> usize {
        (0..attempts).filter(|_| rate.admit(peer)).count()
    }

    #[tokio::test(start_paused = true)]
    async fn one_too_many_is_closed_at_once_and_counted() {
        let script = Scripted::new();
        let mut listener = Rate::new(script.listener(), ConnectionRate::new(2, SECOND));
        let rate = listener.rate().clone();
        for _ in 0..2 {
            script.connect_from(peer("192.0.2.1"));
            drop(accept_now(&mut listener).expect("within the burst"));
        }
        let mut refused = script.connect_from(peer("192.0.2.1"));
        script.connect_from(peer("192.0.2.2"));
        let other = accept_now(&mut listener).expect("another address has a bucket of its own");
        assert_eq!(other.peer, peer("192.0.2.2"), "the refused one is skipped");
        assert!(refused.is_closed().await, "and closed");
        assert_eq!((rate.refused(), rate.addresses()), (1, 2));

        advance(SECOND / 2).await;
        script.connect_from(peer("192.0.2.1"));
        accept_now(&mut listener).expect("half a second brings one of two a second");
    }

    #[tokio::test(start_paused = true)]
    async fn an_error_passes_and_a_cancelled_accept_counts_nothing() {
        let script = Scripted::new();
        let mut listener = Rate::new(script.listener(), ConnectionRate::new(1, SECOND));
        let mut accept = task::spawn(listener.accept());
        assert_pending!(accept.poll());
        drop(accept);
        script.fail(io::ErrorKind::ConnectionReset);
        assert_eq!(accept_now(&mut listener).expect_err("the server's").kind(), io::ErrorKind::ConnectionReset);
        assert_eq!(listener.rate().addresses(), 0);
        script.connect();
        accept_now(&mut listener).expect("nothing is lost");
    }

    #[tokio::test(start_paused = true)]
    async fn a_flood_of_refusals_lets_the_task_breathe() {
        let script = Scripted::endless();
        let mut listener = Rate::new(script.listener(), ConnectionRate::new(1, SECOND));
        let _first = accept_now(&mut listener).expect("the first");
        assert_pending!(task::spawn(listener.accept()).poll(), "a poll ends though there is always one more to refuse");
        assert!(listener.rate().refused() > 1, "but not after each");
    }

    #[tokio::test(start_paused = true)]
    async fn a_burst_and_then_the_rate_and_never_more() {
        let rate = ConnectionRate::new(10, SECOND).burst(30);
        let client = peer("192.0.2.1");
        assert_eq!(admitted(&rate, client, 100), 30, "the burst");
        let mut in_ten_seconds = 0;
        for _ in 0..1000 {
            advance(SECOND / 100).await;
            in_ten_seconds += admitted(&rate, client, 5);
        }
        assert_eq!(in_ten_seconds, 100, "then the rate, however hard it tries");
        advance(SECOND * 3).await;
        assert_eq!(admitted(&rate, client, 100), 30, "3 s fill the bucket");
        advance(SECOND * 3600).await;
        assert_eq!(admitted(&rate, client, 100), 30, "and an hour does not overfill it");
    }

    #[tokio::test(start_paused = true)]
    async fn a_rate_below_one_a_second() {
        let rate = ConnectionRate::new(1, SECOND * 60);
        let client = peer("192.0.2.1");
        assert!(rate.admit(client));
        advance(SECOND * 60 - Duration::from_nanos(1)).await;
        assert!(!rate.admit(client), "not a moment before");
        advance(Duration::from_nanos(1)).await;
        assert!(rate.admit(client));
    }

    #[tokio::test(start_paused = true)]
    async fn extremes_neither_panic_nor_mean_none() {
        let client = peer("192.0.2.1");
        for (rate, at_once) in [
            (ConnectionRate::new(0, SECOND), 1),
            (ConnectionRate::new(1, Duration::ZERO), 1),
            (ConnectionRate::new(1, Duration::MAX), 1),
            (ConnectionRate::new(1, SECOND).burst(0), 1),
            (ConnectionRate::new(u32::MAX, Duration::MAX).burst(u32::MAX), 10),
            (ConnectionRate::unlimited(), 10),
            (ConnectionRate::from(None), 10),
        ] {
            assert_eq!(admitted(&rate, client, 10), at_once, "{rate:?}");
            advance(SECOND).await;
            let _ = rate.admit(client);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_counts_as_one_and_who_not_at_all() {
        let rate = ConnectionRate::new(1, SECOND).exempt(["10.0.0.0/8".parse().unwrap()]);
        for exempt in [peer("10.1.2.3"), peer("::ffff:10.1.2.3"), Peer::Unix] {
            assert_eq!(admitted(&rate, exempt, 5), 5, "{exempt}");
        }
        assert_eq!(rate.addresses(), 0, "they leave no entry");
        assert!(rate.admit(peer("2001:db8::1")) && !rate.admit(peer("2001:db8::2:1")), "a /64 is one address");
        assert!(rate.admit(peer("192.0.2.1")) && !rate.admit(peer("::ffff:192.0.2.1")), "IPv4 in IPv6 clothes");
        assert!(rate.admit(peer("2001:db8:0:1::1")), "another /64 is another");
    }

    #[tokio::test(start_paused = true)]
    async fn a_full_table_admits_strangers_and_still_limits_those_it_knows() {
        let rate = ConnectionRate::new(1, SECOND).max_addresses(100);
        let client = |n: u32| Peer::Tcp(SocketAddr::new(IpAddr::V4(n.into()), 1));
        for n in 0..1000 {
            assert!(rate.admit(client(n)), "the first of each");
        }
        assert_eq!((rate.addresses(), rate.untracked()), (100, 900), "the table does not grow beyond its cap");
        assert!(!rate.admit(client(5)), "known, and its bucket is empty");
        assert!(rate.admit(client(500)), "not known");
        advance(SECOND * 2).await;
        assert_eq!(rate.addresses(), 0, "full buckets are forgotten");
        assert!(rate.admit(client(500)) && !rate.admit(client(500)), "there is room again");
    }

    #[test]
    fn no_token_is_given_twice_under_threads() {
        let rate = ConnectionRate::new(1, SECOND * 3600).burst(100);
        let given: usize = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(|| admitted(&rate, peer("192.0.2.1"), 1000))).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        assert_eq!((given, rate.refused()), (100, 7900));
    }
}
