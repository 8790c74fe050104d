use std::{
    collections::HashMap,
    io,
    net::IpAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
};

use crate::{Accepted, Guarded, IpPrefix, ListenAddr, Listener, Peer, key::AddressKey, refuse::refuse};

/// A connection that is counted for its address.
pub type PerIpIo<Io> = Guarded<Io, PerIpPlace>;

/// At most so many connections at a time from one address; one too many is closed at once and counted.
///
/// ```
/// # use graceful_listener::{PerIp, PerIpLimit, TcpListener};
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let listener = TcpListener::bind("127.0.0.1:0").await?;
/// let limit = PerIpLimit::new(50).exempt(["10.0.0.0/8".parse()?]);
/// let listener = PerIp::new(listener, &limit);
/// # Ok(()) }
/// ```
///
/// Behind a proxy every connection comes from the proxy: exempt its address, and count the client that a
/// [PROXY header](crate::Proxied) names.
///
/// See the [crate docs](crate).
#[derive(Debug)]
pub struct PerIp<L> {
    inner: L,
    limit: PerIpLimit,
}

impl<L> PerIp<L> {
    /// At most `limit` connections from `inner` for each address, `None` for any number.
    ///
    /// Give several listeners clones of one [`PerIpLimit`] to count them together.
    pub fn new(inner: L, limit: impl Into<PerIpLimit>) -> Self {
        Self { inner, limit: limit.into() }
    }

    /// The limit, to read and change it while the server runs.
    pub const fn limit(&self) -> &PerIpLimit {
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

impl<L: Listener> Listener for PerIp<L> {
    type Io = PerIpIo<L::Io>;

    async fn accept(&mut self) -> io::Result<Accepted<Self::Io>> {
        loop {
            let accepted = self.inner.accept().await?;
            if let Some(place) = self.limit.admit(accepted.peer) {
                return Ok(accepted.map_io(|io| Guarded::new(io, place)));
            }
            refuse(accepted, "per_ip_limit").await;
        }
    }

    fn close_queue(&mut self) -> bool {
        self.inner.close_queue()
    }

    fn local_addr(&self) -> io::Result<ListenAddr> {
        self.inner.local_addr()
    }
}

/// How many connections one address may have, and how many each has. Clones count together.
///
/// - An IPv6 network counts as one address (a `/64` by default: what a single customer is given, RFC 6177); an IPv4
///   address in IPv6 clothes counts as IPv4.
/// - The table has an entry for an address while it has connections, so never more entries than there are connections.
///   Bound those with [`Limited`](crate::Limited).
/// - A peer without an address (a Unix socket) and those [`exempt`](Self::exempt) are not counted at all.
#[derive(Clone, Debug)]
pub struct PerIpLimit {
    key: AddressKey,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    limit: AtomicUsize,
    refused: AtomicU64,
    /// How many connections there are from each; no entry is zero. Std's hasher is keyed, so that no client can choose
    /// addresses that collide.
    open: Mutex<HashMap<IpAddr, usize>>,
}

impl PerIpLimit {
    /// At most `limit` connections for each address, `None` for any number.
    pub fn new(limit: impl Into<Option<usize>>) -> Self {
        Self {
            key: AddressKey::new(),
            shared: Arc::new(Shared {
                limit: AtomicUsize::new(limit.into().unwrap_or(usize::MAX)),
                refused: AtomicU64::new(0),
                open: Mutex::default(),
            }),
        }
    }

    /// How many leading bits make an IPv6 address one address, 0 to 128. Default: 64.
    ///
    /// Set it and the exempt list before the limit is cloned: clones keep their own.
    #[must_use]
    pub fn v6_prefix(self, bits: u8) -> Self {
        Self { key: self.key.v6_prefix(bits), ..self }
    }

    /// Addresses that are neither limited nor counted, as those of load balancers and health checks. Default: none.
    #[must_use]
    pub fn exempt(self, prefixes: impl IntoIterator<Item = IpPrefix>) -> Self {
        Self { key: self.key.exempt(prefixes), ..self }
    }

    /// Changes the limit from now on. Connections that are open stay.
    pub fn set(&self, limit: impl Into<Option<usize>>) {
        self.shared.limit.store(limit.into().unwrap_or(usize::MAX), Relaxed);
    }

    /// The limit, `None` for any number.
    #[must_use]
    pub fn limit(&self) -> Option<usize> {
        Some(self.shared.limit.load(Relaxed)).filter(|&limit| limit != usize::MAX)
    }

    /// How many connections were refused.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.shared.refused.load(Relaxed)
    }

    /// How many addresses have connections: the size of the table.
    #[must_use]
    pub fn addresses(&self) -> usize {
        self.shared.open().len()
    }

    /// How many connections `addr` and those that count as one with it have. None are counted for an exempt address.
    #[must_use]
    pub fn open(&self, addr: IpAddr) -> usize {
        self.key.of_addr(addr).map_or(0, |key| self.shared.open().get(&key).copied().unwrap_or(0))
    }

    /// Counts a connection from `peer`, or refuses it.
    ///
    /// For a server that learns its peer later than from `accept`, as behind a proxy: see [`Proxied`](crate::Proxied).
    #[must_use]
    pub fn admit(&self, peer: Peer) -> Option<PerIpPlace> {
        let Some(key) = self.key.of(peer) else {
            return Some(PerIpPlace { counted: None });
        };
        let limit = self.shared.limit.load(Relaxed);
        let mut open = self.shared.open();
        let count = open.get(&key).copied().unwrap_or(0);
        if count >= limit {
            drop(open);
            self.shared.refused.fetch_add(1, Relaxed);
            return None;
        }
        // Only now: a refused address leaves no entry behind.
        open.insert(key, count + 1);
        drop(open);
        Some(PerIpPlace { counted: Some((self.shared.clone(), key)) })
    }
}

impl Shared {
    fn open(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        // Nothing in here panics half-way.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl From<usize> for PerIpLimit {
    fn from(limit: usize) -> Self {
        Self::new(limit)
    }
}

impl From<Option<usize>> for PerIpLimit {
    fn from(limit: Option<usize>) -> Self {
        Self::new(limit)
    }
}

impl From<&Self> for PerIpLimit {
    fn from(limit: &Self) -> Self {
        limit.clone()
    }
}

/// A connection in the count of its address; taken out when it is dropped.
#[derive(Debug)]
pub struct PerIpPlace {
    counted: Option<(Arc<Shared>, IpAddr)>,
}

impl Drop for PerIpPlace {
    fn drop(&mut self) {
        let Some((shared, key)) = self.counted.take() else { return };
        let mut open = shared.open();
        if let Some(count) = open.get_mut(&key) {
            *count -= 1;
            if *count == 0 {
                open.remove(&key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use tokio_test::{assert_pending, task};

    use super::*;
    use crate::mock::{Scripted, accept_now};

    fn peer(text: &str) -> Peer {
        Peer::Tcp(SocketAddr::new(ip(text), 5000))
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[tokio::test]
    async fn one_too_many_is_closed_at_once_and_counted() {
        let script = Scripted::new();
        let mut listener = PerIp::new(script.listener(), 2);
        let limit = listener.limit().clone();
        let mut held = Vec::new();
        for _ in 0..2 {
            script.connect_from(peer("192.0.2.1"));
            held.push(accept_now(&mut listener).expect("within the limit"));
        }
        let mut refused = script.connect_from(peer("192.0.2.1"));
        script.connect_from(peer("192.0.2.2"));
        let other = accept_now(&mut listener).expect("another address has a count of its own");
        assert_eq!(other.peer, peer("192.0.2.2"), "the refused one is skipped");
        assert!(refused.is_closed().await, "and closed");
        assert_eq!((limit.refused(), limit.addresses(), limit.open(ip("192.0.2.1"))), (1, 2, 2));

        held.pop();
        script.connect_from(peer("192.0.2.1"));
        accept_now(&mut listener).expect("a connection that ended made room");
        drop((held, other));
        assert_eq!(limit.addresses(), 0, "an entry is gone at zero");
    }

    #[tokio::test]
    async fn an_error_passes_and_a_cancelled_accept_counts_nothing() {
        let script = Scripted::new();
        let mut listener = PerIp::new(script.listener(), 1);
        let mut accept = task::spawn(listener.accept());
        assert_pending!(accept.poll());
        drop(accept);
        script.fail(io::ErrorKind::ConnectionReset);
        assert_eq!(accept_now(&mut listener).expect_err("the server's").kind(), io::ErrorKind::ConnectionReset);
        script.connect();
        accept_now(&mut listener).expect("nothing is lost");
        assert_eq!(listener.limit().addresses(), 0);
    }

    #[tokio::test]
    async fn a_flood_of_refusals_lets_the_task_breathe() {
        let script = Scripted::endless();
        let mut listener = PerIp::new(script.listener(), 0);
        assert_pending!(task::spawn(listener.accept()).poll(), "a poll ends though there is always one more to refuse");
        assert!(script.accepted() > 1, "but not after each");
    }

    #[test]
    fn addresses_that_count_as_one() {
        for (bits, one, other, same) in [
            (64, "2001:db8::1", "2001:db8::ffff:1", true),
            (64, "2001:db8::1", "2001:db8:0:1::1", false),
            (56, "2001:db8::1", "2001:db8:0:ff::1", true),
            (56, "2001:db8::1", "2001:db8:0:100::1", false),
            (128, "2001:db8::1", "2001:db8::2", false),
            (0, "2001:db8::1", "fe80::1", true),
            (0, "192.0.2.1", "192.0.2.2", false),
            (64, "192.0.2.1", "192.0.2.2", false),
            (64, "::ffff:192.0.2.1", "192.0.2.1", true),
            (64, "192.0.2.1", "::ffff:192.0.2.1", true),
            (64, "::ffff:192.0.2.1", "::ffff:192.0.2.2", false),
        ] {
            let limit = PerIpLimit::new(1).v6_prefix(bits);
            let _one = limit.admit(peer(one)).expect("the first");
            assert_eq!(limit.open(ip(other)), usize::from(same), "/{bits}: {one} and {other}");
            assert_eq!(limit.admit(peer(other)).is_none(), same, "/{bits}: {one} and {other}");
        }
    }

    #[test]
    fn exempt_peers_are_not_counted() {
        let limit = PerIpLimit::new(1).exempt(["10.0.0.0/8".parse().unwrap(), "::1".parse().unwrap()]);
        for exempt in [peer("10.1.2.3"), peer("::ffff:10.1.2.3"), peer("::1"), Peer::Unix] {
            let places: Vec<_> = (0..10).map(|_| limit.admit(exempt).expect("exempt")).collect();
            assert_eq!(limit.addresses(), 0, "no entry for {exempt}");
            drop(places);
        }
        let _one = limit.admit(peer("11.0.0.1")).expect("the first");
        assert!(limit.admit(peer("11.0.0.1")).is_none(), "others are");
    }

    #[test]
    fn the_table_is_never_larger_than_what_is_open() {
        let limit = PerIpLimit::new(1);
        let mut places = Vec::new();
        for i in 0..1000u32 {
            places.push(limit.admit(Peer::Tcp(SocketAddr::new(IpAddr::V4(i.into()), 1))).expect("the first of each"));
            assert!(limit.admit(Peer::Tcp(SocketAddr::new(IpAddr::V4(i.into()), 2))).is_none());
        }
        assert_eq!(limit.addresses(), places.len(), "a refused connection adds no entry");
        places.truncate(10);
        assert_eq!(limit.addresses(), 10);
        limit.set(0);
        assert!(limit.admit(peer("192.0.2.1")).is_none());
        assert_eq!(limit.addresses(), 10, "also not an address that has none open");
    }

    #[test]
    fn the_limit_can_be_changed_while_it_is_in_use() {
        let limit = PerIpLimit::new(None);
        assert_eq!(limit.limit(), None);
        let open: Vec<_> = (0..5).map(|_| limit.admit(peer("192.0.2.1")).expect("no limit")).collect();
        limit.set(3);
        assert_eq!((limit.limit(), limit.open(ip("192.0.2.1"))), (Some(3), 5), "what is open stays");
        assert!(limit.admit(peer("192.0.2.1")).is_none());
        drop(open);
        assert!(limit.admit(peer("192.0.2.1")).is_some());
    }

    #[test]
    fn counts_are_right_under_threads() {
        let limit = PerIpLimit::new(4);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..2000 {
                        let place = limit.admit(peer("192.0.2.1"));
                        assert!(limit.open(ip("192.0.2.1")) <= 4, "never more than the limit");
                        drop(place);
                    }
                });
            }
        });
        assert_eq!(limit.addresses(), 0, "each was taken out exactly once");
    }
}
