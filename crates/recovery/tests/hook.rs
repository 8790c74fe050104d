//! What belongs to the whole process: the panic hook and the reporter's thread.
//!
//! The tests take turns. Those that cannot be undone (a process that aborts, a hook that is replaced, no subscriber) run
//! in a child: the same binary, asked for the same test.

mod support;

use std::{
    cell::RefCell,
    convert::Infallible,
    io::Write,
    panic::set_hook,
    pin::Pin,
    process::{Command, Output},
    sync::{
        Arc, Condvar, Mutex, MutexGuard, Once, PoisonError,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use graceful_recovery::{RecoveryLayer, ResponseFuture, flush};
use http::{Request, Response};
use http_body_util::Empty;
use tower::{Layer, Service, ServiceExt, service_fn};

use support::Capture;

const LONG: Duration = Duration::from_secs(30);

/// Panics that reached the hook that was there before ours.
static REACHED: AtomicUsize = AtomicUsize::new(0);

/// One test at a time, with a hook of ours below the layer's.
fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    static HOOK: Once = Once::new();
    let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    HOOK.call_once(|| {
        set_hook(Box::new(|_| {
            REACHED.fetch_add(1, SeqCst);
        }));
        // Twice, as two stacks in one program do: it must not come in front of itself.
        let _ = (RecoveryLayer::new(), RecoveryLayer::new());
    });
    turn
}

fn reached(work: impl FnOnce()) -> usize {
    let before = REACHED.load(SeqCst);
    work();
    REACHED.load(SeqCst) - before
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(future)
}

/// Runs a handler behind the layer; gives the status.
fn handle<F>(layer: &RecoveryLayer, handler: impl Fn() -> F) -> u16
where
    F: Future<Output = ()>,
{
    block_on(async {
        let service = layer.layer(service_fn(async |_: Request<()>| {
            handler().await;
            Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new()))
        }));
        let Ok(response) = service.oneshot(Request::get("/path").body(()).expect("a request")).await;
        response.status().as_u16()
    })
}

/// `None` in the child, where the test goes on; what the child did in the parent.
fn child(test: &str) -> Option<Output> {
    if std::env::var_os("GRACEFUL_TEST_CHILD").is_some() {
        return None;
    }
    let binary = std::env::current_exe().expect("this binary");
    let output = Command::new(binary)
        .args([test, "--exact", "--nocapture"])
        .env("GRACEFUL_TEST_CHILD", "1")
        .env_remove("RUST_BACKTRACE")
        .output()
        .expect("a child");
    Some(output)
}

#[test]
fn panics_inside_are_diverted_and_panics_outside_are_not() {
    let _turn = turn();
    let (capture, _guard) = Capture::start();
    let layer = RecoveryLayer::new();
    assert_eq!(reached(|| assert_eq!(handle(&layer, async || panic!("inside")), 500)), 0, "the layer reports it");
    assert_eq!(reached(|| drop(std::panic::catch_unwind(|| panic!("outside")))), 1, "once, whoever chained");
    assert_eq!(reached(|| drop(std::thread::spawn(|| panic!("thread")).join())), 1);
    let spawned = reached(|| {
        #[expect(clippy::disallowed_methods, reason = "the point of this test")]
        let status = handle(&layer, async || {
            // A detached task is nobody's request: another poll, outside the layer.
            let joined = tokio::spawn(async { panic!("task") }).await;
            assert!(joined.expect_err("it panicked").is_panic());
        });
        assert_eq!(status, 200);
    });
    assert_eq!(spawned, 1, "a spawned task is not inside");
    let thread = reached(|| {
        let status = handle(&layer, async || {
            let joined = std::thread::spawn(|| panic!("thread of a handler")).join();
            assert!(joined.is_err());
        });
        assert_eq!(status, 200);
    });
    assert_eq!(thread, 1, "another thread is not inside");
    assert_eq!(reached(|| assert_eq!(handle(&layer, async || panic!("again")), 500)), 0, "nothing stuck");
    assert_eq!(capture.all().len(), 2, "only what was inside");
}

#[test]
fn abort_calls_no_hook_anywhere() {
    let _turn = turn();
    let layer = RecoveryLayer::new();
    assert_eq!(reached(|| assert_eq!(handle(&layer, async || graceful_recovery::abort()), 500)), 0);
    assert_eq!(reached(|| drop(std::thread::spawn(|| graceful_recovery::abort()).join())), 0);
}

#[test]
fn a_second_panic_while_one_waits_is_told_to_both() {
    let _turn = turn();
    let (capture, _guard) = Capture::start();
    let layer = RecoveryLayer::new();
    let handler = async || {
        for _ in 0..20 {
            let _ = std::panic::catch_unwind(|| panic!("caught"));
        }
        panic!("out");
    };
    assert_eq!(reached(|| assert_eq!(handle(&layer, handler), 500)), 20, "all but the first");
    let events = capture.all();
    assert_eq!(events.len(), 8, "a loop of panics does not grow without bound");
    assert_eq!(events.iter().filter(|event| event.get("panic") == Some("out")).count(), 1);
    assert_eq!(layer.panics().total(), 1);
}

#[test]
fn the_default_hook_may_be_replaced_later() {
    let Some(output) = child("the_default_hook_may_be_replaced_later") else {
        let layer = RecoveryLayer::new();
        set_hook(Box::new(|info| drop(writeln!(std::io::stderr(), "theirs: {info}"))));
        let (capture, _guard) = Capture::start();
        assert_eq!(handle(&layer, async || panic!("inside")), 500);
        let event = capture.one();
        assert_eq!(event.get("panic"), Some("inside"));
        assert_eq!((event.get("location"), event.get("backtrace")), (None, None));
        return;
    };
    assert!(output.status.success(), "still caught, counted and reported: {output:?}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("theirs: panicked at"), "theirs is the hook now");
}

#[test]
fn without_a_subscriber_the_report_goes_to_stderr() {
    let Some(output) = child("without_a_subscriber_the_report_goes_to_stderr") else {
        assert_eq!(handle(&RecoveryLayer::new(), async || panic!("nobody listens")), 500);
        assert!(flush(LONG));
        return;
    };
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stderr}");
    let first = stderr.lines().find(|line| line.contains("panicked at")).expect("a report");
    assert!(first.contains("tests/hook.rs:") && first.ends_with("in GET /path (future):"), "{stderr}");
    assert!(stderr.contains("nobody listens\n   0: "), "with its backtrace: {stderr}");
    assert_eq!(stderr.matches("panicked at").count(), 1, "once: {stderr}");
}

#[test]
fn a_process_that_aborts_has_said_why() {
    struct Second;
    impl Drop for Second {
        fn drop(&mut self) {
            panic!("the second panic");
        }
    }
    let Some(output) = child("a_process_that_aborts_has_said_why") else {
        let (_capture, _guard) = Capture::start();
        handle(&RecoveryLayer::new(), async || {
            let _second = Second;
            panic!("the first panic");
        });
        unreachable!("a panic in a destructor while another unwinds cannot be caught");
    };
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && !stderr.contains("cannot be caught"), "{stderr}");
    let first = stderr.find("the first panic").expect("the cause is told");
    assert!(stderr.find("the second panic").expect("and what made it fatal") > first, "{stderr}");
}

#[test]
fn a_response_that_dies_with_its_thread() {
    /// A future that panics when it is dropped, held by a thread-local to its end.
    struct Bomb;
    impl Future for Bomb {
        type Output = Result<Response<Empty<Bytes>>, Infallible>;
        fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Self::Output> {
            Poll::Pending
        }
    }
    impl Drop for Bomb {
        fn drop(&mut self) {
            panic!("in the last breath");
        }
    }
    thread_local! {
        // Touched first, so that it is destroyed after the thread-locals that the panic needs.
        static HELD: RefCell<Option<ResponseFuture<Bomb>>> = const { RefCell::new(None) };
    }
    let Some(output) = child("a_response_that_dies_with_its_thread") else {
        std::thread::spawn(|| {
            HELD.with(|held| assert!(held.borrow().is_none()));
            let layer = RecoveryLayer::new();
            // A caught panic before touches the layer's own.
            assert_eq!(handle(&layer, async || panic!("early")), 500);
            let mut service = layer.layer(service_fn(|_: Request<()>| Bomb));
            let future = service.call(Request::new(()));
            HELD.with(|held| *held.borrow_mut() = Some(future));
        })
        .join()
        .expect("the thread ends in peace");
        assert!(flush(LONG));
        return;
    };
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "the process must not die of it: {stderr}");
    assert!(stderr.contains("in the last breath"), "{stderr}");
}

/// A door that reports wait at.
#[derive(Clone, Default)]
struct Door(Arc<(Mutex<bool>, Condvar)>);

impl Door {
    fn open(&self) {
        *self.0.0.lock().expect("no panic in here") = true;
        self.0.1.notify_all();
    }

    fn wait(&self) {
        let open = self.0.0.lock().expect("no panic in here");
        drop(self.0.1.wait_while(open, |open| !*open).expect("no panic in here"));
    }
}

#[test]
fn a_flood_of_panics_is_reported_without_the_backtraces_that_nobody_would_read() {
    let _turn = turn();
    let door = Door::default();
    let (capture, _guard) = Capture::start_with({
        let door = door.clone();
        move || {
            if std::thread::current().name() == Some("graceful-panics") {
                door.wait();
            }
        }
    });
    let layer = RecoveryLayer::new();
    // The reporter stands at the door, and the worker goes on all the same: it does not wait for the report.
    for _ in 0..100 {
        assert_eq!(handle(&layer, async || panic!("flood")), 500);
    }
    let at_once = capture.now();
    assert!((100 - 65..=100 - 64).contains(&at_once.len()), "64 wait, one may be in work: {}", at_once.len());
    let note = "left out: 64 reports were waiting for theirs";
    assert!(at_once.iter().all(|event| event.get("backtrace") == Some(note)), "and each says so");
    assert!(at_once.iter().all(|event| event.get("location").is_some()), "the place is known all the same");
    assert!(!flush(Duration::ZERO), "flush says when it did not wait to the end");
    door.open();
    assert!(flush(LONG));
    let all = capture.now();
    assert_eq!(all.len(), 100, "nothing is lost and nothing doubled");
    let written = all.iter().filter(|event| event.thread.as_deref() == Some("graceful-panics"));
    assert!(written.clone().all(|event| event.get("backtrace") != Some(note)));
    assert_eq!(written.count(), 100 - at_once.len());
    // And then it is as before.
    assert_eq!(handle(&layer, async || panic!("after")), 500);
    let last = capture.all().pop().expect("a report");
    assert!(last.get("backtrace").is_some_and(|backtrace| backtrace.contains("0: ")));
}

#[test]
fn flush_has_nothing_to_wait_for() {
    let _turn = turn();
    assert!(flush(Duration::ZERO), "returns at once when all is written");
    assert!(flush(Duration::MAX), "and any duration will do");
}
