//! What a layer answers in place of the handler: one trait, one body.
//!
//! A layer that sheds load, cuts a slow handler or survives a panic has to answer something. This crate is the small
//! room that those layers share:
//!
//! - [`Cause`]: why there is no answer of the handler's. Each layer has a cause of its own (`Overloaded`, `Elapsed`,
//!   `Panicked`), and each knows its usual status and the few words that a client may read.
//! - [`Answer`]: turns a cause into a response. A closure is one; so are [`PlainText`], the default of every layer, and
//!   [`ProblemDetails`] (RFC 9457).
//! - [`without_content`]: what of a response is sent to a `HEAD`.
//! - [`AnswerBody`]: the body of a service that answers either with the inner service's body or with a short text of
//!   its own. No box: two kinds of body is an enum.
//!
//! # Examples
//!
//! One answer for every layer, in a house style of its own:
//!
//! ```
//! use bytes::Bytes;
//! use graceful_answer::{Answer, Cause};
//! use http::Response;
//!
//! struct HouseStyle;
//!
//! impl<C: Cause> Answer<C> for HouseStyle {
//!     fn answer(&self, cause: &C) -> Response<Bytes> {
//!         let body = format!("<h1>{}</h1><p>{}</p>", cause.status(), cause.message());
//!         Response::builder()
//!             .status(cause.status())
//!             .header("content-type", "text/html; charset=utf-8")
//!             .body(body.into())
//!             .expect("a status and a static header make a response")
//!     }
//! }
//! ```
#![forbid(unsafe_code)]

mod body;
mod formats;
mod head;

use std::time::Duration;

use bytes::Bytes;
use http::{Response, StatusCode};

pub use self::body::AnswerBody;
pub use self::formats::{PlainText, ProblemDetails};
pub use self::head::without_content;

/// Why a layer answers instead of the handler.
pub trait Cause {
    /// The status that fits best, for example 503 for an overloaded server.
    fn status(&self) -> StatusCode;

    /// A few words for the client, in lower case and without a full stop: `server busy`.
    ///
    /// A client never reads an internal cause, so this names neither code nor data.
    fn message(&self) -> &str;

    /// After how long the client may try again; the formats of this crate send it as `Retry-After` (RFC 9110, 10.2.3)
    /// in whole seconds, rounded up.
    fn retry_after(&self) -> Option<Duration> {
        None
    }
}

/// Turns a cause into the response that the client gets.
///
/// Implemented for closures, for [`PlainText`] and for [`ProblemDetails`]. It runs on a worker thread while a request
/// waits: it must not block. The layers send what it returns as it is, to a `HEAD` [without its content](without_content); a
/// status of 5xx is not enforced.
pub trait Answer<C: ?Sized>: Send + Sync + 'static {
    /// The response for this cause.
    fn answer(&self, cause: &C) -> Response<Bytes>;
}

impl<C: ?Sized, F> Answer<C> for F
where
    F: Fn(&C) -> Response<Bytes> + Send + Sync + 'static,
{
    fn answer(&self, cause: &C) -> Response<Bytes> {
        self(cause)
    }
}
