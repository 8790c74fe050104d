//! What is to be done at the end, until it is done.

use std::{
    fmt,
    pin::Pin,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{task::coop::unconstrained, time::Instant};

use crate::{Shutdown, TARGET};

/// A step of the shutdown that hooks belong to. The order of the values is the order in which they run.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
#[non_exhaustive]
pub enum Phase {
    /// What works in the background: queues, schedulers, consumers. They finish what they have begun, and may still use
    /// every resource.
    Workers,
    /// What everyone else needed: database pools, caches, exporters of telemetry. Nobody uses them any more.
    Resources,
}

impl Phase {
    /// All phases, in order.
    pub const ALL: &'static [Self] = &[Self::Workers, Self::Resources];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Workers => "workers",
            Self::Resources => "resources",
        }
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// What a hook is told.
#[derive(Clone, Debug)]
pub struct HookContext {
    phase: Phase,
    deadline: Instant,
    shutdown: Shutdown,
}

impl HookContext {
    pub(crate) const fn new(phase: Phase, deadline: Instant, shutdown: Shutdown) -> Self {
        Self { phase, deadline, shutdown }
    }

    /// The phase that it runs in.
    #[must_use]
    pub const fn phase(&self) -> Phase {
        self.phase
    }

    /// When its phase ends and it is dropped.
    #[must_use]
    pub const fn deadline(&self) -> Instant {
        self.deadline
    }

    /// What is left until then.
    #[must_use]
    pub fn remaining(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }

    /// Waits for force; ends at once if it was used. A hook that waits for it beside its work has one poll left to do
    /// what cannot be left undone. Cancel-safe.
    pub async fn forced(&self) {
        // Not to be put off by a hook that has used up the task's cooperative budget: there is only that one poll.
        unconstrained(self.shutdown.forced()).await;
    }

    /// Whether force was used.
    #[must_use]
    pub fn is_forced(&self) -> bool {
        self.shutdown.is_forced()
    }
}

pub(crate) type HookFuture = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A hook that has not been started. Boxed: there are a handful in a process, and each runs once.
pub(crate) struct Hook {
    phase: Phase,
    pub(crate) name: String,
    pub(crate) start: Box<dyn FnOnce(HookContext) -> HookFuture + Send>,
}

/// The hooks that were not started yet.
#[derive(Default)]
pub(crate) struct Hooks {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    waiting: Vec<Hook>,
    /// The last phase whose hooks were taken.
    reached: Option<Phase>,
    /// Whether someone runs them: phases must not overtake one another.
    running: bool,
}

/// The right to run the phases, while it lives.
pub(crate) struct Turn<'a> {
    hooks: &'a Hooks,
}

impl Hooks {
    pub(crate) fn add<F, Fut>(&self, phase: Phase, name: String, hook: F)
    where
        F: FnOnce(HookContext) -> Fut + Send + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        let hook = Hook { phase, name, start: Box::new(|context| Box::pin(hook(context))) };
        let mut state = self.state();
        if Some(phase) > state.reached {
            state.waiting.push(hook);
            return;
        }
        // Neither the log nor the drop of what the hook holds runs under the lock.
        drop(state);
        tracing::warn!(target: TARGET, %phase, hook = hook.name, "shutdown hook registered too late: its phase has begun");
    }

    /// How many phases after `reached` have hooks.
    pub(crate) fn phases_from(&self, reached: Option<Phase>) -> u32 {
        let state = self.state();
        let has_hooks = |phase: Phase| state.waiting.iter().any(|hook| hook.phase == phase);
        Phase::ALL.iter().map(|&phase| u32::from(Some(phase) > reached && has_hooks(phase))).sum()
    }

    /// `None` while another has the turn.
    pub(crate) fn turn(&self) -> Option<Turn<'_>> {
        let taken = std::mem::replace(&mut self.state().running, true);
        // Not `then_some`: a turn that is made only to be thrown away would end the other's.
        (!taken).then(|| Turn { hooks: self })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // No code of a user runs under the lock, so nothing panics half-way.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Turn<'_> {
    /// Takes the hooks of `phase`: none if it was begun before.
    pub(crate) fn take(&self, phase: Phase) -> Vec<Hook> {
        let mut state = self.hooks.state();
        state.reached = state.reached.max(Some(phase));
        state.waiting.extract_if(.., |hook| hook.phase == phase).collect()
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.hooks.state().running = false;
    }
}

impl fmt::Debug for Hooks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state();
        let State { waiting, reached: _, running: _ } = &*state;
        f.debug_list().entries(waiting.iter().map(|Hook { phase, name, start: _ }| (phase, name))).finish()
    }
}
