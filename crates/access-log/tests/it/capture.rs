//! The events of one test, typed.

use std::{collections::BTreeMap, fmt, time::Duration};

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tracing::{
    Event, Level, Metadata, Subscriber,
    field::{Field, Visit},
    subscriber::DefaultGuard,
};
use tracing_subscriber::{
    Layer,
    layer::{Context, SubscriberExt},
    registry::{LookupSpan, Scope},
};

/// Receives the access events of this thread, for as long as it lives.
pub(crate) struct Capture {
    events: UnboundedReceiver<Captured>,
    _default: DefaultGuard,
}

#[derive(Debug)]
pub(crate) struct Captured {
    pub(crate) level: Level,
    pub(crate) name: &'static str,
    pub(crate) fields: BTreeMap<&'static str, Value>,
    /// The spans that the event is in, outermost first.
    pub(crate) spans: Vec<&'static str>,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    Str(String),
    /// By its `Display` or `Debug`.
    Shown(String),
    Unsigned(u64),
    Float(f64),
}

impl Capture {
    pub(crate) fn new() -> Self {
        Self::up_to(Level::TRACE)
    }

    pub(crate) fn up_to(level: Level) -> Self {
        Self::by(move |meta| *meta.level() <= level)
    }

    pub(crate) fn by(wanted: impl Fn(&Metadata<'_>) -> bool + Send + Sync + 'static) -> Self {
        let (sender, events) = unbounded_channel();
        let layer = Collect { sender, wanted: Box::new(wanted) };
        let subscriber = tracing_subscriber::registry().with(layer);
        Self { events, _default: tracing::subscriber::set_default(subscriber) }
    }

    /// The one event that there is.
    #[track_caller]
    pub(crate) fn only(&mut self) -> Captured {
        let event = self.events.try_recv().expect("the record must be written by now");
        self.none();
        event
    }

    #[track_caller]
    pub(crate) fn none(&mut self) {
        if let Ok(event) = self.events.try_recv() {
            panic!("no record may be written here: {event:?}");
        }
    }

    pub(crate) fn next_if_any(&mut self) -> Option<Captured> {
        self.events.try_recv().ok()
    }

    /// The next event, from a server that runs beside the test.
    pub(crate) async fn next(&mut self) -> Captured {
        tokio::time::timeout(Duration::from_secs(20), self.events.recv())
            .await
            .expect("the record must be written")
            .expect("this holds the subscriber")
    }
}

impl Captured {
    #[track_caller]
    pub(crate) fn outcome(&self) -> (u64, &str) {
        (self.unsigned("status").expect("a status"), self.str("outcome").expect("an outcome"))
    }

    #[track_caller]
    pub(crate) fn str(&self, field: &str) -> Option<&str> {
        self.fields.get(field).map(|value| match value {
            Value::Str(text) | Value::Shown(text) => text.as_str(),
            other => panic!("{field} is no text: {other:?}"),
        })
    }

    #[track_caller]
    pub(crate) fn unsigned(&self, field: &str) -> Option<u64> {
        self.fields.get(field).map(|value| match value {
            Value::Unsigned(number) => *number,
            other => panic!("{field} is no number: {other:?}"),
        })
    }

    #[track_caller]
    pub(crate) fn float(&self, field: &str) -> Option<f64> {
        self.fields.get(field).map(|value| match value {
            Value::Float(number) => *number,
            other => panic!("{field} is no float: {other:?}"),
        })
    }

    /// `bytes_in`, `bytes` and `bytes_expected`.
    #[track_caller]
    pub(crate) fn bytes(&self) -> (u64, u64, Option<u64>) {
        (
            self.unsigned("bytes_in").expect("bytes_in"),
            self.unsigned("bytes").expect("bytes"),
            self.unsigned("bytes_expected"),
        )
    }
}

type Wanted = Box<dyn Fn(&Metadata<'_>) -> bool + Send + Sync>;

struct Collect {
    sender: UnboundedSender<Captured>,
    wanted: Wanted,
}

impl<S> Layer<S> for Collect
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    fn enabled(&self, meta: &Metadata<'_>, _: Context<'_, S>) -> bool {
        meta.is_span() || (meta.target() == "access" && (self.wanted)(meta))
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let spans = context.event_scope(event).into_iter().flat_map(Scope::from_root).map(|s| s.name()).collect();
        let meta = event.metadata();
        let captured = Captured { level: *meta.level(), name: meta.name(), fields: fields.0, spans };
        let _ = self.sender.send(captured);
    }
}

/// What was visited.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Fields(pub(crate) BTreeMap<&'static str, Value>);

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0.insert(field.name(), Value::Shown(format!("{value:?}")));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name(), Value::Str(value.to_owned()));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.0.insert(field.name(), Value::Unsigned(value));
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.0.insert(field.name(), Value::Float(value));
    }
}
