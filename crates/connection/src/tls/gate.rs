//! Who may do the arithmetic of a handshake, and when.

use std::{
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use tokio::sync::{AcquireError, OwnedSemaphorePermit, Semaphore};

type Acquire = dyn Future<Output = Result<OwnedSemaphorePermit, AcquireError>> + Send + Sync;

/// In front of what a handshake reads: nothing gets through without a place, and the place goes back when all is read.
///
/// Whatever rustls computes, it does when it is given bytes: a key exchange, also that of a second hello; a signature; the
/// checks of a client's certificates.
pub(super) struct Gate {
    places: Arc<Semaphore>,
    place: Option<OwnedSemaphorePermit>,
    waiting: Option<Pin<Box<Acquire>>>,
}

impl Gate {
    pub(super) const fn new(places: Arc<Semaphore>) -> Self {
        Self { places, place: None, waiting: None }
    }

    /// Ready with a place in hand.
    pub(super) fn poll_open(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.place.is_some() {
            return Poll::Ready(());
        }
        if self.waiting.is_none() {
            // One that is to be had now is nobody else's turn: tokio hands those that are given back to whoever waits.
            if let Ok(place) = Arc::clone(&self.places).try_acquire_owned() {
                self.place = Some(place);
                return Poll::Ready(());
            }
            self.waiting = Some(Box::pin(Arc::clone(&self.places).acquire_owned()));
        }
        if let Some(waiting) = &mut self.waiting {
            // An error would say that it was closed, which it never is.
            self.place = ready!(waiting.as_mut().poll(cx)).ok();
            self.waiting = None;
        }
        Poll::Ready(())
    }

    /// Gives the place back, until there is something to do again.
    pub(super) fn close(&mut self) {
        self.place = None;
    }
}

impl fmt::Debug for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { places: _, place, waiting } = self;
        f.debug_struct("Gate").field("open", &place.is_some()).field("waits", &waiting.is_some()).finish()
    }
}
