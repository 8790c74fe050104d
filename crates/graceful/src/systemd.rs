//! What systemd is told (`sd_notify(3)`); nothing happens where it does not ask, which it does by `NOTIFY_SOCKET`.

use std::{
    convert::Infallible,
    sync::{
        LazyLock,
        mpsc::{SyncSender, sync_channel},
    },
    thread,
    time::Duration,
};

use sd_notify::NotifyState;
use tokio::time::{Instant, MissedTickBehavior, interval};

/// Both ports listen: clients can connect.
pub(crate) fn ready() {
    tell(NotifyState::Ready);
}

/// Pings the watchdog, if systemd asks for it, as long as the runtime runs tasks.
///
/// It is polled beside the accept loop, so it is silent if that is stuck; and before each ping a task of its own must
/// have run, so it is silent if every worker is.
pub(crate) async fn watchdog() -> Infallible {
    let Some(every) = sd_notify::watchdog_enabled() else { return std::future::pending().await };
    // Half of what is asked for, as `sd_watchdog_enabled(3)` advises.
    let mut ticks = interval((every / 2).max(Duration::from_millis(1)));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        #[expect(clippy::disallowed_methods, reason = "it ends at once; that it does is what is asked")]
        let alive = tokio::spawn(async {});
        if alive.await.is_ok() {
            tell(NotifyState::Watchdog);
        }
    }
}

/// The order to end was given. Asks for time while that goes on, so that a `TimeoutStopSec` shorter than our own deadline
/// does not kill it.
pub(crate) async fn stopping(until: Instant) -> Infallible {
    const EVERY: Duration = Duration::from_secs(5);
    tell(NotifyState::Stopping);
    loop {
        let left = until.saturating_duration_since(Instant::now());
        // Never more than is left, and a little: a drain that hangs beyond its own deadline is systemd's to end.
        let more = left.min(EVERY * 2) + Duration::from_secs(2);
        tell(NotifyState::ExtendTimeoutUsec(u32::try_from(more.as_micros()).unwrap_or(u32::MAX)));
        if left.is_zero() {
            return std::future::pending().await;
        }
        tokio::time::sleep(EVERY.min(left)).await;
    }
}

/// Sends it from a thread of its own: a message waits for systemd to read it, and the server must not.
fn tell(state: NotifyState<'static>) {
    if let Some(queue) = &*QUEUE {
        // A full queue is a systemd that does not read: it has worse worries than this message.
        let _ = queue.try_send(state);
    }
}

static QUEUE: LazyLock<Option<SyncSender<NotifyState<'static>>>> = LazyLock::new(|| {
    std::env::var_os("NOTIFY_SOCKET")?;
    let (queue, messages) = sync_channel::<NotifyState<'static>>(16);
    let thread = thread::Builder::new().name("systemd".into()).spawn(move || {
        for message in messages {
            if let Err(error) = sd_notify::notify(&[message]) {
                tracing::debug!(%error, "systemd could not be told");
            }
        }
    });
    thread.is_ok().then_some(queue)
});
