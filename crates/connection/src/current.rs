//! The request that is being worked on, for what is polled by its connection and has no hold on the request itself.

use std::cell::RefCell;

use crate::ConnectionControl;

thread_local! {
    static CURRENT: RefCell<Option<ConnectionControl>> = const { RefCell::new(None) };
}

/// Lends `control` while `poll` runs, also if that panics: it is moved, so that no count is touched. It nests.
///
/// HTTP/1 has one request at a time, and lends [`ConnectionControl::of_each`]: the number may not be known yet, or be that
/// of a request that ends and makes room for the next.
pub(crate) fn lend<R>(control: &mut Option<ConnectionControl>, poll: impl FnOnce() -> R) -> R {
    struct Return<'a>(&'a mut Option<ConnectionControl>);
    impl Drop for Return<'_> {
        fn drop(&mut self) {
            swap(self.0);
        }
    }
    swap(control);
    let _back = Return(control);
    poll()
}

pub(crate) fn control() -> Option<ConnectionControl> {
    CURRENT.try_with(|current| current.borrow().clone()).ok().flatten()
}

fn swap(other: &mut Option<ConnectionControl>) {
    // Never borrowed across foreign code, so this cannot fail; during a thread's end there is nobody to lend to.
    let _ = CURRENT.try_with(|current| std::mem::swap(&mut *current.borrow_mut(), other));
}
