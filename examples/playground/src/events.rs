//! Server-sent events.

use std::{convert::Infallible, time::Duration};

use axum::response::{
    Sse,
    sse::{Event, KeepAlive},
};
use futures_util::{Stream, stream};
use graceful::{ShutdownSignal, handler::sse::until_shutdown};

/// `/events`: one event a second, without end. The total limit for a response does not apply to an event stream; the one
/// for a client that stops reading does.
///
/// When the server is to end, a last event tells the client to come back in a second.
pub(crate) async fn events(
    ShutdownSignal(shutdown): ShutdownSignal,
) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    let ticks = stream::unfold(1_u64, |n| async move {
        if n > 1 {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        let event = Event::default().event("tick").id(n.to_string()).data(format!("tick {n}"));
        Some((Ok(event), n + 1))
    });
    Sse::new(until_shutdown(ticks, &shutdown, Duration::from_secs(1))).keep_alive(KeepAlive::default())
}
