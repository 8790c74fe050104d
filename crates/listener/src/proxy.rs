mod error;
mod header;
mod io;
mod v1;
mod v2;

use std::{io as std_io, sync::Arc};

pub use self::{
    error::ProxyError,
    header::{ProxyHeader, ProxyTls},
    io::ProxyIo,
};
use crate::{Accepted, IpPrefix, ListenAddr, Listener, Peer};

/// The client's own address from behind a load balancer: the PROXY protocol, version 1 and 2.
///
/// A proxy that speaks it (nginx, Envoy, haproxy, the network load balancers of the clouds) begins each connection with a
/// header that names the client it connects for. Only peers that are trusted are believed, and from them the header is
/// *required*: without one the connection is broken. What anyone else sends is not looked at; a header from them is just
/// a bad request.
///
/// # The header is read by the connection's task
///
/// A proxy, or who pretends to be one, may be slow to send it, so [`accept`](Listener::accept) does not wait for it:
/// whoever owns the connection calls [`ProxyIo::header`] under the deadline that it has for the request's head. A server
/// that does not is still right: the first read reads the header before anything else, or fails.
///
/// This wrapper belongs outermost, for then its [`ProxyIo`] is what `accept` gives.
///
/// # Limits by address
///
/// A limit at `accept` sees the proxy. Exempt the proxies there, and count the client when its address is known, as here:
///
/// ```
/// use std::time::Duration;
/// use graceful_listener::{Guarded, IpPrefix, Listener, PerIp, PerIpLimit, Proxied, TcpListener};
/// # use tokio::io::{AsyncReadExt, AsyncWriteExt};
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let proxies: [IpPrefix; 2] = ["127.0.0.0/8".parse()?, "2001:db8:1::/48".parse()?];
/// let limit = PerIpLimit::new(50);
/// let at_accept = limit.clone().exempt(proxies); // clones count together
/// let listener = PerIp::new(TcpListener::bind("127.0.0.1:0").await?, &at_accept);
/// let mut listener = Proxied::new(listener, proxies);
/// # let mut client = tokio::net::TcpStream::connect(listener.local_addr()?.to_string()).await?;
/// # client.write_all(b"PROXY TCP4 192.0.2.1 198.51.100.1 56324 443\r\nGET / HTTP/1.1\r\n").await?;
///
/// let mut io = listener.accept().await?.io;
/// // In the connection's task:
/// let read_header = Duration::from_secs(5);
/// tokio::time::timeout(read_header, io.header()).await??;
/// let client = io.peer();
/// # assert_eq!(client.to_string(), "192.0.2.1:56324");
/// // A proxy that speaks for itself, to see whether the server is there, is not counted.
/// let named = io.proxy_header().is_some_and(|header| header.client().is_some());
/// let place = if named { limit.admit(client) } else { None };
/// if named && place.is_none() {
///     return Ok(()); // one too many: close it
/// }
/// # let mut rest = [0; 5]; io.read_exact(&mut rest).await?; assert_eq!(&rest, b"GET /");
/// # assert_eq!(limit.open("192.0.2.1".parse()?), 1);
/// let io = Guarded::new(io, place); // counted as long as it lives
/// # drop(io); assert_eq!(limit.addresses(), 0);
/// # Ok(()) }
/// ```
///
/// See the [crate docs](crate).
#[derive(Debug)]
pub struct Proxied<L> {
    inner: L,
    trusted: Arc<[IpPrefix]>,
    trust_unix: bool,
    max_header: usize,
}

impl<L> Proxied<L> {
    /// Believes what peers in the ranges `trusted` say of their clients. With none, nothing changes for anyone.
    ///
    /// Name exactly the proxies: everyone in these ranges can pretend to be any client.
    pub fn new(inner: L, trusted: impl IntoIterator<Item = IpPrefix>) -> Self {
        Self { inner, trusted: trusted.into_iter().collect(), trust_unix: false, max_header: 4096 }
    }

    /// Whether peers on a Unix socket are trusted, too: the permissions of its file say who may connect. Default: no.
    #[must_use]
    pub fn trust_unix(self, yes: bool) -> Self {
        Self { trust_unix: yes, ..self }
    }

    /// How long a header of version 2 may be, in bytes: 232, which any addresses fit in, to 65,551. Default: 4,096.
    ///
    /// The format allows 64 KiB to follow its first 16 bytes. Addresses take at most 216 of them, and the specification
    /// has senders stay below 536 in all (2.2); what is larger carries a client certificate. nginx stops at 4,096, too.
    /// Version 1 has a limit of its own, 107 bytes.
    #[must_use]
    pub fn max_header(self, bytes: usize) -> Self {
        Self { max_header: bytes.clamp(v2::HEAD + v2::UNIX_ADDRESSES, v2::HEAD + 0xffff), ..self }
    }

    /// Whether a header is expected from `peer`.
    #[must_use]
    pub fn trusts(&self, peer: Peer) -> bool {
        match peer.ip() {
            Some(addr) => self.trusted.iter().any(|prefix| prefix.contains(addr)),
            None => self.trust_unix,
        }
    }

    /// The listener inside.
    pub const fn get_ref(&self) -> &L {
        &self.inner
    }

    /// The listener inside, to change it.
    pub const fn get_mut(&mut self) -> &mut L {
        &mut self.inner
    }

    /// The listener inside, which knows nothing of proxies.
    pub fn into_inner(self) -> L {
        self.inner
    }
}

impl<L: Listener> Listener for Proxied<L> {
    type Io = ProxyIo<L::Io>;

    /// The peer is the one at the other end of the socket; [`ProxyIo::peer`] knows the client when the header is read.
    async fn accept(&mut self) -> std_io::Result<Accepted<Self::Io>> {
        let accepted = self.inner.accept().await?;
        let peer = accepted.peer;
        Ok(if self.trusts(peer) {
            accepted.map_io(|io| ProxyIo::expecting(io, peer, self.max_header))
        } else {
            accepted.map_io(|io| ProxyIo::direct(io, peer))
        })
    }

    fn close_queue(&mut self) -> bool {
        self.inner.close_queue()
    }

    fn local_addr(&self) -> std_io::Result<ListenAddr> {
        self.inner.local_addr()
    }
}

/// What the first bytes of a connection are.
#[derive(Debug, PartialEq)]
enum Parsed {
    /// Not enough: at least so many are needed in all.
    More(usize),
    /// The header, and how many bytes it took.
    Header(ProxyHeader, usize),
}

/// Why they are no header. Final: more bytes change nothing.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Broken {
    Missing,
    TooLong,
    Malformed(&'static str),
}

/// Reads a header of either version from the start of `bytes`, of at most `max` bytes if it is of version 2.
fn parse(bytes: &[u8], max: usize) -> Result<Parsed, Broken> {
    let may_be = |start: &[u8]| bytes.iter().zip(start).all(|(a, b)| a == b);
    // No byte is the start of both, and none at all of either.
    if may_be(v2::SIGNATURE) {
        v2::parse(bytes, max)
    } else if may_be(v1::START) {
        v1::parse(bytes)
    } else {
        Err(Broken::Missing)
    }
}

#[cfg(test)]
mod tests;
