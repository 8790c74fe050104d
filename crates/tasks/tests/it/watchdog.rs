//! Growth and stuck polls are said once.

use std::{future::pending, sync::mpsc, time::Duration};

use graceful_tasks::{Registry, Watchdog};
use tracing::Level;
use tracing::instrument::WithSubscriber;

use crate::{events::Events, settle};

const GROWN: &str = "above the high-water mark";
const STUCK: &str = "does not come back";

#[tokio::test(start_paused = true)]
async fn growth_is_said_once_until_it_was_over() {
    let (events, _default) = Events::on_this_thread();
    let registry = Registry::new();
    let kind = registry.kind::<u32>("request");
    let enter = |i| kind.enter(i);
    let mut watch = tokio_test::task::spawn(Watchdog::new(&registry).high_water(10).watch());
    let mut later = async |seconds| {
        let _ = watch.poll();
        tokio::time::advance(Duration::from_secs(seconds)).await;
        let _ = watch.poll();
    };
    let mut entries: Vec<_> = (0..10).map(&enter).collect();
    later(5).await;
    assert!(events.of(GROWN).is_empty(), "at the mark is not above it");
    entries.push(enter(10));
    later(5).await;
    later(500).await;
    let warned = events.of(GROWN);
    assert_eq!(warned.len(), 1, "once");
    assert_eq!(warned[0].level, Level::WARN);
    assert_eq!((&*warned[0].fields["live"], &*warned[0].fields["mark"]), ("11", "10"));
    assert!(warned[0].fields["top"].contains("11 request, new"), "{warned:?}");

    entries.pop();
    later(5).await;
    entries.push(enter(10));
    later(500).await;
    assert_eq!(events.of(GROWN).len(), 1, "a little below the mark and back is the same growth");

    entries.truncate(8);
    later(5).await;
    entries.extend((8..11).map(enter));
    later(5).await;
    assert_eq!(events.of(GROWN).len(), 2, "below four fifths and back is another");

    entries.truncate(8);
    later(5).await;
    entries.extend((8..11).map(enter));
    later(5).await;
    assert_eq!(events.of(GROWN).len(), 2, "but not within a minute");
    assert_eq!(registry.stats().high_water, 3, "counted nevertheless");
}

#[tokio::test(start_paused = true)]
async fn plain_tasks_count_as_growth() {
    let (events, _default) = Events::on_this_thread();
    let registry = Registry::new();
    let mut watch = tokio_test::task::spawn(Watchdog::new(&registry).high_water(2).watch());
    let tasks: Vec<_> = (0..3).map(|_| tokio::spawn(pending::<()>())).collect();
    let _ = watch.poll();
    tokio::time::advance(Duration::from_secs(2)).await;
    let _ = watch.poll();
    assert_eq!(events.of(GROWN)[0].fields["tasks"], "3");
    tasks.iter().for_each(tokio::task::JoinHandle::abort);
}

#[tokio::test]
async fn a_stuck_poll_is_said_once() {
    let events = Events::default();
    let registry = Registry::new();
    let (end, may_end) = mpsc::channel::<()>();
    let kinds = (registry.kind::<&str>("connection"), registry.kind::<&str>("request"));
    let stuck = std::thread::Builder::new().name("stuck-worker".into()).spawn(move || {
        let request = kinds.1.track("GET /block", async move { may_end.recv().unwrap() });
        let mut connection = tokio_test::task::spawn(kinds.0.track("192.0.2.1:1", request));
        assert!(connection.poll().is_ready());
    });
    let blocking = registry.spawn_blocking("may block", {
        let (end, may_end) = mpsc::channel::<()>();
        std::mem::forget(end);
        move || may_end.recv_timeout(Duration::from_millis(200))
    });
    let bound = Duration::from_millis(20);
    let watch = Watchdog::new(&registry).stuck_after(bound).watch().with_subscriber(events.subscriber());
    tokio::select! {
        never = watch => match never {},
        () = async {
            while events.of(STUCK).is_empty() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        } => {}
    }
    let warned = events.of(STUCK);
    assert_eq!(warned.len(), 1, "once, while it lasts: {warned:?}");
    let fields = &warned[0].fields;
    assert_eq!((&*fields["kind"], &*fields["label"]), ("request", "GET /block"), "the innermost entry");
    assert!(fields["thread"].contains("stuck-worker"));
    assert_eq!(registry.stats().stuck_polls, 1, "what is spawned as blocking may block");
    assert_eq!(registry.stats().long_polls, 0, "it has not ended yet");
    end.send(()).unwrap();
    stuck.unwrap().join().unwrap();
    let stats = registry.stats();
    assert!(stats.long_polls >= 1 && stats.longest_poll > bound, "it has now: {stats:?}");
    let _ = blocking.await;
}

#[test]
fn a_thread_of_its_own_sees_that_all_workers_are_stuck_and_ends_with_its_guard() {
    let registry = Registry::new();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let watchdog = Watchdog::new(&registry).runtime(runtime.handle().clone()).stuck_after(Duration::from_millis(10));
    let guard = watchdog.watch_on_thread().unwrap();
    runtime.block_on(async {
        registry.spawn(async {
            let mut looks = 0;
            // Blocks the only worker until it is seen.
            while Registry::current().stats().stuck_polls == 0 && looks < 10_000 {
                std::thread::sleep(Duration::from_millis(1));
                looks += 1;
            }
        });
        settle().await;
        registry.idle().await;
    });
    assert_eq!(registry.stats().stuck_polls, 1);
    drop(guard);
}
