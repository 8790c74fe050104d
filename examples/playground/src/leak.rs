//! Work that nobody waits for.

use std::future::pending;

/// `/leak`: starts a task that never ends. Nothing names it and no shutdown waits for it: this is what a bare
/// `tokio::spawn` in a handler is.
pub(crate) async fn leak() -> &'static str {
    #[expect(clippy::disallowed_methods, reason = "a task that nobody knows is the point")]
    drop(tokio::spawn(pending::<()>()));
    "started a task that never ends\n"
}
