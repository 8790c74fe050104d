//! Captures events with their fields, spans and threads.
#![allow(dead_code, clippy::allow_attributes, reason = "each test binary uses its part")]

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex},
    time::Duration,
};

use tracing::{
    Event, Level, Subscriber,
    field::{Field, Visit},
    subscriber::DefaultGuard,
};
use tracing_subscriber::{
    Layer, Registry,
    layer::{Context, SubscriberExt},
    registry::{LookupSpan, Scope},
};

#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) level: Level,
    pub(crate) target: String,
    pub(crate) fields: BTreeMap<String, String>,
    /// From the root to the innermost.
    pub(crate) spans: Vec<String>,
    /// Who wrote it.
    pub(crate) thread: Option<String>,
}

impl Seen {
    pub(crate) fn message(&self) -> &str {
        self.get("message").unwrap_or_default()
    }

    pub(crate) fn get(&self, field: &str) -> Option<&str> {
        self.fields.get(field).map(String::as_str)
    }
}

type OnEvent = Arc<dyn Fn() + Send + Sync>;

#[derive(Clone)]
pub(crate) struct Capture {
    seen: Arc<Mutex<Vec<Seen>>>,
    on_event: OnEvent,
}

impl Capture {
    /// Takes all events of this thread from here on, until the guard is dropped.
    pub(crate) fn start() -> (Self, DefaultGuard) {
        Self::start_with(|| ())
    }

    /// The same, and calls this for each event, where it is written.
    pub(crate) fn start_with(on_event: impl Fn() + Send + Sync + 'static) -> (Self, DefaultGuard) {
        let capture = Self { seen: Arc::default(), on_event: Arc::new(on_event) };
        let guard = tracing::subscriber::set_default(Registry::default().with(capture.clone()));
        (capture, guard)
    }

    /// The events of the recovery layer, with all reports written.
    pub(crate) fn all(&self) -> Vec<Seen> {
        assert!(graceful_recovery::flush(Duration::from_secs(30)), "reports must be written");
        self.now()
    }

    /// The events that there are now.
    pub(crate) fn now(&self) -> Vec<Seen> {
        self.seen.lock().expect("no test panics in here").clone()
    }

    /// The only event.
    pub(crate) fn one(&self) -> Seen {
        let all = self.all();
        assert_eq!(all.len(), 1, "exactly one event: {all:#?}");
        all.into_iter().next().expect("one")
    }
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Capture {
    fn on_event(&self, event: &Event<'_>, cx: Context<'_, S>) {
        if event.metadata().target() != "graceful::panic" {
            return;
        }
        (self.on_event)();
        let mut fields = Fields::default();
        event.record(&mut fields);
        let spans = cx.event_scope(event).into_iter().flat_map(Scope::from_root);
        let seen = Seen {
            level: *event.metadata().level(),
            target: event.metadata().target().to_owned(),
            fields: fields.0,
            spans: spans.map(|span| span.name().to_owned()).collect(),
            thread: std::thread::current().name().map(str::to_owned),
        };
        self.seen.lock().expect("no test panics in here").push(seen);
    }
}

#[derive(Default)]
struct Fields(BTreeMap<String, String>);

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name().to_owned(), value.to_owned());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0.insert(field.name().to_owned(), format!("{value:?}"));
    }
}

/// Panics when it is dropped, but not while the thread unwinds already.
pub(crate) struct Bomb(pub(crate) &'static str);

impl Drop for Bomb {
    fn drop(&mut self) {
        assert!(std::thread::panicking(), "{}", self.0);
    }
}
