//! Request bodies that come late.

use std::{error::Error, fmt};

use axum::{
    extract::{FromRequest, Request},
    http::StatusCode,
    response::{IntoResponse, Response},
};
use graceful_connection::BodyTimeout;

/// Extracts the same as `T`, and answers 408 where it was the time of the body that was over.
///
/// The server gives a body [`Config::read_timeout`](crate::Config::read_timeout), and what reads it then gets an error.
/// axum's extractors take that for one of the client's making and answer 400, after which nobody tries again. `T` is
/// whatever reads a body and has an error for a rejection: `String`, `Bytes`, `Json`, `Form`.
///
/// ```
/// use axum::{Router, routing::post};
/// use graceful::handler::body::InTime;
///
/// async fn upload(InTime(text): InTime<String>) -> String {
///     format!("{} bytes", text.len())
/// }
///
/// let app: Router = Router::new().route("/upload", post(upload));
/// ```
///
/// To answer otherwise, extract a `Result<InTime<T>, BodyRejection<T::Rejection>>`; a handler that reads a body frame by
/// frame asks [`is_late`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct InTime<T>(pub T);

impl<T, S> FromRequest<S> for InTime<T>
where
    T: FromRequest<S>,
    T::Rejection: Error + 'static,
    S: Send + Sync,
{
    type Rejection = BodyRejection<T::Rejection>;

    async fn from_request(request: Request, state: &S) -> Result<Self, Self::Rejection> {
        match T::from_request(request, state).await {
            Ok(value) => Ok(Self(value)),
            Err(rejection) if is_late(&rejection) => Err(BodyRejection::Late(rejection)),
            Err(rejection) => Err(BodyRejection::Other(rejection)),
        }
    }
}

/// Why there is no [`InTime`].
#[derive(Debug)]
#[non_exhaustive]
pub enum BodyRejection<R> {
    /// The body was not in within its time, or came too slowly: 408, after which the connection is closed.
    Late(R),
    /// Anything else: what `T` itself answers.
    Other(R),
}

impl<R: IntoResponse> IntoResponse for BodyRejection<R> {
    fn into_response(self) -> Response {
        match self {
            Self::Late(_) => (StatusCode::REQUEST_TIMEOUT, "the request body took too long").into_response(),
            Self::Other(rejection) => rejection.into_response(),
        }
    }
}

impl<R> fmt::Display for BodyRejection<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Late(_) => "the request body took too long",
            Self::Other(_) => "the request body was rejected",
        })
    }
}

impl<R: Error + 'static> Error for BodyRejection<R> {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Late(rejection) | Self::Other(rejection) => Some(rejection),
        }
    }
}

/// Whether reading a body failed because the server gave up on it ([`BodyTimeout`]), and not because of the client.
///
/// `error` is that of the body, or any that has it among its sources.
#[must_use]
pub fn is_late(error: &(dyn Error + 'static)) -> bool {
    std::iter::successors(Some(error), |&error| error.source()).any(<dyn Error>::is::<BodyTimeout>)
}
