use std::{
    fmt, mem,
    sync::Arc,
    task::{Context, Poll},
};

use graceful_answer::Answer;
use http::{Request, Response};
use http_body::Body;
use tower_service::Service;

use crate::{Overloaded, Reason, ResponseBody, ResponseFuture, gate::Entry, settings::Settings};

/// The service of a [`ConcurrencyLimitLayer`](crate::ConcurrencyLimitLayer). See the [crate docs](crate).
pub struct ConcurrencyLimit<S, A = graceful_answer::PlainText> {
    inner: S,
    settings: Arc<Settings<A>>,
}

impl<S, A> ConcurrencyLimit<S, A> {
    pub(crate) const fn new(inner: S, settings: Arc<Settings<A>>) -> Self {
        Self { inner, settings }
    }

    /// The inner service.
    pub const fn get_ref(&self) -> &S {
        &self.inner
    }

    /// The inner service.
    pub const fn get_mut(&mut self) -> &mut S {
        &mut self.inner
    }

    /// The inner service.
    pub fn into_inner(self) -> S {
        self.inner
    }
}

impl<S, A, ReqBody, ResBody> Service<Request<ReqBody>> for ConcurrencyLimit<S, A>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>> + Clone,
    A: Answer<Overloaded>,
    ReqBody: Body,
{
    type Response = Response<ResponseBody<ResBody, ReqBody>>;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future, S, ReqBody, A>;

    /// Takes no place: between here and the call a service may lie idle for as long as it likes.
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    /// Takes a place, or one in the queue.
    fn call(&mut self, request: Request<ReqBody>) -> Self::Future {
        let Self { inner, settings } = self;
        if let Some(permit) = settings.limit.try_enter() {
            return ResponseFuture::admitted(inner, request, permit);
        }
        match settings.limit.enter(settings.queue_bound()) {
            Entry::Admitted(permit) => ResponseFuture::admitted(inner, request, permit),
            Entry::Waiting(waiter) => {
                // The one that was polled ready goes with the request; the clone stays.
                let next = inner.clone();
                let ready = mem::replace(inner, next);
                ResponseFuture::queued(waiter, ready, request, Arc::clone(settings))
            }
            Entry::LineFull => ResponseFuture::refused(Reason::QueueFull, request, Arc::clone(settings)),
        }
    }
}

impl<S: Clone, A> Clone for ConcurrencyLimit<S, A> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone(), settings: Arc::clone(&self.settings) }
    }
}

impl<S: fmt::Debug, A> fmt::Debug for ConcurrencyLimit<S, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { inner, settings } = self;
        f.debug_struct("ConcurrencyLimit").field("inner", inner).field("settings", settings).finish()
    }
}
