//! The thread-local through which a timer is lent, for the time of one poll.

use std::{
    cell::Cell,
    task::{Context, Waker},
};

use tokio::time::Instant;

/// What a lender leaves in the thread-local while it polls.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Loan {
    /// Whose timer it is. Only a future polled with this very waker may borrow: one polled with another (its own task,
    /// a `FuturesUnordered`) would not be polled again when the lender's task is.
    pub(crate) task: Option<Task>,
    /// The earliest instant that a borrower asked for.
    pub(crate) wanted: Option<Instant>,
}

impl Loan {
    pub(crate) const fn none() -> Self {
        Self { task: None, wanted: None }
    }
}

/// Which task a waker wakes: what [`Waker::will_wake`] compares, without holding on to the task.
///
/// It says nothing once the waker that it was taken from is gone, for another task may come to lie in its place. A loan
/// lasts for one poll, in which the lender's waker is there; a timer that stays armed for a task holds a waker of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Task {
    data: usize,
    vtable: usize,
}

impl Task {
    pub(crate) fn of(waker: &Waker) -> Self {
        Self { data: waker.data().addr(), vtable: std::ptr::from_ref(waker.vtable()).addr() }
    }
}

thread_local! {
    static CURRENT: Cell<Loan> = const { Cell::new(Loan::none()) };
}

/// Lends `loan` while `poll` runs, also if that panics. Lenders nest: the innermost is asked.
pub(crate) fn lend<R>(loan: &mut Loan, poll: impl FnOnce() -> R) -> R {
    /// Has the outer loan in the place of the one that is lent.
    struct Return<'a>(&'a mut Loan);
    impl Drop for Return<'_> {
        fn drop(&mut self) {
            CURRENT.with(|current| *self.0 = current.replace(*self.0));
        }
    }
    CURRENT.with(|current| *loan = current.replace(*loan));
    let _back = Return(loan);
    poll()
}

/// Asks the lender, if there is one for this task, to poll the task again at `at`.
pub(crate) fn borrow(cx: &Context<'_>, at: Instant) -> bool {
    let mut current = CURRENT.get();
    let lent = current.task == Some(Task::of(cx.waker()));
    if lent {
        current.wanted = Some(current.wanted.map_or(at, |wanted| wanted.min(at)));
        CURRENT.set(current);
    }
    lent
}
