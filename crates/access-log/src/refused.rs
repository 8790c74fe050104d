use std::net::SocketAddr;

use http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, Version, header::USER_AGENT, uri::PathAndQuery};

use crate::event;

/// The record of a request that was answered before it came to a service: a head that is too long or never whole, bytes
/// that are no request. A layer does not see those; the server below it does, and writes this.
///
/// Its `outcome` is `refused`, and a field `reason` says why. What is not known of the request is left out: of most of
/// them nothing is. No filter applies.
///
/// ```
/// use graceful_access_log::RefusedRequest;
/// use http::StatusCode;
///
/// RefusedRequest::new(StatusCode::REQUEST_TIMEOUT, "header_timeout").bytes(36).write();
/// // INFO access: access status=408 bytes=36 outcome="refused" reason="header_timeout"
/// ```
#[derive(Clone, Copy, Debug)]
#[must_use = "it is written by `write`"]
pub struct RefusedRequest<'a> {
    pub(crate) status: StatusCode,
    pub(crate) reason: &'static str,
    pub(crate) method: Option<&'a Method>,
    pub(crate) target: Option<&'a PathAndQuery>,
    pub(crate) version: Option<Version>,
    pub(crate) user_agent: Option<&'a HeaderValue>,
    pub(crate) bytes: u64,
    pub(crate) peer: Option<SocketAddr>,
}

impl<'a> RefusedRequest<'a> {
    /// It was answered `status`, because of `reason`.
    pub const fn new(status: StatusCode, reason: &'static str) -> Self {
        Self { status, reason, method: None, target: None, version: None, user_agent: None, bytes: 0, peer: None }
    }

    /// What was asked, if the head was read.
    pub fn head(self, method: &'a Method, uri: &'a Uri, version: Version, headers: &'a HeaderMap) -> Self {
        Self {
            method: Some(method),
            target: uri.path_and_query(),
            version: Some(version),
            user_agent: headers.get(USER_AGENT),
            ..self
        }
    }

    /// How many bytes the answer's body has. Default: none.
    pub const fn bytes(self, bytes: u64) -> Self {
        Self { bytes, ..self }
    }

    /// Who asked.
    pub const fn peer(self, peer: Option<SocketAddr>) -> Self {
        Self { peer, ..self }
    }

    /// Writes the record, without the query.
    pub fn write(self) {
        event::write_refused(&self);
    }
}
