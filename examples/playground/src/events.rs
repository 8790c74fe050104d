//! Server-sent events.

use std::{convert::Infallible, time::Duration};

use axum::response::{
    Sse,
    sse::{Event, KeepAlive},
};
use futures_util::{Stream, stream};

/// `/events`: one event a second, without end. The total limit for a response does not apply to an event stream; the one
/// for a client that stops reading does.
pub(crate) async fn events() -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    let ticks = stream::unfold(1_u64, |n| async move {
        if n > 1 {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        let event = Event::default().event("tick").id(n.to_string()).data(format!("tick {n}"));
        Some((Ok(event), n + 1))
    });
    Sse::new(ticks).keep_alive(KeepAlive::default())
}
