//! The thread-local through which a timer is lent, for the time of one poll.

use std::{
    cell::RefCell,
    task::{Context, Waker},
};

use tokio::time::Instant;

/// What a lender leaves in the thread-local while it polls.
#[derive(Debug, Default)]
pub(crate) struct Loan {
    /// Whose timer it is. Only a future polled with this very waker may borrow: one polled with another (its own task,
    /// a `FuturesUnordered`) would not be polled again when the lender's task is.
    pub(crate) waker: Option<Waker>,
    /// The earliest instant that a borrower asked for.
    pub(crate) wanted: Option<Instant>,
}

impl Loan {
    const fn none() -> Self {
        Self { waker: None, wanted: None }
    }
}

thread_local! {
    static CURRENT: RefCell<Loan> = const { RefCell::new(Loan::none()) };
}

/// Lends `loan` while `poll` runs, also if that panics. Lenders nest: the innermost is asked.
pub(crate) fn lend<R>(loan: &mut Loan, poll: impl FnOnce() -> R) -> R {
    struct Return<'a>(&'a mut Loan);
    impl Drop for Return<'_> {
        fn drop(&mut self) {
            swap(self.0);
        }
    }
    swap(loan);
    let _back = Return(loan);
    poll()
}

fn swap(loan: &mut Loan) {
    // Never borrowed across foreign code, so this cannot fail; during a thread's end there is nobody to lend to.
    let _ = CURRENT.try_with(|current| std::mem::swap(&mut *current.borrow_mut(), loan));
}

/// Asks the lender, if there is one for this task, to poll the task again at `at`.
pub(crate) fn borrow(cx: &Context<'_>, at: Instant) -> bool {
    CURRENT
        .try_with(|current| {
            let mut current = current.borrow_mut();
            let lent = current.waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker()));
            if lent {
                current.wanted = Some(current.wanted.map_or(at, |wanted| wanted.min(at)));
            }
            lent
        })
        .unwrap_or(false)
}
