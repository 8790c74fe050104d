//! What handlers need to know of the server: the order to end, and what to do about it; a body that came too late.

pub mod body;
pub mod sse;
#[cfg(feature = "ws")]
pub mod ws;

use std::convert::Infallible;

use axum::{
    extract::{FromRequestParts, OptionalFromRequestParts},
    http::{StatusCode, request::Parts},
};
use graceful_connection::ConnectionControl;
use graceful_shutdown::Shutdown;

/// Extracts the order to end, for a handler that waits, streams or talks for long.
///
/// ```
/// use graceful::ShutdownSignal;
///
/// async fn long_poll(ShutdownSignal(shutdown): ShutdownSignal) -> &'static str {
///     # let news = std::future::pending::<()>();
///     tokio::select! {
///         () = shutdown.triggered() => "nothing new, ask again elsewhere",
///         () = news => "news",
///     }
/// }
/// # let _ = axum::Router::<()>::new().route("/", axum::routing::get(long_poll));
/// ```
///
/// It is there behind a [`Server`](crate::Server), at no cost a request; elsewhere it is rejected with 500, or `None` as
/// an `Option<ShutdownSignal>`.
#[derive(Clone, Debug)]
pub struct ShutdownSignal(pub Shutdown);

impl<S: Sync> FromRequestParts<S> for ShutdownSignal {
    type Rejection = (StatusCode, &'static str);

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Self::Rejection> {
        find(parts).ok_or((StatusCode::INTERNAL_SERVER_ERROR, "internal error"))
    }
}

impl<S: Sync> OptionalFromRequestParts<S> for ShutdownSignal {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Option<Self>, Infallible> {
        Ok(find(parts))
    }
}

fn find(parts: &Parts) -> Option<ShutdownSignal> {
    parts.extensions.get::<ConnectionControl>()?.context::<Shutdown>().cloned().map(ShutdownSignal)
}
