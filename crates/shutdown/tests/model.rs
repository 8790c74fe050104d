//! The order to end in every interleaving that its atomics allow, by loom.
//!
//! The same source file as in the crate, with loom's primitives in the place of std's and tokio's. A wake-up that is lost
//! is a deadlock, which loom reports.
#![cfg(unix)]

use std::sync::Arc;

use loom::{future::block_on, thread};

use self::order::{Effect, Order, Signalled};

#[path = "../src/order.rs"]
mod order;

mod sync {
    //! As the crate's own, but loom's.

    pub(crate) use loom::sync::atomic::{AtomicBool, Ordering};

    /// A cell of std's, with the order of events that std promises: who sees that it is set sees what came before.
    pub(crate) struct OnceLock<T> {
        value: std::sync::OnceLock<T>,
        /// Who sets it is alone with that.
        setting: loom::sync::Mutex<()>,
        set: AtomicBool,
    }

    impl<T> OnceLock<T> {
        pub(crate) fn new() -> Self {
            let (setting, set) = (loom::sync::Mutex::new(()), AtomicBool::new(false));
            Self { value: std::sync::OnceLock::new(), setting, set }
        }

        pub(crate) fn set(&self, value: T) -> Result<(), T> {
            let _alone = self.setting.lock().expect("no panic");
            let result = self.value.set(value);
            self.set.store(true, Ordering::Release);
            result
        }

        pub(crate) fn get(&self) -> Option<&T> {
            if self.set.load(Ordering::Acquire) { self.value.get() } else { None }
        }
    }

    pub(crate) mod watch {
        //! What the crate uses of `tokio::sync::watch`, to its documentation.

        use std::{
            convert::Infallible,
            future::poll_fn,
            task::{Poll, Waker},
        };

        use loom::sync::Mutex;

        pub(crate) struct Sender<T> {
            /// How often something was sent, and who waits.
            state: Mutex<(usize, Vec<Waker>)>,
            _value: T,
        }

        pub(crate) struct Receiver<'a, T> {
            sender: &'a Sender<T>,
            seen: usize,
        }

        impl<T> Sender<T> {
            pub(crate) fn new(value: T) -> Self {
                Self { state: Mutex::new((0, Vec::new())), _value: value }
            }

            pub(crate) fn send_replace(&self, _value: T) {
                let waiting = {
                    let mut state = self.state.lock().expect("no panic");
                    state.0 += 1;
                    std::mem::take(&mut state.1)
                };
                waiting.into_iter().for_each(Waker::wake);
            }

            /// What was sent before counts as seen.
            pub(crate) fn subscribe(&self) -> Receiver<'_, T> {
                Receiver { sender: self, seen: self.state.lock().expect("no panic").0 }
            }
        }

        impl<T> Receiver<'_, T> {
            pub(crate) async fn changed(&mut self) -> Result<(), Infallible> {
                poll_fn(|cx| {
                    let mut state = self.sender.state.lock().expect("no panic");
                    if state.0 != self.seen {
                        self.seen = state.0;
                        return Poll::Ready(Ok(()));
                    }
                    state.1.push(cx.waker().clone());
                    Poll::Pending
                })
                .await
            }
        }
    }
}

/// `preemptions` bounds how often a thread is interrupted where it could go on; `None` is every interleaving there is.
fn model(preemptions: Option<usize>, run: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = preemptions;
    builder.check(run);
}

#[test]
fn who_waits_is_woken_and_finds_the_cause() {
    model(None, || {
        let order = Arc::new(Order::new());
        let giver = thread::spawn({
            let order = Arc::clone(&order);
            move || assert!(order.give("the program"))
        });
        block_on(order.given());
        assert_eq!(order.cause(), Some(&"the program"));
        giver.join().expect("the giver");
    });
}

#[test]
fn of_two_who_give_it_one_is_the_first_and_all_agree_who() {
    model(Some(3), || {
        let order = Arc::new(Order::new());
        let give = |cause| {
            let order = Arc::clone(&order);
            thread::spawn(move || order.give(cause))
        };
        let givers = [give("one"), give("other")];
        block_on(order.given());
        let seen = *order.cause().expect("given");
        let first = givers.map(|giver| giver.join().expect("a giver"));
        assert_eq!(first, [seen == "one", seen == "other"], "one of them, and it stays so");
    });
}

#[test]
fn who_sees_the_force_sees_the_order() {
    model(None, || {
        let order = Arc::new(Order::new());
        let forcer = thread::spawn({
            let order = Arc::clone(&order);
            move || {
                order.give("forced");
                assert!(order.force());
            }
        });
        block_on(order.forced());
        assert!(order.is_given());
        forcer.join().expect("the forcer");
    });
}

#[test]
fn the_order_and_the_force_wake_each_their_own() {
    model(Some(2), || {
        let order = Arc::new(Order::new());
        let waiter = thread::spawn({
            let order = Arc::clone(&order);
            move || block_on(order.given())
        });
        let giver = thread::spawn({
            let order = Arc::clone(&order);
            move || {
                order.give("the program");
                order.force();
            }
        });
        block_on(order.forced());
        waiter.join().expect("who waits for the order");
        giver.join().expect("the giver");
    });
}

/// An operator's drain in the midst of the service manager's signals: the second signal forces, and nothing before it.
#[test]
fn of_two_signals_the_second_forces_whatever_the_program_does() {
    model(Some(3), || {
        let order = Arc::new(Order::new());
        let program = thread::spawn({
            let order = Arc::clone(&order);
            move || order.give("the program")
        });
        let signals = thread::spawn({
            let order = Arc::clone(&order);
            move || {
                let mut signalled = Signalled::default();
                let first = signalled.signal(&order, "SIGTERM");
                assert!(!order.is_forced(), "not by the first, whoever was before it");
                assert_eq!(signalled.signal(&order, "SIGTERM"), Effect::Forced);
                assert_eq!(signalled.signal(&order, "SIGTERM"), Effect::ForcedBefore, "a third does no harm");
                first
            }
        });
        block_on(order.forced());
        let given = program.join().expect("the program");
        let effect = signals.join().expect("the signals");
        assert_eq!(effect, if given { Effect::GivenBefore } else { Effect::Given }, "it was given once");
    });
}
