//! How connections are told to end, in every interleaving that the atomics and locks allow, by loom.
//!
//! The same source files as in the crate, with loom's primitives in the place of std's and tokio's. A wake-up that is lost
//! is a deadlock, which loom reports.

use std::{
    future::poll_fn,
    sync::{Arc, atomic},
    task::Poll,
};

use loom::{future::block_on, thread};

use self::{
    roll::{Hears, Roll},
    told::{Side, Signal, Told},
};

#[path = "../src/roll.rs"]
#[expect(dead_code, reason = "not all of it takes part")]
mod roll;
#[path = "../src/told.rs"]
mod told;

mod sync {
    //! As the crate's own, but loom's.

    use std::{
        pin::Pin,
        task::{Context, Poll, Waker},
    };

    pub(crate) use loom::sync::{
        Mutex, MutexGuard,
        atomic::{AtomicU8, Ordering},
    };
    pub(crate) use std::sync::PoisonError;

    /// What the crate uses of `tokio::sync::Notify`, to its documentation: `notify_waiters` wakes each waiter that was
    /// made before it, polled or not, and leaves nothing for one that is made after it.
    pub(crate) struct Notify {
        /// How often it was told, and who waits.
        state: Mutex<(usize, Vec<Waker>)>,
    }

    pub(crate) struct Notified<'a> {
        notify: &'a Notify,
        made_at: usize,
    }

    impl Notify {
        pub(crate) fn new() -> Self {
            Self { state: Mutex::new((0, Vec::new())) }
        }

        pub(crate) fn notified(&self) -> Notified<'_> {
            Notified { notify: self, made_at: self.state.lock().expect("no panic").0 }
        }

        pub(crate) fn notify_waiters(&self) {
            let waiting = {
                let mut state = self.state.lock().expect("no panic");
                state.0 += 1;
                std::mem::take(&mut state.1)
            };
            waiting.into_iter().for_each(Waker::wake);
        }
    }

    impl Notified<'_> {
        /// It is, from the start.
        pub(crate) fn enable(self: Pin<&mut Self>) {}
    }

    impl Future for Notified<'_> {
        type Output = ();

        fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
            let mut state = self.notify.state.lock().expect("no panic");
            if state.0 != self.made_at {
                return Poll::Ready(());
            }
            state.1.push(cx.waker().clone());
            Poll::Pending
        }
    }
}

impl Hears for Told {
    fn hear(&self, signal: Signal) {
        self.raise(signal);
    }
}

/// `preemptions` bounds how often a thread is interrupted where it could go on; `None` is every interleaving there is.
fn model(preemptions: Option<usize>, run: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = preemptions;
    builder.check(run);
}

/// What a connection's task does, as `Connection::poll`: it stores its waker the first time, and looks after that.
async fn told(told: &Told, until: Signal) -> Signal {
    let mut stored = false;
    poll_fn(|cx| {
        if !std::mem::replace(&mut stored, true) {
            told.listen(cx.waker());
        }
        let signal = told.signal();
        if signal >= until { Poll::Ready(signal) } else { Poll::Pending }
    })
    .await
}

/// What the reader or the writer of an upgraded socket does, each time it is polled.
async fn gated(told: &Told, side: Side) {
    poll_fn(|cx| {
        told.listen_upgraded(side, cx.waker());
        if told.signal() == Signal::Force { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}

#[test]
fn a_connection_hears_of_the_drain() {
    model(None, || {
        let connection = Arc::new(Told::new());
        let registry = thread::spawn({
            let connection = Arc::clone(&connection);
            move || connection.raise(Signal::Drain)
        });
        assert_eq!(block_on(told(&connection, Signal::Drain)), Signal::Drain);
        registry.join().expect("the registry");
    });
}

#[test]
fn the_second_signal_gets_through_as_well_and_the_first_never_takes_it_back() {
    model(Some(3), || {
        let connection = Arc::new(Told::new());
        let raise = |signal| {
            let connection = Arc::clone(&connection);
            thread::spawn(move || connection.raise(signal))
        };
        let (drain, force) = (raise(Signal::Drain), raise(Signal::Force));
        block_on(told(&connection, Signal::Drain));
        assert_eq!(block_on(told(&connection, Signal::Force)), Signal::Force);
        drain.join().expect("one thread");
        force.join().expect("the other");
        assert_eq!(connection.signal(), Signal::Force, "a signal is only ever raised");
    });
}

#[test]
fn both_sides_of_an_upgraded_socket_hear_of_the_force() {
    model(Some(3), || {
        let socket = Arc::new(Told::new());
        let registry = thread::spawn({
            let socket = Arc::clone(&socket);
            move || socket.raise(Signal::Force)
        });
        let writer = thread::spawn({
            let socket = Arc::clone(&socket);
            move || block_on(gated(&socket, Side::Write))
        });
        block_on(gated(&socket, Side::Read));
        writer.join().expect("the writer");
        registry.join().expect("the registry");
    });
}

#[test]
fn one_that_is_opened_while_the_drain_begins_hears_of_it() {
    model(None, || {
        let roll = Arc::new(Roll::new());
        let registry = thread::spawn({
            let roll = Arc::clone(&roll);
            move || roll.tell(Signal::Drain)
        });
        // Before the signal, after it, or in the midst of it: its task waits for nothing else.
        let connection = Arc::new(Told::new());
        roll.enter(1, Arc::clone(&connection));
        block_on(told(&connection, Signal::Drain));
        roll.leave(1);
        registry.join().expect("the registry");
        assert_eq!(roll.len(), 0);
    });
}

#[test]
fn the_last_to_go_ends_the_wait() {
    model(None, || {
        let roll = Arc::new(Roll::<Told>::new());
        roll.enter(1, Arc::new(Told::new()));
        roll.enter(2, Arc::new(Told::new()));
        let leave = |number| {
            let roll = Arc::clone(&roll);
            thread::spawn(move || roll.leave(number))
        };
        let leavers = [leave(1), leave(2)];
        block_on(roll.emptied());
        assert_eq!(roll.len(), 0);
        for leaver in leavers {
            leaver.join().expect("a leaver");
        }
    });
}

/// The whole of a drain: one connection is there, one is accepted on the last call, both end when they hear of it, and the
/// server waits for both.
#[test]
fn a_drain_waits_for_all_and_ends() {
    model(Some(2), || {
        let roll = Arc::new(Roll::new());
        let ended = Arc::new(atomic::AtomicUsize::new(0));
        let open = |number| {
            let (roll, ended, connection) = (Arc::clone(&roll), Arc::clone(&ended), Arc::new(Told::new()));
            roll.enter(number, Arc::clone(&connection));
            thread::spawn(move || {
                block_on(told(&connection, Signal::Drain));
                ended.fetch_add(1, atomic::Ordering::SeqCst);
                roll.leave(number);
            })
        };
        let first = open(1);
        roll.tell(Signal::Drain);
        let second = open(2);
        block_on(roll.emptied());
        assert_eq!(ended.load(atomic::Ordering::SeqCst), 2, "nobody is left behind");
        first.join().expect("the first");
        second.join().expect("the second");
    });
}
