//! Which spans the thread is in.

use std::cell::RefCell;

use tracing::span::Id;

/// A span that was entered and not left.
struct Entered {
    /// Of which subscriber: with `with_default` a thread may be in spans of several.
    subscriber: u64,
    id: Id,
    /// It was entered before, and is counted there.
    again: bool,
}

thread_local! {
    static ENTERED: RefCell<Vec<Entered>> = const { RefCell::new(Vec::new()) };
}

impl Entered {
    fn is(&self, subscriber: u64, id: &Id) -> bool {
        self.id == *id && self.subscriber == subscriber
    }
}

pub(crate) fn enter(subscriber: u64, id: &Id) {
    // A thread that ends has no place for it any more; then there is no current span.
    let _ = ENTERED.try_with(|entered| {
        let mut entered = entered.borrow_mut();
        let again = entered.iter().any(|entered| entered.is(subscriber, id));
        entered.push(Entered { subscriber, id: id.clone(), again });
    });
}

/// Spans may be left in any order.
pub(crate) fn exit(subscriber: u64, id: &Id) {
    let _ = ENTERED.try_with(|entered| {
        let mut entered = entered.borrow_mut();
        match entered.iter().rposition(|entered| entered.is(subscriber, id)) {
            Some(last) if last + 1 == entered.len() => drop(entered.pop()),
            Some(other) => drop(entered.remove(other)),
            None => {}
        }
    });
}

/// The span that was entered last; one that was entered twice is where it was entered first, as in a registry.
pub(crate) fn current(subscriber: u64) -> Option<Id> {
    let current = ENTERED.try_with(|entered| {
        let entered = entered.borrow();
        let last = entered.iter().rfind(|entered| entered.subscriber == subscriber && !entered.again)?;
        Some(last.id.clone())
    });
    current.ok().flatten()
}
