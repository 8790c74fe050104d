//! Running the hooks: side by side in a phase, phase after phase, each to its end, its deadline or its panic.

use std::{
    any::Any,
    future::poll_fn,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::pin,
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    task::coop::unconstrained,
    time::{Instant, sleep_until},
};

use crate::{
    Budget, HookContext, Late, Phase, Report, Shutdown, Step, TARGET, Why,
    hooks::{Hook, HookFuture, Hooks},
};

pub(crate) async fn run(shutdown: &Shutdown, hooks: &Hooks, budget: Budget) -> Report {
    let mut report = Report::new(shutdown.cause().cloned());
    let Some(turn) = hooks.turn() else { return report };
    for &phase in Phase::ALL {
        let begun = turn.take(phase);
        if begun.is_empty() {
            continue;
        }
        let until = budget.end_before(hooks.phases_from(Some(phase)));
        report.push(run_phase(shutdown, phase, begun, until).await);
    }
    report
}

async fn run_phase(shutdown: &Shutdown, phase: Phase, hooks: Vec<Hook>, until: Instant) -> Step {
    let begin = Instant::now();
    let context = HookContext::new(phase, until, shutdown.clone());
    let mut running: Vec<_> = hooks.into_iter().map(|hook| Running::start(hook, context.clone())).collect();
    tracing::debug!(target: TARGET, %phase, hooks = running.len(), "shutdown phase");

    let mut forced = pin!(shutdown.forced());
    // Outside of tokio's cooperative budget: a hook that always has something to do uses that up, and would put the
    // deadline off for ever. Force needs no such care, for it is looked at in each poll.
    let mut deadline = pin!(unconstrained(sleep_until(until)));
    let mut first = 0;
    let cut = poll_fn(|cx| {
        loop {
            let was_forced = shutdown.is_forced();
            let (after, before) = running.split_at_mut(first);
            let mut pending = false;
            for hook in before.iter_mut().chain(after) {
                pending |= hook.poll(cx).is_pending();
            }
            // The budget again: each hook has its turn to be the first.
            first = (first + 1) % running.len();
            if !pending {
                return Poll::Ready(None);
            }
            if was_forced {
                return Poll::Ready(Some(Why::Forced));
            }
            if forced.as_mut().poll(cx).is_pending() {
                return deadline.as_mut().poll(cx).map(|()| Some(Why::Deadline));
            }
            // Force came while they were polled: once more, for those that were before it.
        }
    })
    .await;

    let took = begin.elapsed();
    let mut step = Step::new(phase.name());
    step.took = took;
    for hook in running {
        match hook.end(cut.as_ref(), took) {
            None => step.finished += 1,
            Some(late) => step.late.push(late),
        }
    }
    step
}

/// A hook between its start and the end of its phase.
struct Running {
    phase: Phase,
    name: String,
    state: State,
}

enum State {
    Pending(HookFuture),
    Done,
    Panicked(String),
}

impl Running {
    fn start(hook: Hook, context: HookContext) -> Self {
        let (phase, Hook { name, start, .. }) = (context.phase(), hook);
        let mut running = Self { phase, name, state: State::Done };
        match caught(|| start(context)) {
            Ok(future) => running.state = State::Pending(future),
            Err(panic) => running.panicked(panic),
        }
        running
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let State::Pending(future) = &mut self.state else { return Poll::Ready(()) };
        match caught(|| future.as_mut().poll(cx)) {
            Ok(Poll::Pending) => return Poll::Pending,
            Ok(Poll::Ready(())) => self.drop_future(),
            Err(panic) => {
                self.drop_future();
                self.panicked(panic);
            }
        }
        Poll::Ready(())
    }

    /// The hook's phase is over, `cut` short after `age` if it did not end by itself.
    fn end(mut self, cut: Option<&Why>, age: Duration) -> Option<Late> {
        let pending = matches!(self.state, State::Pending(_));
        self.drop_future();
        match (self.state, cut) {
            (State::Panicked(panic), _) => Some(Late::new(self.name, Why::Panicked(panic))),
            (_, Some(why)) if pending => {
                tracing::warn!(target: TARGET, phase = %self.phase, hook = self.name, %why, "shutdown hook is late");
                Some(Late::new(self.name, why.clone()).age(age))
            }
            _ => None,
        }
    }

    fn drop_future(&mut self) {
        if matches!(self.state, State::Pending(_)) {
            let future = std::mem::replace(&mut self.state, State::Done);
            if let Err(panic) = caught(|| drop(future)) {
                self.panicked(panic);
            }
        }
    }

    fn panicked(&mut self, panic: String) {
        tracing::error!(target: TARGET, phase = %self.phase, hook = self.name, panic, "shutdown hook panicked");
        self.state = State::Panicked(panic);
    }
}

/// What `f` gives, or what it panicked with. The process' panic hook has had the panic by then.
fn caught<T>(f: impl FnOnce() -> T) -> Result<T, String> {
    // Whatever `f` left half-done is dropped and not looked at again.
    catch_unwind(AssertUnwindSafe(f)).map_err(|payload| {
        let text = text(&*payload);
        // A payload is a value like any other: its drop may panic too.
        if let Err(again) = catch_unwind(AssertUnwindSafe(|| drop(payload))) {
            std::mem::forget(again);
        }
        text
    })
}

fn text(payload: &(dyn Any + Send)) -> String {
    match (payload.downcast_ref::<&str>(), payload.downcast_ref::<String>()) {
        (Some(text), _) => (*text).to_owned(),
        (_, Some(text)) => text.clone(),
        _ => "a panic without words".to_owned(),
    }
}
