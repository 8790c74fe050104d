use std::{
    fmt,
    io::{
        self,
        ErrorKind::{BrokenPipe, ConnectionReset, NotConnected},
    },
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::server;

use super::gate::Gate;

/// A socket whose handshake is done: what is read is decrypted, what is written is encrypted.
///
/// Its shutdown says `close_notify` first. A read past the end of a socket that was closed without one is an error
/// (`UnexpectedEof`), since an attacker can close a socket.
pub struct TlsStream<T> {
    inner: server::TlsStream<Replayed<T>>,
}

impl<T> TlsStream<T> {
    pub(super) const fn new(inner: server::TlsStream<Replayed<T>>) -> Self {
        Self { inner }
    }

    /// The socket below.
    #[must_use]
    pub fn get_ref(&self) -> &T {
        &self.inner.get_ref().0.io
    }

    /// The socket below. To read from it or write to it breaks the connection.
    #[must_use]
    pub fn get_mut(&mut self) -> &mut T {
        &mut self.inner.get_mut().0.io
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> AsyncRead for TlsStream<T> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(cx, buf)
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> AsyncWrite for TlsStream<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx).map(|result| match result {
            // The client is gone already: there is nobody left to say `close_notify` to.
            Err(error) if matches!(error.kind(), BrokenPipe | ConnectionReset | NotConnected) => Ok(()),
            result => result,
        })
    }
}

impl<T: fmt::Debug> fmt::Debug for TlsStream<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { inner: _ } = self;
        f.debug_tuple("TlsStream").field(self.get_ref()).finish()
    }
}

/// A socket of which some bytes were read before their time: they are read once more. Until the handshake is done there may
/// be a gate in front of it.
#[derive(Debug)]
pub(super) struct Replayed<T> {
    io: T,
    left: Vec<u8>,
    gate: Option<Box<Gate>>,
}

impl<T> Replayed<T> {
    pub(super) const fn new(io: T) -> Self {
        Self { io, left: Vec::new(), gate: None }
    }

    pub(super) const fn get_mut(&mut self) -> &mut T {
        &mut self.io
    }

    pub(super) fn set_gate(&mut self, gate: Option<Gate>) {
        self.gate = gate.map(Box::new);
    }

    /// Gives the place back, if there is one in hand.
    fn pause(&mut self) {
        if let Some(gate) = &mut self.gate {
            gate.close();
        }
    }

    pub(super) fn replay(&mut self, bytes: &[u8]) {
        self.left = bytes.to_vec();
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Replayed<T> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.left.is_empty() {
            let before = buf.filled().len();
            let read = Pin::new(&mut this.io).poll_read(cx, buf);
            let Some(gate) = &mut this.gate else { return read };
            if read.is_pending() {
                gate.close();
            }
            if buf.filled().len() == before || gate.poll_open(cx).is_ready() {
                return read;
            }
            this.left.extend_from_slice(&buf.filled()[before..]);
            buf.set_filled(before);
            return Poll::Pending;
        }
        if let Some(gate) = &mut this.gate {
            ready!(gate.poll_open(cx));
        }
        let n = this.left.len().min(buf.remaining());
        buf.put_slice(&this.left[..n]);
        this.left.drain(..n);
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Replayed<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write(cx, bytes);
        if written.is_pending() {
            self.pause();
        }
        written
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write_vectored(cx, slices);
        if written.is_pending() {
            self.pause();
        }
        written
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.io).poll_flush(cx);
        if flushed.is_pending() {
            self.pause();
        }
        flushed
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
