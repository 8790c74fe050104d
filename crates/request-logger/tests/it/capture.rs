//! What a subscriber gets to see: every event with the `request` spans that it is in, and how each span ended.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard},
};

use tracing::{
    Event, Level, Subscriber,
    field::{Field, Visit},
    span,
    subscriber::DefaultGuard,
};
use tracing_subscriber::{
    Layer, Registry,
    layer::{Context, SubscriberExt},
};

/// The subscriber of this thread, while it lives: a test runs on one thread.
pub(crate) struct Capture {
    seen: Seen,
    _guard: DefaultGuard,
}

#[derive(Clone, Default)]
struct Seen(Arc<Mutex<Records>>);

#[derive(Default)]
struct Records {
    lines: Vec<Line>,
    spans: Vec<SpanRecord>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Line {
    pub(crate) message: String,
    /// The ids of the `request` spans that the event is in, innermost first.
    pub(crate) ids: Vec<String>,
}

#[derive(Clone, Debug)]
pub(crate) struct SpanRecord {
    pub(crate) name: &'static str,
    pub(crate) target: &'static str,
    pub(crate) level: Level,
    pub(crate) text: BTreeMap<&'static str, String>,
    pub is_root: bool,
    pub(crate) closed: bool,
    /// How often it is entered just now.
    pub(crate) depth: usize,
}

impl Capture {
    pub(crate) fn new() -> Self {
        let seen = Seen::default();
        let guard = tracing::subscriber::set_default(Registry::default().with(seen.clone()));
        Self { seen, _guard: guard }
    }

    pub(crate) fn lines(&self) -> Vec<Line> {
        self.seen.lock().lines.clone()
    }

    /// The `request` spans, in the order they were opened.
    pub(crate) fn spans(&self) -> Vec<SpanRecord> {
        self.seen.lock().spans.clone()
    }

    /// The only span there was.
    #[track_caller]
    pub(crate) fn span(&self) -> SpanRecord {
        let [span] = &self.spans()[..] else { panic!("one span, not {:?}", self.spans()) };
        span.clone()
    }

    /// The messages of the events inside the span of this id, in order.
    pub(crate) fn messages_of(&self, id: &str) -> Vec<String> {
        self.lines().into_iter().filter(|line| line.ids == [id]).map(|line| line.message).collect()
    }

    /// Asserts that each span has ended, and that none is entered.
    #[track_caller]
    pub(crate) fn assert_all_ended(&self) {
        assert!(tracing::Span::current().is_none(), "no span stays entered");
        for span in self.spans() {
            assert_eq!(span.depth, 0, "a span is left as often as it is entered: {span:?}");
            assert!(span.closed, "the span ends with its request: {span:?}");
        }
    }
}

impl Seen {
    fn lock(&self) -> MutexGuard<'_, Records> {
        self.0.lock().expect("no test panics while it records")
    }
}

/// Where in `Records::spans` a span of the registry is recorded.
struct Place(usize);

impl<S> Layer<S> for Seen
where
    S: Subscriber + for<'a> tracing_subscriber::registry::LookupSpan<'a>,
{
    fn on_new_span(&self, attributes: &span::Attributes<'_>, id: &span::Id, context: Context<'_, S>) {
        let meta = attributes.metadata();
        if meta.name() != "request" {
            return;
        }
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        assert_eq!(fields.other, [""; 0], "every field of the span is text");
        let span = context.span(id).expect("a new span");
        let mut records = self.lock();
        span.extensions_mut().insert(Place(records.spans.len()));
        records.spans.push(SpanRecord {
            name: meta.name(),
            target: meta.target(),
            level: *meta.level(),
            text: fields.text,
            is_root: span.parent().is_none(),
            closed: false,
            depth: 0,
        });
    }

    fn on_record(&self, _: &span::Id, _: &span::Record<'_>, _: Context<'_, S>) {
        panic!("the span has all its fields from the start: a subscriber may render them once");
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let mut records = self.lock();
        let ids = context
            .event_scope(event)
            .into_iter()
            .flatten()
            .filter_map(|span| span.extensions().get::<Place>().map(|place| place.0))
            .map(|place| records.spans[place].text["request_id"].clone())
            .collect();
        // hyper and h2 speak tracing, too; the events of these tests have a message and nothing else.
        if event.metadata().target().starts_with("it::") {
            records.lines.push(Line { message: fields.other.concat(), ids });
        }
    }

    fn on_enter(&self, id: &span::Id, context: Context<'_, S>) {
        self.at(id, &context, |span| span.depth += 1);
    }

    fn on_exit(&self, id: &span::Id, context: Context<'_, S>) {
        self.at(id, &context, |span| span.depth -= 1);
    }

    fn on_close(&self, id: span::Id, context: Context<'_, S>) {
        self.at(&id, &context, |span| span.closed = true);
    }
}

impl Seen {
    fn at<S>(&self, id: &span::Id, context: &Context<'_, S>, change: impl FnOnce(&mut SpanRecord))
    where
        S: Subscriber + for<'a> tracing_subscriber::registry::LookupSpan<'a>,
    {
        let place = context.span(id).and_then(|span| span.extensions().get::<Place>().map(|place| place.0));
        if let Some(place) = place {
            change(&mut self.lock().spans[place]);
        }
    }
}

#[derive(Default)]
struct Fields {
    text: BTreeMap<&'static str, String>,
    other: Vec<String>,
}

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.text.insert(field.name(), value.to_owned());
    }

    fn record_debug(&mut self, _: &Field, value: &dyn fmt::Debug) {
        self.other.push(format!("{value:?}"));
    }
}
