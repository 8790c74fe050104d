use crate::Accepted;

/// Closes a connection that a limit does not let in, and says so.
pub(crate) async fn refuse<Io>(accepted: Accepted<Io>, kind: &'static str) {
    tracing::debug!(
        target: "graceful::server",
        kind,
        source = "http",
        peer = %accepted.peer,
        "connection refused"
    );
    drop(accepted);
    // A flood of connections must not keep the rest of the task from running.
    tokio::task::coop::consume_budget().await;
}
