//! Planted leaks are found and named, clean tests pass.

use std::{
    future::pending,
    panic::{AssertUnwindSafe, catch_unwind},
    time::Duration,
};

use graceful_tasks::{LeakCheck, leak_checked, spawn, spawn_blocking, spawn_named};
use tokio::{runtime::Builder, sync::oneshot};

async fn forgets(receiver: oneshot::Receiver<()>) {
    let _ = receiver.await;
}

#[test]
fn a_clean_test_passes() {
    let output = leak_checked(async {
        spawn(async { tokio::time::sleep(Duration::from_millis(20)).await });
        tokio::spawn(async { tokio::time::sleep(Duration::from_millis(20)).await });
        spawn_blocking("sum", || 1).await.unwrap()
    });
    assert_eq!(output, 1, "and gives what the test gives, after its tasks had the time to end");
}

#[test]
fn a_leak_is_named() {
    let (_sender, receiver) = oneshot::channel();
    let (_sender2, receiver2) = oneshot::channel();
    let leaks = LeakCheck::new()
        .grace(Duration::from_millis(10))
        .run(async {
            // In a task of a task: the registry is handed down.
            let inner = spawn_named("outer", async {
                spawn_named("leaky", forgets(receiver));
            });
            inner.await.unwrap();
            tokio::spawn(forgets(receiver2));
        })
        .unwrap_err();
    assert_eq!(leaks.survivors.len(), 1, "{leaks}");
    assert_eq!(leaks.untracked, 1, "{leaks}");
    let live = &leaks.survivors[0];
    assert_eq!((live.kind, &*live.label), ("task", "leaky"));
    assert!(live.spawned_at.file().ends_with("leak.rs"));
    assert!(
        live.state.place().is_some_and(|place| place.file.as_ref().is_some_and(|file| file.ends_with("leak.rs"))),
        "{leaks}"
    );
    let text = leaks.to_string();
    for part in ["2 left behind", "'leaky' [receive", "leak.rs", "1 of plain tokio::spawn"] {
        assert!(text.contains(part), "{part}: {text}");
    }
}

#[test]
fn leak_checked_fails_with_the_names() {
    let panic = catch_unwind(|| {
        leak_checked(async {
            spawn_named("leaky", pending::<()>());
        });
    });
    let text = *panic.unwrap_err().downcast::<String>().unwrap();
    assert!(text.contains("'leaky'"), "{text}");
}

#[test]
fn a_leaked_entry_is_found_without_a_task() {
    let mut kept = None;
    let leaks = LeakCheck::new().grace(Duration::ZERO).run(async {
        kept = Some(graceful_tasks::Registry::current().kind::<&str>("connection").enter("192.0.2.1:1"));
    });
    assert!(leaks.unwrap_err().to_string().contains("connection"));
}

#[test]
fn what_is_ignored_passes() {
    let ignoring =
        || LeakCheck::new().grace(Duration::ZERO).ignore_label("metrics").ignore_kind("blocking").ignore_untracked(1);
    let (end, may_end) = std::sync::mpsc::channel::<()>();
    let passes = ignoring().run(async {
        spawn_named("metrics", pending::<()>());
        spawn_blocking("forever", move || may_end.recv());
        tokio::spawn(pending::<()>());
    });
    passes.expect("all of them are ignored");
    drop(end);
    let fails = ignoring().run(async {
        tokio::spawn(pending::<()>());
        tokio::spawn(pending::<()>());
    });
    assert_eq!(fails.unwrap_err().untracked, 1, "one more than is ignored");
}

#[test]
fn on_workers_and_with_a_paused_clock() {
    let mut workers = Builder::new_multi_thread();
    let leaks =
        LeakCheck::new().grace(Duration::from_millis(20)).run_on(workers.worker_threads(2).enable_all(), async {
            // A plain task on a worker: what it spawns through the registry is in the test's.
            tokio::spawn(async {
                spawn_named("leaky", pending::<()>());
            })
            .await
            .unwrap();
        });
    let leaks = leaks.unwrap_err();
    assert_eq!((leaks.survivors.len(), leaks.untracked), (1, 0), "{leaks}");

    let mut paused = Builder::new_current_thread();
    let clean =
        LeakCheck::new().grace(Duration::from_secs(100)).run_on(paused.enable_all().start_paused(true), async {
            spawn(tokio::time::sleep(Duration::from_secs(60)));
        });
    clean.expect("a grace that costs no time");
}

#[test]
fn tests_beside_it_are_not_seen() {
    let other = Builder::new_current_thread().enable_all().build().unwrap();
    other.block_on(async {
        spawn_named("of another test", pending::<()>());
        tokio::task::yield_now().await;
    });
    let thread = std::thread::spawn(|| leak_checked(async {}));
    thread.join().expect("only what the test itself started counts");
    leak_checked(async {});
}

#[tokio::test]
async fn the_guard_finds_and_passes() {
    let leaks = LeakCheck::new().start();
    spawn(async { tokio::time::sleep(Duration::from_millis(5)).await });
    tokio::spawn(async { tokio::time::sleep(Duration::from_millis(5)).await });
    leaks.assert_none().await;

    let leaks = LeakCheck::new().grace(Duration::from_millis(10)).start();
    let (leaky, plain) = (spawn_named("leaky", pending::<()>()), tokio::spawn(pending::<()>()));
    let found = leaks.check().await.unwrap_err();
    assert_eq!((found.survivors.len(), found.untracked), (1, 1), "{found}");

    let leaks = LeakCheck::new().start();
    leaks.assert_none().await; // What was there before is not its business.
    leaky.abort();
    plain.abort();
}

#[tokio::test]
async fn a_guard_that_is_dropped_looks_too_but_not_while_panicking() {
    let dropped = catch_unwind(AssertUnwindSafe(|| {
        let _leaks = LeakCheck::new().start();
        spawn_named("leaky", pending::<()>());
    }));
    let text = *dropped.unwrap_err().downcast::<String>().unwrap();
    assert!(text.contains("'leaky'"), "{text}");

    let panics = catch_unwind(AssertUnwindSafe(|| {
        let _leaks = LeakCheck::new().start();
        spawn_named("leaky", pending::<()>());
        panic!("the test's own");
    }));
    assert_eq!(*panics.unwrap_err().downcast::<&str>().unwrap(), "the test's own");
    drop(LeakCheck::new().start());
}

#[test]
fn a_test_that_panics_fails_though_a_blocking_task_is_left_behind() {
    let (done, is_done) = std::sync::mpsc::channel();
    let (end, may_end) = std::sync::mpsc::channel::<()>();
    std::thread::spawn(move || {
        let panics = catch_unwind(AssertUnwindSafe(|| {
            leak_checked(async {
                let (begun, has_begun) = oneshot::channel();
                spawn_blocking("stuck", move || {
                    begun.send(()).unwrap();
                    let _ = may_end.recv();
                });
                has_begun.await.unwrap();
                panic!("the test's own");
            });
        }));
        done.send(panics.is_err()).unwrap();
    });
    let failed = is_done.recv_timeout(Duration::from_secs(5));
    drop(end);
    assert_eq!(failed, Ok(true), "it does not hang");
}

#[test]
fn a_leak_that_has_all_blocking_threads_is_named() {
    let (done, is_done) = std::sync::mpsc::channel();
    let (end, may_end) = std::sync::mpsc::channel::<()>();
    std::thread::spawn(move || {
        let builder = &mut Builder::new_current_thread();
        let leaks =
            LeakCheck::new().grace(Duration::ZERO).run_on(builder.enable_all().max_blocking_threads(1), async {
                spawn_blocking("stuck", move || {
                    let _ = may_end.recv();
                });
            });
        done.send(leaks.unwrap_err().to_string()).unwrap();
    });
    let leaks = is_done.recv_timeout(Duration::from_secs(5));
    drop(end);
    assert!(leaks.is_ok_and(|leaks| leaks.contains("'stuck'")), "it does not hang");
}
