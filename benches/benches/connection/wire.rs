use std::{
    collections::VecDeque,
    io,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    task::{Context, Poll},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// The client's end of a socket in memory.
#[derive(Clone, Debug, Default)]
pub(crate) struct Wire(Arc<Shared>);

/// The server's end. It takes every byte at once, and has no waker: whoever sends polls the connection as well.
#[derive(Debug)]
pub(crate) struct Socket(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    sent: Mutex<VecDeque<u8>>,
    received: AtomicUsize,
}

impl Wire {
    pub(crate) fn new() -> (Self, Socket) {
        let wire = Self::default();
        let socket = Socket(Arc::clone(&wire.0));
        (wire, socket)
    }

    pub(crate) fn send(&self, bytes: &[u8]) {
        self.0.sent().extend(bytes);
    }

    /// How many bytes have come from the server so far.
    pub(crate) fn received(&self) -> usize {
        self.0.received.load(Relaxed)
    }
}

impl Shared {
    fn sent(&self) -> MutexGuard<'_, VecDeque<u8>> {
        self.sent.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl AsyncRead for Socket {
    fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let mut sent = self.0.sent();
        let (bytes, _) = sent.as_slices();
        let n = bytes.len().min(buf.remaining());
        buf.put_slice(&bytes[..n]);
        sent.drain(..n);
        if n == 0 { Poll::Pending } else { Poll::Ready(Ok(())) }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.0.received.fetch_add(bytes.len(), Relaxed);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let n = slices.iter().map(|slice| slice.len()).sum();
        self.0.received.fetch_add(n, Relaxed);
        Poll::Ready(Ok(n))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
