//! Entries begin and end with what they stand for.

use std::{
    future::{Ready, pending, ready},
    panic::{AssertUnwindSafe, catch_unwind},
    pin::{Pin, pin},
    task::{Context, Poll, Waker},
    time::Duration,
};

use graceful_tasks::{Entry, Kind, Registry, State, Token, Tracked};
use tokio_test::{assert_pending, assert_ready, task};

use crate::settle;

fn assert_send<T: Send>() {}
fn assert_sync<T: Sync>() {}
fn assert_clone<T: Clone>() {}
fn assert_unpin<T: Unpin>() {}

#[test]
fn auto_traits() {
    assert_send::<Entry>();
    assert_sync::<Entry>();
    assert_unpin::<Entry>();
    assert_send::<Tracked<Ready<()>>>();
    assert_send::<Registry>();
    assert_sync::<Registry>();
    assert_clone::<Registry>();
    assert_clone::<Kind<String>>();
    assert_clone::<Token>();
    // A label that cannot be shared between threads is fine: it is cloned, under the lock.
    assert_sync::<Kind<std::cell::Cell<u8>>>();
}

#[test]
fn an_entry_ends_with_its_guard_wherever_that_goes() {
    let registry = Registry::new();
    let kind = registry.kind::<&str>("request");
    let entry = kind.enter("GET /");
    assert_eq!((kind.len(), registry.len()), (1, 1));
    let moved = std::thread::spawn(move || {
        let in_body = Some(entry);
        drop(in_body);
    });
    moved.join().unwrap();
    assert!(kind.is_empty() && registry.is_empty(), "dropped on another thread, and gone");
}

#[test]
fn an_entry_ends_on_completion_panic_and_drop() {
    let registry = Registry::new();
    let kind = registry.kind::<&str>("request");
    let mut cx = Context::from_waker(Waker::noop());

    {
        let mut done = pin!(kind.track("ready", ready(())));
        assert!(done.as_mut().poll(&mut cx).is_ready());
        assert_eq!(kind.len(), 1, "until it is dropped");
    }
    assert!(kind.is_empty());

    let mut waits = Box::pin(kind.track("pending", pending::<()>()));
    assert!(waits.as_mut().poll(&mut cx).is_pending());
    drop(waits);
    assert!(kind.is_empty(), "a cancelled future");

    let mut panics = Box::pin(kind.track("panics", std::future::poll_fn::<(), _>(|_| panic!("planted"))));
    assert!(catch_unwind(AssertUnwindSafe(|| panics.as_mut().poll(&mut cx))).is_err());
    let live = registry.snapshot();
    assert!(!matches!(live.entries[0].state, State::Running { .. }), "a panic ends the poll");
    drop(panics);
    assert!(kind.is_empty());

    struct PanicsInDrop;
    impl Drop for PanicsInDrop {
        fn drop(&mut self) {
            panic!("planted in drop");
        }
    }
    let holds = PanicsInDrop;
    let future = kind.track("drop", async move {
        let _holds = holds;
        pending::<()>().await;
    });
    assert!(catch_unwind(AssertUnwindSafe(|| drop(future))).is_err());
    assert!(kind.is_empty(), "a future that panics in its drop");
}

#[tokio::test]
async fn an_entry_ends_when_its_task_is_aborted() {
    let registry = Registry::new();
    let kind = registry.kind::<&str>("request");
    let task = tokio::spawn(kind.track("aborted", pending::<()>()));
    settle().await;
    assert_eq!(kind.len(), 1);
    task.abort();
    assert!(task.await.unwrap_err().is_cancelled());
    assert!(kind.is_empty());
}

#[test]
fn an_entry_ends_with_its_runtime() {
    let registry = Registry::new();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        registry.spawn(pending::<()>());
        settle().await;
    });
    assert_eq!(registry.len(), 1);
    drop(runtime);
    assert!(registry.is_empty());
}

#[test]
fn an_entry_may_outlive_its_registry() {
    let registry = Registry::new();
    let kind = registry.kind::<String>("request");
    let mut late = task::spawn(kind.track("late".into(), pending::<()>()));
    assert_pending!(late.poll());
    drop((kind, registry));
    assert_pending!(late.poll());
    drop(late);
}

#[tokio::test]
async fn what_is_started_inside_has_the_outer_one_as_parent() {
    let registry = Registry::new();
    let connections = registry.kind::<&str>("connection");
    let requests = registry.kind::<&str>("request");
    let connection = tokio::spawn(connections.track("c", async move {
        let request = requests.track("r", async {
            // The current registry is that of the entry: no name needed.
            graceful_tasks::spawn_named("t", pending::<()>());
            pending::<()>().await;
        });
        request.await;
    }));
    settle().await;
    let dump = registry.snapshot();
    let by_label = |label: &str| dump.entries.iter().find(|live| live.label == label).expect(label).clone();
    let (c, r, t) = (by_label("c"), by_label("r"), by_label("t"));
    assert_eq!(c.parent, None);
    assert_eq!(r.parent, Some(c.id));
    assert_eq!(t.parent, Some(r.id), "a spawned task knows the request that it outlives");
    assert!(t.spawned_at.file().ends_with("life.rs"), "the place is the caller's: {}", t.spawned_at);
    connection.abort();
    let _ = connection.await;
    assert_eq!(registry.snapshot().entries.len(), 1, "the task outlives them");
}

#[tokio::test(start_paused = true)]
async fn age_polls_and_busy_time_are_counted() {
    let registry = Registry::new();
    let kind = registry.kind::<&str>("request");
    let mut future = task::spawn(kind.track("r", async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        pending::<()>().await;
    }));
    let state = |registry: &Registry| registry.snapshot().entries[0].clone();
    assert!(matches!(state(&registry).state, State::New));
    assert_pending!(future.poll());
    tokio::time::advance(Duration::from_secs(3)).await;
    assert_pending!(future.poll());
    tokio::time::advance(Duration::from_secs(4)).await;
    let live = state(&registry);
    assert_eq!((live.polls, live.age), (2, Duration::from_secs(7)));
    assert_eq!(live.state.since(), Some(Duration::from_secs(4)), "since the last poll");
}

#[tokio::test(start_paused = true)]
async fn any_poll_function_goes_through_an_entry() {
    /// As a body that carries the entry of its request.
    struct Body {
        entry: Entry,
        frames: u32,
    }
    impl Body {
        fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<u32>> {
            let this = self.get_mut();
            let frames = &mut this.frames;
            this.entry.poll(cx, |_| {
                *frames += 1;
                Poll::Ready((*frames < 3).then_some(*frames))
            })
        }
    }
    let registry = Registry::new();
    let mut body = Body { entry: registry.kind::<&str>("request").enter("r"), frames: 0 };
    let mut cx = Context::from_waker(Waker::noop());
    while let Poll::Ready(Some(_)) = Pin::new(&mut body).poll_frame(&mut cx) {}
    assert_eq!(registry.snapshot().entries[0].polls, 3);
    drop(body);
    assert!(registry.is_empty());
}

#[test]
fn idle_wakes_with_the_last_one() {
    let registry = Registry::new();
    let kind = registry.kind::<&str>("request");
    let other = registry.kind::<&str>("connection");
    let (one, two, conn) = (kind.enter("1"), kind.enter("2"), other.enter("c"));
    let mut kind_idle = task::spawn(kind.idle());
    let mut all_idle = task::spawn(registry.idle());
    let mut not_conn = task::spawn(registry.idle_of(|kind| kind != "connection"));
    assert_pending!(kind_idle.poll());
    assert_pending!(all_idle.poll());
    assert_pending!(not_conn.poll());
    drop(one);
    assert_pending!(kind_idle.poll());
    // The last one in another thread, and so from another shard's point of view.
    std::thread::spawn(move || drop(two)).join().unwrap();
    assert!(kind_idle.is_woken(), "the last one wakes");
    assert_ready!(kind_idle.poll());
    assert_ready!(not_conn.poll());
    assert_pending!(all_idle.poll());
    drop(conn);
    assert_ready!(all_idle.poll());
    assert_ready!(task::spawn(registry.idle()).poll());
}

#[test]
fn idle_can_be_dropped_and_asked_again() {
    let registry = Registry::new();
    let entry = registry.kind::<&str>("request").enter("1");
    {
        let mut idle = task::spawn(registry.idle());
        assert_pending!(idle.poll());
    }
    let mut idle = task::spawn(registry.idle());
    assert_pending!(idle.poll());
    drop(entry);
    assert!(idle.is_woken());
    assert_ready!(idle.poll());
}

#[test]
fn a_kind_is_found_again_by_name_and_type() {
    let registry = Registry::new();
    let _a = registry.kind::<&str>("request").enter("a");
    let _b = registry.kind::<&str>("request").enter("b");
    let _c = registry.kind::<String>("request").enter("c".into());
    assert_eq!(registry.kind::<&str>("request").len(), 2);
    assert_eq!(registry.len(), 3);
    let live: Vec<_> = registry.stats().kinds.iter().filter(|kind| kind.kind == "request").map(|k| k.live).collect();
    assert_eq!(live, [2, 1], "another type of label is another kind of that name");
}

#[test]
fn stats_count_what_was() {
    let registry = Registry::new();
    let kind = registry.kind::<u32>("request");
    for i in 0..1000 {
        let _ = kind.enter(i);
    }
    let _live = kind.enter(1000);
    let stats = registry.stats();
    let of_kind = stats.kinds.iter().find(|stats| stats.kind == "request").unwrap();
    assert_eq!((of_kind.live, of_kind.entered), (1, 1001));
}

#[test]
fn a_label_that_panics_when_rendered_spoils_nothing() {
    #[derive(Clone)]
    struct Bad;
    impl std::fmt::Display for Bad {
        fn fmt(&self, _: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            panic!("planted")
        }
    }
    let registry = Registry::new();
    let entry = registry.kind::<Bad>("request").enter(Bad);
    assert_eq!(registry.snapshot().entries[0].label, "(its label cannot be shown)");
    drop(entry);
    assert!(registry.is_empty());
    assert!(registry.snapshot().entries.is_empty());
}

#[tokio::test]
async fn who_chooses_what_to_wait_for_may_ask_the_registry() {
    let registry = Registry::new();
    let _entry = registry.kind::<&str>("other").enter("a");
    registry.idle_of(|kind| kind != "other" && registry.len() == 1).await;
}

#[test]
fn the_current_registry() {
    let (a, b) = (Registry::new(), Registry::new());
    let in_registry = |registry: &Registry| {
        let before = registry.len();
        let _entry = Registry::current().kind::<&str>("k").enter("e");
        registry.len() == before + 1
    };
    assert!(!in_registry(&a));
    let _a = a.set_default();
    assert!(in_registry(&a), "the default of the thread");
    {
        let _b = b.set_default();
        assert!(in_registry(&b), "the inner default");
    }
    assert!(in_registry(&a), "the former one again");
    let mut inside = task::spawn(b.kind::<&str>("k").track("t", async { in_registry(&b) }));
    assert!(assert_ready!(inside.poll()), "that of the entry which is polled");
    assert!(in_registry(&a), "and not after");
}
