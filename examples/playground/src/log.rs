//! Log lines of one's own.

use axum::extract::Query;
use serde::Deserialize;

use crate::number::UpTo;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Lines {
    n: Option<UpTo<10_000>>,
}

/// `/log?n=`: writes `n` lines. Each carries the request's id, although nobody passes it on.
pub(crate) async fn log(Query(lines): Query<Lines>) -> String {
    let last: u32 = lines.n.map_or(1, Into::into);
    for n in 1..=last {
        tracing::info!(n, "a line");
        // Others have a turn in between, so that lines of requests that run side by side take turns as well.
        tokio::task::yield_now().await;
    }
    format!("wrote {last} lines\n")
}
