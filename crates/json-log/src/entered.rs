//! Which spans the thread is in.

use std::{
    cell::{Cell, RefCell},
    num::NonZeroU64,
};

use tracing::span::Id;

/// A span that was entered and not left.
#[derive(Clone, Copy)]
struct Entered {
    /// Of which subscriber: with `with_default` a thread may be in spans of several.
    subscriber: u64,
    id: NonZeroU64,
}

/// The span that was entered first. Most threads are in no more than one, so it lies where it is reached without a
/// detour: there is nothing to borrow and nothing to drop.
#[derive(Clone, Copy)]
struct First {
    entered: Option<Entered>,
    /// Whether there are no [`LATER`] ones.
    is_all: bool,
}

/// A span that was entered in another.
struct Later {
    entered: Entered,
    /// It was entered before, and is counted there.
    again: bool,
}

thread_local! {
    static FIRST: Cell<First> = const { Cell::new(First { entered: None, is_all: true }) };
    /// None if there is no first one.
    static LATER: RefCell<Vec<Later>> = const { RefCell::new(Vec::new()) };
}

impl Entered {
    #[inline(always)]
    fn new(subscriber: u64, id: &Id) -> Self {
        Self { subscriber, id: id.into_non_zero_u64() }
    }

    #[inline(always)]
    fn is(self, other: Self) -> bool {
        self.id == other.id && self.subscriber == other.subscriber
    }

    fn id(self) -> Id {
        Id::from_non_zero_u64(self.id)
    }
}

#[inline]
pub(crate) fn enter(subscriber: u64, id: &Id) {
    let entered = Entered::new(subscriber, id);
    match FIRST.get().entered {
        None => FIRST.set(First { entered: Some(entered), is_all: true }),
        Some(first) => enter_in(first, entered),
    }
}

#[cold]
fn enter_in(first: Entered, entered: Entered) {
    // A thread that ends has no place for it any more; then it is as if it were not entered.
    let _ = LATER.try_with(|later| {
        let mut later = later.borrow_mut();
        let again = first.is(entered) || later.iter().any(|later| later.entered.is(entered));
        later.push(Later { entered, again });
        FIRST.set(First { entered: Some(first), is_all: false });
    });
}

/// Spans may be left in any order.
#[inline]
pub(crate) fn exit(subscriber: u64, id: &Id) {
    let left = Entered::new(subscriber, id);
    let First { entered: Some(first), is_all } = FIRST.get() else { return };
    if !is_all {
        exit_of_many(first, left);
    } else if first.is(left) {
        FIRST.set(First { entered: None, is_all: true });
    }
}

#[cold]
fn exit_of_many(mut first: Entered, left: Entered) {
    let _ = LATER.try_with(|later| {
        let mut later = later.borrow_mut();
        if let Some(at) = later.iter().rposition(|later| later.entered.is(left)) {
            later.remove(at);
        } else if first.is(left) {
            // It was not entered again, so the next one was entered for the first time.
            first = later.remove(0).entered;
        }
        FIRST.set(First { entered: Some(first), is_all: later.is_empty() });
    });
}

/// The span that was entered last; one that was entered twice is where it was entered first, as in a registry.
#[inline]
pub(crate) fn current(subscriber: u64) -> Option<Id> {
    let First { entered: Some(first), is_all } = FIRST.get() else { return None };
    let last = if is_all { None } else { current_of_many(subscriber) };
    last.or_else(|| (first.subscriber == subscriber).then(|| first.id()))
}

#[cold]
fn current_of_many(subscriber: u64) -> Option<Id> {
    let last = LATER.try_with(|later| {
        let later = later.borrow();
        let last = later.iter().rfind(|later| later.entered.subscriber == subscriber && !later.again)?;
        Some(last.entered.id())
    });
    last.ok().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_that_is_left_over_is_the_current_one() {
        let [a, b, c] = [1, 2, 3].map(Id::from_u64);
        enter(7, &a);
        enter(7, &b);
        enter(8, &c);
        assert_eq!((current(7), current(8)), (Some(b.clone()), Some(c.clone())), "each subscriber has its own");
        exit(7, &a);
        exit(8, &c);
        assert_eq!((current(7), current(8)), (Some(b.clone()), None), "the first may be left before those in it");
        enter(7, &a);
        enter(7, &b);
        assert_eq!(current(7), Some(a.clone()), "one that was entered twice is where it was entered first");
        exit(7, &a);
        exit(7, &b);
        assert_eq!(current(7), Some(b.clone()), "and is left as often");
        exit(7, &b);
        assert_eq!(current(7), None);
    }
}
