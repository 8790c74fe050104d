use std::{
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll},
};

use pin_project::pin_project;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A connection with something that is given back when the connection is dropped.
///
/// Reads and writes go through untouched. The connection is closed first, then `G` is dropped: whoever gets the place
/// finds the descriptor free.
#[pin_project]
#[derive(Debug)]
pub struct Guarded<Io, G> {
    // The order of these two is the order of their drops.
    #[pin]
    io: Io,
    guard: G,
}

impl<Io, G> Guarded<Io, G> {
    /// Binds the life of `guard` to that of `io`.
    pub const fn new(io: Io, guard: G) -> Self {
        Self { io, guard }
    }

    /// The connection.
    pub const fn get_ref(&self) -> &Io {
        &self.io
    }

    /// The connection, to change it.
    pub const fn get_mut(&mut self) -> &mut Io {
        &mut self.io
    }

    /// What is given back at the end.
    pub const fn guard(&self) -> &G {
        &self.guard
    }

    /// The two, apart. Whoever keeps the connection must keep the guard too.
    pub fn into_parts(self) -> (Io, G) {
        (self.io, self.guard)
    }
}

impl<Io: AsyncRead, G> AsyncRead for Guarded<Io, G> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.project().io.poll_read(cx, buf)
    }
}

impl<Io: AsyncWrite, G> AsyncWrite for Guarded<Io, G> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.project().io.poll_write(cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.project().io.poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.project().io.poll_shutdown(cx)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.project().io.poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use tokio::io::{AsyncReadExt, AsyncWriteExt, BufWriter};

    use super::*;

    #[tokio::test]
    async fn a_flush_reaches_the_connection() {
        let (mut client, server) = tokio::io::duplex(64);
        let mut io = Guarded::new(BufWriter::new(server), ());
        io.write_all(b"buffered").await.expect("write");
        assert_eq!(io.get_ref().buffer(), b"buffered");
        io.flush().await.expect("flush");
        let mut read = [0; 8];
        client.read_exact(&mut read).await.expect("read");
        assert_eq!(&read, b"buffered");
    }

    #[test]
    fn the_connection_is_closed_before_the_guard_goes() {
        struct Says<'a>(&'static str, &'a RefCell<Vec<&'static str>>);
        impl Drop for Says<'_> {
            fn drop(&mut self) {
                self.1.borrow_mut().push(self.0);
            }
        }
        let dropped = RefCell::new(Vec::new());
        drop(Guarded::new(Says("connection", &dropped), Says("guard", &dropped)));
        assert_eq!(*dropped.borrow(), ["connection", "guard"], "a place is free only when its descriptor is");
    }
}
