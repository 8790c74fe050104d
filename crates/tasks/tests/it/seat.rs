//! A seat lists one entry after the other, and is waited for, asked and cleared away like any other place.

use std::{
    cell::Cell,
    fmt,
    future::pending,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    thread,
    time::Duration,
};

use graceful_tasks::{DumpLimits, Entry, Registry, Seat, State, Tracked};
use tokio::runtime::Builder;
use tokio_test::{assert_pending, task};

use crate::{race::ROUNDS, settle};

fn enter(seat: &mut Seat) -> Entry {
    seat.enter().expect("nobody has it")
}

#[test]
fn one_at_a_time_is_listed() {
    let registry = Registry::new();
    let kind = registry.kind::<&str>("request");
    let mut seat = kind.seat("GET /");
    assert!(registry.is_empty() && registry.snapshot().entries.is_empty(), "a seat alone is nothing");

    let first = enter(&mut seat);
    assert!(seat.enter().is_none(), "one at a time");
    let (id, dump) = (first.id(), registry.snapshot());
    assert_eq!((dump.entries.len(), dump.entries[0].id, &*dump.entries[0].label), (1, id, "GET /"));
    assert!(dump.entries[0].spawned_at.file().ends_with("seat.rs"), "the caller's place");
    drop(first);
    assert!(kind.is_empty() && registry.snapshot().entries.is_empty());

    let second = enter(&mut seat);
    assert_ne!(second.id(), id, "another one");
    let kinds = registry.stats().kinds;
    let counted = kinds.iter().find(|kind| kind.kind == "request").expect("a kind");
    assert_eq!((counted.live, counted.entered), (1, 2));
    drop(second);
    assert_eq!(registry.len(), 0);
}

#[test]
fn nothing_of_the_former_is_left() {
    let registry = Registry::new();
    let kind = registry.kind::<&str>("request");
    let mut seat = kind.seat("r");
    let mut outer = kind.enter("around");
    let around = outer.id();
    let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
    let mut first = outer.poll(&mut cx, |_| enter(&mut seat));
    first.poll(&mut cx, |_| ());
    let of = |id: u64| registry.snapshot().entries.into_iter().find(|live| live.id == id).expect("listed");
    assert_eq!((of(first.id()).parent, of(first.id()).polls), (Some(around), 1));
    drop(first);
    let second = enter(&mut seat);
    let live = of(second.id());
    assert_eq!((live.parent, live.polls, live.busy), (None, 0, Duration::ZERO));
    assert!(matches!(live.state, State::New));
}

#[test]
fn an_entry_outlives_its_seat_and_both_its_registry() {
    let registry = Registry::new();
    let label: Arc<str> = "r".into();
    let mut seat = registry.kind::<Arc<str>>("request").seat(Arc::clone(&label));
    let entry = enter(&mut seat);
    drop(seat);
    assert_eq!((registry.len(), registry.snapshot().entries.len()), (1, 1), "still listed");
    drop(entry);
    assert!(registry.is_empty());
    assert_eq!(Arc::strong_count(&label), 1, "its label is gone with the last of the two");

    let mut seat = registry.kind::<Arc<str>>("request").seat(Arc::clone(&label));
    drop(enter(&mut seat));
    drop(seat);
    assert_eq!(Arc::strong_count(&label), 1, "also where the entry went first");

    let mut seat = registry.kind::<Arc<str>>("request").seat(label);
    let entry = enter(&mut seat);
    drop(registry);
    drop(entry);
    drop(enter(&mut seat));
}

/// Counts how often it was cloned.
struct Counted(Arc<AtomicU64>);

impl Clone for Counted {
    fn clone(&self) -> Self {
        self.0.fetch_add(1, Relaxed);
        Self(Arc::clone(&self.0))
    }
}

impl fmt::Display for Counted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("counted")
    }
}

#[test]
fn a_label_is_cloned_for_a_look_only() {
    let registry = Registry::new();
    let clones = Arc::new(AtomicU64::new(0));
    let mut seat = registry.kind("request").seat(Counted(Arc::clone(&clones)));
    for _ in 0..10 {
        drop(enter(&mut seat));
    }
    assert_eq!(clones.load(Relaxed), 0);
    let _entry = enter(&mut seat);
    assert_eq!((registry.snapshot().entries.len(), clones.load(Relaxed)), (1, 1));
}

#[tokio::test]
async fn idle_waits_for_a_seat_to_be_empty() {
    let registry = Registry::new();
    let kind = registry.kind::<&str>("request");
    let mut seat = kind.seat("r");
    let entry = enter(&mut seat);
    let mut idle = task::spawn(registry.idle());
    assert_pending!(idle.poll());
    drop(entry);
    assert!(idle.is_woken());
    assert!(idle.poll().is_ready());
}

#[tokio::test]
async fn each_entry_answers_for_itself() {
    let registry = Registry::new();
    let mut seat = registry.kind::<&str>("request").seat("r");
    let mut limits = DumpLimits::default();
    limits.again_after = Duration::ZERO;
    for round in 0..3 {
        let task = tokio::spawn({
            let entry = enter(&mut seat);
            Tracked::new(entry, async {
                tokio::time::sleep(Duration::from_secs(3600)).await;
                pending::<()>().await;
            })
        });
        settle().await;
        let dump = registry.dump_within(limits).await;
        let [live] = &dump.entries[..] else { panic!("one: {dump:#}") };
        let place = dump.place(live.id).unwrap_or_else(|| panic!("a place, in round {round}: {live:#}"));
        assert!(place.starts_with("sleep at "), "{place}");
        task.abort();
        assert!(task.await.is_err());
    }
}

#[test]
fn a_spawned_one_is_aborted() {
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let registry = Registry::new();
        let kind = registry.kind::<&str>("request");
        let mut seat = kind.seat("r");
        let done = kind.spawn_as(enter(&mut seat), async {});
        done.await.expect("it ends by itself");
        let stuck = kind.spawn_as(enter(&mut seat), pending::<()>());
        settle().await;
        let _aborting = registry.abort_all();
        assert!(stuck.await.expect_err("aborted").is_cancelled());
        assert!(registry.is_empty());
    });
}

/// Raises it in the end, also after a panic.
struct Raise<'a>(&'a AtomicBool);

impl Drop for Raise<'_> {
    fn drop(&mut self) {
        self.0.store(true, Relaxed);
    }
}

#[test]
fn a_look_never_mixes_two_entries() {
    let registry = Registry::new();
    let kind = registry.kind::<&str>("request");
    let around = registry.kind::<&str>("connection");
    let stop = AtomicBool::new(false);
    thread::scope(|s| {
        s.spawn(|| {
            let mut seat = kind.seat("r");
            let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
            let count = Cell::new(0);
            while !stop.load(Relaxed) {
                // Its parent is made for it, and so after all that came before.
                around.enter("a").poll(&mut cx, |cx| {
                    let mut entry = enter(&mut seat);
                    // As many polls as its number says.
                    for _ in 0..entry.id() % 3 {
                        entry.poll(cx, |_| count.set(count.get() + 1));
                    }
                });
            }
        });
        let _stop = Raise(&stop);
        let (mut last, mut seen) = (0, 0);
        // Some rounds find the seat empty.
        while seen < ROUNDS * 60 {
            for live in registry.snapshot().entries.into_iter().filter(|live| live.kind == "request") {
                assert!(live.id >= last, "in order");
                last = live.id;
                seen += 1;
                assert!(live.parent < Some(live.id), "the parent of another one: {live:#}");
                assert!(live.polls <= live.id % 3, "the polls of another one: {live:#}");
            }
        }
    });
    assert!(registry.is_empty());
}

#[tokio::test(start_paused = true)]
async fn around_a_poll_its_entries_know_the_time_and_how_to_be_woken() {
    use std::task::Context;

    use graceful_tasks::{Part, lately, now};

    let registry = Registry::new();
    let kind = registry.kind::<&str>("request");
    let mut seat = kind.seat("r");
    let mut task = task::spawn(());
    let entry = task.enter(|cx, _| {
        assert_eq!(lately(), None, "outside");
        let around = registry.around(cx);
        assert_eq!(lately(), None, "nobody has looked");
        let looked = now();
        assert_eq!(lately(), Some(looked));
        assert_eq!(Registry::current().stats(), registry.stats(), "what is started in it belongs to the registry");
        let mut entry = enter(&mut seat);
        assert_eq!(entry.since().instant(), looked);
        let part = Part::begin(Some(&mut entry), cx);
        let inner = registry.around(&Context::from_waker(part.waker()));
        drop(inner);
        let child = kind.enter("child");
        part.end(true);
        let dump = registry.snapshot();
        let child = dump.entries.iter().find(|live| live.id == child.id()).expect("listed");
        assert_eq!(child.parent, Some(entry.id()), "the guard inside has changed nothing");
        drop(around);
        assert_eq!(lately(), None, "outside again");
        entry
    });
    let mut limits = DumpLimits::default();
    limits.budget = Duration::from_millis(1);
    registry.dump_within(limits).await;
    assert!(task.is_woken(), "nothing around it could have been woken");
    drop(entry);
}

#[tokio::test]
async fn what_the_time_is_is_looked_up_once_until_something_is_polled() {
    use graceful_tasks::{Part, now};
    use tokio::time::Instant;

    let registry = Registry::new();
    let kind = registry.kind::<&str>("request");
    let mut task = task::spawn(());
    task.enter(|cx, _| {
        let _around = registry.around(cx);
        let time_passes = || {
            let before = Instant::now();
            while Instant::now() == before {}
        };
        let looked = now();
        time_passes();
        let mut entry = kind.enter("r");
        assert_eq!((entry.since().instant(), now()), (looked, looked), "nothing was polled");
        Part::begin(Some(&mut entry), cx).end(false);
        time_passes();
        assert!(now() > looked, "something was");
    });
}
