//! One HTTP/2 stream, from its head to its last frame, and who it is waiting for.

use std::{
    cell::Cell,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use graceful_timer::TaskTimer;
use pin_project::pin_project;
use tokio::time::Instant;

use crate::settings::deadline;

thread_local! {
    /// What the stream's parts did during the poll that runs on this thread. hyper does not say why a stream is pending;
    /// its parts are ours, so they can.
    static NOTES: Cell<u8> = const { Cell::new(0) };
}

const APPLICATION_WAITS: u8 = 1;
const PROGRESS: u8 = 2;
const UNLIMITED: u8 = 4;
const BODY: u8 = 8;

/// The handler or the body it made is not ready: the peer is not at fault.
pub(crate) fn note_application_waits() {
    NOTES.set(NOTES.get() | APPLICATION_WAITS);
}

/// The peer's window had room for another frame.
pub(crate) fn note_progress() {
    NOTES.set(NOTES.get() | PROGRESS);
}

/// A part of the request's body came in.
pub(crate) fn note_body() {
    NOTES.set(NOTES.get() | BODY);
}

/// The response has no total limit.
pub(crate) fn note_unlimited() {
    NOTES.set(NOTES.get() | UNLIMITED);
}

/// Drives hyper's stream future under two deadlines: one for all of the response, one for a peer that stops making room.
///
/// At either it drops the future, which resets the stream (CANCEL) and drops the handler; other streams go on.
#[pin_project]
pub(crate) struct StreamTask<F> {
    #[pin]
    stream: F,
    #[pin]
    timer: TaskTimer,
    /// How long the response may take, from the end of the request.
    write: Option<Duration>,
    until: Option<Instant>,
    stall: Option<Duration>,
    /// Since when the stream waits for the peer's window.
    blocked: Option<Instant>,
}

impl<F> StreamTask<F> {
    /// The response's time counts from here.
    pub(crate) fn new(stream: F, write: Option<Duration>, stall: Option<Duration>) -> Self {
        let until = deadline(Instant::now(), write);
        Self { stream, timer: TaskTimer::new(), write, until, stall, blocked: None }
    }
}

impl<F: Future<Output = ()>> Future for StreamTask<F> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut this = self.project();
        loop {
            NOTES.set(0);
            let stream = this.stream.as_mut();
            if this.timer.as_mut().lend(cx, |cx| stream.poll(cx)).is_ready() {
                return Poll::Ready(());
            }
            let notes = NOTES.get();
            if notes & UNLIMITED != 0 {
                *this.write = None;
                *this.until = None;
            } else if notes & BODY != 0 {
                *this.until = deadline(Instant::now(), *this.write);
            }
            if notes & APPLICATION_WAITS != 0 {
                *this.blocked = None;
            } else if notes & PROGRESS != 0 || this.blocked.is_none() {
                *this.blocked = Some(Instant::now());
            }
            let stalled = this.blocked.and_then(|since| deadline(since, *this.stall));
            let own = match (*this.until, stalled) {
                (Some(until), Some(stalled)) => Some(until.min(stalled)),
                (one, other) => one.or(other),
            };
            ready!(this.timer.as_mut().poll_until(cx, own));
            if own.is_some_and(|at| at <= Instant::now()) {
                return Poll::Ready(());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, poll_fn};

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// A stream that does `note` on every poll and never ends; polled again every 100 ms, as traffic would.
    async fn ends_after(note: impl Fn(u32), until: Option<Duration>, stall: Option<Duration>) -> Duration {
        let start = Instant::now();
        let mut polls = 0;
        let mut traffic = tokio::time::interval(SECOND / 10);
        let stream = poll_fn(move |cx| {
            while traffic.poll_tick(cx).is_ready() {}
            note(polls);
            polls += 1;
            Poll::<()>::Pending
        });
        StreamTask::new(stream, until, stall).await;
        start.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn the_total_limit_holds_whatever_happens() {
        for note in [note_application_waits, note_progress, || ()] {
            let took = ends_after(|_| note(), Some(3 * SECOND), None).await;
            assert!(took >= 3 * SECOND && took < 3 * SECOND + SECOND / 10, "{took:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_without_room_is_cut_from_its_last_progress() {
        let took = ends_after(
            |polls| {
                if polls < 20 {
                    note_progress();
                }
            },
            None,
            Some(SECOND),
        )
        .await;
        assert!(took >= 2900 * SECOND / 1000 && took < 3100 * SECOND / 1000, "{took:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_handler_that_thinks_is_not_a_stalled_peer() {
        let stream = ends_after(|_| note_application_waits(), None, Some(SECOND));
        assert!(tokio::time::timeout(60 * SECOND, stream).await.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn the_total_limit_begins_when_the_request_is_in() {
        let took =
            ends_after(|polls| if polls < 50 { note_body() } else { note_application_waits() }, Some(SECOND), None);
        let took = took.await;
        assert!(took >= 5800 * SECOND / 1000 && took < 6100 * SECOND / 1000, "{took:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn events_have_no_total_limit() {
        let stream = ends_after(
            |_| {
                note_unlimited();
                note_application_waits();
            },
            Some(SECOND),
            None,
        );
        assert!(tokio::time::timeout(60 * SECOND, stream).await.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_limited_is_nothing_armed() {
        let stream = StreamTask::new(pending(), None, None);
        assert!(tokio::time::timeout(60 * SECOND, stream).await.is_err());
    }
}
