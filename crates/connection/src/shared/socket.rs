use std::sync::atomic::{
    AtomicBool, AtomicU64,
    Ordering::{Acquire, Relaxed, Release},
};

use super::Flag;

/// What the socket, and the bodies that go over it, have to say.
#[derive(Debug)]
pub(crate) struct Socket {
    open: AtomicBool,
    /// Set before hyper can hand the socket to whoever upgraded it, so that its first poll there is already gated.
    upgrading: AtomicBool,
    /// Bytes came in since the connection's task last looked.
    read_seen: Flag,
    /// Bytes came in since the last request began: a part of a head, or a body.
    unread_head: Flag,
    /// HTTP/1: bytes came in since the last request began that are not of its body.
    next_head: Flag,
    /// HTTP/1: a request's body has not come to its end.
    body_open: Flag,
    /// HTTP/1: a part of a request's body was handed over since the connection's task last looked.
    body_seen: Flag,
    /// A request's body was dropped before its end.
    unread_body: Flag,
    /// HTTP/1: that was so much, or so far away, that the connection cannot be kept.
    unreadable_body: Flag,
    /// HTTP/2: how many header blocks began, shifted by one bit that says whether the last is unfinished.
    header_block: AtomicU64,
    /// HTTP/2: a stream had something to send since the connection's task last looked, and was quick about it.
    quick_answer: Flag,
    /// It took no byte when it was last asked to.
    write_blocked: Flag,
    /// HTTP/1: what the service answered may not have left hyper's buffer.
    answering: Flag,
    written: AtomicU64,
    /// HTTP/1: the response in flight has no total limit.
    write_unlimited: Flag,
    /// HTTP/1: the client has closed its side while a request was in flight.
    half_closed: Flag,
    lingering: Flag,
}

impl Default for Socket {
    fn default() -> Self {
        Self {
            open: AtomicBool::new(true),
            upgrading: AtomicBool::new(false),
            read_seen: Flag::default(),
            unread_head: Flag::default(),
            next_head: Flag::default(),
            body_open: Flag::default(),
            body_seen: Flag::default(),
            unread_body: Flag::default(),
            unreadable_body: Flag::default(),
            header_block: AtomicU64::new(0),
            quick_answer: Flag::default(),
            write_blocked: Flag::default(),
            answering: Flag::default(),
            written: AtomicU64::new(0),
            write_unlimited: Flag::default(),
            half_closed: Flag::default(),
            lingering: Flag::default(),
        }
    }
}

impl Socket {
    pub(crate) fn is_open(&self) -> bool {
        self.open.load(Acquire)
    }

    pub(super) fn close(&self) {
        self.open.store(false, Release);
    }

    pub(crate) fn is_upgrading(&self) -> bool {
        self.upgrading.load(Acquire)
    }

    /// Pairs with the `Acquire` in [`is_upgrading`](Self::is_upgrading), which the new owner's first poll makes.
    pub(crate) fn set_upgrading(&self) {
        self.upgrading.store(true, Release);
    }

    /// A request's head is in: what was said of it, or of the one before, is over.
    pub(super) fn begin_request(&self) {
        self.unread_head.put(false);
        self.next_head.put(false);
        self.unread_body.put(false);
        self.unreadable_body.put(false);
        self.write_unlimited.put(false);
    }

    // What comes in.

    pub(crate) fn count_read(&self) {
        self.read_seen.set();
        self.unread_head.set();
    }

    pub(crate) fn take_read_seen(&self) -> bool {
        self.read_seen.take()
    }

    pub(crate) fn set_next_head(&self) {
        self.next_head.set();
    }

    /// HTTP/1: the next head has begun to come in, maybe before the last response was out.
    pub(crate) fn has_next_head(&self) -> bool {
        // The rest of a body that nobody wanted looks the same.
        self.next_head.get() && !self.has_unread_body()
    }

    /// A head has begun to come in.
    pub(crate) fn has_unread_head(&self) -> bool {
        self.unread_head.get()
    }

    pub(crate) fn set_body_open(&self, open: bool) {
        self.body_open.put(open);
    }

    pub(crate) fn is_body_open(&self) -> bool {
        self.body_open.get()
    }

    pub(crate) fn set_body_seen(&self) {
        self.body_seen.set();
    }

    pub(crate) fn take_body_seen(&self) -> bool {
        self.body_seen.take()
    }

    pub(crate) fn set_unread_body(&self) {
        self.unread_body.set();
    }

    pub(crate) fn set_unreadable_body(&self) {
        self.unreadable_body.set();
    }

    pub(crate) fn has_unreadable_body(&self) -> bool {
        self.unreadable_body.get()
    }

    pub(crate) fn has_unread_body(&self) -> bool {
        self.unread_body.get()
    }

    pub(crate) fn has_unread(&self) -> bool {
        self.unread_body.get() || self.unread_head.get()
    }

    pub(crate) fn set_header_block(&self, number: u64, open: bool) {
        self.header_block.store(number << 1 | u64::from(open), Relaxed);
    }

    pub(crate) fn header_block(&self) -> (u64, bool) {
        let block = self.header_block.load(Relaxed);
        (block >> 1, block & 1 == 1)
    }

    pub(crate) fn set_quick_answer(&self) {
        self.quick_answer.set();
    }

    pub(crate) fn take_quick_answer(&self) -> bool {
        self.quick_answer.take()
    }

    pub(crate) fn set_half_closed(&self) {
        self.half_closed.set();
    }

    pub(crate) fn is_half_closed(&self) -> bool {
        self.half_closed.get()
    }

    // What goes out.

    pub(crate) fn count_written(&self, bytes: usize) {
        self.written.store(self.written.load(Relaxed) + bytes as u64, Relaxed);
        self.write_blocked.put(false);
    }

    pub(crate) fn written(&self) -> u64 {
        self.written.load(Relaxed)
    }

    pub(crate) fn is_write_blocked(&self) -> bool {
        self.write_blocked.get()
    }

    pub(crate) fn set_write_blocked(&self, blocked: bool) {
        self.write_blocked.put(blocked);
    }

    pub(crate) fn is_answering(&self) -> bool {
        self.answering.get()
    }

    pub(crate) fn set_answering(&self, answering: bool) {
        self.answering.put(answering);
    }

    pub(crate) fn is_write_unlimited(&self) -> bool {
        self.write_unlimited.get()
    }

    pub(crate) fn set_write_unlimited(&self) {
        self.write_unlimited.set();
    }

    pub(crate) fn is_lingering(&self) -> bool {
        self.lingering.get()
    }

    pub(crate) fn set_lingering(&self) {
        self.lingering.set();
    }
}
