use std::{any::Any, net::SocketAddr, sync::Arc, time::Duration};

use tokio::time::Instant;

use crate::{ConnectionInfo, current, settings::deadline, shared::Shared};

/// A handler's hold on its own request's limits and on its connection, as Go's `http.ResponseController`.
///
/// It is in the extensions of every request, unless [`Settings::control_extension`](crate::Settings::control_extension) is
/// off; [`current`](Self::current) finds it there and then as well.
///
/// ```
/// use std::time::Duration;
///
/// use graceful_connection::{ConnectionControl, RequestBody};
/// use http::Request;
///
/// async fn upload(request: Request<RequestBody>) {
///     if let Some(control) = request.extensions().get::<ConnectionControl>() {
///         // This one may take an hour, and its answer a minute.
///         control.set_read_timeout(Duration::from_secs(3600));
///         control.set_write_timeout(Duration::from_secs(60));
///     }
///     // …
/// }
/// ```
#[derive(Debug)]
pub struct ConnectionControl {
    shared: Arc<Shared>,
    /// The request's number, or [`EACH`].
    number: u64,
}

/// No request's number: what is cloned is of the request that began last.
const EACH: u64 = u64::MAX;

impl ConnectionControl {
    pub(crate) const fn new(shared: Arc<Shared>, number: u64) -> Self {
        Self { shared, number }
    }

    /// What the extensions of each request are cloned from: the clone is the hold on the request that the connection's
    /// task took in last.
    pub(crate) const fn of_each(shared: Arc<Shared>) -> Self {
        Self { shared, number: EACH }
    }

    /// The hold on the request that is being worked on: for a service, a future or a body that the connection's own task,
    /// or the stream's, polls. `None` elsewhere, as in a task that a handler has spawned.
    #[must_use]
    pub fn current() -> Option<Self> {
        current::control()
    }

    /// From now on, the rest of this request's body may take `limit`; `None` or zero lifts the limit.
    ///
    /// The minimum rate, if one is set, still holds. To be called by the handler, before it reads.
    pub fn set_read_timeout(&self, limit: impl Into<Option<Duration>>) {
        self.shared.requests.override_read(self.number, deadline(Instant::now(), limit.into()));
        self.shared.wake();
    }

    /// From now on, this request's response may take `limit` to its last byte; `None` or zero lifts the limit.
    ///
    /// Neither a body that still comes in nor an event stream changes it any more. The stall limit and the minimum rate
    /// still hold. To be called by the handler, or by what makes its body.
    pub fn set_write_timeout(&self, limit: impl Into<Option<Duration>>) {
        self.shared.requests.override_write(self.number, deadline(Instant::now(), limit.into()));
        self.shared.wake();
    }

    /// Closes the connection when what is in flight on it is answered: `Connection: close`, or GOAWAY.
    pub fn close(&self) {
        self.shared.want_close();
    }

    /// Says which route the request took, as `/users/{id}`: for a shutdown that has to name it. The last call counts.
    pub fn set_route(&self, route: &Arc<str>) {
        self.shared.set_route(self.number, route);
    }

    /// What the server lets its handlers look up: see [`RegistryBuilder::context`](crate::RegistryBuilder::context).
    #[must_use]
    pub fn context<T: Any>(&self) -> Option<&T> {
        self.shared.context.as_deref()?.downcast_ref()
    }

    /// What is known of the connection.
    #[must_use]
    pub fn info(&self) -> ConnectionInfo<'_> {
        ConnectionInfo::of(&self.shared)
    }

    /// The client's address, where it has one.
    #[must_use]
    pub fn peer(&self) -> Option<SocketAddr> {
        self.shared.peer()
    }
}

/// A clone is of the same request.
impl Clone for ConnectionControl {
    #[inline]
    fn clone(&self) -> Self {
        let Self { shared, number } = self;
        let number = if *number == EACH { shared.requests.latest() } else { *number };
        Self { shared: Arc::clone(shared), number }
    }
}
