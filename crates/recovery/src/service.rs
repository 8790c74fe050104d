use std::{
    fmt,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use graceful_answer::{Answer, PlainText};
use http::{Request, Response};
use http_body::Body;
use tower_service::Service;

use crate::{
    Panicked, ResponseBody, ResponseFuture,
    layer::{Settings, Shared},
    watch::Watch,
};

/// Calls the inner service and catches its panics.
///
/// See the [crate docs](crate).
pub struct Recovery<S, A = PlainText> {
    inner: S,
    shared: Arc<Shared<A>>,
    settings: Settings,
}

impl<S, A> Recovery<S, A> {
    pub(crate) const fn new(inner: S, shared: Arc<Shared<A>>, settings: Settings) -> Self {
        Self { inner, shared, settings }
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

impl<S, A, ReqBody, ResBody> Service<Request<ReqBody>> for Recovery<S, A>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>>,
    A: Answer<Panicked>,
    ResBody: Body<Data = Bytes>,
{
    type Response = Response<ResponseBody<ResBody>>;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future>;

    /// Passes through, unguarded: there is no request yet that could be answered.
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<ReqBody>) -> ResponseFuture<S::Future> {
        // It stays in this place until it is handed on: a request is large.
        let mut place = Some(request);
        let mut watch = Watch::new(Arc::clone(&self.shared) as Arc<_>, self.settings.backtraces, place.as_ref());
        if let Some(find) = self.settings.request_id
            && let Err(cut) = watch.look_up(find, &mut place)
        {
            return ResponseFuture::cut(watch.cut(cut));
        }
        ResponseFuture::new(watch, |inner| {
            if let Some(request) = place.take() {
                *inner = Some(self.inner.call(request));
            }
        })
    }
}

impl<S: Clone, A> Clone for Recovery<S, A> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone(), shared: Arc::clone(&self.shared), settings: self.settings }
    }
}

impl<S: fmt::Debug, A> fmt::Debug for Recovery<S, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { inner, shared, settings } = self;
        f.debug_struct("Recovery")
            .field("inner", inner)
            .field("panics", &shared.panics.total())
            .field("backtraces", &settings.backtraces)
            .finish_non_exhaustive()
    }
}
