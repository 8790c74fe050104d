//! The state machine: who is in, who waits, who is next. It knows nothing of HTTP, timers or tower.
//!
//! One atomic holds the number of free permits and a flag, [`WAITING`]. While the flag is off, coming in is one
//! compare-and-swap and leaving one addition, and nobody touches the lock. The flag is on exactly while somebody stands
//! in the line (it only changes under the line's lock), and then:
//!
//! - a newcomer does not compete: it goes to the end of the line, or away;
//! - whoever leaves adds its permit and then, under the lock, hands it to the first in the line.
//!
//! So a permit can be counted as free for a moment while people wait, but only the one who holds the lock can take it,
//! and it takes it for the first in the line: nobody overtakes.
//!
//! No wake-up is lost, because the decision to wait and the permit's return meet in the one atomic. Either the
//! newcomer's attempt to raise the flag sees the permit, and takes it; or the leaver's addition sees the flag, and then
//! the lock, which the newcomer holds until it stands in the line, makes the leaver find it there.

use std::{
    collections::BTreeMap,
    sync::PoisonError,
    task::{Context, Poll, Waker},
};

use crate::sync::{Arc, AtomicIsize, Mutex, MutexGuard, Ordering};

/// On while somebody waits.
const WAITING: isize = 1;
/// One permit, in the bits above the flag.
const PERMIT: isize = 2;

/// The largest limit: far from where adding or taking all permits could overflow the bits above the flag.
pub(crate) const MAX_PERMITS: usize = usize::MAX >> 3;

/// How many may be in at once, and the line in front of it.
#[derive(Debug)]
pub(crate) struct Gate {
    /// `PERMIT` times the free permits, plus `WAITING`. Below zero after the limit was lowered under what is in use.
    state: Padded<AtomicIsize>,
    line: Mutex<Line>,
}

/// On a cache line of its own (two, as x86-64 fetches them in pairs and some aarch64 have 128 bytes): those who take the
/// lock do not slow down those who need not.
#[derive(Debug)]
#[repr(align(128))]
struct Padded<T>(T);

/// Everything that only matters when there is no free permit.
#[derive(Debug)]
struct Line {
    limit: usize,
    /// Those who wait, by ticket, so the first is the one to go next. The waker is missing until the first poll.
    ///
    /// A ticket that is no longer here has been granted its permit. A tree, because any of them may leave at any time
    /// and a slot that stays behind as a tombstone would not be bounded by anything.
    tickets: BTreeMap<u64, Option<Waker>>,
    next_ticket: u64,
    counts: Counts,
}

/// What happened at the gate since it was made. Those who found a free permit are not counted: that would be a second
/// atomic for each of them.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counts {
    pub(crate) admitted_after_wait: u64,
    pub(crate) line_full: u64,
    pub(crate) timed_out: u64,
    pub(crate) abandoned: u64,
}

/// A consistent look at the gate.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Look {
    pub(crate) limit: usize,
    pub(crate) inside: usize,
    pub(crate) waiting: usize,
    pub(crate) counts: Counts,
}

/// What becomes of a newcomer.
#[derive(Debug)]
pub(crate) enum Entry {
    Admitted(Permit),
    Waiting(Waiter),
    LineFull,
}

impl Gate {
    pub(crate) fn new(limit: usize) -> Arc<Self> {
        let limit = limit.min(MAX_PERMITS);
        let line = Line { limit, tickets: BTreeMap::new(), next_ticket: 0, counts: Counts::default() };
        Arc::new(Self { state: Padded(AtomicIsize::new(permits(limit))), line: Mutex::new(line) })
    }

    /// In, if there is a free permit and nobody waits for one.
    #[inline]
    pub(crate) fn try_enter(gate: &Arc<Self>) -> Option<Permit> {
        gate.try_take().then(|| Permit { gate: Arc::clone(gate) })
    }

    /// In, or into the line if fewer than `max_waiting` stand in it.
    pub(crate) fn enter(gate: &Arc<Self>, max_waiting: usize) -> Entry {
        let mut line = gate.lock();
        loop {
            if gate.try_take() {
                return Entry::Admitted(Permit { gate: Arc::clone(gate) });
            }
            if line.tickets.len() >= max_waiting {
                line.counts.line_full += 1;
                return Entry::LineFull;
            }
            if gate.raise_flag() {
                let ticket = line.next_ticket;
                line.next_ticket += 1;
                line.tickets.insert(ticket, None);
                return Entry::Waiting(Waiter { gate: Some(Arc::clone(gate)), ticket });
            }
        }
    }

    /// A new limit, for those to come. Those who are in stay in.
    pub(crate) fn set(&self, limit: usize) {
        let limit = limit.min(MAX_PERMITS);
        let mut line = self.lock();
        let change = permits(limit) - permits(line.limit);
        line.limit = limit;
        // Under the lock, so that while somebody waits nobody but its holder takes permits away.
        let before = self.state.0.fetch_add(change, Ordering::Relaxed);
        drop(line);
        if before & WAITING != 0 && change > 0 {
            self.hand_over();
        }
    }

    pub(crate) fn look(&self) -> Look {
        let line = self.lock();
        let free = self.state.0.load(Ordering::Relaxed) >> 1;
        Look {
            limit: line.limit,
            // No more permits are free than there are, and the limit cannot change under the lock.
            inside: line.limit.cast_signed().wrapping_sub(free).max(0).cast_unsigned(),
            waiting: line.tickets.len(),
            counts: line.counts,
        }
    }

    /// The free path: one load, one compare-and-swap. It loops only if another thread came or left in between.
    #[inline]
    fn try_take(&self) -> bool {
        let mut state = self.state.0.load(Ordering::Relaxed);
        while state >= PERMIT && state & WAITING == 0 {
            // Acquire pairs with the Release of `leave`: what was done under this permit before has happened.
            match self.state.0.compare_exchange_weak(state, state - PERMIT, Ordering::Acquire, Ordering::Relaxed) {
                Ok(_) => return true,
                Err(now) => state = now,
            }
        }
        false
    }

    /// Whether the flag is up. Not if there is a free permit to take instead. Only with the lock held.
    fn raise_flag(&self) -> bool {
        let mut state = self.state.0.load(Ordering::Relaxed);
        loop {
            if state & WAITING != 0 {
                return true;
            }
            if state >= PERMIT {
                return false;
            }
            // Relaxed: a leaver that sees the flag goes through the lock, which is held here.
            match self.state.0.compare_exchange_weak(state, state | WAITING, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return true,
                Err(now) => state = now,
            }
        }
    }

    #[inline]
    fn leave(&self) {
        // Release pairs with the Acquire of `try_take`; to one who waited, the lock passes it on.
        let before = self.state.0.fetch_add(PERMIT, Ordering::Release);
        if before & WAITING != 0 {
            self.hand_over();
        }
    }

    /// Gives free permits to the first in the line, as long as there are both.
    ///
    /// Everyone who adds a permit while the flag is up comes here afterwards and sees at least its own, so it is enough
    /// that each grants what it sees.
    #[cold]
    fn hand_over(&self) {
        loop {
            let mut line = self.lock();
            let state = self.state.0.load(Ordering::Relaxed);
            if state < PERMIT {
                return; // another one granted it, or the limit was lowered
            }
            let Some((_, waker)) = line.tickets.pop_first() else {
                return; // the last one left the line, and took the flag down
            };
            let last = line.tickets.is_empty();
            self.state.0.fetch_sub(if last { PERMIT + WAITING } else { PERMIT }, Ordering::Relaxed);
            drop(line);
            // Outside the lock: a waker runs foreign code. Missing, if the one granted has not been polled yet.
            if let Some(waker) = waker {
                waker.wake();
            }
            if last || state < 2 * PERMIT {
                return;
            }
        }
    }

    /// Nothing panics while it holds the lock except a waker's own `clone`, which leaves the line as it was.
    fn lock(&self) -> MutexGuard<'_, Line> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A place inside, given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Permit {
    gate: Arc<Gate>,
}

impl Drop for Permit {
    #[inline]
    fn drop(&mut self) {
        self.gate.leave();
    }
}

/// A place in the line, given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Waiter {
    /// Taken when the wait is over: what a ticket that is gone from the line stands for is collected once.
    gate: Option<Arc<Gate>>,
    ticket: u64,
}

impl Waiter {
    /// Ready once, with the permit.
    pub(crate) fn poll(&mut self, cx: &Context<'_>) -> Poll<Permit> {
        let Some(gate) = &self.gate else { return Poll::Pending };
        let mut line = gate.lock();
        let replaced = match line.tickets.get_mut(&self.ticket) {
            Some(Some(waker)) if waker.will_wake(cx.waker()) => return Poll::Pending,
            Some(waker) => waker.replace(cx.waker().clone()),
            None => {
                line.counts.admitted_after_wait += 1;
                drop(line);
                return self.gate.take().map_or(Poll::Pending, |gate| Poll::Ready(Permit { gate }));
            }
        };
        drop(line);
        // Outside the lock: it may be the last of its task, and end with all that the task holds, permits too.
        drop(replaced);
        Poll::Pending
    }

    /// Stops waiting. A permit that was granted in the meantime wins.
    pub(crate) fn time_out(&mut self) -> Option<Permit> {
        self.leave_line(|counts, granted| {
            *(if granted { &mut counts.admitted_after_wait } else { &mut counts.timed_out }) += 1;
        })
    }

    fn leave_line(&mut self, count: impl FnOnce(&mut Counts, bool)) -> Option<Permit> {
        let gate = self.gate.take()?;
        let mut line = gate.lock();
        let place = line.tickets.remove(&self.ticket);
        count(&mut line.counts, place.is_none());
        if place.is_some() && line.tickets.is_empty() {
            gate.state.0.fetch_sub(WAITING, Ordering::Relaxed);
        }
        drop(line);
        // The waker in `place` ends here, outside the lock.
        place.is_none().then(|| Permit { gate })
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        // A permit that was just granted goes on to the next.
        drop(self.leave_line(|counts, _| counts.abandoned += 1));
    }
}

/// `limit` is at most `MAX_PERMITS`.
const fn permits(limit: usize) -> isize {
    limit.cast_signed() * PERMIT
}

#[cfg(test)]
#[path = "gate_model.rs"]
mod model;
