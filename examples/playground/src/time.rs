//! Handlers that take their time: one waits, the other one blocks.

use std::time::Duration;

use axum::extract::Query;
use serde::Deserialize;

use crate::number::Millis;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct For {
    ms: Option<Millis>,
}

impl For {
    fn duration(&self) -> Duration {
        self.ms.map_or(Duration::from_millis(500), Into::into)
    }
}

/// `/slow?ms=`: waits, as for a database. It can be stopped at any time: by the handler's limit, by a client that leaves,
/// by the end of a shutdown.
pub(crate) async fn slow(Query(time): Query<For>) -> String {
    let time = time.duration();
    tracing::debug!(?time, "waiting");
    tokio::time::sleep(time).await;
    format!("waited {} ms\n", time.as_millis())
}

/// `/block?ms=`: keeps a thread of the runtime for itself, which a handler must never do, and which nothing can stop.
pub(crate) async fn block(Query(time): Query<For>) -> String {
    let time = time.duration();
    tracing::debug!(?time, "blocking");
    // Not tokio's: the blocked thread is the point.
    std::thread::sleep(time);
    format!("blocked for {} ms\n", time.as_millis())
}
