//! Event streams that end with the server.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use axum::response::sse::Event;
use futures_core::Stream;
use graceful_shutdown::Shutdown;
use pin_project::pin_project;

/// Ends a stream of events when the server is to end, with a last event that tells the client after how long to come
/// back (`retry:`).
///
/// Without it an event stream holds a shutdown up to its deadline, and its client learns of it by a cut connection.
///
/// ```
/// use std::{convert::Infallible, time::Duration};
///
/// use axum::response::{IntoResponse, Sse, sse::Event};
/// use futures_util::stream;
/// use graceful::{ShutdownSignal, handler::sse::until_shutdown};
///
/// async fn events(ShutdownSignal(shutdown): ShutdownSignal) -> impl IntoResponse {
///     let events = stream::pending::<Result<Event, Infallible>>();
///     Sse::new(until_shutdown(events, &shutdown, Duration::from_secs(2)))
/// }
/// # let _ = axum::Router::<()>::new().route("/", axum::routing::get(events));
/// ```
pub fn until_shutdown<S>(events: S, shutdown: &Shutdown, retry: Duration) -> UntilShutdown<S> {
    let shutdown = shutdown.clone();
    UntilShutdown { events: Some(events), order: Box::pin(async move { shutdown.triggered().await }), retry }
}

/// The stream that [`until_shutdown`] makes.
#[pin_project]
pub struct UntilShutdown<S> {
    /// `None` at the end.
    #[pin]
    events: Option<S>,
    order: Pin<Box<dyn Future<Output = ()> + Send>>,
    retry: Duration,
}

impl<S, E> Stream for UntilShutdown<S>
where
    S: Stream<Item = Result<Event, E>>,
{
    type Item = Result<Event, E>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let mut this = self.project();
        let Some(events) = this.events.as_mut().as_pin_mut() else { return Poll::Ready(None) };
        // The order first: a stream that always has an event would never end.
        if this.order.as_mut().poll(cx).is_ready() {
            this.events.set(None);
            return Poll::Ready(Some(Ok(Event::default().retry(*this.retry))));
        }
        events.poll_next(cx)
    }
}

impl<S> std::fmt::Debug for UntilShutdown<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { events, order: _, retry } = self;
        f.debug_struct("UntilShutdown").field("ended", &events.is_none()).field("retry", retry).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use axum::response::{IntoResponse, Sse};
    use futures_util::{StreamExt, stream};
    use http_body_util::BodyExt;

    use super::*;

    fn endless() -> impl Stream<Item = Result<Event, Infallible>> + Send {
        stream::repeat_with(|| Ok(Event::default().data("tick"))).take(3).chain(stream::pending())
    }

    #[tokio::test]
    async fn the_last_event_tells_when_to_come_back() {
        let shutdown = Shutdown::new();
        let mut events = Box::pin(until_shutdown(endless(), &shutdown, Duration::from_secs(2)));
        for _ in 0..3 {
            let _event = events.next().await.expect("not over").expect("infallible");
        }
        shutdown.trigger();
        let body = Sse::new(events).into_response().into_body().collect().await.expect("it ends").to_bytes();
        assert_eq!(body, "retry: 2000\n\n");
    }

    #[tokio::test]
    async fn a_stream_that_always_has_an_event_ends_too() {
        let shutdown = Shutdown::new();
        shutdown.trigger();
        let events = stream::repeat_with(|| Ok::<_, Infallible>(Event::default()));
        assert_eq!(until_shutdown(events, &shutdown, Duration::from_secs(1)).count().await, 1);
    }
}
