//! The user's service as hyper calls it: every request counted from its head to the last byte of its response.

use std::{
    cell::RefCell,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker, ready},
};

use bytes::Bytes;
use http::{
    HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Version,
    header::{CONNECTION, CONTENT_TYPE},
};
use http_body::Body;
use hyper::body::Incoming;
use pin_project::pin_project;
use tokio::time::Instant;
use tower_service::Service;

use crate::{
    BoxError, RequestBody, ResponseBody, Settings,
    executor::stream,
    settings::deadline,
    shared::{Live, Shared, Signal},
};

/// What a connection calls: a name for every tower service that takes a [`RequestBody`] and answers in [`Bytes`].
///
/// Implemented for all of them, and only by that.
pub trait HttpService:
    Service<
        Request<RequestBody>,
        Response = Response<Self::ResponseBody>,
        Error: Into<BoxError> + Send + 'static,
        Future: Send + 'static,
    > + Clone
    + Send
    + 'static
{
    /// The body of its responses.
    type ResponseBody: Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static;
}

impl<S, B> HttpService for S
where
    S: Service<Request<RequestBody>, Response = Response<B>> + Clone + Send + 'static,
    S::Error: Into<BoxError> + Send + 'static,
    S::Future: Send + 'static,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    type ResponseBody = B;
}

#[derive(Debug)]
pub(crate) struct Tracked<S> {
    /// hyper calls a shared reference, tower an exclusive one; both from the connection's task alone. Boxed so that the
    /// protocol can be taken apart whatever `S` is.
    service: Box<RefCell<S>>,
    shared: Arc<Shared>,
    settings: Arc<Settings>,
}

impl<S> Tracked<S> {
    pub(crate) fn new(service: S, shared: Arc<Shared>, settings: Arc<Settings>) -> Self {
        Self { service: Box::new(RefCell::new(service)), shared, settings }
    }
}

impl<S: HttpService> hyper::service::Service<Request<Incoming>> for Tracked<S> {
    type Response = Response<ResponseBody<S::ResponseBody>>;
    type Error = S::Error;
    type Future = ResponseFuture<S>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let http2 = request.version() == Version::HTTP_2;
        let connect = request.method() == Method::CONNECT;
        let now = Instant::now();
        let guard = RequestGuard::new(
            &self.shared,
            Live { method: request.method().clone(), uri: request.uri().clone(), since: now },
        );
        if http2 {
            self.shared.announce_stream();
        }
        #[cfg(feature = "tls")]
        let request = with_tls(request, &self.shared);
        let request = request
            .map(|body| RequestBody::new(body, deadline(now, self.settings.read_body), Arc::clone(&self.shared)));
        let mut service = self.service.borrow_mut();
        // Nearly every service is always ready; one that is not gets a clone of its own to wait on, since hyper has no
        // way to hold a request back.
        let state = match service.poll_ready(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(Ok(())) => State::Called(service.call(request)),
            Poll::Ready(Err(error)) => State::Failed(Some(error)),
            Poll::Pending => State::Waiting(Box::new((service.clone(), Some(request)))),
        };
        ResponseFuture { state, http2, connect, guard: Some(guard) }
    }
}

#[cfg(feature = "tls")]
fn with_tls<B>(mut request: Request<B>, shared: &Shared) -> Request<B> {
    if let Some(tls) = shared.tls() {
        request.extensions_mut().insert(Arc::clone(tls));
    }
    request
}

/// One request in flight. Made by `call`, it moves on into the future and then into the response's body.
#[derive(Debug)]
pub(crate) struct RequestGuard {
    shared: Arc<Shared>,
    number: u64,
}

impl RequestGuard {
    pub(crate) fn new(shared: &Arc<Shared>, live: Live) -> Self {
        let number = shared.begin_request(live);
        Self { shared: Arc::clone(shared), number }
    }
}

impl Drop for RequestGuard {
    fn drop(&mut self) {
        self.shared.end_request(self.number);
    }
}

#[pin_project]
pub(crate) struct ResponseFuture<S: HttpService> {
    #[pin]
    state: State<S>,
    http2: bool,
    connect: bool,
    guard: Option<RequestGuard>,
}

#[pin_project(project = StateProj)]
enum State<S: HttpService> {
    Called(#[pin] S::Future),
    /// Boxed: rare, and bigger than most handlers' futures.
    Waiting(Box<(S, Option<Request<RequestBody>>)>),
    Failed(Option<S::Error>),
}

impl<S: HttpService> Future for ResponseFuture<S> {
    type Output = Result<Response<ResponseBody<S::ResponseBody>>, S::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let polled = loop {
            let future = match this.state.as_mut().project() {
                StateProj::Called(future) => break future.poll(cx),
                StateProj::Failed(error) => break error.take().map_or(Poll::Pending, |error| Poll::Ready(Err(error))),
                StateProj::Waiting(waiting) => {
                    let (service, request) = &mut **waiting;
                    match service.poll_ready(cx) {
                        Poll::Pending => break Poll::Pending,
                        Poll::Ready(Err(error)) => break Poll::Ready(Err(error)),
                        Poll::Ready(Ok(())) => match request.take() {
                            Some(request) => service.call(request),
                            None => break Poll::Pending,
                        },
                    }
                }
            };
            this.state.set(State::Called(future));
        };
        if *this.http2 && polled.is_pending() {
            stream::note_application_waits();
        }
        let mut response = ready!(polled)?;
        let guard = this.guard.take();
        if let Some(guard) = &guard {
            on_head(&mut response, &guard.shared, *this.http2, *this.connect);
        }
        Poll::Ready(Ok(response.map(|body| ResponseBody::new(body, *this.http2, guard))))
    }
}

/// What a response's head says about the connection.
fn on_head<B>(response: &mut Response<B>, shared: &Shared, http2: bool, connect: bool) {
    if is_event_stream(response.headers()) {
        // Events have no last byte to wait for; a reader that stops is still cut.
        if http2 {
            stream::note_unlimited();
        } else {
            shared.set_write_unlimited();
        }
    }
    if http2 {
        return;
    }
    let upgrade = response.status() == StatusCode::SWITCHING_PROTOCOLS || (connect && response.status().is_success());
    if upgrade {
        shared.set_upgrading();
    } else if shared.signal() != Signal::None {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
}

fn is_event_stream(headers: &HeaderMap) -> bool {
    const EVENT_STREAM: &[u8] = b"text/event-stream";
    headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.as_bytes().get(..EVENT_STREAM.len()))
        .is_some_and(|start| start.eq_ignore_ascii_case(EVENT_STREAM))
}
