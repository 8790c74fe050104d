//! What goes with a request to its end: from the call to the future to the body.

use std::cell::RefCell;

use http::{HeaderMap, HeaderName, HeaderValue, Version};
use tracing::Span;

use crate::RequestId;

/// The span, and what the response is marked with.
#[derive(Debug)]
pub(crate) struct Trail {
    /// In a box because it goes through many hands, and in one that is used again.
    open: Option<Box<Open>>,
}

#[derive(Debug)]
struct Open {
    /// `None` while the box waits to be used again.
    span: Option<Span>,
    /// `None` when the response has it.
    mark: Option<Mark>,
}

/// The header of the response.
#[derive(Debug)]
struct Mark {
    name: HeaderName,
    id: RequestId,
    /// Whether headers go out as HPACK or QPACK, which remember values that may come again. This one does not: kept, it
    /// drives out those that do, at both ends, and the search for it costs more than the rest of a head.
    is_compressed: bool,
}

static NO_SPAN: Span = Span::none();

impl Trail {
    pub(crate) const NONE: Self = Self { open: None };

    pub(crate) fn new(span: Span, name: HeaderName, id: RequestId, version: Version) -> Self {
        let mut open = match FREE.try_with(|free| free.borrow_mut().pop()) {
            Ok(Some(open)) => open,
            // There is none, or the thread is ending.
            _ => Box::new(Open { span: None, mark: None }),
        };
        open.span = Some(span);
        open.mark = Some(Mark { name, id, is_compressed: version >= Version::HTTP_2 });
        Self { open: Some(open) }
    }

    pub(crate) fn span(&self) -> &Span {
        self.open.as_ref().and_then(|open| open.span.as_ref()).unwrap_or(&NO_SPAN)
    }

    /// Leaves none behind.
    pub(crate) const fn take(&mut self) -> Self {
        Self { open: self.open.take() }
    }

    /// Puts the id into the headers of the response.
    pub(crate) fn mark(&mut self, headers: &mut HeaderMap) {
        if let Some(Mark { name, id, is_compressed }) = self.open.as_mut().and_then(|open| open.mark.take()) {
            let mut value = HeaderValue::from(id);
            value.set_sensitive(is_compressed);
            // Fails only for a new name in a table of 32,768: then the response goes without.
            let _ = headers.try_insert(name, value);
        }
    }
}

impl Drop for Trail {
    fn drop(&mut self) {
        let Some(mut open) = self.open.take() else { return };
        // The span ends here, not when the box is used again.
        (open.span, open.mark) = (None, None);
        let _ = FREE.try_with(|free| {
            let mut free = free.borrow_mut();
            if free.len() < FREE_BOXES {
                free.push(open);
            }
        });
    }
}

thread_local! {
    /// The boxes of requests that ended on this thread.
    #[expect(clippy::vec_box, reason = "it is the boxes that are kept")]
    static FREE: RefCell<Vec<Box<Open>>> = const { RefCell::new(Vec::new()) };
}

/// How many boxes a thread keeps: 16 KiB.
const FREE_BOXES: usize = 128;
