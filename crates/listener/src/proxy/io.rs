use std::{
    fmt,
    future::poll_fn,
    io::{self, IoSlice},
    mem,
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{Broken, Parsed, ProxyError, ProxyHeader, parse};
use crate::Peer;

/// A connection that may begin with a PROXY header.
///
/// See [`Proxied`](super::Proxied).
pub struct ProxyIo<Io> {
    io: Io,
    peer: Peer,
    trusted: bool,
    header: Option<Box<ProxyHeader>>,
    state: State,
}

enum State {
    /// Bytes go through.
    Open,
    /// The header is being read.
    Expecting { buffer: Vec<u8>, filled: usize, max: usize },
    /// More than the header was read: what begins at `next` is for who reads.
    Ahead { buffer: Vec<u8>, next: usize },
    /// What came is no header.
    Broken(Broken),
}

impl<Io> ProxyIo<Io> {
    pub(super) const fn direct(io: Io, peer: Peer) -> Self {
        Self { io, peer, trusted: false, header: None, state: State::Open }
    }

    pub(super) const fn expecting(io: Io, peer: Peer, max: usize) -> Self {
        let state = State::Expecting { buffer: Vec::new(), filled: 0, max };
        Self { io, peer, trusted: true, header: None, state }
    }

    /// The client: whom the header names, once it is read; before, and where it names none, the other end of the socket.
    #[must_use]
    pub fn peer(&self) -> Peer {
        self.proxy_header().and_then(ProxyHeader::client).unwrap_or(self.peer)
    }

    /// The other end of the socket, which may be a proxy.
    #[must_use]
    pub const fn socket_peer(&self) -> Peer {
        self.peer
    }

    /// Whether the other end of the socket is trusted: a header is required.
    #[must_use]
    pub const fn is_trusted(&self) -> bool {
        self.trusted
    }

    /// The header, if there is one and it is read.
    #[must_use]
    pub fn proxy_header(&self) -> Option<&ProxyHeader> {
        self.header.as_deref()
    }

    /// The connection inside.
    pub const fn get_ref(&self) -> &Io {
        &self.io
    }
}

impl<Io: AsyncRead + Unpin> ProxyIo<Io> {
    /// Reads the header, if one is expected; `None` if not. To be run under a deadline, by whoever owns the connection.
    ///
    /// Cancel-safe: what was read is kept, and the next call goes on. When it is read, it is at once there again.
    ///
    /// # Errors
    ///
    /// [`ProxyError`], then and ever after: the connection is to be closed.
    pub async fn header(&mut self) -> Result<Option<&ProxyHeader>, ProxyError> {
        poll_fn(|cx| self.poll_state(cx)).await?;
        Ok(self.proxy_header())
    }

    /// As [`header`](Self::header), a step at a time.
    ///
    /// # Errors
    ///
    /// As [`header`](Self::header).
    pub fn poll_header(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<&ProxyHeader>, ProxyError>> {
        ready!(self.poll_state(cx))?;
        Poll::Ready(Ok(self.proxy_header()))
    }

    /// Ready when no header is waited for.
    fn poll_state(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ProxyError>> {
        while let State::Expecting { buffer, filled, max } = &mut self.state {
            // Parsed anew after each read: no state of a parser to get wrong, and the lengths are checked first.
            match parse(&buffer[..*filled], *max) {
                Ok(Parsed::Header(header, taken)) => {
                    buffer.truncate(*filled);
                    let is_all = buffer.len() == taken;
                    let ahead = State::Ahead { buffer: mem::take(buffer), next: taken };
                    self.header = Some(Box::new(header));
                    self.state = if is_all { State::Open } else { ahead };
                }
                Ok(Parsed::More(needed)) => {
                    if buffer.len() == *filled {
                        buffer.resize(needed.max(FIRST), 0);
                    }
                    let mut read = ReadBuf::new(&mut buffer[*filled..]);
                    ready!(Pin::new(&mut self.io).poll_read(cx, &mut read)).map_err(ProxyError::Io)?;
                    match read.filled().len() {
                        0 => return Poll::Ready(Err(ProxyError::Closed { after: *filled })),
                        n => *filled += n,
                    }
                }
                Err(broken) => self.state = State::Broken(broken),
            }
        }
        Poll::Ready(match self.state {
            State::Broken(broken) => Err(broken.into()),
            _ => Ok(()),
        })
    }

    #[cold]
    fn poll_read_first(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_state(cx))?;
        if let State::Ahead { buffer, next } = &mut self.state {
            let ahead = &buffer[*next..];
            let n = ahead.len().min(buf.remaining());
            buf.put_slice(&ahead[..n]);
            *next += n;
            if *next == buffer.len() {
                // The buffer has served: an idle connection keeps none.
                self.state = State::Open;
            }
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.io).poll_read(cx, buf)
    }
}

impl<Io: AsyncRead + Unpin> AsyncRead for ProxyIo<Io> {
    #[inline]
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        match this.state {
            State::Open => Pin::new(&mut this.io).poll_read(cx, buf),
            // Only before the connection is open: kept apart, so that the way through costs nothing.
            _ => this.poll_read_first(cx, buf),
        }
    }
}

impl<Io: AsyncWrite + Unpin> AsyncWrite for ProxyIo<Io> {
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

impl<Io: fmt::Debug> fmt::Debug for ProxyIo<Io> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { io, peer, trusted, header, state: _ } = self;
        f.debug_struct("ProxyIo")
            .field("io", io)
            .field("peer", peer)
            .field("trusted", trusted)
            .field("header", header)
            .finish_non_exhaustive()
    }
}

/// What is read at first: a header as senders should keep it (536 bytes fit in one packet on any path), in one call.
const FIRST: usize = 536;

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;

    use super::*;

    #[tokio::test]
    async fn memory_is_bounded_however_much_is_sent_and_none_is_kept() {
        // A header of 4,000 bytes, LOCAL, so that what is in it does not matter; and one that never ends.
        let long = b"\r\n\r\n\0\r\nQUIT\n\x20\x00\x0f\x90";
        for (start, is_header) in [(&long[..], true), (b"PROXY UNKNOWN\r\n", true), (b"PROXY UNKNOWN ", false)] {
            let (mut client, server) = tokio::io::duplex(1 << 21);
            client.write_all(start).await.expect("write");
            client.write_all(&vec![b'x'; 1 << 20]).await.expect("write");
            let mut io = ProxyIo::expecting(server, Peer::Unix, 4096);
            assert_eq!(io.header().await.is_ok(), is_header);
            match &io.state {
                State::Ahead { buffer, .. } => assert!(buffer.capacity() <= 4096, "{}", buffer.capacity()),
                State::Broken(_) | State::Open => {}
                State::Expecting { .. } => panic!("the header is read"),
            }
            if is_header {
                let mut read = vec![0; 1 << 20];
                tokio::io::AsyncReadExt::read(&mut io, &mut read).await.expect("read");
                assert!(matches!(io.state, State::Open), "an idle connection keeps no buffer");
            }
        }
    }
}
