//! The stacks of a dump: where something waits, whatever it waits for.

use std::{
    future::{Future, poll_fn},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
    task::Poll,
    time::Duration,
};

use graceful_tasks::{Live, Registry, Stack, State, Waits};
use tokio::{
    io::AsyncReadExt,
    sync::{Mutex, Notify, mpsc, oneshot},
};

use crate::settle;

/// The line of the await.
type Line = Arc<AtomicU32>;

async fn dumped<F>(future: impl FnOnce(Line) -> F) -> (Live, u32)
where
    F: Future<Output = ()> + Send + 'static,
{
    let registry = Registry::new();
    let line = Line::default();
    let task = tokio::spawn(registry.kind::<&str>("request").track("r", future(Arc::clone(&line))));
    settle().await;
    let dump = registry.dump().await;
    let live = dump.entries[0].clone();
    task.abort();
    let _ = task.await;
    assert!(registry.is_empty());
    (live, line.load(Relaxed))
}

/// Of the frames that are of this file.
fn lines(stack: &Stack) -> Vec<u32> {
    let here = stack.frames.iter().filter(|frame| frame.file.as_ref().is_some_and(|file| file.ends_with("places.rs")));
    here.filter_map(|frame| frame.line).collect()
}

#[track_caller]
fn assert_waits(live: &Live, line: u32, word: &str) {
    assert_eq!(live.state.word(), word, "{live:#}");
    let place = live.state.place().unwrap_or_else(|| panic!("no place: {live:#}"));
    assert!(place.file.as_ref().is_some_and(|file| file.ends_with("places.rs")), "{live:#}");
    assert_eq!(place.line, Some(line), "the line of the await: {live:#}");
    assert!(format!("{live:#}").contains(&format!("places.rs:{line}")));
}

async fn sleeps(line: Line) {
    line.store(line!() + 1, Relaxed);
    tokio::time::sleep(Duration::from_secs(3600)).await;
}

#[tokio::test]
async fn a_sleep() {
    let (live, line) = dumped(sleeps).await;
    assert_waits(&live, line, "sleep");
}

#[tokio::test]
async fn the_callers_are_there_as_well() {
    const OUTER: u32 = line!() + 2;
    async fn outer(line: Line) {
        sleeps(line).await;
    }
    let (live, line) = dumped(outer).await;
    assert_waits(&live, line, "sleep");
    assert_eq!(lines(&live.state.stacks()[0]), [line, OUTER], "innermost first, and nothing above the entry");
    let text = format!("{live:#}");
    for foreign in ["tokio::runtime::scheduler", "graceful_tasks::", "tasks/src/"] {
        assert!(!text.contains(foreign), "{foreign}: {text}");
    }
}

async fn receives(line: Line) {
    let (_keep, mut receiver) = mpsc::channel::<()>(1);
    line.store(line!() + 1, Relaxed);
    receiver.recv().await;
}

#[tokio::test]
async fn an_mpsc_channel() {
    let (live, line) = dumped(receives).await;
    assert_waits(&live, line, "receive");
}

async fn receives_once(line: Line) {
    let (_keep, receiver) = oneshot::channel::<()>();
    line.store(line!() + 1, Relaxed);
    let _ = receiver.await;
}

#[tokio::test]
async fn a_oneshot_channel() {
    let (live, line) = dumped(receives_once).await;
    assert_waits(&live, line, "receive");
}

async fn locks(line: Line) {
    let mutex = Mutex::new(());
    let _held = mutex.lock().await;
    line.store(line!() + 1, Relaxed);
    let _again = mutex.lock().await;
}

#[tokio::test]
async fn a_lock() {
    let (live, line) = dumped(locks).await;
    assert_waits(&live, line, "lock");
}

async fn is_notified(line: Line) {
    let notify = Notify::new();
    line.store(line!() + 1, Relaxed);
    notify.notified().await;
}

#[tokio::test]
async fn a_notify() {
    let (live, line) = dumped(is_notified).await;
    assert_waits(&live, line, "notified");
}

async fn joins(line: Line) {
    let task = tokio::spawn(std::future::pending::<()>());
    let _abort = AbortOnDrop(task.abort_handle());
    line.store(line!() + 1, Relaxed);
    let _ = task.await;
}

struct AbortOnDrop(tokio::task::AbortHandle);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

#[tokio::test]
async fn a_join_handle() {
    let (live, line) = dumped(joins).await;
    assert_waits(&live, line, "join");
}

async fn reads(line: Line) {
    // With std's: connecting to oneself is done at once, and there is one await only.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let socket = std::net::TcpStream::connect(listener.local_addr().expect("bound")).expect("the backlog has room");
    socket.set_nonblocking(true).expect("a socket can be");
    let mut socket = tokio::net::TcpStream::from_std(socket).expect("within a runtime");
    line.store(line!() + 1, Relaxed);
    let _ = socket.read_u8().await;
}

#[tokio::test]
async fn a_socket() {
    let (live, line) = dumped(reads).await;
    assert_waits(&live, line, "io");
}

async fn waits_by_hand(line: Line) {
    let mut kept = None;
    line.store(line!() + 1, Relaxed);
    let wait = poll_fn(|cx| {
        kept = Some(cx.waker().clone());
        Poll::<()>::Pending
    });
    wait.await;
}

#[tokio::test]
async fn a_custom_future() {
    let (live, line) = dumped(waits_by_hand).await;
    let place = live.state.place().expect("a place");
    assert_eq!(place.line, Some(line + 1), "where the waker is cloned: {live:#}");
}

async fn selects(line: Line) {
    let (_keep, mut receiver) = mpsc::channel::<()>(1);
    line.store(line!() + 1, Relaxed);
    tokio::select! {
        _ = receiver.recv() => {}
        () = tokio::time::sleep(Duration::from_secs(3600)) => {}
    }
}

#[tokio::test]
async fn both_branches_of_a_select() {
    let (live, line) = dumped(selects).await;
    let mut words: Vec<_> = live.state.stacks().iter().filter_map(Stack::waits_for).collect();
    words.sort_unstable();
    assert_eq!(words, ["receive", "sleep"], "{live:#}");
    for stack in live.state.stacks() {
        assert!(lines(stack).contains(&line), "{live:#}");
    }
}

async fn joins_two(line: Line) {
    let notify = Notify::new();
    tokio::join!(sleeps(line), notify.notified());
}

#[tokio::test]
async fn both_branches_of_a_join() {
    let (live, _) = dumped(joins_two).await;
    let mut words: Vec<_> = live.state.stacks().iter().filter_map(Stack::waits_for).collect();
    words.sort_unstable();
    assert_eq!(words, ["notified", "sleep"], "{live:#}");
}

#[tokio::test]
async fn what_keeps_no_waker_says_so() {
    let (live, _) = dumped(|_| std::future::pending()).await;
    assert_eq!(live.state.word(), "waiting, keeps no waker", "{live:#}");
    assert!(live.state.stacks().is_empty());
}

#[tokio::test]
async fn an_entry_in_an_entry_is_where_the_outer_one_waits() {
    let registry = Registry::new();
    let requests = registry.kind::<&str>("request");
    let line = Line::default();
    let inner_line = Arc::clone(&line);
    const AWAITS_REQUEST: u32 = line!() + 2;
    let task = tokio::spawn(registry.kind::<&str>("connection").track("c", async move {
        requests.track("r", sleeps(inner_line)).await;
    }));
    settle().await;
    let dump = registry.dump().await;
    let by_kind = |kind: &str| dump.entries.iter().find(|live| live.kind == kind).expect(kind).clone();
    let (connection, request) = (by_kind("connection"), by_kind("request"));
    assert_waits(&request, line.load(Relaxed), "sleep");
    assert_eq!(connection.state.stacks().len(), 1, "{dump:#}");
    let stack = &connection.state.stacks()[0];
    assert_eq!(stack.into, Some(request.id), "{dump:#}");
    assert_eq!(lines(stack), [AWAITS_REQUEST], "it ends there: {dump:#}");
    assert_eq!(connection.state.word(), "waiting for an entry");
    assert!(format!("{dump:#}").contains(&format!("-> {}", request.id)));
    task.abort();
}

#[tokio::test]
async fn a_dump_changes_nothing() {
    let registry = Registry::new();
    let (sender, receiver) = oneshot::channel::<u8>();
    let task = tokio::spawn(registry.kind::<&str>("request").track("r", receiver));
    settle().await;
    let before = registry.snapshot().entries[0].clone();
    let mut limits = graceful_tasks::DumpLimits::default();
    limits.again_after = Duration::ZERO;
    for _ in 0..3 {
        let dump = registry.dump_within(limits).await;
        assert_eq!(dump.entries[0].polls, before.polls, "the polls of a dump are not counted");
        assert!(
            matches!(&dump.entries[0].state, State::Waiting { waits: Waits::At { stacks, .. }, .. } if stacks.len() == 1)
        );
        assert!(dump.entries[0].state.since() >= before.state.since(), "and do not end the wait");
    }
    sender.send(7).unwrap();
    assert_eq!(task.await.unwrap().unwrap(), 7, "the kept waker still wakes the task");
}
