use std::{
    fmt, io,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
};

use tokio::io::{AsyncRead, AsyncWrite};

/// A source of connections.
///
/// See the [crate docs](crate) for the loop around it.
pub trait Listener: Send {
    /// A connection.
    type Io: AsyncRead + AsyncWrite + Unpin + Send + 'static;

    /// Waits for the next connection.
    ///
    /// Must be cancel-safe: when the future is dropped, no connection is lost and no place under a limit is kept. The
    /// server drops it whenever something else comes first, as the order to shut down.
    ///
    /// Must not wait for a peer to say anything (no TLS handshake, no header): one silent peer would keep everyone else
    /// out.
    ///
    /// # Errors
    ///
    /// What the system says, untouched; [`AcceptError::of`](crate::AcceptError::of) sorts it. A listener may be asked
    /// again after any error.
    fn accept(&mut self) -> impl Future<Output = io::Result<Accepted<Self::Io>>> + Send;

    /// Closes the entrance of the queue: nobody new gets into it, and who is in it, or on the way, is still accepted. For
    /// the last moments before the listener is dropped, since whoever is in the queue by then is reset.
    ///
    /// Whether it could do that. On Linux, a [`TcpListener`](crate::TcpListener) that has bound its socket itself can: it
    /// no longer hears a client's first packet, which the client repeats after a second, to whoever listens by then. So
    /// can a `UnixListener` that has made its file itself: the file is gone. A socket that was handed over cannot, as
    /// others may listen on it.
    ///
    /// A wrapper passes it on.
    fn close_queue(&mut self) -> bool {
        false
    }

    /// The address that it listens on, with the port that the system chose where port 0 was asked for.
    ///
    /// # Errors
    ///
    /// What the system says.
    fn local_addr(&self) -> io::Result<ListenAddr>;
}

/// A connection and who is at its other end.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Accepted<Io> {
    /// The connection.
    pub io: Io,
    /// The other end.
    pub peer: Peer,
}

impl<Io> Accepted<Io> {
    /// A connection from `peer`.
    pub const fn new(io: Io, peer: Peer) -> Self {
        Self { io, peer }
    }

    /// The same with another connection, as a wrapper makes it.
    pub fn map_io<T>(self, f: impl FnOnce(Io) -> T) -> Accepted<T> {
        let Self { io, peer } = self;
        Accepted { io: f(io), peer }
    }
}

/// Who is at the other end of a connection.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum Peer {
    /// A TCP client.
    Tcp(SocketAddr),
    /// A process on this machine, over a Unix socket; as a rule its end has no name.
    Unix,
}

impl Peer {
    /// The address, if the peer has one. An IPv4 address in IPv6 clothes (`::ffff:192.0.2.1`) is given as IPv4.
    #[must_use]
    pub const fn ip(&self) -> Option<IpAddr> {
        match self {
            Self::Tcp(addr) => Some(addr.ip().to_canonical()),
            Self::Unix => None,
        }
    }

    /// Address and port, if the peer has them.
    #[must_use]
    pub const fn socket_addr(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(addr) => Some(*addr),
            Self::Unix => None,
        }
    }
}

impl From<SocketAddr> for Peer {
    /// A socket that listens on all addresses sees IPv4 clients as `::ffff:192.0.2.1`; here they become `192.0.2.1`, so
    /// that logs, limits and trusted ranges need to know one form only.
    fn from(addr: SocketAddr) -> Self {
        match addr.ip().to_canonical() {
            ip @ IpAddr::V4(_) => Self::Tcp(SocketAddr::new(ip, addr.port())),
            // As it is: it may carry a scope (`fe80::1%2`).
            IpAddr::V6(_) => Self::Tcp(addr),
        }
    }
}

#[cfg(unix)]
impl From<tokio::net::unix::SocketAddr> for Peer {
    fn from(_: tokio::net::unix::SocketAddr) -> Self {
        Self::Unix
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(addr) => addr.fmt(f),
            Self::Unix => f.write_str("unix"),
        }
    }
}

/// Where a listener listens.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum ListenAddr {
    /// A TCP address.
    Tcp(SocketAddr),
    /// The path of a Unix socket; `@name` for a name that is no file.
    Unix(PathBuf),
}

impl ListenAddr {
    /// Address and port of a TCP listener.
    #[must_use]
    pub const fn socket_addr(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(addr) => Some(*addr),
            Self::Unix(_) => None,
        }
    }
}

impl From<SocketAddr> for ListenAddr {
    fn from(addr: SocketAddr) -> Self {
        Self::Tcp(addr)
    }
}

#[cfg(unix)]
impl From<tokio::net::unix::SocketAddr> for ListenAddr {
    /// One without a name, which nobody can connect to, has an empty path.
    fn from(addr: tokio::net::unix::SocketAddr) -> Self {
        #[cfg(any(target_os = "android", target_os = "linux"))]
        if let Some(name) = addr.as_abstract_name() {
            return Self::Unix(format!("@{}", name.escape_ascii()).into());
        }
        Self::Unix(addr.as_pathname().map_or_else(PathBuf::new, PathBuf::from))
    }
}

impl fmt::Display for ListenAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(addr) => addr.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addr(text: &str) -> SocketAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn a_v4_client_of_a_v6_socket_is_a_v4_client() {
        let peer = Peer::from(addr("[::ffff:192.0.2.1]:443"));
        assert_eq!(peer, Peer::Tcp(addr("192.0.2.1:443")));
        assert_eq!(peer.to_string(), "192.0.2.1:443");
        let unfolded = Peer::Tcp(addr("[::ffff:192.0.2.1]:443"));
        assert_eq!(unfolded.ip(), peer.ip(), "however the peer was made, its address has one form");
    }

    #[test]
    fn a_scope_is_kept() {
        let scoped = addr("[fe80::1%2]:443");
        assert_eq!(Peer::from(scoped).socket_addr(), Some(scoped));
    }

    #[test]
    fn a_unix_peer_has_no_address() {
        assert_eq!((Peer::Unix.ip(), Peer::Unix.socket_addr()), (None, None));
        assert_eq!(Peer::Unix.to_string(), "unix");
        let unix = ListenAddr::Unix("/run/app.sock".into());
        assert_eq!(unix.socket_addr(), None);
        assert_eq!(unix.to_string(), "unix:/run/app.sock");
    }
}
