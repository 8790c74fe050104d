//! A look at all live work, and the question to each where it waits.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::Duration,
};

use tokio::{
    sync::oneshot,
    time::{Instant, timeout_at},
};

use crate::{
    Dump, Live, Registry, State, Waits, clock, entry::Wake, live::escaped, local, shard::Found, stack::Resolver,
    trace::Answer,
};

/// What a dump may cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DumpLimits {
    /// How long it waits for answers: 500 ms. What has not answered by then is listed without a stack.
    pub budget: Duration,
    /// How many entries are asked, oldest first: 10,000. The others are listed without a stack.
    pub asked: usize,
    /// A dump that is asked for so soon after another one gets that one: 1 s. So nobody can keep a server busy with
    /// dumps.
    pub again_after: Duration,
}

impl Default for DumpLimits {
    fn default() -> Self {
        Self { budget: Duration::from_millis(500), asked: 10_000, again_after: Duration::from_secs(1) }
    }
}

pub(crate) type LastDump = Option<(Instant, Arc<Dump>)>;

impl Registry {
    /// Lists all live work, without asking where it waits. Wakes nobody; no lock is held for long.
    #[must_use]
    pub fn snapshot(&self) -> Dump {
        let found = self.find();
        let now = clock::now();
        Dump::new(found.iter().map(|found| live(found, now, Waits::NotAsked)).collect(), untracked(&found))
    }

    /// Lists all live work, with the place where each piece waits, within the default [limits](DumpLimits).
    pub async fn dump(&self) -> Arc<Dump> {
        self.dump_within(DumpLimits::default()).await
    }

    /// Lists all live work, with the place where each piece waits.
    ///
    /// Every entry that is not running is woken once, a few at a time, and polled with a waker that notes who keeps it:
    /// a spurious poll, which every future must bear. One that is running is listed with its thread, and not waited for;
    /// so a worker that is stuck does not hold up the dump. No worker is held up for longer than it takes to poll one of
    /// its tasks and to note a few stacks (below 1 ms); names are looked up on a thread where that may block.
    ///
    /// It needs a tokio runtime with timers, not necessarily the one that runs the work: on a thread and runtime of its
    /// own it answers even if every worker is stuck. One dump at a time runs in a registry.
    pub async fn dump_within(&self, limits: DumpLimits) -> Arc<Dump> {
        let mut last = self.inner.last_dump.lock().await;
        if let Some((at, dump)) = &*last
            && at.elapsed() < limits.again_after
        {
            return Arc::clone(dump);
        }
        let dump = Arc::new(self.ask_all(limits).await);
        *last = Some((Instant::now(), Arc::clone(&dump)));
        dump
    }

    pub(crate) async fn ask_all(&self, limits: DumpLimits) -> Dump {
        let found = self.find();
        let until = Instant::now() + limits.budget;
        let by_id: HashMap<_, _> = found.iter().map(|found| (found.id, found)).collect();
        let mut answers = Vec::with_capacity(found.len());
        let asked = found.len().min(limits.asked);
        // A few at a time: ten thousand tasks woken at once would be ten thousand polls before anybody else's turn.
        for few in found[..asked].chunks(AT_A_TIME) {
            if Instant::now() >= until {
                break;
            }
            let begin = answers.len();
            let mut wakers = Vec::with_capacity(few.len());
            for one in few {
                let (question, answer) = oneshot::channel();
                answers.push(match ask(&by_id, one, question) {
                    Some(wake) => {
                        if let Wake::Own(waker) = wake {
                            wakers.push(waker);
                        }
                        Asked::Waiting(answer)
                    }
                    None => Asked::No,
                });
            }
            wakers.into_iter().for_each(std::task::Waker::wake);
            let few_until = until.min(Instant::now() + A_FEW);
            for asked in &mut answers[begin..] {
                asked.wait(few_until).await;
            }
        }
        // One that was late may have answered since.
        let now = clock::now();
        answers.resize_with(found.len(), || Asked::No);
        let answered: Vec<_> = answers.into_iter().zip(&found).map(|(asked, found)| asked.finish(found)).collect();
        let untracked = untracked(&found);
        let look_up = move || {
            let mut resolver = Resolver::default();
            let mut waits = |answer| match answer {
                Answered::No | Answered::Gone => Waits::NotAsked,
                Answered::Late => Waits::NoAnswer,
                Answered::Yes(Answer { stacks, missed }) => {
                    Waits::At { stacks: stacks.iter().map(|stack| resolver.resolve(stack)).collect(), more: missed }
                }
            };
            let all = found.iter().zip(answered).filter(|(_, answered)| !matches!(answered, Answered::Gone));
            Dump::new(all.map(|(found, answered)| live(found, now, waits(answered))).collect(), untracked)
        };
        match off_the_workers(look_up).await {
            Some(dump) => dump,
            // The runtime is ending.
            None => self.snapshot(),
        }
    }
}

/// Runs `work` on one of tokio's threads for what blocks; on one of its own, if all of those are taken: when they are
/// stuck is when a dump is wanted.
async fn off_the_workers<R: Send + 'static>(work: impl FnOnce() -> R + Send + 'static) -> Option<R> {
    const SOON: Duration = Duration::from_millis(200);
    let (begun, has_begun) = oneshot::channel();
    let (done, result) = oneshot::channel();
    let work = Arc::new(Mutex::new(Some((work, begun, done))));
    let run = move || {
        let taken = work.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some((work, begun, done)) = taken {
            let _ = begun.send(());
            let _ = done.send(work());
        }
    };
    drop(tokio::task::spawn_blocking(run.clone()));
    if timeout_at(Instant::now() + SOON, has_begun).await.is_err() {
        // Without memory for a thread, one of tokio's may still come free.
        let _ = thread::Builder::new().name("dump".into()).spawn(run);
    }
    result.await.ok()
}

enum Asked {
    No,
    Waiting(oneshot::Receiver<Answer>),
    Answered(Answered),
}

enum Answered {
    No,
    Yes(Answer),
    Late,
    /// It ended meanwhile.
    Gone,
}

impl Asked {
    async fn wait(&mut self, until: Instant) {
        if let Self::Waiting(answer) = self {
            match timeout_at(until, answer).await {
                Ok(Ok(answer)) => *self = Self::Answered(Answered::Yes(answer)),
                Ok(Err(_)) => *self = Self::Answered(Answered::Gone),
                Err(_) => {}
            }
        }
    }

    fn finish(self, found: &Found) -> Answered {
        match self {
            Self::No => Answered::No,
            Self::Answered(answered) => answered,
            Self::Waiting(mut answer) => match answer.try_recv() {
                Ok(answer) => Answered::Yes(answer),
                Err(oneshot::error::TryRecvError::Empty) if found.core.is_still(found.id) => Answered::Late,
                // In a seat, the question may have come right behind the end, so that nobody closed it.
                Err(_) => Answered::Gone,
            },
        }
    }
}

/// Puts the question to `one`. `None` if there is no point in waiting for an answer; else who is to be woken.
fn ask(by_id: &HashMap<u64, &Found>, one: &Found, question: oneshot::Sender<Answer>) -> Option<Wake> {
    // Never polled, it keeps no waker.
    if one.figures.polls == 0 && one.figures.running == 0 {
        return None;
    }
    let wake = one.core.ask(one.id, question)?;
    if let Wake::Own(_) = wake {
        return Some(wake);
    }
    let mut inner = one;
    for _ in 0..DEEPEST {
        let Some(outer) = by_id.get(&inner.figures.parent) else { break };
        match outer.core.waker() {
            Some(waker) => return Some(Wake::Own(waker)),
            None => inner = outer,
        }
    }
    Some(wake)
}

fn live(found: &Found, now: u64, waits: Waits) -> Live {
    let since = |then: u64| Duration::from_nanos(now.saturating_sub(then));
    let figures = found.figures;
    let state = match figures {
        figures if figures.running != 0 => {
            State::Running { thread: local::thread_info(figures.thread), since: since(figures.running) }
        }
        figures if figures.polls == 0 => State::New,
        figures => State::Waiting { since: since(figures.idle), waits },
    };
    Live {
        id: found.id,
        kind: found.kind,
        label: escaped(&found.label.render()).into_owned(),
        parent: (figures.parent != 0).then_some(figures.parent),
        spawned_at: found.place,
        age: since(figures.born),
        polls: figures.polls,
        busy: Duration::from_nanos(figures.busy),
        state,
    }
}

/// Tasks of this runtime that no entry is in. `None` outside of a runtime.
fn untracked(found: &[Found]) -> Option<usize> {
    let alive = tokio::runtime::Handle::try_current().ok()?.metrics().num_alive_tasks();
    Some(alive.saturating_sub(tasks(found)))
}

/// How many tasks the entries are in.
pub(crate) fn tasks(found: &[Found]) -> usize {
    // One that was spawned through us is a task before it is polled.
    let tasks: HashSet<_> = found
        .iter()
        .filter_map(|found| found.core.task().or_else(|| found.abort.as_ref().map(tokio::task::AbortHandle::id)))
        .collect();
    tasks.len()
}

const AT_A_TIME: usize = 32;

/// What waits that does not answer has lost its worker to somebody who is stuck.
const A_FEW: Duration = Duration::from_millis(20);

/// Entries in one another that are one task.
const DEEPEST: usize = 16;
