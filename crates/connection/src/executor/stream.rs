//! One HTTP/2 stream, from its head to its last frame, and who it is waiting for.

#[cfg(test)]
mod tests;

use std::{
    cell::Cell,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use graceful_timer::TaskTimer;
use pin_project::pin_project;
use tokio::time::Instant;

use crate::{
    ConnectionControl, MinRate, Settings, current,
    phase::Pace,
    settings::{deadline, earlier},
    shared::{Override, Shared},
};

/// What a stream's parts did during one poll.
#[derive(Clone, Copy, Debug, Default)]
struct Notes {
    application_waits: bool,
    body_came: bool,
    unlimited: bool,
    /// Bytes that the peer's window had room for.
    sent: u64,
}

thread_local! {
    /// The notes of the poll that runs on this thread. hyper does not say why a stream is pending; its parts are ours,
    /// so they can.
    static NOTES: Cell<Notes> = const {
        Cell::new(Notes { application_waits: false, body_came: false, unlimited: false, sent: 0 })
    };
}

fn note(change: impl FnOnce(&mut Notes)) {
    let mut notes = NOTES.get();
    change(&mut notes);
    NOTES.set(notes);
}

/// The handler or the body it made is not ready: the peer is not at fault.
pub(crate) fn note_application_waits() {
    note(|notes| notes.application_waits = true);
}

/// The peer's window had room for another frame of so many bytes.
pub(crate) fn note_sent(bytes: usize) {
    note(|notes| notes.sent += bytes as u64);
}

/// A part of the request's body came in.
pub(crate) fn note_body() {
    note(|notes| notes.body_came = true);
}

/// The response has no total limit.
pub(crate) fn note_unlimited() {
    note(|notes| notes.unlimited = true);
}

/// How soon an answer comes that says that those of other streams, if they are ready, come as soon. tokio asks of a task that
/// it runs no longer than 10 to 100 us from one await to the next.
const QUICK: Duration = Duration::from_micros(100);

/// Drives hyper's stream future under two deadlines: one for all of the response, one for a peer that makes no room.
///
/// At either it drops the future, which resets the stream (CANCEL) and drops the handler; other streams go on.
#[pin_project]
pub(crate) struct StreamTask<F> {
    #[pin]
    stream: F,
    #[pin]
    timer: TaskTimer,
    shared: Arc<Shared>,
    /// Lent to what is polled.
    control: Option<ConnectionControl>,
    /// The request's number.
    number: u64,
    /// How long the response may take, from the end of the request.
    write: Option<Duration>,
    until: Option<Instant>,
    stall: Option<Duration>,
    rate: Option<MinRate>,
    /// How fast the peer makes room.
    pace: Pace,
    sent: u64,
}

impl<F> StreamTask<F> {
    /// The response's time counts from when the request was taken in.
    pub(crate) fn new(stream: F, shared: Arc<Shared>, number: u64, settings: &Settings) -> Self {
        Self {
            stream,
            timer: TaskTimer::new(),
            control: Some(ConnectionControl::new(Arc::clone(&shared), number)),
            number,
            shared,
            write: settings.write,
            until: deadline(graceful_tasks::lately().unwrap_or_else(Instant::now), settings.write),
            stall: settings.write_stall,
            rate: settings.min_write_rate,
            pace: Pace::default(),
            sent: 0,
        }
    }
}

impl<F: Future<Output = ()>> Future for StreamTask<F> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut this = self.project();
        loop {
            NOTES.set(Notes::default());
            let began = graceful_tasks::lately();
            let stream = this.stream.as_mut();
            let polled = this.timer.as_mut().lend(cx, |cx| current::lend(this.control, || stream.poll(cx)));
            let notes = NOTES.get();
            let now = Instant::now();
            graceful_tasks::time_is(now);
            let has_sent = polled.is_ready() || notes.sent > 0;
            if has_sent && began.is_some_and(|began| now.duration_since(began) < QUICK) {
                this.shared.socket.set_quick_answer();
            }
            if polled.is_ready() {
                return Poll::Ready(());
            }
            *this.sent += notes.sent;
            if notes.application_waits {
                this.pace.go(now);
            } else {
                this.pace.wait(now, *this.sent);
            }
            if notes.unlimited {
                *this.write = None;
                *this.until = None;
            } else if notes.body_came {
                *this.until = deadline(now, *this.write);
            }
            let until = match this.shared.requests.write_override(*this.number) {
                Override::None => *this.until,
                Override::Until(until) => until,
            };
            let own = earlier(until, this.pace.deadline(*this.stall, *this.rate));
            ready!(this.timer.as_mut().poll_until(cx, now, own));
            if own.is_some_and(|at| at <= Instant::now()) {
                return Poll::Ready(());
            }
        }
    }
}
