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
    LogWriter, entered,
    scratch::Scratch,
    spans::{self, Released},
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
    whole: OnceLock<WeakDispatch>,
}

impl JsonSubscriber {
    /// Lines go to `writer`.
    #[must_use]
    pub fn new(writer: LogWriter) -> Self {
        static SUBSCRIBERS: AtomicU64 = AtomicU64::new(0);
        Self { writer, number: SUBSCRIBERS.fetch_add(1, Relaxed), whole: OnceLock::new() }
    }
}

impl Subscriber for JsonSubscriber {
    fn on_register_dispatch(&self, whole: &Dispatch) {
        let _ = self.whole.set(whole.downgrade());
    }

    fn register_callsite(&self, _: &'static Metadata<'static>) -> Interest {
        Interest::always()
    }

    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

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

    fn event(&self, event: &Event<'_>) {
        Scratch::event(&self.writer, event, |line| {
            let mut next = if event.is_contextual() {
                entered::current(self.number)
            } else {
                event.parent().cloned() // `None` for a root
            };
            while let Some(id) = next {
                next = spans::inherit(&id, line);
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

    fn try_close(&self, id: Id) -> bool {
        let Released::Closed { parent } = spans::release(&id) else { return false };
        if let Some(parent) = parent {
            // From outside, so that the layers hear of it if that was its end as well.
            match self.whole.get().and_then(WeakDispatch::upgrade) {
                Some(whole) => whole.try_close(parent),
                None => self.try_close(parent),
            };
        }
        true
    }
}

impl fmt::Debug for JsonSubscriber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { writer, number, whole: _ } = self;
        f.debug_struct("JsonSubscriber").field("writer", writer).field("number", number).finish_non_exhaustive()
    }
}
