//! What a connection answers by itself, because there is no request to hand on, or none that may be.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use bytes::{BufMut, Bytes, BytesMut};
use graceful_answer::{Answer, Cause, PlainText};
use http::{
    HeaderMap, Method, Request, Response, StatusCode, Uri, Version,
    header::{CONNECTION, CONTENT_LENGTH, DATE, TRANSFER_ENCODING},
};

use crate::{ConnectionInfo, shared::Shared};

/// Why a connection answers without its service. It closes behind each of these answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Refusal {
    /// 400: what came is not an HTTP request.
    BadRequest,
    /// 400: the request does not say, or not clearly, whom it is for (RFC 9112, 3.2).
    BadHost,
    /// 408: the request's head was not in within [`Settings::read_header`](crate::Settings::read_header).
    HeaderTimeout,
    /// 414: the request line is longer than [`Settings::max_header_bytes`](crate::Settings::max_header_bytes).
    LineTooLong,
    /// 431: the head is longer than that, or has more than [`Settings::max_headers`](crate::Settings::max_headers) fields.
    HeadTooLarge,
    /// 503: there are [`Settings::max_upgraded`](crate::Settings::max_upgraded) upgraded sockets already.
    TooManyUpgrades,
}

impl Refusal {
    /// The word that logs and metrics use.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::BadRequest => "bad_request",
            Self::BadHost => "bad_host",
            Self::HeaderTimeout => "header_timeout",
            Self::LineTooLong => "line_too_long",
            Self::HeadTooLarge => "head_too_large",
            Self::TooManyUpgrades => "too_many_upgrades",
        }
    }
}

impl Cause for Refusal {
    fn status(&self) -> StatusCode {
        match self {
            Self::BadRequest | Self::BadHost => StatusCode::BAD_REQUEST,
            Self::HeaderTimeout => StatusCode::REQUEST_TIMEOUT,
            Self::LineTooLong => StatusCode::URI_TOO_LONG,
            Self::HeadTooLarge => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::TooManyUpgrades => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    fn message(&self) -> &str {
        match self {
            Self::BadRequest => "malformed request",
            Self::BadHost => "missing, doubled or malformed Host header",
            Self::HeaderTimeout => "the request took too long to arrive",
            Self::LineTooLong => "request line too long",
            Self::HeadTooLarge => "request header fields too large",
            Self::TooManyUpgrades => "too many upgraded connections",
        }
    }

    fn retry_after(&self) -> Option<Duration> {
        (*self == Self::TooManyUpgrades).then_some(Duration::from_secs(1))
    }
}

/// A [`Refusal`], and what is known of whom it is for: what
/// [`RegistryBuilder::answer`](crate::RegistryBuilder::answer) words.
#[derive(Clone, Copy, Debug)]
pub struct Refused<'a> {
    refusal: Refusal,
    connection: ConnectionInfo<'a>,
    head: Option<RefusedHead<'a>>,
}

/// The head of a request that was refused.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct RefusedHead<'a> {
    /// Its method.
    pub method: &'a Method,
    /// Where it goes, query and all.
    pub uri: &'a Uri,
    /// Its version.
    pub version: Version,
    /// Its fields.
    pub headers: &'a HeaderMap,
}

impl<'a> Refused<'a> {
    /// Why.
    #[must_use]
    pub const fn refusal(&self) -> Refusal {
        self.refusal
    }

    /// The connection, which is closed behind the answer.
    #[must_use]
    pub const fn connection(&self) -> ConnectionInfo<'a> {
        self.connection
    }

    /// The request's head, if it could be read.
    #[must_use]
    pub const fn head(&self) -> Option<RefusedHead<'a>> {
        self.head
    }
}

impl Cause for Refused<'_> {
    fn status(&self) -> StatusCode {
        self.refusal.status()
    }

    fn message(&self) -> &str {
        self.refusal.message()
    }

    fn retry_after(&self) -> Option<Duration> {
        self.refusal.retry_after()
    }
}

/// How refusals are worded.
#[derive(Clone)]
pub(crate) struct Wording(Arc<dyn for<'a> Answer<Refused<'a>>>);

impl Default for Wording {
    fn default() -> Self {
        Self(Arc::new(PlainText::new()))
    }
}

impl Wording {
    pub(crate) fn new(answer: impl for<'a> Answer<Refused<'a>>) -> Self {
        Self(Arc::new(answer))
    }

    /// The answer to a request that is not handed on.
    pub(crate) fn to_request<B>(&self, refusal: Refusal, shared: &Shared, request: &Request<B>) -> Response<Bytes> {
        let head = RefusedHead {
            method: request.method(),
            uri: request.uri(),
            version: request.version(),
            headers: request.headers(),
        };
        self.0.answer(&Refused { refusal, connection: ConnectionInfo::of(shared), head: Some(head) })
    }

    /// The answer where there is no request, as the bytes of HTTP/1.1.
    pub(crate) fn to_bytes(&self, refusal: Refusal, shared: &Shared) -> Bytes {
        serialize(&self.0.answer(&Refused { refusal, connection: ConnectionInfo::of(shared), head: None }))
    }
}

/// hyper writes no answer for which there is no request, or only one of its own.
fn serialize(response: &Response<Bytes>) -> Bytes {
    let (status, body) = (response.status(), response.body());
    let mut bytes = BytesMut::with_capacity(256 + body.len());
    bytes.put_slice(b"HTTP/1.1 ");
    bytes.put_slice(status.as_str().as_bytes());
    bytes.put_u8(b' ');
    bytes.put_slice(status.canonical_reason().unwrap_or_default().as_bytes());
    for (name, value) in response.headers() {
        // Those are said below: where the message ends is not for the wording to choose.
        if ![CONNECTION, CONTENT_LENGTH, DATE, TRANSFER_ENCODING].contains(name) {
            put_field(&mut bytes, name.as_str(), value.as_bytes());
        }
    }
    put_field(&mut bytes, "content-length", body.len().to_string().as_bytes());
    put_field(&mut bytes, "connection", b"close");
    // Asked for in every 4xx (RFC 9110, 6.6.1).
    put_field(&mut bytes, "date", httpdate::fmt_http_date(SystemTime::now()).as_bytes());
    bytes.put_slice(b"\r\n\r\n");
    bytes.put_slice(body);
    bytes.freeze()
}

fn put_field(bytes: &mut BytesMut, name: &str, value: &[u8]) {
    bytes.put_slice(b"\r\n");
    bytes.put_slice(name.as_bytes());
    bytes.put_slice(b": ");
    bytes.put_slice(value);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_an_answer_ends_is_not_for_its_wording_to_say() {
        let response = Response::builder()
            .status(431)
            .header("content-type", "text/x")
            .header("content-length", "7000")
            .header("transfer-encoding", "chunked")
            .header("connection", "keep-alive")
            .header("date", "yesterday")
            .body(Bytes::from_static(b"no"))
            .expect("a response");
        let text = String::from_utf8(serialize(&response).to_vec()).expect("ASCII");
        let (head, body) = text.split_once("\r\n\r\n").expect("a head and a body");
        let (fields, date) = head.rsplit_once("\r\ndate: ").expect("a date");
        assert_eq!(
            fields,
            "HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-type: text/x\r\ncontent-length: 2\r\nconnection: close"
        );
        assert!(date.ends_with(" GMT"), "{date}");
        assert_eq!(body, "no");
    }
}
