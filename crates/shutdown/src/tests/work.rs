//! Tasks at the end: told, waited for, named with the place where they wait, aborted.

use std::{future::pending, time::Duration};

use graceful_tasks::Registry;
use tokio::time::{Instant, sleep};

use crate::{Budget, Look, Phase, Shutdown, Step, Why};

const SECOND: Duration = Duration::from_secs(1);

async fn end(shutdown: &Shutdown, registry: &Registry, seconds: u64) -> Option<Step> {
    shutdown.trigger();
    shutdown.end_work(registry, |kind| kind == Registry::TASK, Budget::new(Duration::from_secs(seconds))).await
}

#[tokio::test(start_paused = true)]
async fn without_tasks_there_is_no_step() {
    let registry = Registry::new();
    let _other = registry.kind::<&str>("connection").enter("not waited for");
    assert_eq!(end(&Shutdown::new(), &registry, 30).await, None);
}

#[tokio::test(start_paused = true)]
async fn tasks_are_told_and_waited_for() {
    let registry = Registry::new();
    let worker = registry.spawn_named("mail", async {
        graceful_tasks::cancelled().await;
        sleep(2 * SECOND).await;
        "sent"
    });
    let step = end(&Shutdown::new(), &registry, 30).await.expect("there was one");
    assert_eq!((step.name.as_ref(), step.finished, step.took), ("tasks", 1, 2 * SECOND));
    assert!(step.late.is_empty());
    assert_eq!(worker.await.expect("not aborted"), "sent");
}

#[tokio::test(start_paused = true)]
async fn what_is_left_at_the_deadline_is_named_with_its_place_and_aborted() {
    let registry = Registry::new();
    let stuck = registry.spawn_named("stuck", sleep(3600 * SECOND));
    let quick = registry.spawn(async { graceful_tasks::cancelled().await });
    let shutdown = Shutdown::new();
    shutdown.on_shutdown(Phase::Resources, "database", |_| async {});
    let begin = Instant::now();
    let step = end(&shutdown, &registry, 30).await.expect("there were two");
    assert_eq!(begin.elapsed(), 25 * SECOND, "the phases after it have their slice");
    assert_eq!((step.finished, step.late.len()), (1, 1));
    let late = &step.late[0];
    assert_eq!((late.what.as_str(), late.detail("name"), &late.why), ("task", Some("stuck"), &Why::Deadline));
    assert!(late.detail("from").is_some_and(|from| from.contains("work.rs:")), "where it was spawned: {late}");
    assert_eq!(late.age, Some(25 * SECOND));
    assert!(late.place.as_ref().is_some_and(|place| place.starts_with("sleep")), "where it waits: {late}");
    assert!(stuck.await.expect_err("aborted").is_cancelled());
    assert!(quick.await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn force_ends_the_wait_at_once() {
    let registry = Registry::new();
    let stuck = registry.spawn(pending::<()>());
    let shutdown = Shutdown::new();
    let begin = Instant::now();
    let (step, ()) = tokio::join!(end(&shutdown, &registry, 600), async {
        sleep(SECOND).await;
        shutdown.force();
    });
    assert!(begin.elapsed() < 2 * SECOND, "{:?}", begin.elapsed());
    assert_eq!(step.expect("there was one").late[0].why, Why::Forced);
    assert!(stuck.await.expect_err("aborted").is_cancelled());
}

#[tokio::test(start_paused = true)]
async fn one_that_will_not_end_does_not_keep_it() {
    let registry = Registry::new();
    // Always has something to do, and never waits long enough to be aborted… but for its yields.
    registry.spawn(async {
        loop {
            tokio::task::yield_now().await;
        }
    });
    let begin = Instant::now();
    let shutdown = Shutdown::new();
    shutdown.force();
    let step = end(&shutdown, &registry, 600).await.expect("there was one");
    assert_eq!(step.late.len(), 1);
    assert!(begin.elapsed() < SECOND);
}

#[tokio::test(start_paused = true)]
async fn a_look_at_nothing_is_over_at_once() {
    let (shutdown, registry) = (Shutdown::new(), Registry::new());
    let mut look = Look::at(&registry);
    let cut = Instant::now() + 10 * SECOND;
    assert_eq!(look.wait(&shutdown, registry.idle(), cut).await, None);
    assert_eq!(look.wait(&shutdown, pending(), cut).await, Some(Why::Deadline));
    assert_eq!(Instant::now(), cut, "not before, though it asks before");
    assert!(look.end(SECOND).await.entries.is_empty());
}

#[tokio::test(start_paused = true)]
async fn the_slices_leave_one_for_the_tasks() {
    let shutdown = Shutdown::new();
    shutdown.on_shutdown(Phase::Workers, "queue", |_| async {});
    let budget = Budget::new(30 * SECOND);
    let begin = Instant::now();
    assert_eq!(shutdown.phases_start_by(budget) - begin, 25 * SECOND);
    assert_eq!(shutdown.work_ends_from(budget) - begin, 20 * SECOND);
}

/// `Phase` hooks come after the tasks: what one that was late did is not their affair.
#[tokio::test(start_paused = true)]
async fn a_task_that_is_late_does_not_cost_the_hooks_what_they_spawn() {
    let registry = Registry::new();
    let _current = registry.set_default();
    let _stuck = registry.spawn_named("stuck", pending::<()>());
    let shutdown = Shutdown::new();
    let (said, flushed) = std::sync::mpsc::channel();
    shutdown.on_shutdown(Phase::Resources, "database", move |_| async move {
        let task = graceful_tasks::spawn(async { "flushed" }).await;
        let blocking = graceful_tasks::spawn_blocking("close", || "closed").await;
        said.send((task.ok(), blocking.ok())).expect("the test waits");
    });
    let budget = Budget::new(30 * SECOND);
    shutdown.trigger();
    shutdown.end_work(&registry, |kind| kind == Registry::TASK, budget).await.expect("one was late");
    shutdown.run_phases(budget).await;
    assert_eq!(flushed.recv(), Ok((Some("flushed"), Some("closed"))), "a hook's own work is not aborted");
}

#[tokio::test(start_paused = true)]
async fn a_label_that_panics_does_not_cost_the_hooks_their_turn() {
    #[derive(Clone)]
    struct Bad;
    impl std::fmt::Display for Bad {
        fn fmt(&self, _: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            Err(std::fmt::Error)
        }
    }
    let registry = Registry::new();
    let _stuck = registry.kind::<Bad>("job").spawn(Bad, pending::<()>());
    let shutdown = Shutdown::new();
    shutdown.trigger();
    let step = shutdown.end_work(&registry, |_| true, Budget::new(30 * SECOND)).await.expect("one was late");
    assert_eq!(step.late.len(), 1);
}
