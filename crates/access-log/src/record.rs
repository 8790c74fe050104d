use std::{fmt, net::SocketAddr, sync::Arc, time::Duration};

use http::{HeaderValue, Method, StatusCode, Version, uri::PathAndQuery};

use crate::entry::Shared;

/// What is known of a request at its end: what a [filter](crate::AccessLogLayer::filter) sees.
///
/// The texts are as the client sent them, neither escaped nor cut.
#[derive(Debug)]
pub struct Record {
    pub(crate) method: Method,
    pub(crate) target: Option<PathAndQuery>,
    pub(crate) version: Version,
    pub(crate) status: StatusCode,
    pub(crate) duration: Duration,
    pub(crate) ttfb: Option<Duration>,
    pub(crate) bytes: u64,
    pub(crate) bytes_expected: Option<u64>,
    pub(crate) peer: Option<SocketAddr>,
    pub(crate) user_agent: Option<HeaderValue>,
    pub(crate) outcome: Outcome,
    /// As it was told; one in the cell is in `shared`.
    pub(crate) route: Option<Arc<str>>,
    pub(crate) shared: Option<Arc<Shared>>,
}

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// The whole response was handed over.
    Complete,
    /// The request was dropped before there was a head. The status is 499, which nobody has read.
    ///
    /// Usually the client has gone away. A deadline outside this layer and a server that is forced to stop look the
    /// same from here.
    ClientGone,
    /// The body was dropped before its end, usually because the client had gone away, or it was shorter than its
    /// `Content-Length`.
    Truncated,
    /// The service failed: its body gave an error, it gave one itself, or it panicked and no layer inside caught that.
    ///
    /// If there was no head yet, the status is 500 and `ttfb` is not known; a client of hyper then sees the connection
    /// (HTTP/1) or the stream (HTTP/2) closed without an answer.
    BodyError,
    /// The head was 101, or 2xx to a `CONNECT`; what follows is not HTTP and not counted.
    Upgraded,
}

impl Record {
    /// The method of the request.
    #[must_use]
    pub const fn method(&self) -> &Method {
        &self.method
    }

    /// The path of the request, without its query. Empty for `CONNECT host:port`, which has none.
    #[must_use]
    pub fn path(&self) -> &str {
        self.target.as_ref().map_or("", PathAndQuery::path)
    }

    /// What followed the `?`.
    #[must_use]
    pub fn query(&self) -> Option<&str> {
        self.target.as_ref()?.query()
    }

    /// What [`tell_route`](crate::tell_route) has told, or was put in the [`MatchedRoute`](crate::MatchedRoute).
    #[must_use]
    pub fn route(&self) -> Option<&str> {
        self.route.as_deref().or_else(|| self.shared.as_ref()?.route())
    }

    /// The HTTP version of the request.
    #[must_use]
    pub const fn version(&self) -> Version {
        self.version
    }

    /// The status of the response; 499 or 500 where there was none, see [`Outcome`].
    #[must_use]
    pub const fn status(&self) -> StatusCode {
        self.status
    }

    /// From the call of the service to the end of the record.
    #[must_use]
    pub const fn duration(&self) -> Duration {
        self.duration
    }

    /// From the call of the service to the head of the response: the time to the first byte, as far as it is seen here.
    #[must_use]
    pub const fn ttfb(&self) -> Option<Duration> {
        self.ttfb
    }

    /// Bytes of the request's body that the service has read.
    #[must_use]
    pub fn bytes_in(&self) -> u64 {
        self.shared.as_ref().map_or(0, |shared| shared.bytes_in())
    }

    /// Bytes of the response's body that were handed over.
    #[must_use]
    pub const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// How long the response's body should be, if that was known with the head: from `Content-Length`, else from
    /// [`Body::size_hint`](http_body::Body::size_hint). Zero where there is no body on the wire (`HEAD`, 204, 304).
    #[must_use]
    pub const fn bytes_expected(&self) -> Option<u64> {
        self.bytes_expected
    }

    /// The address that [`AccessLogLayer::peer`](crate::AccessLogLayer::peer) found.
    #[must_use]
    pub const fn peer(&self) -> Option<SocketAddr> {
        self.peer
    }

    /// The first `User-Agent` of the request.
    #[must_use]
    pub const fn user_agent(&self) -> Option<&HeaderValue> {
        self.user_agent.as_ref()
    }

    /// How the request ended.
    #[must_use]
    pub const fn outcome(&self) -> Outcome {
        self.outcome
    }
}

impl Outcome {
    /// As it is logged: `complete`, `client_gone`, `truncated`, `body_error` or `upgraded`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Complete => "complete",
            Self::ClientGone => "client_gone",
            Self::Truncated => "truncated",
            Self::BodyError => "body_error",
            Self::Upgraded => "upgraded",
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}
