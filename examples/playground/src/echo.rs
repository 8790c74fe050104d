//! A request's body, read to its end.

use std::error::Error;

use axum::{
    body::Bytes,
    extract::rejection::BytesRejection,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use graceful::connection::BodyTimeout;

/// `POST /echo`: reads the body, 2 MB at most (axum's limit for extractors), and sends it back.
pub(crate) async fn echo(body: Result<Bytes, BytesRejection>) -> Result<Bytes, Response> {
    body.map_err(|rejection| {
        if took_too_long(&rejection) {
            (StatusCode::REQUEST_TIMEOUT, "the request's body took too long\n").into_response()
        } else {
            rejection.into_response()
        }
    })
}

/// Whether it was the server that gave up on the body, and not the client.
fn took_too_long(error: &(dyn Error + 'static)) -> bool {
    std::iter::successors(Some(error), |&error| error.source()).any(<dyn Error>::is::<BodyTimeout>)
}
