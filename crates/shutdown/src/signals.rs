use std::{
    convert::Infallible,
    fmt,
    future::poll_fn,
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    task::{Context, Poll},
};

use tokio::{
    runtime::Handle,
    signal::unix::{Signal, SignalKind, signal},
};

use crate::{
    Cause, Shutdown, Sig, TARGET,
    order::{Effect, Signalled},
    shutdown::log_given,
};

/// The signals that a server lives and ends by.
///
/// | signal | first | again |
/// |---|---|---|
/// | `SIGINT`, `SIGTERM` | [triggers](Shutdown::trigger) the shutdown | [forces](Shutdown::force) it, whichever of the two it is; a third does no harm |
/// | `SIGHUP` | [reloads](Self::on_reload) | reloads |
///
/// From [`install`](Self::install) on, none of them kills the process by itself, and that stays so to the end of the
/// process, also if this is dropped (tokio keeps its handlers). So keep [`watch`](Self::watch) polled until the very end,
/// or Ctrl-C does nothing.
///
/// Two of the same signal that come before the first was seen are one: the system counts no further.
///
/// See the [crate docs](crate). Unix only; elsewhere, call [`Shutdown::trigger_with`] after `tokio::signal::ctrl_c`.
pub struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
    signalled: Signalled,
    reload: Vec<Box<dyn FnMut() + Send>>,
}

enum Received {
    Order(Sig),
    Reload,
}

impl Signals {
    /// Takes over `SIGINT`, `SIGTERM` and `SIGHUP`. Call it before anything else starts: until then, a signal kills.
    ///
    /// # Errors
    ///
    /// Outside of a tokio runtime, or if the system refuses the handlers.
    ///
    /// # Panics
    ///
    /// In a runtime whose IO is not enabled.
    pub fn install() -> io::Result<Self> {
        Handle::try_current().map_err(io::Error::other)?;
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hangup: signal(SignalKind::hangup())?,
            signalled: Signalled::default(),
            reload: Vec::new(),
        })
    }

    /// Calls `reload` on each `SIGHUP`, after those that were given before. It runs where [`watch`](Self::watch) is
    /// polled, so it should only tell someone; a panic in it is logged and no more.
    #[must_use]
    pub fn on_reload(mut self, reload: impl FnMut() + Send + 'static) -> Self {
        self.reload.push(Box::new(reload));
        self
    }

    /// Passes the signals on to `shutdown`, for ever. Cancel-safe: if it is dropped and called again, no signal is lost
    /// and a second one is still the second.
    pub async fn watch(&mut self, shutdown: &Shutdown) -> Infallible {
        loop {
            match poll_fn(|cx| self.poll_next(cx)).await {
                Received::Order(signal) => self.order(signal, shutdown),
                Received::Reload => self.reload(),
            }
        }
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Received> {
        let Self { interrupt, terminate, hangup, signalled: _, reload: _ } = self;
        // In this order: what ends the process does not wait for what keeps it.
        for (signal, received) in [
            (terminate, Received::Order(Sig::Term)),
            (interrupt, Received::Order(Sig::Int)),
            (hangup, Received::Reload),
        ] {
            // `None` would say that there will be no more; tokio never does, and if it did this must not spin.
            if let Poll::Ready(Some(())) = signal.poll_recv(cx) {
                return Poll::Ready(received);
            }
        }
        Poll::Pending
    }

    fn order(&mut self, signal: Sig, shutdown: &Shutdown) {
        let cause = Cause::Signal(signal);
        match self.signalled.signal(shutdown.order(), cause.clone()) {
            Effect::Given => log_given(&cause),
            Effect::GivenBefore => {
                tracing::info!(target: TARGET, %signal, "shutdown signal, already shutting down; the next one forces");
            }
            Effect::Forced => tracing::warn!(target: TARGET, %signal, "second shutdown signal, forcing"),
            Effect::ForcedBefore => {}
        }
    }

    fn reload(&mut self) {
        tracing::info!(target: TARGET, signal = "SIGHUP", "reload");
        for reload in &mut self.reload {
            if catch_unwind(AssertUnwindSafe(reload)).is_err() {
                tracing::error!(target: TARGET, "reload panicked");
            }
        }
    }
}

impl fmt::Debug for Signals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { interrupt: _, terminate: _, hangup: _, signalled, reload } = self;
        f.debug_struct("Signals").field("signalled", signalled).field("reload", &reload.len()).finish()
    }
}
