//! A dump's question to an entry in every interleaving that its atomics allow, by loom.
//!
//! The same source file as in the crate, with loom's primitives in the place of std's. A question that nobody is woken
//! for is a deadlock, which loom reports.

use std::{future::poll_fn, sync::Arc, task::Poll};

use loom::{future::block_on, thread};

use self::inbox::Inbox;

#[path = "../src/inbox.rs"]
#[expect(dead_code, reason = "the crate uses the rest")]
mod inbox;

mod sync {
    //! As the crate's own, but loom's.

    pub(crate) use loom::sync::{
        Mutex, MutexGuard,
        atomic::{AtomicBool, Ordering},
    };
}

type Questions = Inbox<usize, ()>;

/// As an entry is polled: it listens, looks, and waits. Ends when it has taken the question `last`; gives all.
fn owner(inbox: &Questions, last: usize) -> Vec<usize> {
    let mut listens = false;
    let mut taken = Vec::new();
    block_on(poll_fn(|cx| {
        if !listens {
            inbox.listen(cx.waker().clone(), None);
            listens = true;
        }
        if inbox.is_asked() {
            taken.extend(inbox.take());
        }
        if taken.contains(&last) { Poll::Ready(()) } else { Poll::Pending }
    }));
    taken
}

fn ask(inbox: &Questions, question: usize) {
    if let Some(waker) = inbox.ask(question) {
        waker.wake();
    }
}

#[test]
fn a_question_is_answered_whenever_it_comes() {
    loom::model(|| {
        let inbox = Arc::new(Questions::new());
        let dump = thread::spawn({
            let inbox = Arc::clone(&inbox);
            move || ask(&inbox, 1)
        });
        assert_eq!(owner(&inbox, 1), [1], "once");
        dump.join().expect("no panic");
        assert!(!inbox.is_asked());
    });
}

#[test]
fn the_second_of_two_questions_is_answered_whatever_became_of_the_first() {
    loom::model(|| {
        let inbox = Arc::new(Questions::new());
        let dump = thread::spawn({
            let inbox = Arc::clone(&inbox);
            move || {
                // Given up, as by a dump that ran out of time; the next one asks again.
                ask(&inbox, 1);
                ask(&inbox, 2);
            }
        });
        let taken = owner(&inbox, 2);
        assert!(taken == [2] || taken == [1, 2], "in order, each once: {taken:?}");
        dump.join().expect("no panic");
    });
}

#[test]
fn what_ends_while_it_is_asked_gives_the_question_back() {
    loom::model(|| {
        let inbox = Arc::new(Inbox::<Arc<()>, ()>::new());
        let question = Arc::new(());
        let dump = thread::spawn({
            let (inbox, question) = (Arc::clone(&inbox), Arc::clone(&question));
            move || drop(inbox.ask(question))
        });
        drop(inbox.empty(false));
        dump.join().expect("no panic");
        // What came after that is for the one that looks next: under the shard's lock it cannot be.
        drop(inbox.empty(false));
        assert_eq!(Arc::strong_count(&question), 1, "nobody keeps it");
    });
}
