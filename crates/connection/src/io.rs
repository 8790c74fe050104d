//! The socket as hyper sees it: counted, gated after an upgrade, and closed without cutting off the last answer.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::{
    ConnectionState, Refusal, Settings,
    frames::FrameScan,
    gather,
    head::LineScan,
    registry::{Entry, Place},
    shared::Shared,
    told::{Side, Signal},
};

#[derive(Debug)]
pub(crate) struct CountedIo<T> {
    io: T,
    /// Given back with the socket, wherever that ends.
    place: Place,
    /// What was read before hyper asked: by the sniff, and while a handler works. hyper reads it first.
    prefix: Vec<u8>,
    /// How much of `prefix` hyper has read.
    replayed: usize,
    /// Our side of the connection is closed.
    finished: bool,
    /// HTTP/1: reads along with the head that comes in.
    line: LineScan,
    /// HTTP/2: reads along with the frames.
    frames: Option<Box<FrameScan>>,
    /// How many bytes a head may have.
    max_head: usize,
    /// What is sent in place of what hyper sends.
    instead: Bytes,
    /// Once it is upgraded: what it is among the live work.
    work: Option<graceful_tasks::Entry>,
}

/// How an answer begins that hyper makes where there is no request.
const HYPERS_OWN: &[u8] = b"HTTP/1.1 ";

impl<T> CountedIo<T> {
    pub(crate) fn new(io: T, place: Place, settings: &Settings) -> Self {
        Self {
            io,
            place,
            prefix: Vec::new(),
            replayed: 0,
            finished: false,
            line: LineScan::default(),
            frames: None,
            max_head: settings.max_header_bytes as usize,
            instead: Bytes::new(),
            work: None,
        }
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        self.place.shared()
    }

    pub(crate) const fn entry(&self) -> &Arc<Entry> {
        self.place.entry()
    }

    pub(crate) fn refuse(&self, refusal: Refusal) -> Bytes {
        self.entry().wording().to_bytes(refusal, self.shared())
    }

    pub(crate) fn sniffed(&self) -> &[u8] {
        &self.prefix
    }

    /// The sniff is over: what it has read counts as the protocol's.
    pub(crate) fn speak(&mut self, http2: bool) {
        if http2 {
            self.frames = Some(Box::new(FrameScan::new()));
        } else {
            self.shared().set_state(ConnectionState::Active);
        }
        let prefix = std::mem::take(&mut self.prefix);
        self.read_along(&prefix);
        self.prefix = prefix;
    }

    fn read_along(&mut self, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        let shared = self.place.shared();
        shared.socket.count_read();
        if let Some(frames) = &mut self.frames {
            frames.feed(bytes);
            shared.socket.set_header_block(frames.blocks, frames.open);
        } else if !shared.socket.is_body_open() {
            shared.socket.set_next_head();
            self.line.feed(shared.requests.started(), bytes, self.max_head);
        }
    }

    /// HTTP/1: whether a handler works on a request that is all in. hyper leaves the socket alone meanwhile (its
    /// `half_close`), so that nobody would see the client leave.
    fn is_unwatched(&self) -> bool {
        let shared = self.place.shared();
        shared.requests.in_flight() > 0
            && !shared.is_http2()
            && !shared.socket.is_body_open()
            && !shared.socket.is_upgrading()
            && !shared.socket.is_half_closed()
            && self.prefix.is_empty()
    }

    /// After an upgrade the socket is polled by somebody else's task, which only this gate can stop. Before it, the
    /// connection's own task is told, and drops the socket.
    fn gate(&self, side: Side, cx: &Context<'_>) -> io::Result<()> {
        let shared = self.shared();
        shared.listen_upgraded(side, cx.waker());
        if shared.signal() == Signal::Force {
            return Err(io::Error::new(io::ErrorKind::ConnectionAborted, "the server is shutting down"));
        }
        Ok(())
    }
}

impl<T: Unpin> CountedIo<T> {
    /// Polls the socket; once it is upgraded, through the gate and what it is among the live work.
    #[inline]
    fn poll_io<R>(
        &mut self,
        side: Side,
        cx: &mut Context<'_>,
        poll: impl FnOnce(Pin<&mut T>, &mut Context<'_>) -> Poll<io::Result<R>>,
    ) -> Poll<io::Result<R>> {
        if self.shared().socket.is_upgrading() {
            self.poll_upgraded(side, cx, poll)
        } else {
            poll(Pin::new(&mut self.io), cx)
        }
    }

    #[cold]
    fn poll_upgraded<R>(
        &mut self,
        side: Side,
        cx: &mut Context<'_>,
        poll: impl FnOnce(Pin<&mut T>, &mut Context<'_>) -> Poll<io::Result<R>>,
    ) -> Poll<io::Result<R>> {
        self.gate(side, cx)?;
        if self.work.is_none() {
            self.work = self.shared().take_upgraded_work();
        }
        let io = Pin::new(&mut self.io);
        match &mut self.work {
            Some(work) => work.poll(cx, |cx| poll(io, cx)),
            None => poll(io, cx),
        }
    }
}

impl<T: AsyncRead + Unpin> CountedIo<T> {
    /// Reads before hyper asks, to be replayed to it. Gives how many bytes came; 0 is the end.
    pub(crate) fn poll_ahead(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let mut bytes = [0; 512];
        let mut buf = ReadBuf::new(&mut bytes);
        match ready!(Pin::new(&mut self.io).poll_read(cx, &mut buf)) {
            // TLS without a `close_notify`: see `poll_read`.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {}
            result => result?,
        }
        let read = buf.filled();
        if !read.is_empty() {
            self.shared().socket.count_read();
            self.prefix.extend_from_slice(read);
        }
        Poll::Ready(Ok(read.len()))
    }

    /// While a handler works: has the client closed its side, or left?
    ///
    /// Only here, behind a poll of the handler that was not ready: hyper's own look comes before the handler was even
    /// asked, and makes it allocate another buffer, as the one it has is still shared with the request's head.
    fn watch(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        let Poll::Ready(read) = self.poll_ahead(cx)? else { return Ok(()) };
        if read > 0 {
            // The next request is on its way: that is a client that is there, and it waits its turn.
            self.shared().socket.set_next_head();
            let started = self.shared().requests.started();
            self.line.feed(started, &self.prefix, self.max_head);
        } else {
            // A client that left, or one that has said all it wants to say: the connection's timer decides.
            self.shared().socket.set_half_closed();
        }
        Ok(())
    }

    fn poll_discard(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let mut bytes = [0; 4096];
        loop {
            let mut buf = ReadBuf::new(&mut bytes);
            let read = ready!(Pin::new(&mut self.io).poll_read(cx, &mut buf));
            if read.is_err() || buf.filled().is_empty() {
                return Poll::Ready(());
            }
        }
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for CountedIo<T> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.replayed < this.prefix.len() {
            let rest = &this.prefix[this.replayed..];
            let n = rest.len().min(buf.remaining());
            buf.put_slice(&rest[..n]);
            this.replayed += n;
            if this.replayed == this.prefix.len() {
                this.prefix = Vec::new();
                this.replayed = 0;
            }
            return Poll::Ready(Ok(()));
        }
        let before = buf.filled().len();
        match ready!(this.poll_io(Side::Read, cx, |io, cx| io.poll_read(cx, buf))) {
            // TLS without a `close_notify`, as most clients end it. HTTP knows where its messages end and what is cut off;
            // what comes after an upgrade may not.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof && !this.shared().socket.is_upgrading() => {}
            result => result?,
        }
        if buf.filled().len() > before {
            this.read_along(&buf.filled()[before..]);
        }
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> AsyncWrite for CountedIo<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.is_answer_of_hypers_own(bytes) {
            ready!(self.poll_instead(cx))?;
            return Poll::Ready(Ok(bytes.len()));
        }
        let polled = self.poll_io(Side::Write, cx, |io, cx| io.poll_write(cx, bytes));
        self.count(&polled);
        polled
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.is_answer_of_hypers_own(slices.first().map_or(&[], |slice| slice)) {
            ready!(self.poll_instead(cx))?;
            return Poll::Ready(Ok(slices.iter().map(|slice| slice.len()).sum()));
        }
        let polled = self.poll_io(Side::Write, cx, |io, cx| gather::poll_write(io, cx, slices));
        self.count(&polled);
        polled
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        // hyper flushes what it has written, so its buffer is empty.
        this.shared().socket.set_answering(false);
        let polled = Pin::new(&mut this.io).poll_flush(cx);
        // Under TLS the text was taken, but the bytes that carry it may be stuck here.
        this.shared().socket.set_write_blocked(polled.is_pending());
        ready!(polled)?;
        // hyper flushes at the end of each of its turns, whether there was something to send or not.
        if this.is_unwatched() {
            this.watch(cx)?;
        }
        Poll::Ready(Ok(()))
    }

    /// Closes our side and, if the client may still be sending, reads and discards until it has closed its own.
    ///
    /// A socket that is closed with unread bytes in it sends a reset, which overtakes the answer in the client's
    /// kernel: it would read an error instead of the 413 or 503 that tells it why (RFC 9112, 9.6). The connection bounds
    /// this by `Settings::linger`.
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        ready!(this.poll_finish(cx))?;
        if this.shared().may_have_unread() {
            this.shared().socket.set_lingering();
            ready!(this.poll_discard(cx));
        }
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncWrite + Unpin> CountedIo<T> {
    /// Whether `bytes` begin the answer that hyper gives, with no body, to what is no request; then one of ours is sent in
    /// its place. Nothing that the service answered looks like it: nothing of that is left in hyper's buffer.
    fn is_answer_of_hypers_own(&mut self, bytes: &[u8]) -> bool {
        if !self.instead.is_empty() {
            return true;
        }
        let Shared { socket, requests, .. } = &**self.shared();
        if socket.is_answering() || self.frames.is_some() || socket.is_upgrading() || requests.in_flight() > 0 {
            return false;
        }
        let refusal = match bytes.get(..HYPERS_OWN.len() + 4).and_then(|start| start.strip_prefix(HYPERS_OWN)) {
            Some(b"400 ") => Refusal::BadRequest,
            // hyper does not tell which of the two it was.
            Some(b"431 ") if self.line.length() >= self.max_head => Refusal::LineTooLong,
            Some(b"431 ") => Refusal::HeadTooLarge,
            Some(b"414 ") => Refusal::LineTooLong,
            _ => return false,
        };
        self.instead = self.refuse(refusal);
        true
    }

    fn poll_instead(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.instead.is_empty() {
            let n = ready!(Pin::new(&mut self.io).poll_write(cx, &self.instead))?;
            if n == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.shared().socket.count_written(n);
            self.instead.advance(n);
        }
        Poll::Ready(Ok(()))
    }

    /// Closes our side.
    pub(crate) fn poll_finish(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.finished {
            let polled = Pin::new(&mut self.io).poll_shutdown(cx);
            self.shared().socket.set_write_blocked(polled.is_pending());
            ready!(polled)?;
            self.finished = true;
        }
        Poll::Ready(Ok(()))
    }
}

impl<T> CountedIo<T> {
    fn count(&self, polled: &Poll<io::Result<usize>>) {
        match polled {
            Poll::Ready(Ok(n)) => self.shared().socket.count_written(*n),
            Poll::Ready(Err(_)) => {}
            Poll::Pending => self.shared().socket.set_write_blocked(true),
        }
    }
}
