use std::{
    cell::Cell,
    fmt,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::Response;
use http_body::Body;
use pin_project::{pin_project, pinned_drop};

use crate::{Place, ResponseBody, body::Said, watch::Watch};

/// The response of the inner service, or what is said in its place after a panic.
///
/// See the [crate docs](crate).
#[pin_project(PinnedDrop)]
#[must_use = "futures do nothing unless polled"]
pub struct ResponseFuture<F> {
    /// Dropped as soon as it is ready, while a panic in its `Drop` can still be caught. `None` too if `call` unwound.
    #[pin]
    inner: Option<F>,
    /// `None` once the response was given out.
    watch: Option<Watch>,
}

impl<F> ResponseFuture<F> {
    /// Calls the service. In here, because its future is large: it is made in its place and not moved.
    #[inline]
    pub(crate) fn new(watch: Watch, mut call: impl FnMut(&mut Option<F>)) -> Self {
        let mut this = Self { inner: None, watch: Some(watch) };
        if let Some(watch) = &mut this.watch
            && let Err(cut) = watch.run(Place::Call, || call(&mut this.inner))
        {
            watch.set_cut(cut);
        }
        this
    }

    /// Nothing is left to be polled.
    pub(crate) const fn cut(watch: Watch) -> Self {
        Self { inner: None, watch: Some(watch) }
    }
}

impl<F, B, E> Future for ResponseFuture<F>
where
    F: Future<Output = Result<Response<B>, E>>,
    B: Body<Data = Bytes>,
{
    type Output = Result<Response<ResponseBody<B>>, E>;

    /// # Panics
    ///
    /// If it is polled again after it was ready.
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let watch = this.watch.as_mut().expect("a future is not polled after it was ready");
        let mut polled = Poll::Pending;
        let mut said = Said::UNSURE;
        let place = Cell::new(Place::Future);
        let unwound = watch.run_in(&place, || {
            let Some(inner) = this.inner.as_mut().as_pin_mut() else { return };
            polled = inner.poll(cx);
            let Poll::Ready(result) = &polled else { return };
            if let Ok(response) = result {
                place.set(Place::Body);
                said = Said::of(response.body());
            }
            // A panic in this drop is reported, and costs the client nothing: its response is there.
            place.set(Place::Drop);
            this.inner.set(None);
        });
        if let Err(cut) = unwound
            && place.get() != Place::Drop
        {
            watch.set_cut(cut);
        }
        if watch.is_cut() {
            watch.discard(this.inner);
        } else if polled.is_pending() {
            return Poll::Pending;
        }
        let mut watch = this.watch.take().expect("it was there a line ago");
        // Nothing comes before the response is moved to where it is wanted, or it would be moved twice.
        match polled {
            Poll::Ready(Ok(response)) => Poll::Ready(Ok(response.map(|body| ResponseBody::inner(body, said, watch)))),
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => {
                let cut = watch.take_cut().expect("a future that is neither pending nor ready was cut");
                Poll::Ready(Ok(watch.answer(cut)))
            }
        }
    }
}

#[pinned_drop]
impl<F> PinnedDrop for ResponseFuture<F> {
    /// The client went away: what the handler's state does in its `Drop` must not end the connection's task either.
    fn drop(self: Pin<&mut Self>) {
        let this = self.project();
        if let Some(watch) = this.watch {
            watch.discard(this.inner);
        }
    }
}

impl<F> fmt::Debug for ResponseFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { inner: _, watch } = self;
        f.debug_struct("ResponseFuture").field("watch", watch).finish_non_exhaustive()
    }
}
