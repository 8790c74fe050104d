use std::net::SocketAddr;

use http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, Version, header::USER_AGENT, uri::PathAndQuery};

use tracing::Level;

use crate::{
    peer::PeerText,
    value::{self, MAX_PATH, MAX_USER_AGENT, Text, version},
};

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
    status: StatusCode,
    reason: &'static str,
    method: Option<&'a Method>,
    target: Option<&'a PathAndQuery>,
    version: Option<Version>,
    user_agent: Option<&'a HeaderValue>,
    bytes: u64,
    peer: Option<SocketAddr>,
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
        let Self { status, reason, method, target, version: spoken, user_agent, bytes, peer } = self;
        let peer = peer.map(PeerText::new);
        let method = method.map(value::method);
        let path = target.map(|target| Text::new(target.path(), MAX_PATH));
        let user_agent = user_agent.map(|value| Text::of_bytes(value.as_bytes(), MAX_USER_AGENT));
        macro_rules! write {
            ($level:expr) => {
                tracing::event!(
                    name: "access",
                    target: "access",
                    $level,
                    {
                        message = "access",
                        method,
                        path = path.as_ref().map(Text::as_value),
                        version = spoken.map(version),
                        status = status.as_u16(),
                        bytes,
                        peer = peer.as_ref().map(PeerText::as_str),
                        user_agent = user_agent.as_ref().map(Text::as_value),
                        outcome = "refused",
                        reason,
                    }
                )
            };
        }
        if status.is_server_error() {
            write!(Level::WARN);
        } else {
            write!(Level::INFO);
        }
    }
}
