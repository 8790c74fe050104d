use std::fmt;

/// Where a connection stands, as Go's `http.ConnState`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ConnectionState {
    /// Accepted; no request head has come yet.
    New,
    /// A request head is coming in, or at least one request is in flight.
    Active,
    /// Kept alive between requests; for HTTP/2, without a stream.
    Idle,
    /// The socket was handed over to an upgrade (a WebSocket, a tunnel): no HTTP limit applies any more.
    Upgraded,
    /// The socket is closed.
    Closed,
}

impl ConnectionState {
    /// The word that logs and metrics use.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Active => "active",
            Self::Idle => "idle",
            Self::Upgraded => "upgraded",
            Self::Closed => "closed",
        }
    }

    pub(crate) const fn to_u8(self) -> u8 {
        match self {
            Self::New => 0,
            Self::Active => 1,
            Self::Idle => 2,
            Self::Upgraded => 3,
            Self::Closed => 4,
        }
    }

    pub(crate) const fn from_u8(number: u8) -> Self {
        match number {
            0 => Self::New,
            1 => Self::Active,
            2 => Self::Idle,
            3 => Self::Upgraded,
            _ => Self::Closed,
        }
    }
}

impl fmt::Display for ConnectionState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why a [`Connection`](crate::Connection) ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CloseReason {
    /// The client closed it, or one side asked for it with `Connection: close`.
    Done,
    /// The socket went on as an upgrade; it is not closed yet.
    Upgraded,
    /// The TLS handshake did not come to its end: the `HandshakeError` says why.
    Handshake,
    /// No whole request head (or HTTP/2 preface) within `read_header`.
    HeaderTimeout,
    /// A response was not written within `write`.
    WriteTimeout,
    /// The client took no byte for `write_stall`, or fewer than `min_write_rate` asks for.
    WriteStalled,
    /// No request within `idle`.
    IdleTimeout,
    /// It had carried as many requests, or grown as old, as it may, or a handler asked for its end.
    Retired,
    /// The client closed its side, and the handler was not quick enough.
    HalfClosed,
    /// A graceful shutdown ended it.
    Drained,
    /// A shutdown ran out of time, and what was in flight was dropped.
    Forced,
    /// What the client sent is not HTTP, or breaks a limit.
    BadRequest,
    /// The socket failed, or the client went away in the middle.
    Broken,
}

impl CloseReason {
    /// All reasons, in the order of their numbers.
    pub(crate) const ALL: [Self; 13] = [
        Self::Done,
        Self::Upgraded,
        Self::Handshake,
        Self::HeaderTimeout,
        Self::WriteTimeout,
        Self::WriteStalled,
        Self::IdleTimeout,
        Self::Retired,
        Self::HalfClosed,
        Self::Drained,
        Self::Forced,
        Self::BadRequest,
        Self::Broken,
    ];

    /// The word that logs and metrics use.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Upgraded => "upgraded",
            Self::Handshake => "handshake",
            Self::HeaderTimeout => "header_timeout",
            Self::WriteTimeout => "write_timeout",
            Self::WriteStalled => "write_stalled",
            Self::IdleTimeout => "idle_timeout",
            Self::Retired => "retired",
            Self::HalfClosed => "half_closed",
            Self::Drained => "drained",
            Self::Forced => "forced",
            Self::BadRequest => "bad_request",
            Self::Broken => "broken",
        }
    }
}

impl fmt::Display for CloseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a [`Connection`](crate::Connection) resolves to.
#[derive(Debug)]
#[non_exhaustive]
pub struct Ended {
    /// Why.
    pub reason: CloseReason,
    /// What hyper said, where it failed.
    pub error: Option<hyper::Error>,
    /// How many requests it had carried.
    pub requests: u64,
}

impl Ended {
    pub(crate) const fn because(reason: CloseReason) -> Self {
        Self { reason, error: None, requests: 0 }
    }

    pub(crate) fn after(self, requests: u64) -> Self {
        Self { requests, ..self }
    }

    pub(crate) fn failed(error: hyper::Error) -> Self {
        let reason = if error.is_parse() { CloseReason::BadRequest } else { CloseReason::Broken };
        Self { reason, error: Some(error), requests: 0 }
    }
}
