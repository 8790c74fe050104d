//! The user's service as hyper calls it: every request counted from its head to the last byte of its response.

mod host;

use std::{
    cell::RefCell,
    pin::Pin,
    sync::{Arc, LazyLock},
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use graceful_answer::AnswerBody;
use graceful_tasks as tasks;
use http::{
    Extensions, HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri, Version,
    header::{CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, EXPECT, UPGRADE},
    response::Parts,
};
use http_body::Body;
use hyper::body::Incoming;
use pin_project::pin_project;
use tower_service::Service;

use self::host::KnownHost;
use crate::{
    BoxError, ConnectionControl, Refusal, RequestBody, ResponseBody, Settings,
    executor::stream,
    registry::Entry,
    shared::Shared,
    upgrades::{UpgradePlace, Upgrades},
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
    entry: Arc<Entry>,
    upgrades: Upgrades,
    settings: Arc<Settings>,
    /// The last valid `Host`, which is nearly always the next one as well.
    host: RefCell<KnownHost>,
    /// HTTP/1: where its requests are listed among the live work. Made with the first one.
    seat: RefCell<Option<tasks::Seat>>,
    /// What the extensions of every request begin with: to clone a table costs less than to insert into one.
    given: Extensions,
}

impl<S> Tracked<S> {
    pub(crate) fn new(service: S, entry: Arc<Entry>, upgrades: Upgrades, settings: Arc<Settings>) -> Self {
        let given = Extensions::new();
        let control = settings.control_extension.then(|| ConnectionControl::of_each(Arc::clone(&entry.shared)));
        let service = Box::new(RefCell::new(service));
        let mut tracked =
            Self { service, entry, upgrades, settings, host: RefCell::default(), seat: RefCell::default(), given };
        if let Some(control) = control {
            tracked.give(control);
        }
        tracked
    }

    /// Puts `value` into the extensions of every request.
    pub(crate) fn give<V: Clone + Send + Sync + 'static>(&mut self, value: V) {
        if self.given.is_empty() {
            self.given = ROOM.clone();
        }
        self.given.insert(value);
    }

    /// What a request's extensions begin with, besides what hyper has put into them.
    fn extend(&self, extensions: &mut Extensions) {
        if self.given.is_empty() {
            return;
        }
        // Of an upgrade, or a protocol that a stream is to speak: rare.
        let hypers = std::mem::replace(extensions, self.given.clone());
        if !hypers.is_empty() {
            extensions.extend(hypers);
        }
    }

    /// Lists the request that gets this number among the live work.
    fn list(&self, number: u64, http2: bool) -> tasks::Entry {
        let (kinds, shared) = (self.entry.kinds(), &self.entry.shared);
        let seated =
            if http2 { None } else { self.seat.borrow_mut().get_or_insert_with(|| kinds.seat(shared)).enter() };
        seated.unwrap_or_else(|| kinds.request(shared, number))
    }

    /// Whether the request may be handed to the service; if it asks for an upgrade, with a place for that.
    fn admit<B>(&self, request: &Request<B>) -> Result<Option<UpgradePlace>, Refusal> {
        self.host.borrow_mut().check(request)?;
        match self.settings.max_upgraded {
            Some(max) if wants_upgrade(request) => self.upgrades.admit(max).map(Some).ok_or(Refusal::TooManyUpgrades),
            _ => Ok(None),
        }
    }
}

/// HTTP/2 has no upgrades: its tunnels are streams.
fn wants_upgrade<B>(request: &Request<B>) -> bool {
    request.version() == Version::HTTP_11
        && (request.headers().contains_key(UPGRADE) || request.method() == Method::CONNECT)
}

impl<S: HttpService> hyper::service::Service<Request<Incoming>> for Tracked<S> {
    type Response = Response<ResponseBody<S::ResponseBody>>;
    type Error = S::Error;
    type Future = ResponseFuture<S>;

    fn call(&self, mut request: Request<Incoming>) -> Self::Future {
        let http2 = request.version() == Version::HTTP_2;
        let now = tasks::now();
        let shared = &self.entry.shared;
        let number = shared.next_request();
        let work = self.list(number, http2);
        let mut guard = RequestGuard::new(&self.entry, number, request.method(), request.uri(), &work);
        let mut flags = Flags {
            version: request.version(),
            connect: request.method() == Method::CONNECT,
            head: false,
            close: false,
        };
        if http2 {
            flags.head = request.method() == Method::HEAD;
            shared.announce_stream(number, work);
        } else {
            guard.work = Some(work);
        }
        let guard = Some(guard);
        let waits = !http2 && !request.body().is_end_stream() && request.headers().contains_key(EXPECT);
        let body = |body| RequestBody::new(body, shared, number, &self.settings, now, waits);
        let upgrade = match self.admit(&request) {
            Ok(upgrade) => upgrade,
            Err(refusal) => {
                flags.close = true;
                let response = Box::new(self.entry.wording().to_request(refusal, shared, &request));
                // It is known by its end to have been left unread.
                drop(body(request.into_body()));
                return ResponseFuture { state: State::Refused(Some(response)), flags, upgrade: None, guard };
            }
        };
        self.extend(request.extensions_mut());
        // Taken apart only now, and put together where it is passed on: each stop on the way is a copy of it.
        let (head, incoming) = request.into_parts();
        let body = body(incoming);
        let mut service = self.service.borrow_mut();
        // Nearly every service is always ready; one that is not gets a clone of its own to wait on, since hyper has no
        // way to hold a request back.
        match service.poll_ready(&mut Context::from_waker(Waker::noop())) {
            // Written where it belongs, for it may be big.
            Poll::Ready(Ok(())) => ResponseFuture {
                state: State::Called(service.call(Request::from_parts(head, body))),
                flags,
                upgrade,
                guard,
            },
            Poll::Ready(Err(error)) => ResponseFuture { state: State::Failed(Some(error)), flags, upgrade, guard },
            Poll::Pending => {
                let waiting = Box::new((service.clone(), Some(Request::from_parts(head, body))));
                ResponseFuture { state: State::Waiting(waiting), flags, upgrade, guard }
            }
        }
    }
}

/// Nothing, with room for seven: a table that begins with one and is filled by a stack of layers and a router would be
/// made twice.
static ROOM: LazyLock<Extensions> = LazyLock::new(|| {
    #[derive(Clone)]
    struct Filler<const N: usize>;
    let mut extensions = Extensions::new();
    extensions.insert(Filler::<0>);
    extensions.insert(Filler::<1>);
    extensions.insert(Filler::<2>);
    extensions.insert(Filler::<3>);
    extensions.clear();
    extensions
});

/// What is known of a request when its response is there.
#[derive(Clone, Copy, Debug)]
struct Flags {
    version: Version,
    connect: bool,
    /// A `HEAD` over HTTP/2, where hyper would send a body that somebody gave it; over HTTP/1 it does not.
    head: bool,
    /// It must be the last one of its connection.
    close: bool,
}

impl Flags {
    fn is_http2(self) -> bool {
        self.version == Version::HTTP_2
    }
}

/// One request in flight. Made by `call`, it moves on into the future and then into the response's body.
#[derive(Debug)]
pub(crate) struct RequestGuard {
    entry: Arc<Entry>,
    number: u64,
    /// Among the live work. `None` over HTTP/2, where the stream's task has it.
    pub(crate) work: Option<tasks::Entry>,
}

impl RequestGuard {
    /// With the number that the request got.
    pub(crate) fn new(entry: &Arc<Entry>, number: u64, method: &Method, uri: &Uri, work: &tasks::Entry) -> Self {
        entry.shared.begin_request(number, method, uri, work);
        Self { entry: Arc::clone(entry), number, work: None }
    }

    pub(crate) fn shared(&self) -> &Shared {
        &self.entry.shared
    }
}

impl Drop for RequestGuard {
    fn drop(&mut self) {
        self.entry.shared.end_request(self.number);
    }
}

#[pin_project]
pub(crate) struct ResponseFuture<S: HttpService> {
    #[pin]
    state: State<S>,
    flags: Flags,
    upgrade: Option<UpgradePlace>,
    guard: Option<RequestGuard>,
}

#[pin_project(project = StateProj)]
enum State<S: HttpService> {
    Called(#[pin] S::Future),
    /// Boxed: rare, and bigger than most handlers' futures.
    Waiting(Box<(S, Option<Request<RequestBody>>)>),
    Failed(Option<S::Error>),
    /// Answered here. Boxed: rare.
    Refused(Option<Box<Response<Bytes>>>),
}

impl<S: HttpService> Future for ResponseFuture<S> {
    type Output = Result<Response<ResponseBody<S::ResponseBody>>, S::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let flags = *this.flags;
        loop {
            let work = this.guard.as_mut().and_then(|guard| guard.work.as_mut());
            let future = match this.state.as_mut().project() {
                StateProj::Called(future) => {
                    let part = tasks::Part::begin(work, cx);
                    let mut polled = future.poll(&mut Context::from_waker(part.waker()));
                    part.end(polled.is_pending());
                    if let (Poll::Ready(Ok(response)), Some(guard)) = (&mut polled, &this.guard) {
                        let sized = response.body().size_hint().exact().is_some();
                        on_head(response, sized, &guard.entry, flags, this.upgrade);
                    }
                    match polled {
                        // Handed on from here, with no stop on the way: a response is big, and each stop is a copy of it.
                        Poll::Ready(Ok(response)) => {
                            return Poll::Ready(Ok(wrap(response, AnswerBody::inner, flags, this.guard.take())));
                        }
                        Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                        Poll::Pending => break,
                    }
                }
                StateProj::Failed(error) => match error.take() {
                    Some(error) => return Poll::Ready(Err(error)),
                    None => break,
                },
                StateProj::Refused(response) => match response.take() {
                    Some(mut response) => {
                        if let Some(guard) = &this.guard {
                            on_head(&mut response, true, &guard.entry, flags, this.upgrade);
                        }
                        return Poll::Ready(Ok(wrap(*response, AnswerBody::answer, flags, this.guard.take())));
                    }
                    None => break,
                },
                StateProj::Waiting(waiting) => {
                    let (service, request) = &mut **waiting;
                    let part = tasks::Part::begin(work, cx);
                    let ready = service.poll_ready(&mut Context::from_waker(part.waker()));
                    part.end(ready.is_pending());
                    match ready {
                        Poll::Pending => break,
                        Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                        Poll::Ready(Ok(())) => match request.take() {
                            Some(request) => service.call(request),
                            None => break,
                        },
                    }
                }
            };
            this.state.set(State::Called(future));
        }
        if flags.is_http2() {
            stream::note_application_waits();
        }
        Poll::Pending
    }
}

/// The guard moves on into the body.
#[inline]
fn wrap<A, B: Body<Data = Bytes>>(
    response: Response<A>,
    body: impl FnOnce(A) -> AnswerBody<B>,
    flags: Flags,
    guard: Option<RequestGuard>,
) -> Response<ResponseBody<B>> {
    let (mut head, inner) = response.into_parts();
    let mut body = ResponseBody::new(body(inner), flags.version, guard);
    if flags.head || has_no_content(head.status) {
        leave_out(&mut body, &mut head, flags);
    }
    Response::from_parts(head, body)
}

const fn has_no_content(status: StatusCode) -> bool {
    matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED)
}

/// Whoever gave it: a client takes content where there is none for a breach of the protocol (RFC 9113, 8.1.1).
#[inline(never)]
fn leave_out<B: Body<Data = Bytes>>(body: &mut ResponseBody<B>, head: &mut Parts, flags: Flags) {
    if has_no_content(head.status) {
        // Never right with 204 (RFC 9110, 8.6). With 304 it would be the length that a 200 had, and axum tells that of
        // the 304 itself.
        head.headers.remove(CONTENT_LENGTH);
    } else {
        body.tell_length(&mut head.headers);
    }
    // hyper does, over HTTP/1.
    if flags.is_http2() {
        body.withhold();
    }
}

/// What a response's head says about the connection. Before it is taken apart: a head that was borrowed is copied once more
/// when it is passed on.
#[inline]
fn on_head<B>(
    response: &mut Response<B>,
    sized: bool,
    entry: &Entry,
    flags: Flags,
    upgrade: &mut Option<UpgradePlace>,
) {
    let shared = &entry.shared;
    // Events have no last byte to wait for, and so no length; a reader that stops is still cut.
    if !sized && is_event_stream(response.headers()) {
        if flags.is_http2() {
            stream::note_unlimited();
        } else {
            shared.socket.set_write_unlimited();
        }
    }
    if flags.is_http2() {
        return;
    }
    shared.socket.set_answering(true);
    let accepted = flags.connect && response.status().is_success();
    if accepted || response.status() == StatusCode::SWITCHING_PROTOCOLS {
        shared.upgrade(upgrade.take(), entry.kinds().upgraded(shared));
    } else if flags.close || shared.is_last_answer() || shared.socket.has_unreadable_body() {
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
