use std::{
    fs, io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

#[cfg(any(target_os = "android", target_os = "linux"))]
use socket2::SockFilter;
use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use tokio::net::{self, TcpStream};

use crate::{
    Accepted, BindError, ListenAddr, Listener, Peer,
    address::{self, Address},
};

/// Listens on a TCP address.
///
/// ```
/// use graceful_listener::{Listener, TcpListener};
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let listener = TcpListener::bind("localhost:0").await?;
/// println!("listening on {}", listener.local_addr()?);
///
/// let error = TcpListener::bind("localhost").await.expect_err("no port");
/// assert!(error.is_usage());
/// # Ok(()) }
/// ```
///
/// See the [crate docs](crate).
#[derive(Debug)]
pub struct TcpListener {
    inner: net::TcpListener,
    /// Whether its queue is lost with it: nobody else listens on this socket, and the kernel hands it to no other.
    #[cfg_attr(not(any(target_os = "android", target_os = "linux")), expect(dead_code, reason = "no way to help it"))]
    alone: bool,
    nodelay: bool,
    keep_alive: Option<Duration>,
}

impl TcpListener {
    /// Listens on `address`, with the default [options](TcpOptions).
    ///
    /// - `127.0.0.1:8080`, `[::1]:8080`: that address.
    /// - `0.0.0.0:8080`: all IPv4 addresses; `[::]:8080`: all addresses, IPv6 and IPv4.
    /// - `:8080`: all addresses, as in Go; those of IPv4 only, where the system has no IPv6.
    /// - `localhost:8080`: the first address of that name that this machine has, IPv4 before IPv6 as in Go.
    ///
    /// Port 0 lets the system choose; [`local_addr`](Listener::local_addr) tells.
    ///
    /// # Errors
    ///
    /// [`BindError`] says which of the things that may go wrong did.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime with IO enabled.
    pub async fn bind(address: &str) -> Result<Self, BindError> {
        TcpOptions::new().bind(address).await
    }

    /// Takes over a socket that listens already, with the default [options](TcpOptions) for its connections.
    ///
    /// # Errors
    ///
    /// If the socket cannot be made non-blocking or registered.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime with IO enabled.
    pub fn from_std(listener: std::net::TcpListener) -> io::Result<Self> {
        TcpOptions::new().adopt(listener)
    }

    /// The socket.
    #[must_use]
    pub const fn get_ref(&self) -> &net::TcpListener {
        &self.inner
    }
}

impl Listener for TcpListener {
    type Io = TcpStream;

    async fn accept(&mut self) -> io::Result<Accepted<TcpStream>> {
        // Cancel-safe, as tokio's is: nothing waits after it.
        let (stream, addr) = self.inner.accept().await?;
        // These fail if the peer has already gone, and whoever reads first will learn that.
        if self.nodelay {
            let _ = stream.set_nodelay(true);
        }
        if let Some(after) = self.keep_alive {
            let _ = SockRef::from(&stream).set_tcp_keepalive(&keep_alive(after));
        }
        Ok(Accepted::new(stream, Peer::from(addr)))
    }

    #[cfg(any(target_os = "android", target_os = "linux"))]
    fn close_queue(&mut self) -> bool {
        // It also goes to the connections that are accepted from now on, where a SYN that is not heard does no harm.
        self.alone && SockRef::from(&self.inner).attach_filter(&NO_SYN).is_ok()
    }

    fn local_addr(&self) -> io::Result<ListenAddr> {
        self.inner.local_addr().map(ListenAddr::Tcp)
    }
}

/// A program for the kernel (classic BPF) that passes every packet but one that asks for a connection.
///
/// That packet is hashed to one of the sockets that listen on the address, whatever becomes of it there; so with two
/// generations on one port, this is the only way without privileges to leave what is new to the other one.
#[cfg(any(target_os = "android", target_os = "linux"))]
const NO_SYN: [SockFilter; 5] = [
    SockFilter::new(0x30, 0, 0, 13), // ldb: the flags of the TCP header, where the packet begins here
    SockFilter::new(0x54, 0, 0, 0x12), // and: SYN and ACK of them
    SockFilter::new(0x15, 0, 1, 0x02), // jeq: SYN alone?
    SockFilter::new(0x06, 0, 0, 0),  // ret: none of it
    SockFilter::new(0x06, 0, 0, u32::MAX), // ret: all of it
];

/// How to listen on a TCP address.
///
/// ```
/// use std::time::Duration;
/// use graceful_listener::TcpOptions;
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), graceful_listener::BindError> {
/// let listener = TcpOptions::new().backlog(512).keep_alive(Duration::from_secs(60)).bind("[::]:0").await?;
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct TcpOptions {
    backlog: u16,
    reuse_port: bool,
    only_v6: bool,
    nodelay: bool,
    keep_alive: Option<Duration>,
}

impl TcpOptions {
    /// The defaults, each at its method.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            backlog: 4096,
            reuse_port: false,
            only_v6: false,
            nodelay: true,
            keep_alive: Some(Duration::from_secs(15)),
        }
    }

    /// How many connections may wait in the kernel to be accepted. Default: 4096, as Go gets on Linux.
    ///
    /// Linux cuts it to `net.core.somaxconn`, which is 4096 since 5.4, so the default asks for all that the system gives.
    /// A full queue costs each further client a second (its SYN is dropped and sent again), as when all of them come
    /// back after a restart; a long one costs nothing, for accepting takes microseconds.
    #[must_use]
    pub const fn backlog(self, connections: u16) -> Self {
        Self { backlog: connections, ..self }
    }

    /// Whether other sockets of the same user may listen on the same address, with the kernel spreading connections over
    /// them (`SO_REUSEPORT`): several accept loops, or the next generation of a server beside this one. All of them must
    /// ask for it. Default: no, so that a second instance by mistake is an error.
    ///
    /// Each socket has a queue of its own, and what is in it when the socket is closed is reset: see
    /// [`close_queue`](Listener::close_queue). Where Linux is told to (`sysctl net.ipv4.tcp_migrate_req=1`, since 5.14), it
    /// hands that to another socket on the port instead, and `close_queue` leaves it to the kernel.
    #[cfg(all(unix, not(any(target_os = "solaris", target_os = "illumos", target_os = "cygwin"))))]
    #[must_use]
    pub const fn reuse_port(self, yes: bool) -> Self {
        Self { reuse_port: yes, ..self }
    }

    /// Whether a socket on `[::]` leaves IPv4 alone. Default: no, it takes both, whatever the system's own default is.
    #[must_use]
    pub const fn only_v6(self, yes: bool) -> Self {
        Self { only_v6: yes, ..self }
    }

    /// Whether a connection sends small pieces at once (`TCP_NODELAY`). Default: yes; without it, an answer in two
    /// pieces waits for the client's delayed acknowledgement, 40 ms and more.
    #[must_use]
    pub const fn nodelay(self, yes: bool) -> Self {
        Self { nodelay: yes, ..self }
    }

    /// After how long a silence the kernel asks a peer whether it is still there, and how often from then on, in whole
    /// seconds from 1 to 32,767. `None`: never. Default: 15 s, as Go's.
    ///
    /// It finds peers that vanished without a word, also where no deadline of HTTP applies, as on a WebSocket.
    #[must_use]
    pub fn keep_alive(self, after: impl Into<Option<Duration>>) -> Self {
        Self { keep_alive: after.into(), ..self }
    }

    /// Listens on `address`: see [`TcpListener::bind`].
    ///
    /// # Errors
    ///
    /// [`BindError`] says which of the things that may go wrong did.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime with IO enabled.
    pub async fn bind(&self, address: &str) -> Result<TcpListener, BindError> {
        let (candidates, port) = match address::parse(address) {
            Err(reason) => return Err(BindError::BadAddress { address: address.to_owned(), reason }),
            Ok(Address::Socket(addr)) => (vec![addr], addr.port()),
            Ok(Address::Every(port)) => {
                (vec![(Ipv6Addr::UNSPECIFIED, port).into(), (Ipv4Addr::UNSPECIFIED, port).into()], port)
            }
            Ok(Address::Name(host, port)) => (look_up(host, port, address).await?, port),
        };
        self.listen_first(&candidates)
            .and_then(|listener| self.adopt(listener))
            .map(|listener| TcpListener { alone: !(self.reuse_port && kernel_migrates()), ..listener })
            .map_err(|error| BindError::of(error, address, port))
    }

    /// Takes over a socket that listens already, with what these options say of its connections.
    ///
    /// # Errors
    ///
    /// If the socket cannot be made non-blocking or registered.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime with IO enabled.
    pub fn adopt(&self, listener: std::net::TcpListener) -> io::Result<TcpListener> {
        listener.set_nonblocking(true)?;
        let inner = net::TcpListener::from_std(listener)?;
        let Self { backlog: _, reuse_port: _, only_v6: _, nodelay, keep_alive } = *self;
        Ok(TcpListener { inner, alone: false, nodelay, keep_alive })
    }

    /// Listens on the first of the addresses that this machine has.
    fn listen_first(&self, candidates: &[SocketAddr]) -> io::Result<std::net::TcpListener> {
        let mut last = io::ErrorKind::AddrNotAvailable.into();
        for &candidate in candidates {
            match self.listen(candidate) {
                Err(error) if is_elsewhere(&error) => last = error,
                // Also if that one is taken: to go on to the next would leave two processes with one name and port, one
                // on IPv4 and one on IPv6.
                listening => return listening,
            }
        }
        Err(last)
    }

    fn listen(&self, addr: SocketAddr) -> io::Result<std::net::TcpListener> {
        let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
        // To listen again at once after a restart, though connections of the former process are still in TIME_WAIT. On
        // Windows the same option lets two processes have one address.
        #[cfg(not(windows))]
        socket.set_reuse_address(true)?;
        #[cfg(all(unix, not(any(target_os = "solaris", target_os = "illumos", target_os = "cygwin"))))]
        if self.reuse_port {
            socket.set_reuse_port(true)?;
        }
        if addr.is_ipv6() && addr.ip().is_unspecified() {
            socket.set_only_v6(self.only_v6)?;
        }
        socket.bind(&addr.into())?;
        socket.listen(self.backlog.into())?;
        Ok(socket.into())
    }
}

impl Default for TcpOptions {
    fn default() -> Self {
        Self::new()
    }
}

/// Whether what is in the queue of a socket that is closed goes to another one on the port (Linux 5.14).
fn kernel_migrates() -> bool {
    cfg!(any(target_os = "android", target_os = "linux"))
        && fs::read("/proc/sys/net/ipv4/tcp_migrate_req").is_ok_and(|text| text.trim_ascii() == b"1")
}

async fn look_up(host: &str, port: u16, address: &str) -> Result<Vec<SocketAddr>, BindError> {
    let unknown = |source| BindError::UnknownHost { address: address.to_owned(), source };
    let found = v4_first(net::lookup_host((host, port)).await.map_err(unknown)?);
    if found.is_empty() {
        return Err(unknown(io::ErrorKind::NotFound.into()));
    }
    Ok(found)
}

/// `localhost` is 127.0.0.1 to most people and most clients.
fn v4_first(addrs: impl Iterator<Item = SocketAddr>) -> Vec<SocketAddr> {
    let mut addrs: Vec<_> = addrs.collect();
    addrs.sort_by_key(SocketAddr::is_ipv6);
    addrs
}

/// Whether the address is none of this machine's: of another one, or of a kind that the system does not have.
fn is_elsewhere(error: &io::Error) -> bool {
    #[cfg(unix)]
    if error.raw_os_error() == Some(libc::EAFNOSUPPORT) {
        return true;
    }
    matches!(error.kind(), io::ErrorKind::AddrNotAvailable | io::ErrorKind::Unsupported)
}

fn keep_alive(after: Duration) -> TcpKeepalive {
    // What Linux takes (`MAX_TCP_KEEPIDLE`).
    let after = after.clamp(Duration::from_secs(1), Duration::from_secs(32_767));
    let keep_alive = TcpKeepalive::new().with_time(after);
    #[cfg(any(
        target_os = "android",
        target_os = "dragonfly",
        target_os = "freebsd",
        target_os = "ios",
        target_os = "linux",
        target_os = "macos",
        target_os = "netbsd",
        windows
    ))]
    let keep_alive = keep_alive.with_interval(after);
    keep_alive
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addrs<const N: usize>(texts: [&str; N]) -> [SocketAddr; N] {
        texts.map(|text| text.parse().expect("an address"))
    }

    #[test]
    fn a_name_with_addresses_of_both_kinds() {
        let found = v4_first(addrs(["[::1]:1", "127.0.0.2:1", "[::2]:1", "127.0.0.1:1"]).into_iter());
        assert_eq!(found, addrs(["127.0.0.2:1", "127.0.0.1:1", "[::1]:1", "[::2]:1"]), "else in the resolver's order");
    }

    #[test]
    fn an_address_of_another_machine_is_passed_by_and_one_in_use_is_not() {
        let options = TcpOptions::new();
        // TEST-NET-3, RFC 5737.
        let first = options.listen_first(&addrs(["203.0.113.1:0", "127.0.0.1:0"])).expect("the second is ours");
        let taken = first.local_addr().expect("bound");
        let error = options.listen_first(&[taken, SocketAddr::from(([127, 0, 0, 1], 0))]).expect_err("taken");
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse, "the next one is not what was asked for");
        let error = options.listen_first(&addrs(["203.0.113.1:0", "203.0.113.2:0"])).expect_err("none is ours");
        assert_eq!(error.kind(), io::ErrorKind::AddrNotAvailable);
    }

    #[test]
    fn a_system_without_ipv6_is_passed_by() {
        #[cfg(unix)]
        assert!(is_elsewhere(&io::Error::from_raw_os_error(libc::EAFNOSUPPORT)), "`:8080` falls back to IPv4");
        assert!(!is_elsewhere(&io::ErrorKind::PermissionDenied.into()));
    }
}
