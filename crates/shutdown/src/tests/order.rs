//! The order to end, however it is given.

use std::{thread, time::Duration};

use tokio::time::{Instant, timeout};
use tokio_test::{assert_pending, assert_ready, task};

use super::Log;
use crate::{Cause, HookContext, Readiness, Shutdown, Sig};

#[test]
fn it_is_given_once_and_the_first_cause_counts() {
    let log = Log::default();
    let _log = log.install();
    let shutdown = Shutdown::new();
    assert!(!shutdown.is_triggered() && shutdown.cause().is_none());
    shutdown.trigger_with(Sig::Term);
    shutdown.trigger_with("too late");
    shutdown.trigger();
    assert!(shutdown.is_triggered() && !shutdown.is_forced());
    assert_eq!(shutdown.cause(), Some(&Cause::Signal(Sig::Term)));
    assert_eq!(shutdown.cause().unwrap().to_string(), "SIGTERM");
    assert_eq!(log.lines(), ["INFO shutdown signal signal=SIGTERM"], "and is logged once");
}

#[test]
fn the_programs_own_words_are_kept() {
    let log = Log::default();
    let _log = log.install();
    for (cause, text) in [(Cause::from("config"), "config"), (String::from("lease").into(), "lease")] {
        let shutdown = Shutdown::new();
        shutdown.trigger_with(cause);
        assert_eq!(shutdown.cause().unwrap().to_string(), text);
    }
    assert_eq!(log.lines(), ["INFO shutdown triggered cause=config", "INFO shutdown triggered cause=lease"]);
}

#[tokio::test]
async fn who_waits_is_woken_and_who_comes_late_does_not_wait() {
    let shutdown = Shutdown::new();
    let clone = shutdown.clone();
    let mut early = task::spawn(shutdown.triggered());
    assert_pending!(early.poll());
    clone.trigger();
    assert!(early.is_woken(), "a clone gives the same order");
    assert_ready!(early.poll());
    assert_ready!(task::spawn(shutdown.triggered()).poll(), "given is given");
    assert_pending!(task::spawn(shutdown.forced()).poll(), "without force");
}

#[tokio::test]
async fn a_waiter_that_is_dropped_takes_nothing_along() {
    let shutdown = Shutdown::new();
    let mut dropped = task::spawn(shutdown.triggered());
    let mut never_polled = task::spawn(shutdown.triggered());
    let mut stays = task::spawn(shutdown.triggered());
    assert_pending!(dropped.poll());
    assert_pending!(stays.poll());
    drop(dropped);
    shutdown.trigger();
    assert!(stays.is_woken(), "cancel-safe: the order is for everyone");
    assert_ready!(stays.poll());
    assert_ready!(never_polled.poll());
}

#[tokio::test]
async fn force_gives_the_order_too_and_wakes_both() {
    let log = Log::default();
    let _log = log.install();
    let shutdown = Shutdown::new();
    let mut triggered = task::spawn(shutdown.triggered());
    let mut forced = task::spawn(shutdown.forced());
    assert_pending!(triggered.poll());
    assert_pending!(forced.poll());
    shutdown.force();
    shutdown.force();
    assert_ready!(triggered.poll());
    assert_ready!(forced.poll());
    assert!(shutdown.is_triggered() && shutdown.is_forced());
    assert_eq!(log.lines(), ["INFO shutdown triggered cause=forced by the program", "WARN shutdown forced"]);
}

#[tokio::test]
async fn force_after_the_order_wakes_who_was_woken_by_the_order() {
    let shutdown = Shutdown::new();
    let mut forced = task::spawn(shutdown.forced());
    assert_pending!(forced.poll());
    shutdown.trigger();
    assert_pending!(forced.poll(), "the order alone is not force");
    shutdown.force();
    assert!(forced.is_woken());
    assert_ready!(forced.poll());
}

#[tokio::test]
async fn it_is_given_from_any_thread() {
    for _ in 0..100 {
        let shutdown = Shutdown::new();
        let threads: Vec<_> = (0..4)
            .map(|_| {
                let shutdown = shutdown.clone();
                thread::spawn(move || shutdown.trigger())
            })
            .collect();
        timeout(Duration::from_secs(10), shutdown.triggered()).await.expect("no wake is lost");
        for thread in threads {
            thread.join().expect("no runtime is needed");
        }
    }
}

#[tokio::test]
async fn readiness_is_the_programs_until_the_order() {
    let shutdown = Shutdown::new();
    let (one, other) = (shutdown.readiness(), shutdown.readiness());
    assert!(one.is_ready(), "nothing to warm up is ready");
    one.set_ready(false);
    assert!(!other.is_ready(), "one flag");
    other.set_ready(true);
    assert!(one.is_ready());
    shutdown.trigger();
    assert!(!one.is_ready());
    one.set_ready(true);
    assert!(!one.is_ready(), "never again once the shutdown has begun");
}

#[tokio::test(start_paused = true)]
async fn waiting_costs_no_time() {
    let start = Instant::now();
    let shutdown = Shutdown::new();
    shutdown.force();
    shutdown.triggered().await;
    shutdown.forced().await;
    assert_eq!(start.elapsed(), Duration::ZERO);
}

#[test]
fn what_it_promises_of_threads() {
    fn handle<T: Clone + Send + Sync + std::fmt::Debug + 'static>() {}
    fn sent<T: Send>(_: &T) {}
    handle::<Shutdown>();
    handle::<Readiness>();
    handle::<HookContext>();
    handle::<crate::Report>();
    let shutdown = Shutdown::new();
    sent(&shutdown.triggered());
    sent(&shutdown.forced());
}
