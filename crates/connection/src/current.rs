//! The request that is being worked on, for what is polled by its connection and has no hold on the request itself.

use std::{cell::RefCell, sync::Arc};

use crate::{ConnectionControl, shared::Shared};

/// Whose request it is. The number may not be known yet, or be that of a request that ends and makes room for the next.
#[derive(Debug)]
pub(crate) struct Current {
    shared: Arc<Shared>,
    /// HTTP/2: the stream's. HTTP/1 has one request at a time.
    number: Option<u64>,
}

thread_local! {
    static CURRENT: RefCell<Option<Current>> = const { RefCell::new(None) };
}

impl Current {
    pub(crate) const fn new(shared: Arc<Shared>, number: Option<u64>) -> Self {
        Self { shared, number }
    }

    /// Lends `current` while `poll` runs, also if that panics: it is moved, so that no count is touched. It nests.
    pub(crate) fn lend<R>(current: &mut Option<Self>, poll: impl FnOnce() -> R) -> R {
        struct Return<'a>(&'a mut Option<Current>);
        impl Drop for Return<'_> {
            fn drop(&mut self) {
                swap(self.0);
            }
        }
        swap(current);
        let _back = Return(current);
        poll()
    }

    pub(crate) fn control() -> Option<ConnectionControl> {
        CURRENT
            .try_with(|current| {
                let current = current.borrow();
                let Self { shared, number } = current.as_ref()?;
                let number = number.unwrap_or_else(|| shared.requests.started());
                Some(ConnectionControl::new(Arc::clone(shared), number))
            })
            .ok()
            .flatten()
    }
}

fn swap(other: &mut Option<Current>) {
    // Never borrowed across foreign code, so this cannot fail; during a thread's end there is nobody to lend to.
    let _ = CURRENT.try_with(|current| std::mem::swap(&mut *current.borrow_mut(), other));
}
