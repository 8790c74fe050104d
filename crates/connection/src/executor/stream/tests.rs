use std::future::{pending, poll_fn};

use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn task<F>(stream: F, write: Option<Duration>, stall: Option<Duration>) -> StreamTask<F> {
    let shared = Arc::new(Shared::new(1, None, None, None));
    shared.set_http2();
    let work = graceful_tasks::Registry::new().kind::<&str>("request").enter("");
    shared.begin_request(1, &http::Method::GET, &http::Uri::default(), &work);
    StreamTask::new(stream, shared, 1, &Settings { write, write_stall: stall, ..Settings::default() })
}

/// Polls again every 100 ms, as traffic would, and does `note` each time.
fn noting(note: impl Fn(u32)) -> impl Future<Output = ()> {
    let mut polls = 0;
    let mut traffic = tokio::time::interval(SECOND / 10);
    poll_fn(move |cx| {
        while traffic.poll_tick(cx).is_ready() {}
        note(polls);
        polls += 1;
        Poll::<()>::Pending
    })
}

/// When a stream that does `note` on every poll is ended.
async fn ends_after(note: impl Fn(u32), write: Option<Duration>, stall: Option<Duration>) -> Duration {
    let start = Instant::now();
    task(noting(note), write, stall).await;
    start.elapsed()
}

#[track_caller]
fn assert_about(took: Duration, due: Duration) {
    assert!(took + SECOND / 5 >= due && took <= due + SECOND / 5, "{took:?}, due at {due:?}");
}

#[tokio::test(start_paused = true)]
async fn the_total_limit_holds_whatever_happens() {
    for note in [note_application_waits, || note_sent(1), || ()] {
        assert_about(ends_after(|_| note(), Some(3 * SECOND), None).await, 3 * SECOND);
    }
}

#[tokio::test(start_paused = true)]
async fn a_peer_without_room_is_cut_from_its_last_progress() {
    let note = |polls| {
        if polls < 20 {
            note_sent(1);
        }
    };
    assert_about(ends_after(note, None, Some(SECOND)).await, 3 * SECOND);
}

#[tokio::test(start_paused = true)]
async fn a_handler_that_thinks_is_not_a_stalled_peer() {
    let stream = ends_after(|_| note_application_waits(), None, Some(SECOND));
    assert!(tokio::time::timeout(60 * SECOND, stream).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_peer_below_the_rate_is_cut_and_one_above_it_is_not() {
    for (bytes, due) in [(5, Some(10 * SECOND)), (11, None)] {
        let mut traffic = tokio::time::interval(SECOND / 10);
        let reading = poll_fn(move |cx| {
            // Ten times a second: 50 and 110 bytes a second.
            while traffic.poll_tick(cx).is_ready() {
                note_sent(bytes);
            }
            Poll::<()>::Pending
        });
        let mut stream = task(reading, None, None);
        stream.rate = MinRate::new(100, 5 * SECOND);
        let start = Instant::now();
        let ended = tokio::time::timeout(100 * SECOND, stream).await.is_ok();
        assert_eq!(ended, due.is_some(), "{bytes} bytes every 100 ms");
        if let Some(due) = due {
            assert_about(start.elapsed(), due);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_total_limit_begins_when_the_request_is_in() {
    let note = |polls| if polls < 50 { note_body() } else { note_application_waits() };
    assert_about(ends_after(note, Some(SECOND), None).await, 6 * SECOND);
}

#[tokio::test(start_paused = true)]
async fn events_have_no_total_limit() {
    let note = |_| {
        note_unlimited();
        note_application_waits();
    };
    assert!(tokio::time::timeout(60 * SECOND, ends_after(note, Some(SECOND), None)).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_handler_may_move_its_limit_either_way() {
    for (moved, due) in [(Some(SECOND), SECOND), (Some(9 * SECOND), 9 * SECOND)] {
        let start = Instant::now();
        let stream = task(noting(|_| note_application_waits()), Some(3 * SECOND), None);
        stream.shared.requests.override_write(1, deadline(start, moved));
        stream.await;
        assert_about(start.elapsed(), due);
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_limited_is_nothing_armed() {
    assert!(tokio::time::timeout(60 * SECOND, task(pending(), None, None)).await.is_err());
}
