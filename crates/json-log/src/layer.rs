use std::{cell::Cell, fmt, time::Duration};

use tracing::{
    Event, Subscriber,
    span::{Attributes, Id, Record},
};
use tracing_subscriber::{Layer, layer::Context, registry::LookupSpan};

use crate::{
    LogWriter,
    keys::Cache,
    line::{Fields, HEAD, Line, SpanFields},
    number,
    time::{Clock, now},
};

/// Writes every event as one line of JSON.
///
/// A [`Layer`] for any registry, beside others; it filters nothing itself. See the [crate docs](crate).
#[derive(Clone)]
pub struct JsonLayer {
    writer: LogWriter,
}

impl JsonLayer {
    /// Lines go to `writer`.
    #[must_use]
    pub const fn new(writer: LogWriter) -> Self {
        Self { writer }
    }
}

impl<S> Layer<S> for JsonLayer
where
    S: Subscriber + for<'lookup> LookupSpan<'lookup>,
{
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        // The span's lock is taken after its values are rendered: a `Debug` of the user's may log itself, in this span.
        Scratch::with(|Scratch { line, cache, .. }| {
            let texts = cache.texts(attributes.metadata());
            attributes.record(&mut Fields { line, keys: &texts.keys });
            if line.is_empty() {
                return;
            }
            let Some(span) = context.span(id) else { return };
            span.extensions_mut().replace(SpanFields::new(line));
        });
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        Scratch::with(|Scratch { line, cache, .. }| {
            let Some(span) = context.span(id) else { return };
            let texts = cache.texts(span.metadata());
            values.record(&mut Fields { line, keys: &texts.keys });
            let mut extensions = span.extensions_mut();
            match extensions.get_mut::<SpanFields>() {
                Some(fields) => fields.update(line),
                None => drop(extensions.replace(SpanFields::new(line))),
            }
        });
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let time = now();
        Scratch::with(|Scratch { line, clock, cache }| {
            let texts = cache.texts(event.metadata());
            line.head(clock, time, &texts.head);
            event.record(&mut Fields { line, keys: &texts.keys });
            for span in context.event_scope(event).into_iter().flatten() {
                if let Some(fields) = span.extensions().get::<SpanFields>() {
                    line.inherit(fields);
                }
            }
            self.writer.push(time, line.finish());
        });
    }
}

impl fmt::Debug for JsonLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { writer } = self;
        f.debug_struct("JsonLayer").field("writer", writer).finish()
    }
}

/// The line that the crate itself writes when lines were lost.
pub(crate) fn loss(time: Duration, dropped: u64, out: &mut Vec<u8>) {
    const TEXT: &[u8] =
        b"\",\"level\":\"WARN\",\"target\":\"graceful_json_log\",\"message\":\"log lines dropped\",\"dropped\":";
    out.extend_from_slice(HEAD);
    Clock::new().write(time, out);
    out.extend_from_slice(TEXT);
    number::unsigned(dropped, out);
    out.extend_from_slice(b"}\n");
}

/// What a thread keeps from line to line.
struct Scratch {
    line: Line,
    clock: Clock,
    cache: Cache,
}

thread_local! {
    static SCRATCH: Cell<Option<Box<Scratch>>> = const { Cell::new(None) };
}

impl Scratch {
    /// Runs `write` with an empty line.
    ///
    /// The scratch is taken out while it is used: an event within an event (a `Debug` that logs), and one in a
    /// destructor of a thread that ends, gets a new one; one that panics takes it along.
    fn with(write: impl FnOnce(&mut Self)) {
        let kept = SCRATCH.try_with(Cell::take).ok().flatten();
        let mut scratch = kept
            .unwrap_or_else(|| Box::new(Self { line: Line::default(), clock: Clock::new(), cache: Cache::default() }));
        write(&mut scratch);
        scratch.line.clear();
        scratch.line.trim();
        let _ = SCRATCH.try_with(|kept| kept.set(Some(scratch)));
    }
}
