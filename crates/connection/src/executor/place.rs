use std::{
    any::Any,
    cell::RefCell,
    pin::Pin,
    task::{Context, Poll},
};

/// A stream in a box that its thread uses again: it is large, and tokio moves a future some ten times on its way into a task
/// and out of it.
pub(super) struct InPlace<F: 'static>(Option<Box<Place<F>>>);

/// In a second box, in which it is kept whatever it is made for.
type Place<F> = Pin<Box<Option<F>>>;

thread_local! {
    static FREE: RefCell<Vec<Box<dyn Any>>> = const { RefCell::new(Vec::new()) };
}

/// How many boxes a thread keeps: some 50 KiB.
const FREE_PLACES: usize = 64;

impl<F: 'static> InPlace<F> {
    pub(super) fn new(stream: F) -> Self {
        let free = FREE.try_with(|free| free.borrow_mut().pop()).ok().flatten();
        // Where two servers share a thread, it may be for streams of the other one.
        let fitting = free.and_then(|free| free.downcast::<Place<F>>().ok());
        let mut place = fitting.unwrap_or_else(|| Box::new(Box::pin(None)));
        place.set(Some(stream));
        Self(Some(place))
    }
}

impl<F: Future + 'static> Future for InPlace<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        match self.0.as_deref_mut().and_then(|place| place.as_mut().as_pin_mut()) {
            Some(stream) => stream.poll(cx),
            None => Poll::Pending,
        }
    }
}

impl<F: 'static> Drop for InPlace<F> {
    fn drop(&mut self) {
        let Some(mut place) = self.0.take() else { return };
        // The handler goes now. If its drop panics, the box goes as well.
        place.set(None);
        let _ = FREE.try_with(|free| {
            let mut free = free.borrow_mut();
            if free.len() < FREE_PLACES {
                free.push(place);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use std::{future::ready, sync::Arc};

    use super::*;

    fn free() -> usize {
        FREE.with(|free| free.borrow().len())
    }

    #[tokio::test]
    async fn a_box_is_used_again_and_nothing_of_a_stream_stays_in_it() {
        let held = Arc::new(());
        let stream = |held: &Arc<()>| {
            let held = Arc::clone(held);
            async move { Arc::strong_count(&held) }
        };
        let (one, other) = (InPlace::new(stream(&held)), InPlace::new(stream(&held)));
        assert_eq!(one.await, 3);
        drop(other);
        assert_eq!((Arc::strong_count(&held), free()), (1, 2), "polled or not, what it held is gone");
        assert_eq!(InPlace::new(stream(&held)).await, 2);
        assert_eq!(free(), 2);
    }

    #[tokio::test]
    async fn a_box_of_other_streams_is_let_go() {
        drop(InPlace::new(ready(1_u8)));
        assert_eq!(InPlace::new(ready("other")).await, "other");
        assert_eq!(free(), 1);
    }

    #[test]
    fn only_so_many_are_kept() {
        let places: Vec<_> = (0..=FREE_PLACES).map(|_| InPlace::new(ready(()))).collect();
        drop(places);
        assert_eq!(free(), FREE_PLACES);
    }
}
