//! Between our listeners and axum's, in both directions.

use std::io;

use axum::{extract::connect_info::Connected, serve::IncomingStream};
use graceful_listener::{Accepted, Backoff, ListenAddr, Listener, Peer};

use crate::accept::accept_patiently;

/// One of our listeners, for `axum::serve`.
///
/// axum's have no way to fail, so the errors of `accept` are dealt with here: those of one connection are passed over,
/// and when the process is out of descriptors it waits, 5 ms doubling to 1 s, with one warning on the target
/// `graceful::server`, as a [`Server`](crate::Server) does.
///
/// ```no_run
/// use axum::Router;
/// use graceful::{AxumListener, PeerInfo, listener::{Limited, PerIp, TcpListener}};
///
/// # async fn example(app: Router) -> Result<(), Box<dyn std::error::Error>> {
/// let listener = Limited::new(PerIp::new(TcpListener::bind(":8080").await?, 50), 10_000);
/// axum::serve(AxumListener::new(listener), app.into_make_service_with_connect_info::<PeerInfo>()).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct AxumListener<L> {
    inner: L,
    backoff: Backoff,
}

impl<L: Listener> AxumListener<L> {
    /// Wraps one of ours.
    pub fn new(inner: L) -> Self {
        Self { inner, backoff: Backoff::new() }
    }

    /// The listener inside.
    pub fn into_inner(self) -> L {
        self.inner
    }
}

impl<L> axum::serve::Listener for AxumListener<L>
where
    L: Listener + 'static,
{
    type Io = L::Io;
    type Addr = Peer;

    async fn accept(&mut self) -> (L::Io, Peer) {
        loop {
            if let Ok(Accepted { io, peer, .. }) = accept_patiently(&mut self.inner, &mut self.backoff).await {
                return (io, peer);
            }
        }
    }

    fn local_addr(&self) -> io::Result<Peer> {
        match self.inner.local_addr()? {
            ListenAddr::Tcp(address) => Ok(Peer::Tcp(address)),
            _ => Ok(Peer::Unix),
        }
    }
}

/// Who the client is, for `axum::extract::ConnectInfo` behind an [`AxumListener`].
#[derive(Clone, Copy, Debug)]
pub struct PeerInfo(pub Peer);

impl<L: Listener + 'static> Connected<IncomingStream<'_, AxumListener<L>>> for PeerInfo {
    fn connect_info(stream: IncomingStream<'_, AxumListener<L>>) -> Self {
        Self(*stream.remote_addr())
    }
}

/// One of axum's listeners where one of ours is asked for: its connections can be limited, by their number and by address.
///
/// What is around it goes back to `axum::serve` as an [`AxumListener`]; a [`Server`](crate::Server) has listeners of its own.
///
/// ```no_run
/// use axum::Router;
/// use graceful::{AxumListener, FromAxum, listener::Limited};
///
/// # async fn example(app: Router) -> Result<(), Box<dyn std::error::Error>> {
/// let axums = tokio::net::TcpListener::bind("127.0.0.1:8080").await?;
/// axum::serve(AxumListener::new(Limited::new(FromAxum(axums), 10_000)), app).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct FromAxum<L>(pub L);

impl<L> Listener for FromAxum<L>
where
    L: axum::serve::Listener,
    L::Addr: Into<Peer>,
{
    type Io = L::Io;

    async fn accept(&mut self) -> io::Result<Accepted<Self::Io>> {
        let (io, address) = self.0.accept().await;
        Ok(Accepted::new(io, address.into()))
    }

    fn local_addr(&self) -> io::Result<ListenAddr> {
        match self.0.local_addr()?.into() {
            Peer::Tcp(address) => Ok(ListenAddr::Tcp(address)),
            _ => Err(io::Error::new(io::ErrorKind::Unsupported, "a listener without an address")),
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::{Router, extract::ConnectInfo, routing::get};
    use graceful_listener::{Limited, TcpListener};
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpStream,
    };

    use super::*;

    async fn ask(address: std::net::SocketAddr) -> (String, std::net::SocketAddr) {
        let mut client = TcpStream::connect(address).await.expect("it listens");
        client.write_all(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.expect("it reads");
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.expect("it answers");
        (answer, client.local_addr().expect("connected"))
    }

    #[tokio::test]
    async fn ours_under_axum_serve_keeps_its_limits_and_tells_the_peer() {
        let listener = Limited::new(TcpListener::bind("127.0.0.1:0").await.expect("a port"), 1);
        let address = listener.local_addr().expect("bound").socket_addr().expect("TCP");
        let limit = listener.limit().clone();
        let peer = get(async |ConnectInfo(PeerInfo(peer)): ConnectInfo<PeerInfo>| peer.to_string());
        let app = Router::new().route("/", peer).into_make_service_with_connect_info::<PeerInfo>();
        let serve = async { axum::serve(AxumListener::new(listener), app).await };
        tokio::select! {
            result = serve => panic!("{result:?}"),
            (answer, client) = ask(address) => {
                assert!(answer.ends_with(&client.to_string()), "{answer}");
            }
        }
        assert!(limit.open() <= 1, "the place belongs to the connection");
    }

    #[tokio::test]
    async fn axums_under_ours() {
        let mut listener = FromAxum(tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port"));
        let address = listener.local_addr().expect("bound").socket_addr().expect("TCP");
        let (accepted, client) = tokio::join!(listener.accept(), TcpStream::connect(address));
        let client = client.expect("it listens").local_addr().expect("connected");
        assert_eq!(accepted.expect("axum's never fails").peer, Peer::Tcp(client));
    }
}
