//! A thread of its own that ends the process when the runtime no longer can.
//!
//! Timers, sockets and signals are served by the runtime's workers. If handlers block every one of them, no deadline
//! fires any more and no signal is seen: a shutdown that lives in the runtime hangs with it. This thread has a small
//! runtime of its own, which sees signals on behalf of the whole process, and the deadline.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    future::poll_fn,
    process,
    sync::{
        LazyLock,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    task::Poll,
    thread,
    time::Duration,
};

use graceful_shutdown::Why;
use tokio::{
    runtime::Handle,
    signal::unix::{SignalKind, signal},
    sync::watch,
    time::{Instant, sleep, sleep_until},
};

use crate::{
    last_word,
    server::{Draining, late, tell_late},
};

/// How long after the deadline, or after force, a runtime that works has come to its end by itself.
const PATIENCE: Duration = Duration::from_secs(1);

/// The exit code of a forced end.
const FORCED: i32 = 3;

/// What is being drained: one for each server.
static DRAINS: LazyLock<watch::Sender<BTreeMap<u64, Drain>>> = LazyLock::new(watch::Sender::default);

/// Whether a server listens for signals.
static LISTENING: LazyLock<watch::Sender<bool>> = LazyLock::new(watch::Sender::default);

#[derive(Clone)]
struct Drain {
    deadline: Instant,
    draining: Draining,
    /// The runtime that drains.
    runtime: Handle,
}

/// Says that a drain has begun; it is over when this is dropped.
#[derive(Debug)]
#[must_use]
pub(crate) struct Guard(u64);

impl Guard {
    pub(crate) fn new(deadline: Instant, draining: Draining) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let id = NEXT.fetch_add(1, Relaxed);
        let drain = Drain { deadline, draining, runtime: Handle::current() };
        DRAINS.send_modify(|drains| drop(drains.insert(id, drain)));
        Self(id)
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        DRAINS.send_modify(|drains| drop(drains.remove(&self.0)));
    }
}

/// Says that a server listens for signals. Before that, a signal is to kill the process, as it does by default.
pub(crate) fn server_listens() {
    LISTENING.send_replace(true);
}

/// Starts the thread. Only [`main`](crate::main) does: it alone may say how the process ends.
pub(crate) fn watch() {
    // Without it, the program is no worse off than with `#[tokio::main]`.
    let _ = thread::Builder::new().name("last-resort".into()).spawn(|| {
        let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else { return };
        runtime.block_on(async {
            // It cannot fail: the sender is never dropped.
            let _ = LISTENING.subscribe().wait_for(|listening| *listening).await;
            // Held, not read: while this runtime listens for signals, it passes them on to the other one's listeners.
            let _signals = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()));
            let mut drains = DRAINS.subscribe();
            loop {
                let now: Vec<_> = drains.borrow_and_update().values().cloned().collect();
                let mut waits: Vec<_> = now.iter().map(|drain| Box::pin(overdue(drain))).collect();
                let first = poll_fn(|cx| {
                    let mut polled = waits.iter_mut().map(|wait| wait.as_mut().poll(cx));
                    polled.find(Poll::is_ready).unwrap_or(Poll::Pending)
                });
                tokio::select! {
                    changed = drains.changed() => if changed.is_err() { return },
                    drain = first => end(drain.clone()),
                }
            }
        });
    });
}

async fn overdue(drain: &Drain) -> &Drain {
    let over = async {
        tokio::select! {
            () = sleep_until(drain.deadline) => {}
            () = drain.draining.shutdown.forced() => {}
        }
        sleep(PATIENCE).await;
    };
    tokio::select! {
        () = over => drain,
        never = poke(&drain.runtime) => match never {},
    }
}

/// Wakes an idle worker now and then.
///
/// One worker at a time waits for timers and sockets; if it then runs a handler that blocks, nobody takes its place until
/// another worker has something to do. With one, a runtime that has a worker left serves its deadlines by itself.
async fn poke(runtime: &Handle) -> Infallible {
    loop {
        sleep(Duration::from_millis(50)).await;
        // Nobody waits for it: that it was run is all it is for.
        drop(runtime.spawn(async {}));
    }
}

fn end(drain: Drain) -> ! {
    last_word::say(move || {
        let Draining { shutdown, registry, work } = &drain.draining;
        let why = if shutdown.is_forced() { Why::Forced } else { Why::Deadline };
        // Which thread runs it is all that can be known: nobody is left to ask.
        let dump = work.snapshot();
        let late: Vec<_> = registry.list().into_iter().flat_map(|open| late(open, &why, &dump)).collect();
        tell_late(&late, "left behind");
        tracing::error!(
            target: "graceful::shutdown",
            "server stopped by force: every worker thread is blocked, so that the runtime could not end itself"
        );
        last_word::on_stderr("error: shutdown forced: every worker thread is blocked");
    });
    let _ = graceful_recovery::flush(Duration::from_millis(100));
    let _ = graceful_json_log::flush(Duration::from_millis(500));
    process::exit(FORCED);
}
