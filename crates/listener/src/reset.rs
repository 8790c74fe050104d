use std::{
    io::{self, IoSlice},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    task::{Context, Poll},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};

use crate::{AnyIo, Guarded, ProxyIo, any::on_either};

/// A connection that can be closed by a reset.
///
/// A socket that is dropped is closed at once for the program, but not for the kernel: it keeps what is not yet sent, and
/// tries for many minutes to send it to a peer that may have stopped reading for good. After
/// [`set_zero_linger`](Self::set_zero_linger) the drop throws that away and tells the peer by a reset.
pub trait ZeroLinger {
    /// Makes the end of this connection a reset. Nothing that was written and has not arrived will arrive.
    ///
    /// Does nothing where nothing lingers, as on a Unix socket.
    ///
    /// # Errors
    ///
    /// What the system says, as a rule because the connection is gone.
    fn set_zero_linger(&self) -> io::Result<()>;
}

impl ZeroLinger for TcpStream {
    fn set_zero_linger(&self) -> io::Result<()> {
        Self::set_zero_linger(self)
    }
}

#[cfg(unix)]
impl ZeroLinger for tokio::net::UnixStream {
    fn set_zero_linger(&self) -> io::Result<()> {
        Ok(())
    }
}

impl ZeroLinger for AnyIo {
    fn set_zero_linger(&self) -> io::Result<()> {
        on_either!(self, io => ZeroLinger::set_zero_linger(io))
    }
}

impl<Io: ZeroLinger, G> ZeroLinger for Guarded<Io, G> {
    fn set_zero_linger(&self) -> io::Result<()> {
        self.get_ref().set_zero_linger()
    }
}

impl<Io: ZeroLinger> ZeroLinger for ProxyIo<Io> {
    fn set_zero_linger(&self) -> io::Result<()> {
        self.get_ref().set_zero_linger()
    }
}

/// How connections end when they are dropped: as usual, or, once it is switched, by a reset. Clones are the same switch.
///
/// For the end of a shutdown whose time is up: whoever owns the connections drops them, and need not know how.
///
/// ```
/// use graceful_listener::{Listener, Resettable, ResetSwitch, TcpListener};
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let mut listener = TcpListener::bind("127.0.0.1:0").await?;
/// # let mut client = tokio::net::TcpStream::connect(listener.local_addr()?.to_string()).await?;
/// let by_force = ResetSwitch::new(); // one for the server
/// let connection = listener.accept().await?.map_io(|io| Resettable::new(io, by_force.clone()));
/// // … at the deadline:
/// by_force.on();
/// drop(connection);
/// # let mut buf = [0];
/// # let error = tokio::io::AsyncReadExt::read(&mut client, &mut buf).await.expect_err("a reset");
/// # assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, Default)]
pub struct ResetSwitch {
    on: Arc<AtomicBool>,
}

impl ResetSwitch {
    /// Off.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// From now on, connections end by a reset. To be followed by whatever drops them.
    pub fn on(&self) {
        // No ordering of its own: the order to drop comes after it, by a way that has one.
        self.on.store(true, Relaxed);
    }

    /// Whether it is switched.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.on.load(Relaxed)
    }
}

/// A connection that ends by a reset if its [`ResetSwitch`] is on when it is dropped.
///
/// Reads and writes go through untouched.
// The bound stands on the struct, as its `Drop` needs it.
#[derive(Debug)]
pub struct Resettable<Io: ZeroLinger> {
    io: Io,
    switch: ResetSwitch,
}

impl<Io: ZeroLinger> Resettable<Io> {
    /// Ties the end of `io` to `switch`.
    pub const fn new(io: Io, switch: ResetSwitch) -> Self {
        Self { io, switch }
    }

    /// The connection.
    pub const fn get_ref(&self) -> &Io {
        &self.io
    }

    /// The connection, to change it.
    pub const fn get_mut(&mut self) -> &mut Io {
        &mut self.io
    }
}

impl<Io: ZeroLinger> ZeroLinger for Resettable<Io> {
    fn set_zero_linger(&self) -> io::Result<()> {
        self.io.set_zero_linger()
    }
}

impl<Io: ZeroLinger> Drop for Resettable<Io> {
    fn drop(&mut self) {
        if self.switch.is_on() {
            // If it fails there is nothing left to reset.
            let _ = self.io.set_zero_linger();
        }
    }
}

impl<Io: AsyncRead + ZeroLinger + Unpin> AsyncRead for Resettable<Io> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buf)
    }
}

impl<Io: AsyncWrite + ZeroLinger + Unpin> AsyncWrite for Resettable<Io> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }
}
