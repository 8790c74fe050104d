//! Typed capture of tracing events, with the names of the spans around them.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex},
};

use tracing::{
    Event, Level, Subscriber,
    field::{Field, Visit},
    subscriber::DefaultGuard,
};
use tracing_subscriber::{Layer, Registry, layer::Context, layer::SubscriberExt, registry::LookupSpan};

#[derive(Clone, Debug)]
pub(crate) struct Record {
    pub(crate) level: Level,
    pub(crate) spans: Vec<&'static str>,
    pub(crate) fields: BTreeMap<&'static str, String>,
}

#[derive(Clone, Default)]
pub(crate) struct Events(Arc<Mutex<Vec<Record>>>);

impl Events {
    pub(crate) fn on_this_thread() -> (Self, DefaultGuard) {
        let events = Self::default();
        let guard = tracing::subscriber::set_default(events.subscriber());
        (events, guard)
    }

    pub(crate) fn subscriber(&self) -> impl Subscriber + Send + Sync + use<> {
        Registry::default().with(self.clone())
    }

    /// Those with this message.
    pub(crate) fn of(&self, message: &str) -> Vec<Record> {
        let all = self.0.lock().expect("no test panics while it records");
        all.iter().filter(|record| record.fields.get("message").is_some_and(|m| m.contains(message))).cloned().collect()
    }
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Events {
    fn on_event(&self, event: &Event<'_>, cx: Context<'_, S>) {
        let mut record = Record {
            level: *event.metadata().level(),
            spans: cx.event_scope(event).into_iter().flatten().map(|span| span.name()).collect(),
            fields: BTreeMap::new(),
        };
        event.record(&mut Fields(&mut record.fields));
        self.0.lock().expect("no test panics while it records").push(record);
    }
}

struct Fields<'a>(&'a mut BTreeMap<&'static str, String>);

impl Visit for Fields<'_> {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name(), value.to_owned());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0.insert(field.name(), format!("{value:?}"));
    }
}
