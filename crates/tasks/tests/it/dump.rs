//! A dump holds nobody up, and nobody holds up a dump.

use std::{future::pending, sync::mpsc, time::Duration};

use graceful_tasks::{DumpLimits, Registry, State, Waits};
use tokio::{runtime::Builder, sync::oneshot, time::Instant};

use crate::settle;

/// A task that blocks its worker until it is told.
fn block(registry: &Registry, label: &'static str) -> (mpsc::Sender<()>, oneshot::Receiver<()>) {
    let (end, may_end) = mpsc::channel::<()>();
    let (begun, has_begun) = oneshot::channel();
    tokio::spawn(registry.kind::<&str>("request").track(label, async move {
        let _ = begun.send(());
        // Or the test has failed.
        let _ = may_end.recv();
        pending::<()>().await;
    }));
    (end, has_begun)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_blocked_worker_is_named_and_not_waited_for() {
    let registry = Registry::new();
    let (end, begun) = block(&registry, "stuck");
    begun.await.unwrap();
    let waits = registry.kind::<&str>("request").spawn("waits", tokio::time::sleep(Duration::from_secs(3600)));
    while !registry.snapshot().entries.iter().any(|live| matches!(live.state, State::Waiting { .. })) {
        tokio::task::yield_now().await;
    }
    let dump = registry.dump().await;
    let by_label = |label: &str| dump.entries.iter().find(|live| live.label == label).expect(label).clone();
    let State::Running { thread: Some(thread), .. } = by_label("stuck").state else { panic!("running: {dump:#}") };
    assert!(thread.name.is_some());
    assert_eq!(thread.os_id.is_some(), cfg!(target_os = "linux"));
    assert_eq!(by_label("waits").state.word(), "sleep", "the others answer: {dump:#}");
    end.send(()).unwrap();
    waits.abort();
}

#[test]
fn what_is_stuck_costs_a_dump_no_time() {
    let registry = Registry::new();
    let served = Builder::new_multi_thread().worker_threads(1).build().unwrap();
    let (end, begun) = served.block_on(async { block(&registry, "stuck") });
    begun.blocking_recv().unwrap();
    let own = Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    own.block_on(async {
        let begin = Instant::now();
        let dump = registry.dump().await;
        assert!(matches!(dump.entries[0].state, State::Running { .. }), "{dump:#}");
        assert_eq!(begin.elapsed(), Duration::ZERO, "it is not asked");
    });
    end.send(()).unwrap();
}

#[test]
fn from_another_runtime_it_answers_when_all_workers_are_stuck() {
    let registry = Registry::new();
    let served = Builder::new_multi_thread().worker_threads(1).build().unwrap();
    let (end, begun) = served.block_on(async {
        registry.spawn_named(
            "waits",
            std::future::poll_fn(|cx| {
                let _ = cx.waker().clone();
                std::task::Poll::<()>::Pending
            }),
        );
        while registry.snapshot().entries[0].polls == 0 {
            tokio::task::yield_now().await;
        }
        block(&registry, "stuck")
    });
    begun.blocking_recv().unwrap();
    let own = Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    let dump = own.block_on(async {
        let begin = Instant::now();
        let dump = registry.dump().await;
        assert!(begin.elapsed() <= Duration::from_millis(500), "bounded in time");
        dump
    });
    let by_label = |label: &str| dump.entries.iter().find(|live| live.label == label).expect(label).clone();
    assert!(matches!(by_label("stuck").state, State::Running { .. }), "{dump:#}");
    assert!(
        matches!(by_label("waits").state, State::Waiting { waits: Waits::NoAnswer, .. }),
        "its worker is stuck: {dump:#}"
    );
    end.send(()).unwrap();
}

#[tokio::test(start_paused = true)]
async fn dumps_are_rate_limited() {
    let registry = Registry::new();
    let _first = registry.kind::<&str>("request").enter("first");
    let one = registry.dump().await;
    let _second = registry.kind::<&str>("request").enter("second");
    assert_eq!(registry.dump().await.entries.len(), 1, "at once after the first, it is the first");
    tokio::time::advance(Duration::from_secs(1)).await;
    assert_eq!(registry.dump().await.entries.len(), 2, "a second later it is a new one");
    drop(one);
}

#[tokio::test]
async fn a_dump_that_is_given_up_leaves_everything_in_order() {
    let registry = Registry::new();
    let task = registry.spawn(tokio::time::sleep(Duration::from_secs(3600)));
    settle().await;
    for polls in 0..6 {
        let mut dump = tokio_test::task::spawn(registry.dump());
        for _ in 0..polls {
            let _ = dump.poll();
            tokio::task::yield_now().await;
        }
    }
    settle().await;
    assert_eq!(registry.dump().await.entries[0].state.word(), "sleep", "the next one is complete");
    task.abort();
}

#[tokio::test]
async fn groups_and_text() {
    let registry = Registry::new();
    let kind = registry.kind::<String>("request");
    let tasks: Vec<_> =
        (0..40).map(|i| kind.spawn(format!("GET /{i}\nX: y"), tokio::time::sleep(Duration::from_secs(3600)))).collect();
    let held = registry.kind::<&str>("connection").enter("192.0.2.1:5");
    tokio::spawn(pending::<()>());
    settle().await;
    let dump = registry.dump().await;
    assert_eq!(dump.entries.len(), 41);
    assert_eq!(dump.untracked, Some(1));
    let groups = dump.groups();
    assert_eq!(groups.len(), 2, "at the same place together: {dump}");
    assert_eq!((groups[0].kind, groups[0].count), ("request", 40), "the most numerous first");
    let text = dump.to_string();
    assert!(text.starts_with("41 live, and 1 of plain tokio::spawn\n40 request, sleep"), "{text}");
    assert_eq!(text.lines().count(), 3, "one line for each group");
    let all = format!("{dump:#}");
    assert!(all.contains(r"'GET /7\nX: y' [sleep, "), "a label stays on its line: {all}");
    assert_eq!(dump.get(held.id()).map(|live| live.label.as_str()), Some("192.0.2.1:5"));
    tasks.iter().for_each(tokio::task::JoinHandle::abort);
}

#[tokio::test]
async fn beyond_the_limit_entries_are_listed_but_not_asked() {
    let registry = Registry::new();
    let tasks: Vec<_> = (0..10).map(|_| registry.spawn(tokio::time::sleep(Duration::from_secs(3600)))).collect();
    settle().await;
    let mut limits = graceful_tasks::DumpLimits::default();
    limits.asked = 4;
    let dump = registry.dump_within(limits).await;
    let asked = dump.entries.iter().filter(|live| !live.state.stacks().is_empty()).count();
    assert_eq!((dump.entries.len(), asked), (10, 4));
    assert!(!dump.entries[3].state.stacks().is_empty(), "the oldest are asked");
    tasks.iter().for_each(tokio::task::JoinHandle::abort);
}

#[test]
fn a_dump_may_be_under_way_in_any_task() {
    fn assert_send(_: impl Send) {}
    assert_send(Registry::new().dump_within(DumpLimits::default()));
    assert_send(Registry::new().idle());
}
