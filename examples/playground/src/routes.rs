//! All routes at a glance.

use axum::{
    Json, Router,
    routing::{any, get, post},
};
use serde_json::{Value, json};

use crate::{bodies, echo, events, leak, log, panics, time, websocket};

pub(crate) fn routes() -> Router {
    Router::new()
        .route("/healthz", get(healthz))
        .route("/api/work", get(work))
        .route("/slow", get(time::slow))
        .route("/block", get(time::block))
        .route("/big", get(bodies::big))
        .route("/stream", get(bodies::stream))
        .route("/panic", get(panics::in_the_handler))
        .route("/panic-body", get(panics::in_the_body))
        .route("/leak", get(leak::leak))
        .route("/log", get(log::log))
        .route("/echo", post(echo::echo))
        .route("/events", get(events::events))
        // Not `get`: in HTTP/2 a WebSocket begins with CONNECT.
        .route("/ws", any(websocket::echo))
}

async fn healthz() -> &'static str {
    "ok\n"
}

async fn work() -> Json<Value> {
    Json(json!({ "ok": true }))
}
