//! What an entry is asked, and who wakes it to answer: one side asks while the other is polled.

use std::{mem, sync::PoisonError, task::Waker};

use crate::sync::{AtomicBool, Mutex, MutexGuard, Ordering};

/// Of one entry; `Q` is a question, `T` what else is kept with the waker.
pub(crate) struct Inbox<Q, T> {
    /// There is a question among what is kept.
    asked: AtomicBool,
    kept: Mutex<Kept<Q, T>>,
}

/// What is seldom touched.
pub(crate) struct Kept<Q, T> {
    waker: Option<Waker>,
    with: Option<T>,
    question: Option<Q>,
}

impl<Q, T: Copy> Inbox<Q, T> {
    pub(crate) fn new() -> Self {
        let kept = Kept { waker: None, with: None, question: None };
        Self { asked: AtomicBool::new(false), kept: Mutex::new(kept) }
    }

    /// Puts a question, and gives who is to be woken for it, if that is known.
    ///
    /// If it is not, the owner has not listened yet: it takes the lock for that after this, and sees the question.
    pub(crate) fn ask(&self, question: Q) -> Option<Waker> {
        let mut kept = self.kept();
        let former = kept.question.replace(question);
        // Release: pairs with the load in `is_asked`.
        self.asked.store(true, Ordering::Release);
        let waker = kept.waker.clone();
        drop(kept);
        // Of a dump that was given up: nobody listens.
        drop(former);
        waker
    }

    /// Looked at by the owner in each of its polls, after it has listened. A question that comes later comes with a wake,
    /// and so with another poll.
    #[inline]
    pub(crate) fn is_asked(&self) -> bool {
        self.asked.load(Ordering::Acquire)
    }

    /// By the owner. `None` if the question was taken with one that came right before.
    pub(crate) fn take(&self) -> Option<Q> {
        // Before the lock: who asks after that raises it again.
        self.asked.store(false, Ordering::Relaxed);
        self.kept().question.take()
    }

    /// By the owner: keeps who is to be woken.
    pub(crate) fn listen(&self, waker: Waker, with: Option<T>) {
        let former = {
            let mut kept = self.kept();
            kept.with = with;
            kept.waker.replace(waker)
        };
        drop(former);
    }

    pub(crate) fn waker(&self) -> Option<Waker> {
        self.kept().waker.clone()
    }

    pub(crate) fn with(&self) -> Option<T> {
        self.kept().with
    }

    /// Gives what was kept, to be dropped where no lock is held. `None` if there was nothing: if nobody has asked, and
    /// the owner has not `listened`.
    pub(crate) fn empty(&self, listened: bool) -> Option<Kept<Q, T>> {
        (listened || self.is_asked()).then(|| {
            self.asked.store(false, Ordering::Relaxed);
            mem::replace(&mut *self.kept(), Kept { waker: None, with: None, question: None })
        })
    }

    fn kept(&self) -> MutexGuard<'_, Kept<Q, T>> {
        // Foreign code under the lock is the clone of a waker, before which nothing is half done.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
