//! The gate in every interleaving that its atomics and its lock allow, by loom.
//!
//! A wake-up that is lost is a deadlock, which loom reports. `settled` then checks that every permit came back.

use std::{future::poll_fn, task::Poll};

use loom::{
    future::block_on,
    sync::atomic::{AtomicUsize, Ordering},
    thread,
};

use super::*;

/// What a request is served: the permit of one that waits its turn, if it must.
fn wait(mut waiter: Waiter) -> Permit {
    block_on(poll_fn(|cx| waiter.poll(cx)))
}

fn enter(gate: &Arc<Gate>) -> Permit {
    if let Some(permit) = Gate::try_enter(gate) {
        return permit;
    }
    match Gate::enter(gate, usize::MAX) {
        Entry::Admitted(permit) => permit,
        Entry::Waiting(waiter) => wait(waiter),
        Entry::LineFull => unreachable!("the line has no bound"),
    }
}

fn queue(gate: &Arc<Gate>) -> Waiter {
    match Gate::enter(gate, usize::MAX) {
        Entry::Waiting(waiter) => waiter,
        other => unreachable!("the gate must be full here: {other:?}"),
    }
}

fn settled(gate: &Arc<Gate>) {
    let look = gate.look();
    assert_eq!((look.inside, look.waiting), (0, 0), "everyone is gone: {look:?}");
    let state = gate.state.0.load(Ordering::Relaxed);
    assert_eq!(state, permits(look.limit), "all permits are back, and the flag is down");
}

/// `preemptions` bounds how often a thread is interrupted where it could go on; `None` is every interleaving there is.
fn model(preemptions: Option<usize>, run: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = preemptions;
    builder.check(run);
}

/// What only one may touch at a time: read and written in two steps, and with no ordering of its own.
#[derive(Default)]
struct Room {
    inside: AtomicUsize,
    visits: AtomicUsize,
}

impl Room {
    /// In, and out again.
    fn visit(&self, gate: &Arc<Gate>) {
        let permit = enter(gate);
        assert_eq!(self.inside.fetch_add(1, Ordering::Relaxed), 0, "never a second one inside");
        let visits = self.visits.load(Ordering::Relaxed);
        self.visits.store(visits + 1, Ordering::Relaxed);
        self.inside.fetch_sub(1, Ordering::Relaxed);
        drop(permit);
    }
}

fn visit_together(visitors: usize) {
    let gate = Gate::new(1);
    let room = Arc::new(Room::default());
    let others: Vec<_> = (1..visitors)
        .map(|_| {
            let (gate, room) = (Arc::clone(&gate), Arc::clone(&room));
            thread::spawn(move || room.visit(&gate))
        })
        .collect();
    room.visit(&gate);
    for other in others {
        other.join().expect("another visitor");
    }
    assert_eq!(room.visits.load(Ordering::Relaxed), visitors, "each sees what the one before it did");
    settled(&gate);
}

#[test]
fn two_share_one_permit() {
    model(None, || visit_together(2));
}

#[test]
fn three_share_one_permit() {
    model(Some(2), || visit_together(3));
}

#[test]
fn two_permits_that_come_back_at_once_wake_two() {
    model(Some(2), || {
        let gate = Gate::new(2);
        let permits = [Gate::try_enter(&gate), Gate::try_enter(&gate)];
        let waiters = [queue(&gate), queue(&gate)];
        let leavers = permits.map(|permit| thread::spawn(move || drop(permit)));
        let served = waiters.map(wait);
        for leaver in leavers {
            leaver.join().expect("a leaver");
        }
        assert_eq!(gate.look().inside, 2);
        drop(served);
        settled(&gate);
    });
}

#[test]
fn a_newcomer_never_overtakes() {
    model(None, || {
        let gate = Gate::new(1);
        let inside = Gate::try_enter(&gate).expect("free");
        let mut first = queue(&gate);
        let leaver = thread::spawn(move || drop(inside));
        assert!(Gate::try_enter(&gate).is_none(), "one waits: a newcomer is not let in");
        let mut second = queue(&gate);
        leaver.join().expect("the leaver");
        let cx = Context::from_waker(Waker::noop());
        assert!(second.poll(&cx).is_pending(), "second come, second served");
        let Poll::Ready(permit) = first.poll(&cx) else { panic!("the permit is the first one's") };
        drop(permit);
        assert!(second.poll(&cx).is_ready());
        drop(second);
        settled(&gate);
    });
}

#[test]
fn the_permit_of_one_that_leaves_goes_to_the_next() {
    model(Some(2), || {
        let gate = Gate::new(1);
        let inside = Gate::try_enter(&gate).expect("free");
        let (first, second) = (queue(&gate), queue(&gate));
        let gone = thread::spawn(move || drop(first));
        let leaver = thread::spawn(move || drop(inside));
        drop(wait(second));
        gone.join().expect("the one that leaves the line");
        leaver.join().expect("the leaver");
        assert_eq!(gate.look().counts.abandoned, 1);
        settled(&gate);
    });
}

#[test]
fn the_last_in_the_line_leaves_while_its_permit_comes() {
    model(None, || {
        let gate = Gate::new(1);
        let inside = Gate::try_enter(&gate).expect("free");
        let waiter = queue(&gate);
        let gone = thread::spawn(move || drop(waiter));
        drop(inside);
        gone.join().expect("the one that leaves the line");
        settled(&gate);
    });
}

#[test]
fn a_newcomer_finds_the_line_leaving() {
    model(Some(2), || {
        let gate = Gate::new(1);
        let inside = Gate::try_enter(&gate).expect("free");
        let waiter = queue(&gate);
        let gone = thread::spawn(move || drop(waiter));
        let newcomer = {
            let gate = Arc::clone(&gate);
            thread::spawn(move || drop(enter(&gate)))
        };
        drop(inside);
        gone.join().expect("the one that leaves the line");
        newcomer.join().expect("the newcomer");
        settled(&gate);
    });
}

#[test]
fn a_wait_that_ends_with_a_grant_has_the_grant_or_leaves_it_to_the_next() {
    model(Some(2), || {
        let gate = Gate::new(1);
        let inside = Gate::try_enter(&gate).expect("free");
        let (mut first, second) = (queue(&gate), queue(&gate));
        let timer = thread::spawn(move || first.time_out().is_some());
        let leaver = thread::spawn(move || drop(inside));
        drop(wait(second));
        let granted = timer.join().expect("the one whose time is over");
        leaver.join().expect("the leaver");
        let counts = gate.look().counts;
        assert_eq!(counts.timed_out, u64::from(!granted), "one outcome, counted once");
        assert_eq!(counts.admitted_after_wait, 1 + u64::from(granted));
        settled(&gate);
    });
}

#[test]
fn a_raised_limit_wakes() {
    model(Some(2), || {
        let gate = Gate::new(0);
        let waiters = [(); 2].map(|()| {
            let gate = Arc::clone(&gate);
            thread::spawn(move || drop(enter(&gate)))
        });
        gate.set(2);
        for waiter in waiters {
            waiter.join().expect("a waiter");
        }
        settled(&gate);
    });
}

#[test]
fn a_raised_limit_wakes_as_many_as_it_lets_in() {
    model(None, || {
        let gate = Gate::new(0);
        let mut waiters = [queue(&gate), queue(&gate), queue(&gate)];
        gate.set(2);
        let cx = Context::from_waker(Waker::noop());
        let polls = waiters.each_mut().map(|waiter| waiter.poll(&cx));
        let served = polls.each_ref().map(Poll::is_ready);
        assert_eq!(served, [true, true, false], "in the order they came, and no more");
        drop((polls, waiters));
        settled(&gate);
    });
}

#[test]
fn a_lowered_limit_takes_no_permit_from_anyone_and_lets_nobody_in() {
    model(None, || {
        let gate = Gate::new(2);
        let first = enter(&gate);
        let second = enter(&gate);
        let operator = {
            let gate = Arc::clone(&gate);
            thread::spawn(move || gate.set(1))
        };
        drop(first);
        operator.join().expect("the operator");
        assert_eq!(gate.look().inside, 1);
        assert!(Gate::try_enter(&gate).is_none(), "full at the new limit");
        drop(second);
        settled(&gate);
    });
}

#[test]
fn a_permit_over_a_lowered_limit_is_not_handed_on() {
    model(None, || {
        let gate = Gate::new(2);
        let (first, second) = (enter(&gate), enter(&gate));
        let mut waiter = queue(&gate);
        gate.set(1);
        let leaver = thread::spawn(move || drop(first));
        let cx = Context::from_waker(Waker::noop());
        assert!(waiter.poll(&cx).is_pending(), "one is in, and one is the limit");
        leaver.join().expect("the leaver");
        assert!(waiter.poll(&cx).is_pending(), "one is in, and one is the limit");
        drop(second);
        assert!(waiter.poll(&cx).is_ready());
        drop(waiter);
        settled(&gate);
    });
}

#[test]
fn the_limit_changes_while_one_leaves_and_one_waits() {
    model(Some(2), || {
        let gate = Gate::new(2);
        let (first, second) = (enter(&gate), enter(&gate));
        let waiter = {
            let gate = Arc::clone(&gate);
            thread::spawn(move || drop(enter(&gate)))
        };
        let leaver = thread::spawn(move || drop(first));
        gate.set(1);
        leaver.join().expect("the leaver");
        drop(second);
        waiter.join().expect("the waiter");
        settled(&gate);
    });
}
