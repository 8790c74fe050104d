use std::{fmt, sync::Arc, time::Duration};

use graceful_answer::{Answer, PlainText};
use tower_layer::Layer;

use crate::{ConcurrencyLimit, Limit, Overloaded, settings::Settings};

/// Limits how many requests are in flight, with a bounded queue in front. See the [crate docs](crate).
///
/// The limit belongs to the layer, not to the services it makes: all clones and all services of one layer share it,
/// however often axum applies the layer.
pub struct ConcurrencyLimitLayer<A = PlainText> {
    settings: Arc<Settings<A>>,
}

impl ConcurrencyLimitLayer {
    /// At most `max_in_flight` requests at once, from the call to the end of the response's body.
    ///
    /// With 0 nobody is let in; see [`Limit::new`]. `graceful::Server` has 1,024.
    #[must_use]
    pub fn new(max_in_flight: usize) -> Self {
        Self::from_limit(Limit::new(max_in_flight))
    }

    /// A layer on a limit that exists already, shared with the other layers on it.
    ///
    /// Places and queue are shared; the options below are each layer's own.
    #[must_use]
    pub fn from_limit(limit: Limit) -> Self {
        Self {
            settings: Arc::new(Settings {
                limit,
                max_queue: MAX_QUEUE,
                max_wait: MAX_WAIT,
                retry_after: Some(RETRY_AFTER),
                drain: DRAIN,
                drain_time: DRAIN_TIME,
                answer: Arc::new(PlainText::new()),
            }),
        }
    }
}

impl<A> ConcurrencyLimitLayer<A> {
    /// How many requests may wait for a place; the next one is refused at once. Default: 1,024. 0: none waits.
    ///
    /// Where layers share a limit, they share the queue, and this is how long it may be for a request that comes through
    /// this layer: the layer with the smaller bound sheds its requests first.
    #[must_use]
    pub fn max_queue(mut self, max_queue: usize) -> Self {
        self.settings_mut().max_queue = max_queue;
        self
    }

    /// How long a request may wait for a place. Default: 100 ms. Zero: none waits. `Duration::MAX`: no bound.
    ///
    /// It counts from the call of the service.
    #[must_use]
    pub fn max_wait(mut self, max_wait: Duration) -> Self {
        self.settings_mut().max_wait = max_wait;
        self
    }

    /// When a refused client may try again, sent as `Retry-After` in whole seconds, rounded up. Default: 1 s. `None`: it
    /// is not told.
    #[must_use]
    pub fn retry_after(mut self, retry_after: impl Into<Option<Duration>>) -> Self {
        self.settings_mut().retry_after = retry_after.into();
        self
    }

    /// How many bytes of a refused request's body are read and discarded, so that the client can finish sending and read
    /// its answer. Default: 256 KiB, as Go's `net/http` (`maxPostHandlerReadBytes`). 0: none.
    ///
    /// See [Refusing an upload](crate#refusing-an-upload).
    #[must_use]
    pub fn drain(mut self, max_bytes: u64) -> Self {
        self.settings_mut().drain = max_bytes;
        self
    }

    /// How long the rest of a refused request's body is waited for. Default: 1 s. `Duration::MAX`: no bound but that of
    /// [`drain`](Self::drain).
    #[must_use]
    pub fn drain_time(mut self, max_time: Duration) -> Self {
        self.settings_mut().drain_time = max_time;
        self
    }

    /// What a refused request is answered. Default: [`PlainText`], so 503 with `server busy`.
    ///
    /// ```
    /// use bytes::Bytes;
    /// use graceful_concurrency_limit::{ConcurrencyLimitLayer, Overloaded};
    /// use http::{Response, StatusCode};
    ///
    /// let layer = ConcurrencyLimitLayer::new(100).answer(|overloaded: &Overloaded| {
    ///     let mut response = Response::new(Bytes::from(format!("{:?}", overloaded.reason())));
    ///     *response.status_mut() = StatusCode::TOO_MANY_REQUESTS;
    ///     response
    /// });
    /// # let _ = layer;
    /// ```
    #[must_use]
    pub fn answer<T: Answer<Overloaded>>(self, answer: T) -> ConcurrencyLimitLayer<T> {
        let Settings { limit, max_queue, max_wait, retry_after, drain, drain_time, answer: _ } =
            Arc::unwrap_or_clone(self.settings);
        let answer = Arc::new(answer);
        ConcurrencyLimitLayer {
            settings: Arc::new(Settings { limit, max_queue, max_wait, retry_after, drain, drain_time, answer }),
        }
    }

    /// A handle on this layer's limit.
    #[must_use]
    pub fn limit(&self) -> Limit {
        self.settings.limit.clone()
    }

    /// A clone of the layer that was made before keeps the options it had.
    fn settings_mut(&mut self) -> &mut Settings<A> {
        Arc::make_mut(&mut self.settings)
    }
}

impl<S, A> Layer<S> for ConcurrencyLimitLayer<A> {
    type Service = ConcurrencyLimit<S, A>;

    fn layer(&self, inner: S) -> Self::Service {
        ConcurrencyLimit::new(inner, Arc::clone(&self.settings))
    }
}

impl<A> Clone for ConcurrencyLimitLayer<A> {
    fn clone(&self) -> Self {
        Self { settings: Arc::clone(&self.settings) }
    }
}

impl<A> fmt::Debug for ConcurrencyLimitLayer<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { settings } = self;
        f.debug_struct("ConcurrencyLimitLayer").field("settings", settings).finish()
    }
}

/// One that waits for each in flight, at the limit of 1,024 that `graceful` has.
const MAX_QUEUE: usize = 1_024;
/// Long enough for a burst to pass, and too short for a client to give up.
const MAX_WAIT: Duration = Duration::from_millis(100);
/// The least that the header can say and mean it.
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// `maxPostHandlerReadBytes` in Go's `net/http`.
const DRAIN: u64 = 256 * 1024;
const DRAIN_TIME: Duration = Duration::from_secs(1);
