//! A request's body, read to its end.

use axum::body::Bytes;
use graceful::handler::body::InTime;

/// `POST /echo`: reads the body, 2 MB at most (axum's limit for extractors), and sends it back. One that comes late is 408.
pub(crate) async fn echo(InTime(body): InTime<Bytes>) -> Bytes {
    body
}
