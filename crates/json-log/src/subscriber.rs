use std::{
    fmt,
    sync::{
        OnceLock,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use tracing::{
    Dispatch, Event, Metadata, Subscriber,
    dispatcher::WeakDispatch,
    span::{Attributes, Id, Record},
    subscriber::Interest,
};
use tracing_core::span::Current;

use crate::{
    LineFields, LiveFilter, LogWriter, entered,
    scratch::Scratch,
    spans::{self, Released},
    whole::Whole,
};

/// Writes every event as one line of JSON, and keeps the spans itself: what [`init`](crate::init) logs with.
///
/// It writes what [`JsonLayer`](crate::JsonLayer) in a registry does, for two thirds of what that costs a request and
/// without an allocation: it keeps of a span only what a line needs. It filters nothing. A layer stands on it if it asks
/// for no more than a [`Subscriber`], as [`LiveFilter`](crate::LiveFilter) does; one that looks spans up (OpenTelemetry,
/// tokio-console) needs a registry.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use graceful_json_log::{JsonSubscriber, LiveFilter, LogConfig};
/// use tracing_subscriber::layer::SubscriberExt;
///
/// let subscriber = JsonSubscriber::new(LogConfig::new().open()?).with(LiveFilter::new("info")?);
/// # drop(tracing::subscriber::set_default(subscriber));
/// # Ok(()) }
/// ```
pub struct JsonSubscriber {
    writer: LogWriter,
    /// Tells it from others that the same thread has entered spans of.
    number: u64,
    /// Itself with the layers around it, which hear of a span's end.
    outside: OnceLock<WeakDispatch>,
}

impl JsonSubscriber {
    /// Lines go to `writer`.
    #[must_use]
    pub fn new(writer: LogWriter) -> Self {
        static SUBSCRIBERS: AtomicU64 = AtomicU64::new(0);
        Self { writer, number: SUBSCRIBERS.fetch_add(1, Relaxed), outside: OnceLock::new() }
    }

    /// With `filter` on it, complete: what [`init`](crate::init) sets for the whole program.
    ///
    /// It logs as `self.with(filter)` in a [`Dispatch`] does and costs a request some 100 instructions less. No layer can
    /// be put around it any more, and neither part is found by [`Dispatch::downcast_ref`].
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use graceful_json_log::{JsonSubscriber, LiveFilter, LogConfig};
    ///
    /// let log = JsonSubscriber::new(LogConfig::new().open()?).into_dispatch(LiveFilter::new("info")?);
    /// tracing::dispatcher::with_default(&log, || tracing::info!("hello"));
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn into_dispatch(self, filter: LiveFilter) -> Dispatch {
        Dispatch::new(Whole::new(self, filter))
    }

    /// Writes a line without an event, in the span that the thread is in.
    #[inline]
    pub(crate) fn write(&self, metadata: &'static Metadata<'static>, record: impl FnOnce(&mut LineFields<'_>)) {
        Scratch::line(&self.writer, metadata, |fields| {
            record(fields);
            let mut span = entered::current(self.number);
            while let Some(id) = span {
                span = spans::visit(&id, |of_span| fields.inherit(of_span));
            }
        });
    }

    /// The same one: what one of the two writes or enters, the other has written and entered.
    pub(crate) fn again(&self) -> Self {
        Self { writer: self.writer.clone(), number: self.number, outside: OnceLock::new() }
    }
}

impl Subscriber for JsonSubscriber {
    fn on_register_dispatch(&self, outside: &Dispatch) {
        let _ = self.outside.set(outside.downgrade());
    }

    fn register_callsite(&self, _: &'static Metadata<'static>) -> Interest {
        Interest::always()
    }

    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    #[inline]
    fn new_span(&self, attributes: &Attributes<'_>) -> Id {
        Scratch::with(|scratch| {
            // The values are rendered first: a `Debug` of the user's may panic, or log.
            let fields = scratch.attributes(attributes);
            let parent = if attributes.is_contextual() {
                entered::current(self.number)
            } else {
                attributes.parent().cloned() // `None` for a root
            };
            spans::open(attributes.metadata(), parent, fields)
        })
    }

    fn record(&self, id: &Id, values: &Record<'_>) {
        let Some(metadata) = spans::metadata(id) else { return };
        Scratch::with(|scratch| spans::record(id, scratch.record(metadata, values)));
    }

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    #[inline]
    fn event(&self, event: &Event<'_>) {
        Scratch::event(&self.writer, event, |line| {
            let mut span = if event.is_contextual() {
                entered::current(self.number)
            } else {
                event.parent().cloned() // `None` for a root
            };
            while let Some(id) = span {
                span = spans::visit(&id, |of_span| line.inherit(of_span));
            }
        });
    }

    #[inline]
    fn enter(&self, id: &Id) {
        entered::enter(self.number, id);
    }

    #[inline]
    fn exit(&self, id: &Id) {
        entered::exit(self.number, id);
    }

    fn current_span(&self) -> Current {
        let current = entered::current(self.number);
        current.and_then(|id| Some(Current::new(id.clone(), spans::metadata(&id)?))).unwrap_or_else(Current::none)
    }

    fn clone_span(&self, id: &Id) -> Id {
        spans::hold(id);
        id.clone()
    }

    #[inline]
    fn try_close(&self, id: Id) -> bool {
        let Released::Closed { parent } = spans::release(&id) else { return false };
        if let Some(parent) = parent {
            // From outside, so that the layers hear of it if that was its end as well.
            match self.outside.get().and_then(WeakDispatch::upgrade) {
                Some(whole) => whole.try_close(parent),
                None => self.try_close(parent),
            };
        }
        true
    }
}

impl fmt::Debug for JsonSubscriber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { writer, number, outside: _ } = self;
        f.debug_struct("JsonSubscriber").field("writer", writer).field("number", number).finish_non_exhaustive()
    }
}
