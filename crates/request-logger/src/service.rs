use std::task::{Context, Poll};

use http::{Request, Response, request::Parts};
use tower_service::Service;

use crate::{RequestId, ResponseBody, ResponseFuture, header, layer::Options, span::request_span, trail::Trail};

/// Gives every request an id and a span.
///
/// Made by [`RequestLoggerLayer`](crate::RequestLoggerLayer). See the [crate docs](crate).
#[derive(Clone, Debug)]
pub struct RequestLogger<S> {
    inner: S,
    options: Options,
}

impl<S> RequestLogger<S> {
    pub(crate) const fn new(inner: S, options: Options) -> Self {
        Self { inner, options }
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

impl<S, ReqBody, ResBody> Service<Request<ReqBody>> for RequestLogger<S>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>>,
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
        let mut text = [0; RequestId::FRESH_LEN];
        let (id, text) = identify(&mut parts, &self.options, &mut text);
        let span = request_span(&parts, || text.unwrap_or_else(|| id.as_str()), self.options.query);
        let trail = Trail::new(span, self.options.header.clone(), id, parts.version);
        // Not `in_scope`, through whose closure the request would be moved once more.
        let entered = trail.span().enter();
        let inner = self.inner.call(Request::from_parts(parts, body));
        drop(entered);
        ResponseFuture { inner: Some(inner), trail }
    }
}

/// The id of this request, which is in the extensions afterwards; and in the header, if there is one. If it is fresh, its
/// text as well, which need not be looked through again.
#[inline]
fn identify<'a>(
    request: &mut Parts,
    options: &Options,
    text: &'a mut [u8; RequestId::FRESH_LEN],
) -> (RequestId, Option<&'a str>) {
    let (first, second) = header::first_two(&request.headers, &options.header);
    let sent = match (first, second) {
        // Of two headers neither is more right than the other, and who reads next may choose the other one.
        (Some(value), None) if options.trust_inbound => RequestId::from_bytes(value.as_bytes()),
        _ => None,
    };
    let overwrite = first.is_some() || options.forward;

    let (mut is_in_header, mut fresh) = (false, None);
    let id = request.extensions.get_or_insert_with(|| match sent {
        Some(id) => {
            is_in_header = true;
            id
        }
        None => {
            let (id, text) = RequestId::generate_in(options.format, text);
            fresh = Some(text);
            id
        }
    });
    let id = id.clone();
    if overwrite && !is_in_header {
        // Fails only for a new name in a table of 32,768, which is a request that carries no id anyway.
        let _ = request.headers.try_insert(&options.header, id.header_value().clone());
    }
    (id, fresh)
}
