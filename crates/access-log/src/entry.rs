//! A record while its request lives: the guard that goes from the call to the future to the body.

use std::{
    cell::RefCell,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    thread,
    time::Duration,
};

use http::{
    HeaderMap, Method, Response, StatusCode, Version,
    header::{CONTENT_LENGTH, USER_AGENT},
    request,
};
use http_body::Body;
use tokio::time::Instant;
use tracing::Span;

use crate::{
    MatchedRoute, Outcome, Record,
    event::{self, Writer},
    layer::{Filter, Options},
    route::Listener,
};

/// An open record, or none where nobody listens. Its drop writes it, so it is written exactly once.
///
/// At any moment the record says what will have happened if the entry is dropped now: at first that the client went away
/// before the head, then that the body was cut short, and at its end that it is complete.
#[derive(Debug)]
pub(crate) struct Entry {
    /// In a box, as it goes through many hands, and in one that is used again: see [`Open::take`].
    open: Option<Box<Open>>,
}

#[derive(Debug)]
struct Open {
    record: Record,
    start: Instant,
    /// Where it is to be written; `None` if that is not for this layer to say.
    span: Option<Span>,
    filter: Option<Filter>,
    writer: Option<Writer>,
    query: bool,
    /// Set while the inner service is polled. An entry that is dropped with it set has seen a panic pass, even if a
    /// layer outside caught that before the drop.
    inside: bool,
    /// What happens from now on has no part in the outcome.
    over: bool,
}

/// What the inner service writes while the entry is elsewhere.
#[derive(Debug, Default)]
pub(crate) struct Shared {
    bytes_in: AtomicU64,
    pub(crate) route: OnceLock<Arc<str>>,
}

impl Entry {
    pub(crate) const NONE: Self = Self { open: None };

    pub(crate) fn open(request: &mut request::Parts, body: &impl Body, options: &Options) -> Self {
        let start = Instant::now();
        // The only allocation, and none for a request without a body: the body goes into the inner service and may be
        // read by another task, so what counts its bytes can live neither there nor here.
        let shared: Option<Arc<Shared>> = (options.route_cell || !body.is_end_stream()).then(Arc::default);
        if options.route_cell
            && let Some(shared) = &shared
        {
            request.extensions.insert(MatchedRoute::of(Arc::clone(shared)));
        }
        let mut open = Open::take(start);
        // Each in its place, for a record that is built first is moved; and all of them, so that nothing of another
        // request stays.
        let Open { record, start: _, span, filter, writer, query, inside, over } = &mut *open;
        let Record {
            method,
            target,
            version,
            status,
            duration,
            ttfb,
            bytes,
            bytes_expected,
            peer,
            user_agent,
            outcome,
            route,
            shared: counter,
        } = record;
        method.clone_from(&request.method);
        *target = request.uri.path_and_query().cloned();
        *version = request.version;
        *status = client_closed_request();
        *duration = Duration::ZERO;
        *ttfb = None;
        *bytes = 0;
        *bytes_expected = None;
        *peer = options.peer.and_then(|peer| peer(&request.extensions));
        *user_agent = request.headers.get(USER_AGENT).cloned();
        *outcome = Outcome::ClientGone;
        *route = None;
        *counter = shared;
        *span = options.capture_span.then(Span::current);
        filter.clone_from(&options.filter);
        *writer = options.writer;
        *query = options.query;
        *inside = false;
        *over = false;
        Self { open: Some(open) }
    }

    /// Whether nobody listens.
    pub(crate) const fn is_none(&self) -> bool {
        self.open.is_none()
    }

    /// Leaves none behind.
    pub(crate) const fn take(&mut self) -> Self {
        Self { open: self.open.take() }
    }

    /// Writes the record, now.
    pub(crate) fn close(&mut self) {
        drop(self.take());
    }

    pub(crate) fn shared(&self) -> Option<&Arc<Shared>> {
        self.open.as_ref()?.record.shared.as_ref()
    }

    /// The inner service is to run, which may panic, and may tell its route.
    ///
    /// Not around a closure, through which a request and a response would be moved once more.
    pub(crate) fn listen(&mut self) -> Inside<'_> {
        Inside(self.open.as_mut().map(|open| {
            let Open { record, inside, .. } = &mut **open;
            *inside = true;
            (Listener::new(&mut record.route), inside)
        }))
    }

    /// Runs the inner body, which may panic.
    pub(crate) fn inside<R>(&mut self, run: impl FnOnce() -> R) -> R {
        let Some(open) = &mut self.open else { return run() };
        open.inside = true;
        let result = run();
        open.inside = false;
        result
    }

    /// Takes down the head, and says whether a body is to follow; if not, this is at its end.
    pub(crate) fn head(&mut self, response: &Response<impl Body>) -> bool {
        self.open.as_mut().is_some_and(|open| open.head(response))
    }

    /// Counts what was handed over.
    pub(crate) fn sent(&mut self, bytes: usize) {
        if let Some(open) = &mut self.open {
            open.sent(bytes);
        }
    }

    /// The body has come to its end.
    pub(crate) fn end(&mut self) {
        if let Some(open) = &mut self.open {
            open.end();
        }
    }

    /// The inner service failed: an error, or a panic.
    pub(crate) fn fail(&mut self) {
        if let Some(open) = &mut self.open {
            open.fail();
        }
    }
}

/// The inner service runs, until it has [returned](Self::returned). A drop without that is a panic.
#[must_use = "the inner service runs as long as it lives"]
pub(crate) struct Inside<'a>(Option<(Listener<'a>, &'a mut bool)>);

impl Inside<'_> {
    pub(crate) fn returned(self) {
        if let Some((_, inside)) = self.0 {
            *inside = false;
        }
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        let Some(mut open) = self.open.take() else { return };
        if !open.over && (open.inside || thread::panicking()) {
            open.fail();
        }
        open.record.duration = open.start.elapsed();
        shielded(|| open.write());
        open.give_back();
    }
}

thread_local! {
    /// The boxes of records that were written on this thread.
    #[expect(clippy::vec_box, reason = "it is the boxes that are kept")]
    static FREE: RefCell<Vec<Box<Open>>> = const { RefCell::new(Vec::new()) };
}

/// How many boxes a thread keeps: 40 KiB.
const FREE_BOXES: usize = 128;

impl Open {
    /// A box, if there is one with something of a request of before, which holds no memory.
    fn take(start: Instant) -> Box<Self> {
        match FREE.try_with(|free| free.borrow_mut().pop()) {
            Ok(Some(mut open)) => {
                open.start = start;
                open
            }
            // There is none, or the thread is ending.
            _ => Self::new(start),
        }
    }

    #[cold]
    fn new(start: Instant) -> Box<Self> {
        let record = Record {
            method: Method::GET,
            target: None,
            version: Version::HTTP_11,
            status: client_closed_request(),
            duration: Duration::ZERO,
            ttfb: None,
            bytes: 0,
            bytes_expected: None,
            peer: None,
            user_agent: None,
            outcome: Outcome::ClientGone,
            route: None,
            shared: None,
        };
        Box::new(Self {
            record,
            start,
            span: None,
            filter: None,
            writer: None,
            query: false,
            inside: false,
            over: false,
        })
    }

    /// For the next request; what it holds of this one (a part of the connection's buffer!) goes at once.
    fn give_back(mut self: Box<Self>) {
        let Record { method, target, user_agent, route, shared, .. } = &mut self.record;
        *method = Method::GET;
        (*target, *user_agent, *route, *shared) = (None, None, None, None);
        (self.span, self.filter) = (None, None);
        let _ = FREE.try_with(|free| {
            let mut free = free.borrow_mut();
            if free.len() < FREE_BOXES {
                free.push(self);
            }
        });
    }

    fn head(&mut self, response: &Response<impl Body>) -> bool {
        let (status, body) = (response.status(), response.body());
        self.record.status = status;
        self.record.ttfb = Some(self.start.elapsed());
        self.record.outcome = Outcome::Truncated;
        if is_upgrade(&self.record.method, status) {
            self.record.outcome = Outcome::Upgraded;
            self.over = true;
        } else if is_bodiless(&self.record.method, status) || body.is_end_stream() {
            self.record.bytes_expected = Some(0);
            self.end();
        } else {
            self.record.bytes_expected = content_length(response.headers()).or_else(|| body.size_hint().exact());
            // An exact length of zero is reached without a frame, and hyper asks for none.
            self.sent(0);
        }
        !self.over
    }

    /// With the whole length the body is complete: a server does not ask for more.
    fn sent(&mut self, bytes: usize) {
        self.record.bytes = self.record.bytes.saturating_add(bytes as u64);
        if self.record.bytes_expected.is_some_and(|expected| self.record.bytes >= expected) {
            self.record.outcome = Outcome::Complete;
        }
    }

    /// Complete unless it is shorter than was announced.
    fn end(&mut self) {
        if self.record.bytes_expected.is_none_or(|expected| self.record.bytes >= expected) {
            self.record.outcome = Outcome::Complete;
        }
        self.over = true;
    }

    fn fail(&mut self) {
        if self.record.outcome == Outcome::ClientGone {
            self.record.status = StatusCode::INTERNAL_SERVER_ERROR;
        }
        self.record.outcome = Outcome::BodyError;
        self.over = true;
    }

    fn write(&self) {
        let Self { record, span, filter, writer, query, .. } = self;
        let _inside_span = span.as_ref().map(Span::enter);
        let keep = filter.as_ref().is_none_or(|filter| shielded(|| filter.keeps(record)).unwrap_or(true));
        if keep {
            event::write(record, *query, *writer);
        }
    }
}

impl Shared {
    pub(crate) fn received(&self, bytes: usize) {
        // Relaxed: a number for the log that nothing else hangs on.
        self.bytes_in.fetch_add(bytes as u64, Relaxed);
    }

    pub(crate) fn bytes_in(&self) -> u64 {
        self.bytes_in.load(Relaxed)
    }

    pub(crate) fn route(&self) -> Option<&str> {
        self.route.get().map(|route| &**route)
    }
}

/// Runs foreign code in a drop: the user's filter, a subscriber. A panic that left the drop would take the connection
/// with it, or the process, if the drop is part of unwinding.
fn shielded<R>(run: impl FnOnce() -> R) -> Option<R> {
    match catch_unwind(AssertUnwindSafe(run)) {
        Ok(result) => Some(result),
        Err(panic) => {
            // Its drop is foreign code as well.
            std::mem::forget(panic);
            None
        }
    }
}

/// Both give the socket, or the stream, over to another protocol: RFC 9110, 15.2.2 and 9.3.6.
fn is_upgrade(method: &Method, status: StatusCode) -> bool {
    status == StatusCode::SWITCHING_PROTOCOLS || (*method == Method::CONNECT && status.is_success())
}

/// Has no body on the wire, whatever the service gave: RFC 9110, 6.4.1.
fn is_bodiless(method: &Method, status: StatusCode) -> bool {
    *method == Method::HEAD || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED)
}

#[inline]
fn content_length(headers: &HeaderMap) -> Option<u64> {
    let digits = headers.get(CONTENT_LENGTH)?.as_bytes();
    let mut number = 0_u64;
    for digit in digits {
        let digit = digit.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        number = number.checked_mul(10)?.checked_add(digit.into())?;
    }
    (!digits.is_empty()).then_some(number)
}

/// 499, nginx's "client closed request": never sent, as there is nobody left to read it.
fn client_closed_request() -> StatusCode {
    StatusCode::from_u16(499).expect("three digits are a status code")
}
