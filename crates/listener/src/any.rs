use std::{
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};
#[cfg(unix)]
use {crate::UnixListener, tokio::net::UnixStream};

use crate::{Accepted, BindError, ListenAddr, Listener, TcpListener, TcpOptions};

/// Listens on an address of any kind, as it stands in a configuration.
///
/// ```
/// use graceful_listener::{AnyListener, Several, TcpOptions};
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let unix = format!("unix:{}", std::env::temp_dir().join(format!("graceful-any-{}", std::process::id())).display());
/// // let addresses = ["127.0.0.1:8080", "unix:/run/app.sock"];
/// let addresses = ["127.0.0.1:0", &unix];
/// let mut listeners = Vec::new();
/// for address in addresses {
///     listeners.push(AnyListener::bind(address).await?);
/// }
/// // One with options of its own.
/// listeners.push(TcpOptions::new().backlog(512).bind("127.0.0.1:0").await?.into());
/// let listener = Several::new(listeners);
/// # Ok(()) }
/// ```
///
/// See the [crate docs](crate).
#[derive(Debug)]
#[non_exhaustive]
pub enum AnyListener {
    /// On a TCP address.
    Tcp(TcpListener),
    /// On a Unix socket.
    #[cfg(unix)]
    Unix(UnixListener),
}

impl AnyListener {
    /// Listens on `address`, with default options: a Unix socket if it begins with `unix:`
    /// ([the forms](crate::UnixListener::bind)), else TCP ([the forms](TcpListener::bind)).
    ///
    /// # Errors
    ///
    /// [`BindError`] says which of the things that may go wrong did.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime with IO and time enabled.
    pub async fn bind(address: &str) -> Result<Self, BindError> {
        Self::bind_with(address, &TcpOptions::new()).await
    }

    /// As [`bind`](Self::bind), with these options if it is a TCP address.
    ///
    /// # Errors
    ///
    /// As [`bind`](Self::bind).
    ///
    /// # Panics
    ///
    /// As [`bind`](Self::bind).
    pub async fn bind_with(address: &str, tcp: &TcpOptions) -> Result<Self, BindError> {
        #[cfg(unix)]
        if crate::unix::is_unix(address) {
            return UnixListener::bind(address).await.map(Self::Unix);
        }
        tcp.bind(address).await.map(Self::Tcp)
    }
}

impl Listener for AnyListener {
    type Io = AnyIo;

    async fn accept(&mut self) -> io::Result<Accepted<AnyIo>> {
        Ok(match self {
            Self::Tcp(listener) => listener.accept().await?.map_io(AnyIo::Tcp),
            #[cfg(unix)]
            Self::Unix(listener) => listener.accept().await?.map_io(AnyIo::Unix),
        })
    }

    fn close_queue(&mut self) -> bool {
        match self {
            Self::Tcp(listener) => listener.close_queue(),
            #[cfg(unix)]
            Self::Unix(listener) => listener.close_queue(),
        }
    }

    fn local_addr(&self) -> io::Result<ListenAddr> {
        match self {
            Self::Tcp(listener) => listener.local_addr(),
            #[cfg(unix)]
            Self::Unix(listener) => listener.local_addr(),
        }
    }
}

impl From<TcpListener> for AnyListener {
    fn from(listener: TcpListener) -> Self {
        Self::Tcp(listener)
    }
}

#[cfg(unix)]
impl From<UnixListener> for AnyListener {
    fn from(listener: UnixListener) -> Self {
        Self::Unix(listener)
    }
}

/// A connection from an [`AnyListener`].
#[derive(Debug)]
#[non_exhaustive]
pub enum AnyIo {
    /// Over TCP.
    Tcp(TcpStream),
    /// Over a Unix socket.
    #[cfg(unix)]
    Unix(UnixStream),
}

/// The same call on whichever it is.
macro_rules! on_either {
    ($any:expr, $io:ident => $call:expr) => {
        match $any {
            AnyIo::Tcp($io) => $call,
            #[cfg(unix)]
            AnyIo::Unix($io) => $call,
        }
    };
}
pub(crate) use on_either;

impl AsyncRead for AnyIo {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        on_either!(&mut *self, io => Pin::new(io).poll_read(cx, buf))
    }
}

impl AsyncWrite for AnyIo {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        on_either!(&mut *self, io => Pin::new(io).poll_write(cx, buf))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        on_either!(&mut *self, io => Pin::new(io).poll_flush(cx))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        on_either!(&mut *self, io => Pin::new(io).poll_shutdown(cx))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        on_either!(&mut *self, io => Pin::new(io).poll_write_vectored(cx, bufs))
    }

    fn is_write_vectored(&self) -> bool {
        on_either!(self, io => io.is_write_vectored())
    }
}
