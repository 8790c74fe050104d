//! Work that outlives what started it.

use std::{future::pending, sync::mpsc, time::Duration};

use graceful_tasks::{Registry, is_cancelled};
use tracing::{Instrument, Level, info_span};

use crate::{events::Events, settle};

#[tokio::test]
async fn a_task_keeps_the_span_and_is_waited_for() {
    let (events, _default) = Events::on_this_thread();
    let registry = Registry::new();
    let request = async {
        registry.spawn_named("mail", async {
            tokio::task::yield_now().await;
            tracing::info!("sent");
        });
    };
    request.instrument(info_span!("request")).await;
    registry.idle().await;
    let sent = events.of("sent");
    assert_eq!(sent.len(), 1, "idle waits for the task");
    assert_eq!(sent[0].spans, ["request"]);
}

#[tokio::test]
async fn a_panic_is_logged_and_is_in_the_handle() {
    let (events, _default) = Events::on_this_thread();
    let registry = Registry::new();
    let span = info_span!("request");
    let task = span.in_scope(|| {
        registry.spawn_named("mail", async {
            tokio::task::yield_now().await;
            panic!("no {}", "mailer");
        })
    });
    assert!(task.await.unwrap_err().is_panic());
    let logged = events.of("task panicked");
    // `message` is the event's own text; the panic's is beside it.
    assert_eq!(logged.len(), 1);
    let record = &logged[0];
    assert_eq!(record.level, Level::ERROR);
    assert_eq!(record.fields["task"], "mail");
    assert_eq!(record.fields["panic"], "no mailer");
    assert!(record.fields["spawned_at"].contains("spawn.rs"));
    assert_eq!(record.spans, ["request"]);
    assert_eq!(registry.stats().panics, 1);
    assert!(registry.is_empty());
}

#[tokio::test]
async fn a_blocking_panic_is_logged_too() {
    let registry = Registry::new();
    // The subscriber is of the thread: the blocking one has its own.
    let events = Events::default();
    let subscriber = events.subscriber();
    let task = registry.spawn_blocking("sum", move || {
        std::mem::forget(tracing::subscriber::set_default(subscriber));
        panic!("overflow");
    });
    let task: Result<(), _> = task.await;
    assert!(task.unwrap_err().is_panic());
    assert_eq!(events.of("task panicked").len(), 1);
    assert_eq!(registry.stats().panics, 1);
}

#[tokio::test]
async fn blocking_work_is_listed_and_told() {
    let registry = Registry::new();
    let (begun, has_begun) = mpsc::channel();
    let (end, may_end) = mpsc::channel::<()>();
    let task = registry.spawn_blocking("hash", move || {
        begun.send(is_cancelled()).unwrap();
        may_end.recv().unwrap();
        is_cancelled()
    });
    assert!(!tokio::task::spawn_blocking(move || has_begun.recv().unwrap()).await.unwrap());
    let dump = registry.snapshot();
    assert_eq!((dump.entries[0].kind, &*dump.entries[0].label), ("blocking", "hash"));
    assert!(dump.entries[0].state.word().starts_with("running on "), "{dump:#}");
    registry.cancel_all();
    end.send(()).unwrap();
    assert!(task.await.unwrap(), "a loop can look");
    assert!(registry.is_empty());
}

#[tokio::test]
async fn cancel_tells_and_abort_drops() {
    let registry = Registry::new();
    let listens = registry.spawn_named("listens", async {
        graceful_tasks::cancelled().await;
        "finished"
    });
    let deaf = registry.spawn_named("deaf", pending::<()>());
    let connection = registry.kind::<&str>("connection").spawn("deaf too", pending::<()>());
    settle().await;
    assert_eq!(registry.len(), 3);
    registry.cancel_all();
    assert_eq!(listens.await.unwrap(), "finished");
    settle().await;
    assert_eq!(registry.len(), 2, "who does not listen goes on");
    assert_eq!(
        registry.spawn(async { is_cancelled() }).await.ok(),
        Some(true),
        "one that is spawned later is told, too"
    );
    let _aborting = registry.abort_all();
    registry.idle().await;
    assert!(deaf.await.unwrap_err().is_cancelled());
    assert!(connection.await.unwrap_err().is_cancelled(), "of any kind that was spawned");
    let late = registry.spawn(pending::<()>());
    assert!(late.await.unwrap_err().is_cancelled(), "one that is spawned later is dropped, too");
    assert!(registry.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_is_gone_when_its_handle_is_ready() {
    let registry = Registry::new();
    for _ in 0..500 {
        registry.spawn(tokio::task::yield_now()).await.unwrap();
        assert!(registry.is_empty());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn abort_meets_tasks_that_are_being_spawned() {
    for _ in 0..200 {
        let registry = Registry::new();
        let spawns = registry.clone();
        let spawner = tokio::spawn(async move {
            for _ in 0..10 {
                spawns.spawn(pending::<()>());
            }
        });
        let _aborting = registry.abort_all();
        spawner.await.unwrap();
        let idle = tokio::time::timeout(Duration::from_secs(10), registry.idle()).await;
        idle.expect("whether it was spawned before or after, it is aborted");
    }
}

/// A blocking task cannot be aborted: it has nothing but the order, and may look at it late.
#[tokio::test]
async fn who_was_told_to_stop_is_still_told_when_the_claim_has_ended() {
    let registry = Registry::new();
    let claim = registry.claim().expect("nobody has it");
    let (begun, has_begun) = tokio::sync::oneshot::channel();
    let (look, may_look) = mpsc::channel::<()>();
    let task = registry.spawn_blocking("index", move || {
        begun.send(()).unwrap();
        may_look.recv().unwrap();
        is_cancelled()
    });
    has_begun.await.unwrap();
    // A server's end, with force: told, aborted, left behind.
    registry.cancel_all();
    let _aborting = registry.abort_all();
    drop(claim);
    look.send(()).unwrap();
    assert!(task.await.unwrap(), "the order was to this one: it would go on for ever");
}
