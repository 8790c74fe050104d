use std::{fmt, net::SocketAddr, sync::Arc};

use http::Extensions;
use tower_layer::Layer;

use crate::{AccessEvent, AccessLog, Record, event::Writer};

/// Writes one access record a request.
///
/// See the [crate docs](crate).
#[derive(Clone, Debug)]
pub struct AccessLogLayer {
    options: Options,
}

/// What a service needs to know of its layer. Plain values, and an `Arc` only where a closure was given: a record that
/// shared an `Arc` with all others would pay for the contended count.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    pub(crate) query: bool,
    pub(crate) route_cell: bool,
    pub(crate) capture_span: bool,
    pub(crate) peer: Option<fn(&Extensions) -> Option<SocketAddr>>,
    pub(crate) filter: Option<Filter>,
    pub(crate) writer: Option<Writer>,
}

#[derive(Clone)]
pub(crate) struct Filter(Arc<dyn Fn(&Record) -> bool + Send + Sync>);

impl AccessLogLayer {
    /// A record for every request, without query string, peer and route.
    #[must_use]
    pub const fn new() -> Self {
        let options =
            Options { query: false, route_cell: false, capture_span: true, peer: None, filter: None, writer: None };
        Self { options }
    }

    /// Whether the field `path` has the query string, after a `?`. Default: no.
    ///
    /// Query strings hold what should not be in a log: tokens, names, addresses.
    #[must_use]
    pub fn query(mut self, log: bool) -> Self {
        self.options.query = log;
        self
    }

    /// How to find the address of the peer among the extensions of the request. Default: no field `peer`.
    ///
    /// It runs once a request, when that arrives.
    ///
    /// ```
    /// # use std::net::SocketAddr;
    /// use axum::extract::ConnectInfo;
    /// use graceful_access_log::AccessLogLayer;
    ///
    /// let layer = AccessLogLayer::new().peer(|extensions| {
    ///     extensions.get::<ConnectInfo<SocketAddr>>().map(|peer| peer.0)
    /// });
    /// ```
    #[must_use]
    pub fn peer(mut self, peer: fn(&Extensions) -> Option<SocketAddr>) -> Self {
        self.options.peer = Some(peer);
        self
    }

    /// Whether to put a [`MatchedRoute`](crate::MatchedRoute) in the extensions of each request, for a router to say
    /// which of its routes took it. Default: no.
    ///
    /// For a router that runs in another task; [`tell_route`](crate::tell_route) needs no cell.
    ///
    /// It costs an allocation for the cell and those of [`Extensions::insert`]: three if the extensions were empty, else
    /// one. The name itself is one more, unless it is given as an `Arc<str>` that is already there.
    #[must_use]
    pub fn route_cell(mut self, offer: bool) -> Self {
        self.options.route_cell = offer;
        self
    }

    /// Whether a record is written inside the span that was current when the request arrived. Default: yes.
    ///
    /// The end of a record is often a drop, in the task of the connection, where no span is current: most layers that
    /// open a span, tower-http's `TraceLayer` among them, enter it when they poll a body but not when they drop it. To
    /// hold on to the span costs no allocation; with tracing-subscriber's registry it costs some 100 ns, and nothing
    /// where there is no span. Switch it off where the layer outside enters its span for drops too.
    #[must_use]
    pub fn capture_span(mut self, capture: bool) -> Self {
        self.options.capture_span = capture;
        self
    }

    /// Which records are written. Default: all of them.
    ///
    /// The closure sees the whole [`Record`] at its end, so it can keep what is slow or has failed and sample the rest.
    /// A second filter replaces the first. The closure is not asked where nobody listens to the event, and runs where
    /// the request ends, often inside a drop on a worker thread: it must not block. If it panics, the record is written
    /// and the panic goes no further.
    ///
    /// ```
    /// use std::{sync::atomic::{AtomicUsize, Ordering::Relaxed}, time::Duration};
    /// use graceful_access_log::{AccessLogLayer, Outcome, Record};
    ///
    /// let fine = AtomicUsize::new(0);
    /// let layer = AccessLogLayer::new().filter(move |record: &Record| {
    ///     let dull = record.outcome() == Outcome::Complete
    ///         && record.status().is_success()
    ///         && record.duration() < Duration::from_secs(1);
    ///     match (dull, record.path()) {
    ///         (true, "/healthz") => false,
    ///         // One in a hundred of the others.
    ///         (true, _) => fine.fetch_add(1, Relaxed) % 100 == 0,
    ///         (false, _) => true,
    ///     }
    /// });
    /// ```
    #[must_use]
    pub fn filter(mut self, filter: impl Fn(&Record) -> bool + Send + Sync + 'static) -> Self {
        self.options.filter = Some(Filter(Arc::new(filter)));
        self
    }

    /// What may take care of a record in place of the event, and says whether it has. Default: nothing may.
    ///
    /// For a log with a shorter way to it than `tracing`'s, which hands each value over by name: an event of fourteen fields
    /// is a good part of what the record costs. It is asked once for each record that the filter keeps, inside the span of
    /// the record, and asks itself whether its log wants this one. If it says no, because the subscriber of the thread is
    /// another one, for example, the event is written as always. If it panics, so that nobody knows what it has written, the
    /// record is not written again.
    ///
    /// A [`RefusedRequest`](crate::RefusedRequest) is always an event.
    #[must_use]
    pub fn writer(mut self, writer: fn(&AccessEvent<'_>) -> bool) -> Self {
        self.options.writer = Some(writer);
        self
    }
}

impl Default for AccessLogLayer {
    fn default() -> Self {
        Self::new()
    }
}

impl<S> Layer<S> for AccessLogLayer {
    type Service = AccessLog<S>;

    fn layer(&self, inner: S) -> Self::Service {
        AccessLog::new(inner, self.options.clone())
    }
}

impl Filter {
    pub(crate) fn keeps(&self, record: &Record) -> bool {
        (self.0)(record)
    }
}

impl fmt::Debug for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(_) = self;
        f.write_str("Filter(..)")
    }
}
