use std::task::{Context, Poll};

use http::{Request, Response};
use tower_service::Service;

use crate::{RequestId, ResponseBody, ResponseFuture, layer::Options, span::request_span, trail::Trail};

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

    fn call(&mut self, mut request: Request<ReqBody>) -> Self::Future {
        let mut text = [0; RequestId::FRESH_LEN];
        let (id, text) = identify(&mut request, &self.options, &mut text);
        let span = request_span(&request, || text.unwrap_or_else(|| id.as_str()), self.options.query);
        let future = span.in_scope(|| self.inner.call(request));
        ResponseFuture::new(future, Trail::new(span, &self.options.header, id))
    }
}

/// The id of this request, which is in the extensions afterwards; and in the header, if there is one. If it is fresh, its
/// text as well, which need not be looked through again.
fn identify<'a, B>(
    request: &mut Request<B>,
    options: &Options,
    text: &'a mut [u8; RequestId::FRESH_LEN],
) -> (RequestId, Option<&'a str>) {
    let mut values = request.headers().get_all(&options.header).iter();
    let (first, second) = (values.next(), values.next());
    let known = request.extensions().get::<RequestId>();
    let sent = match (first, second) {
        // Of two headers neither is more right than the other, and who reads next may choose the other one.
        (Some(value), None) if options.trust_inbound && known.is_none() => RequestId::from_bytes(value.as_bytes()),
        _ => None,
    };
    let is_in_header = sent.is_some();
    let overwrite = first.is_some() || options.forward;

    let (id, text) = match known.cloned().or(sent) {
        Some(id) => (id, None),
        None => {
            let (id, text) = RequestId::generate_in(options.format, text);
            (id, Some(text))
        }
    };
    if overwrite && !is_in_header {
        // Fails only for a new name in a table of 32,768, which is a request that carries no id anyway.
        let _ = request.headers_mut().try_insert(&options.header, id.header_value().clone());
    }
    request.extensions_mut().insert(id.clone());
    (id, text)
}
