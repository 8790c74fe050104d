//! What the server answers.

use axum::{
    Json, Router,
    extract::State,
    http::StatusCode,
    routing::{get, post},
};
use graceful::handler::body::InTime;
use serde_json::{Value, json};

use crate::worker::{Job, Jobs};

pub(crate) fn routes(jobs: Jobs) -> Router {
    Router::new()
        .route("/healthz", get(healthz))
        .route("/api/work", get(work))
        .route("/api/jobs", post(submit))
        .with_state(jobs)
}

/// For a load balancer. Whether the process wants more requests is `/readyz` on the internal port.
async fn healthz() -> &'static str {
    "ok\n"
}

async fn work() -> Json<Value> {
    Json(json!({ "ok": true }))
}

/// Work that outlives its request: accepted now, done by the worker, finished before the process ends. 408 for a body that
/// does not come in time.
async fn submit(State(jobs): State<Jobs>, InTime(body): InTime<String>) -> StatusCode {
    match jobs.submit(Job::new(body)) {
        Ok(()) => StatusCode::ACCEPTED,
        // The queue is full, or the server is about to end. Waiting here would only move the queue into memory.
        Err(_) => StatusCode::SERVICE_UNAVAILABLE,
    }
}
