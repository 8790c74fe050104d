//! Hooks: their order, their time, their end.

use std::{
    future::{pending, poll_fn},
    pin::pin,
    task::Poll,
    time::Duration,
};

use tokio::{
    sync::oneshot,
    task::coop::consume_budget,
    time::{Instant, advance, sleep, sleep_until, timeout_at},
};
use tokio_test::{assert_pending, assert_ready, task};

use super::{Dropped, Journal, Log};
use crate::{Budget, Late, Phase, Report, Shutdown, Why};

const SECOND: Duration = Duration::from_secs(1);

fn budget(seconds: u32) -> Budget {
    Budget::new(seconds * SECOND)
}

/// A hook that takes `time` and notes its begin and end.
fn takes(shutdown: &Shutdown, journal: &Journal, phase: Phase, name: &'static str, time: Duration) {
    let journal = journal.clone();
    shutdown.on_shutdown(phase, name, move |_| async move {
        journal.note(format!("{name} begins"));
        sleep(time).await;
        journal.note(format!("{name} ends"));
    });
}

fn late_names(report: &Report) -> Vec<(&str, &str, &Why)> {
    report.late().map(|(step, late)| (&*step.name, &*late.what, &late.why)).collect()
}

#[tokio::test(start_paused = true)]
async fn phases_in_order_and_hooks_side_by_side() {
    let shutdown = Shutdown::new();
    let journal = Journal::default();
    // Registered in the wrong order on purpose.
    takes(&shutdown, &journal, Phase::Resources, "database", SECOND);
    takes(&shutdown, &journal, Phase::Workers, "slow queue", 3 * SECOND);
    takes(&shutdown, &journal, Phase::Workers, "queue", 2 * SECOND);
    let start = Instant::now();
    let report = shutdown.run_phases(budget(30)).await;
    assert_eq!(
        journal.notes(),
        ["slow queue begins", "queue begins", "queue ends", "slow queue ends", "database begins", "database ends"]
    );
    assert_eq!(start.elapsed(), 4 * SECOND, "3 s side by side, then 1 s");
    assert!(report.is_clean());
    let steps: Vec<_> = report.steps().iter().map(|step| (&*step.name, step.took, step.finished)).collect();
    assert_eq!(steps, [("workers", 3 * SECOND, 2), ("resources", SECOND, 1)]);
}

#[tokio::test(start_paused = true)]
async fn workers_learn_of_the_end_if_nobody_told_them() {
    let shutdown = Shutdown::new();
    let told = shutdown.clone();
    shutdown.on_shutdown(Phase::Workers, "queue", |_| async move { told.triggered().await });
    let report = shutdown.run_phases(budget(30)).await;
    assert!(report.is_clean() && shutdown.is_triggered());
    assert_eq!(report.cause(), shutdown.cause());
}

#[tokio::test(start_paused = true)]
async fn each_hook_runs_once_however_often_and_early_it_is_triggered() {
    let shutdown = Shutdown::new();
    shutdown.trigger(); // before anything was registered or started
    let journal = Journal::default();
    takes(&shutdown, &journal, Phase::Workers, "queue", SECOND);
    takes(&shutdown, &journal, Phase::Resources, "database", SECOND);
    shutdown.trigger();
    assert!(journal.notes().is_empty(), "the order alone runs nothing");
    shutdown.run_phases(budget(30)).await;
    shutdown.trigger();
    let again = shutdown.run_phases(budget(30)).await;
    assert!(again.steps().is_empty() && again.is_clean(), "there is nothing left to run");
    assert_eq!(journal.notes().len(), 4, "{:?}", journal.notes());
}

#[tokio::test(start_paused = true)]
async fn a_hook_that_panics_is_named_and_the_others_go_on() {
    let log = Log::default();
    let _log = log.install();
    let shutdown = Shutdown::new();
    let journal = Journal::default();
    shutdown.on_shutdown(Phase::Workers, "in the call", |_| {
        if true {
            panic!("no future");
        }
        async {}
    });
    shutdown.on_shutdown(Phase::Workers, "at once", |_| async { panic!("first {}", "poll") });
    shutdown.on_shutdown(Phase::Workers, "later", |_| async {
        sleep(SECOND).await;
        std::panic::panic_any(7_u8);
    });
    struct PanicsInDrop;
    impl Drop for PanicsInDrop {
        fn drop(&mut self) {
            panic!("in drop");
        }
    }
    shutdown.on_shutdown(Phase::Workers, "at its end", |_| {
        let guard = PanicsInDrop;
        poll_fn(move |_| {
            let _ = &guard;
            Poll::Ready(())
        })
    });
    shutdown.on_shutdown(Phase::Workers, "with its words", |_| async { std::panic::panic_any(PanicsInDrop) });
    takes(&shutdown, &journal, Phase::Workers, "sound", 2 * SECOND);
    takes(&shutdown, &journal, Phase::Resources, "database", SECOND);

    let report = shutdown.run_phases(budget(30)).await;
    assert_eq!(journal.notes(), ["sound begins", "sound ends", "database begins", "database ends"]);
    let panicked = |text: &str| Why::Panicked(text.into());
    assert_eq!(
        late_names(&report),
        [
            ("workers", "in the call", &panicked("no future")),
            ("workers", "at once", &panicked("first poll")),
            ("workers", "later", &panicked("a panic without words")),
            ("workers", "at its end", &panicked("in drop")),
            ("workers", "with its words", &panicked("a panic without words")),
        ]
    );
    assert!(!report.is_clean() && !report.is_forced(), "nobody was cut off");
    let errors: Vec<_> = log.lines().into_iter().filter(|line| line.starts_with("ERROR")).collect();
    assert_eq!(errors.len(), 5, "each panic is logged once: {errors:?}");
    assert_eq!(errors[0], r#"ERROR shutdown hook panicked phase=workers hook="in the call" panic="no future""#);
}

#[tokio::test(start_paused = true)]
async fn a_hook_that_hangs_is_named_and_dropped_at_its_share() {
    let log = Log::default();
    let _log = log.install();
    let shutdown = Shutdown::new();
    shutdown.trigger_with("test");
    let journal = Journal::default();
    let guard = Dropped("stuck", journal.clone());
    shutdown.on_shutdown(Phase::Workers, "stuck", |_| async move {
        let _guard = guard;
        pending::<()>().await;
    });
    takes(&shutdown, &journal, Phase::Workers, "quick", SECOND);
    takes(&shutdown, &journal, Phase::Resources, "database", SECOND);
    let start = Instant::now();
    let report = shutdown.run_phases(budget(30)).await;
    assert_eq!(start.elapsed(), 26 * SECOND, "25 s for the workers, and 1 s for the database");
    assert_eq!(journal.notes(), ["quick begins", "quick ends", "stuck dropped", "database begins", "database ends"]);
    assert_eq!(report.steps()[0].late, [Late::new("stuck", Why::Deadline).age(25 * SECOND)]);
    assert_eq!(report.steps()[0].finished, 1);
    assert!(report.is_forced());
    assert_eq!(
        log.lines(),
        [
            "INFO shutdown triggered cause=test",
            r#"WARN shutdown hook is late phase=workers hook="stuck" why=at the deadline"#
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn the_last_phase_has_its_slice_and_all_end_at_the_deadline() {
    for (total, workers_end) in [(30, 25_000), (6, 5_000), (120, 115_000)] {
        let shutdown = Shutdown::new();
        for phase in Phase::ALL {
            shutdown.on_shutdown(*phase, "stuck", |_| pending());
        }
        let start = Instant::now();
        let budget = budget(total);
        let report = shutdown.run_phases(budget).await;
        assert_eq!(start.elapsed(), total * SECOND, "never past the one deadline");
        assert_eq!(report.steps()[0].took.as_millis(), workers_end);
        assert_eq!(report.steps()[1].took, budget.slice(), "a sixth, at most 5 s");
    }
}

/// However the connections and the workers behave, and whatever of it there is.
#[tokio::test(start_paused = true)]
async fn nobody_takes_the_reserved_slice_of_those_after_them() {
    /// How one behaves with the time that it may take.
    #[derive(Clone, Copy, Debug, Eq, PartialEq)]
    enum Does {
        Nothing,
        Ends,
        Takes,
        Hangs,
    }
    const ALL: [Does; 4] = [Does::Nothing, Does::Ends, Does::Takes, Does::Hangs];

    for total in [0, 3, 6, 30, 60] {
        for (connections, workers, resources) in
            ALL.iter().flat_map(|a| ALL.iter().flat_map(move |b| ALL.iter().map(move |c| (*a, *b, *c))))
        {
            let case = format!("{total} s: {connections:?}, {workers:?}, {resources:?}");
            let (shutdown, budget, start) = (Shutdown::new(), budget(total), Instant::now());
            let journal = Journal::default();
            for (phase, does) in [(Phase::Workers, workers), (Phase::Resources, resources)] {
                if does == Does::Nothing {
                    continue;
                }
                let (journal, case) = (journal.clone(), case.clone());
                shutdown.on_shutdown(phase, "hook", move |context| async move {
                    assert!(context.remaining() >= budget.slice(), "{phase}: {case}");
                    journal.note(phase.to_string());
                    match does {
                        Does::Takes => sleep_until(context.deadline()).await,
                        Does::Hangs => pending().await,
                        Does::Nothing | Does::Ends => {}
                    }
                });
            }
            // Connections that hang are cut where those that take all their time end.
            if let Does::Takes | Does::Hangs = connections {
                sleep_until(shutdown.phases_start_by(budget)).await;
            }
            let report = shutdown.run_phases(budget).await;
            assert!(start.elapsed() <= total * SECOND, "one deadline bounds all: {case}");
            let hung = [workers, resources].iter().filter(|does| **does == Does::Hangs).count();
            assert_eq!(report.late().count(), hung, "nobody pays for another: {case}: {report}");
            let ran = [workers, resources].iter().filter(|does| **does != Does::Nothing).count();
            assert_eq!(journal.notes().len(), ran, "each ran, once: {case}");
        }
    }
}

/// Several who run the phases and several who add to them, all at the same time.
#[test]
fn each_hook_runs_at_most_once_whoever_runs_them() {
    for _ in 0..200 {
        let (shutdown, journal) = (Shutdown::new(), Journal::default());
        let (names, kept) = (["a", "b", "c", "d"], Journal::default());
        for name in names {
            takes(&shutdown, &journal, Phase::Workers, name, Duration::ZERO);
        }
        let runtime = || tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| runtime().block_on(shutdown.run_phases(budget(30))));
            }
            scope.spawn(|| {
                let (noted, dropped) = (journal.clone(), Dropped("late", kept.clone()));
                shutdown.on_shutdown(Phase::Resources, "late", move |_| async move {
                    noted.note("late");
                    drop(dropped);
                });
            });
        });
        // Whoever had the turn has not finished for the others; and who came too late is gone.
        runtime().block_on(shutdown.run_phases(budget(30)));
        let notes = journal.notes();
        for name in names {
            assert_eq!(notes.iter().filter(|note| **note == format!("{name} ends")).count(), 1, "{name}: {notes:?}");
        }
        assert!(notes.iter().filter(|note| *note == "late").count() <= 1, "{notes:?}");
        assert_eq!(kept.notes(), ["late dropped"], "run or not, it is not kept");
    }
}

#[tokio::test(start_paused = true)]
async fn what_connections_may_take() {
    let start = Instant::now();
    let shutdown = Shutdown::new();
    let budget = budget(30);
    let may_take = |shutdown: &Shutdown| shutdown.phases_start_by(budget).duration_since(start);
    assert_eq!(may_take(&shutdown), 30 * SECOND, "all, where nothing comes after");
    shutdown.on_shutdown(Phase::Resources, "database", |_| async {});
    shutdown.on_shutdown(Phase::Resources, "cache", |_| async {});
    assert_eq!(may_take(&shutdown), 25 * SECOND, "a slice a phase, not a hook");
    shutdown.on_shutdown(Phase::Workers, "queue", |_| async {});
    assert_eq!(may_take(&shutdown), 20 * SECOND);
    // Connections that took all they may leave each phase its slice.
    sleep_until(shutdown.phases_start_by(budget)).await;
    shutdown.on_shutdown(Phase::Workers, "stuck", |_| pending());
    let report = shutdown.run_phases(budget).await;
    assert_eq!(report.steps()[0].took, 5 * SECOND);
    assert_eq!(start.elapsed(), 25 * SECOND);
}

#[tokio::test(start_paused = true)]
async fn a_lone_phase_has_the_whole_time() {
    let shutdown = Shutdown::new();
    shutdown.on_shutdown(Phase::Workers, "stuck", |_| pending());
    let start = Instant::now();
    shutdown.run_phases(budget(30)).await;
    assert_eq!(start.elapsed(), 30 * SECOND);
}

#[tokio::test(start_paused = true)]
async fn a_hook_knows_its_share() {
    let shutdown = Shutdown::new();
    let journal = Journal::default();
    for &phase in Phase::ALL {
        let journal = journal.clone();
        shutdown.on_shutdown(phase, "hook", move |context| async move {
            assert_eq!(context.deadline(), Instant::now() + context.remaining());
            journal.note(format!("{} has {:?}", context.phase(), context.remaining()));
            // One that keeps to it is not late.
            let _ = timeout_at(context.deadline() - Duration::from_millis(1), pending::<()>()).await;
        });
    }
    let report = shutdown.run_phases(budget(30)).await;
    assert_eq!(journal.notes(), ["workers has 25s", "resources has 5.001s"], "what one leaves is there for the next");
    assert!(report.is_clean());
}

#[tokio::test(start_paused = true)]
async fn past_the_deadline_each_hook_still_has_one_poll() {
    let shutdown = Shutdown::new();
    let journal = Journal::default();
    takes(&shutdown, &journal, Phase::Workers, "queue", SECOND);
    let noted = journal.clone();
    shutdown.on_shutdown(Phase::Resources, "flush", |_| async move { noted.note("flushed") });
    let budget = budget(1);
    sleep(2 * SECOND).await;
    let start = Instant::now();
    let report = shutdown.run_phases(budget).await;
    assert_eq!(start.elapsed(), Duration::ZERO);
    assert_eq!(journal.notes(), ["queue begins", "flushed"]);
    assert_eq!(late_names(&report), [("workers", "queue", &Why::Deadline)]);
}

#[tokio::test(start_paused = true)]
async fn work_that_ends_with_the_deadline_is_done() {
    let shutdown = Shutdown::new();
    shutdown.on_shutdown(Phase::Workers, "queue", |context| sleep_until(context.deadline()));
    assert!(shutdown.run_phases(budget(30)).await.is_clean(), "completion wins a tie");
}

#[tokio::test(start_paused = true)]
async fn force_cuts_what_runs_and_what_is_to_come() {
    let shutdown = Shutdown::new();
    let journal = Journal::default();
    let guard = Dropped("queue", journal.clone());
    let noted = journal.clone();
    shutdown.on_shutdown(Phase::Workers, "queue", |context| async move {
        let _guard = guard;
        tokio::select! {
            () = context.forced() => {}
            () = sleep(10 * SECOND) => noted.note("ten seconds"),
        }
        noted.note("one poll for what cannot be left undone");
        pending::<()>().await;
    });
    let noted = journal.clone();
    shutdown.on_shutdown(Phase::Resources, "database", |context| async move {
        noted.note(format!("database, forced: {}", context.is_forced()));
        sleep(SECOND).await;
    });
    let start = Instant::now();
    let force = async {
        sleep(3 * SECOND).await;
        shutdown.force();
    };
    let (report, ()) = tokio::join!(shutdown.run_phases(budget(30)), force);
    assert_eq!(start.elapsed(), 3 * SECOND, "at once");
    assert_eq!(journal.notes(), ["one poll for what cannot be left undone", "queue dropped", "database, forced: true"]);
    assert_eq!(
        late_names(&report),
        [("workers", "queue", &Why::Forced), ("resources", "database", &Why::Forced)],
        "each was started, once, and none was waited for"
    );
}

#[tokio::test(start_paused = true)]
async fn force_from_a_hook_reaches_those_that_were_polled_before_it() {
    for turn in 0..3 {
        let shutdown = Shutdown::new();
        let journal = Journal::default();
        for i in 0..3 {
            let (noted, force) = (journal.clone(), shutdown.clone());
            shutdown.on_shutdown(Phase::Workers, format!("hook {i}"), move |context| async move {
                if i == turn {
                    force.force();
                }
                context.forced().await;
                noted.note("last poll");
                pending::<()>().await;
            });
        }
        let report = shutdown.run_phases(budget(30)).await;
        assert_eq!(journal.notes(), ["last poll"; 3], "whichever of them forced");
        assert_eq!(report.late().count(), 3);
    }
}

#[tokio::test(start_paused = true)]
async fn the_order_may_come_from_a_hook_of_its_own() {
    let shutdown = Shutdown::new();
    let again = shutdown.clone();
    shutdown.on_shutdown(Phase::Workers, "again", |_| async move {
        again.trigger_with("from a hook");
        again.triggered().await;
        let inner = again.run_phases(Budget::new(SECOND)).await;
        assert!(inner.steps().is_empty(), "the phases are being run, and are not overtaken");
    });
    let journal = Journal::default();
    takes(&shutdown, &journal, Phase::Resources, "database", SECOND);
    let report = shutdown.run_phases(budget(30)).await;
    assert!(report.is_clean(), "{report:#}");
    assert_eq!(report.steps().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_hook_may_add_hooks_for_later_phases_and_no_others() {
    let log = Log::default();
    let _log = log.install();
    let shutdown = Shutdown::new();
    shutdown.trigger_with("test");
    let (adds, journal) = (shutdown.clone(), Journal::default());
    let noted = journal.clone();
    shutdown.on_shutdown(Phase::Workers, "opens a pool late", |_| async move {
        takes(&adds, &noted, Phase::Resources, "pool", SECOND);
        let guard = Dropped("too late", noted.clone());
        adds.on_shutdown(Phase::Workers, "too late", |_| async move {
            drop(guard);
            unreachable!("its phase has begun");
        });
    });
    let report = shutdown.run_phases(budget(30)).await;
    assert!(report.is_clean());
    assert_eq!(journal.notes(), ["too late dropped", "pool begins", "pool ends"]);
    shutdown.on_shutdown(Phase::Resources, "after all", |_| async {});
    assert_eq!(
        log.lines(),
        [
            "INFO shutdown triggered cause=test",
            r#"WARN shutdown hook registered too late: its phase has begun phase=workers hook="too late""#,
            r#"WARN shutdown hook registered too late: its phase has begun phase=resources hook="after all""#,
        ],
        "what will never run is told"
    );
}

#[tokio::test(start_paused = true)]
async fn a_run_that_is_dropped_drops_its_hooks_and_the_next_goes_on() {
    let shutdown = Shutdown::new();
    let journal = Journal::default();
    let guard = Dropped("queue", journal.clone());
    shutdown.on_shutdown(Phase::Workers, "queue", |_| async move {
        let _guard = guard;
        pending::<()>().await;
    });
    takes(&shutdown, &journal, Phase::Resources, "database", SECOND);
    {
        let mut first = task::spawn(shutdown.run_phases(budget(30)));
        assert_pending!(first.poll());
        let beside = assert_ready!(task::spawn(shutdown.run_phases(budget(30))).poll());
        assert!(beside.steps().is_empty(), "one at a time");
    }
    assert_eq!(journal.notes(), ["queue dropped"]);
    let report = shutdown.run_phases(budget(30)).await;
    assert_eq!(report.steps().len(), 1, "a hook that was started is not started again");
    assert_eq!(journal.notes(), ["queue dropped", "database begins", "database ends"]);
}

/// Always has something to do, and uses up the task's cooperative budget each time it is polled.
async fn busy() {
    poll_fn(|cx| {
        while pin!(consume_budget()).poll(cx).is_ready() {}
        Poll::<()>::Pending
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_busy_hook_puts_off_neither_the_deadline_nor_the_others() {
    let shutdown = Shutdown::new();
    shutdown.on_shutdown(Phase::Workers, "busy", |_| busy());
    // A tokio resource: pending for as long as there is no budget.
    let (send, receive) = oneshot::channel();
    shutdown.on_shutdown(Phase::Workers, "beside it", |_| async { receive.await.expect("sent") });
    send.send(()).expect("it waits");
    let start = Instant::now();
    tokio::select! {
        biased;
        report = shutdown.run_phases(budget(3)) => {
            assert_eq!(late_names(&report), [("workers", "busy", &Why::Deadline)], "the other had its turn");
        }
        // The paused clock does not move by itself where a task is never idle.
        () = async { while start.elapsed() < 10 * SECOND { advance(SECOND / 10).await } } => panic!("far too late"),
    }
    assert!(start.elapsed() <= 4 * SECOND, "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_busy_hook_puts_off_neither_force_nor_the_last_poll_of_the_others() {
    for polls in 1..5 {
        let shutdown = Shutdown::new();
        shutdown.on_shutdown(Phase::Workers, "busy", |_| busy());
        let journal = Journal::default();
        let noted = journal.clone();
        shutdown.on_shutdown(Phase::Workers, "beside it", |context| async move {
            context.forced().await;
            noted.note("last poll");
        });
        let mut run = task::spawn(shutdown.run_phases(budget(30)));
        for _ in 0..polls {
            assert_pending!(run.poll());
        }
        shutdown.force();
        // Each poll of a task begins with a full budget; this one is a single poll in the test's task.
        tokio::task::yield_now().await;
        let report = assert_ready!(run.poll(), "at once");
        assert_eq!(journal.notes(), ["last poll"], "after {polls} polls");
        assert_eq!(late_names(&report), [("workers", "busy", &Why::Forced)]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_hook_that_holds_the_shutdown_lets_it_go() {
    let shutdown = Shutdown::new();
    let journal = Journal::default();
    let (held, guard) = (shutdown.clone(), Dropped("hook", journal.clone()));
    shutdown.on_shutdown(Phase::Workers, "hook", |_| async move {
        held.triggered().await;
        drop(guard);
    });
    shutdown.run_phases(budget(30)).await;
    assert_eq!(journal.notes(), ["hook dropped"]);
}
