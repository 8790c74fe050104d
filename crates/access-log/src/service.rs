use std::task::{Context, Poll};

use http::{Request, Response};
use http_body::Body;
use tower_service::Service;

use crate::{RequestBody, ResponseBody, ResponseFuture, entry::Entry, event, layer::Options};

/// The service of [`AccessLogLayer`](crate::AccessLogLayer).
///
/// See the [crate docs](crate).
#[derive(Clone, Debug)]
pub struct AccessLog<S> {
    inner: S,
    options: Options,
}

impl<S> AccessLog<S> {
    pub(crate) const fn new(inner: S, options: Options) -> Self {
        Self { inner, options }
    }

    /// The service inside.
    pub const fn get_ref(&self) -> &S {
        &self.inner
    }

    /// The service inside.
    pub const fn get_mut(&mut self) -> &mut S {
        &mut self.inner
    }

    /// The service inside, without its access log.
    pub fn into_inner(self) -> S {
        self.inner
    }
}

impl<S, ReqBody, ResBody> Service<Request<ReqBody>> for AccessLog<S>
where
    S: Service<Request<RequestBody<ReqBody>>, Response = Response<ResBody>>,
    ReqBody: Body,
    ResBody: Body,
{
    type Response = Response<ResponseBody<ResBody>>;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<ReqBody>) -> Self::Future {
        // In parts: a request that is borrowed and then passed on is copied by the compiler, head and all.
        let (mut parts, body) = request.into_parts();
        // Opened before the call, so that a panic in there drops it.
        let mut entry = if event::enabled() { Entry::open(&mut parts, &body, &self.options) } else { Entry::NONE };
        let body = RequestBody::new(body, entry.shared());
        let inside = entry.listen();
        let inner = self.inner.call(Request::from_parts(parts, body));
        inside.returned();
        ResponseFuture { inner, entry }
    }
}
