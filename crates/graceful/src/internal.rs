//! The internal port: is the process alive, and does it want requests?

use axum::{Router, http::StatusCode, routing::get};
use graceful_shutdown::Readiness;

/// `/livez`: 200 as long as the process can answer. `/readyz`: 200, or 503 when no more requests should be sent here.
pub(crate) fn router(readiness: Readiness) -> Router {
    Router::new().route("/livez", get(async || "ok\n")).route(
        "/readyz",
        get(async move || {
            if readiness.is_ready() {
                (StatusCode::OK, "ready\n")
            } else {
                (StatusCode::SERVICE_UNAVAILABLE, "not ready\n")
            }
        }),
    )
}
