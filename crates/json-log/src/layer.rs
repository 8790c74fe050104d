use std::{cell::Cell, fmt, time::Duration};

use tracing::{
    Event, Subscriber,
    span::{Attributes, Id, Record},
};
use tracing_subscriber::{Layer, layer::Context, registry::LookupSpan};

use crate::{
    LogWriter,
    line::{Fields, Line, SpanFields},
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
        Scratch::with(|Scratch { line, .. }| {
            attributes.record(&mut Fields::of(attributes.metadata(), line));
            if line.is_empty() {
                return;
            }
            let Some(span) = context.span(id) else { return };
            span.extensions_mut().replace(SpanFields::new(line));
        });
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        Scratch::with(|Scratch { line, .. }| {
            let Some(span) = context.span(id) else { return };
            values.record(&mut Fields::of(span.metadata(), line));
            let mut extensions = span.extensions_mut();
            match extensions.get_mut::<SpanFields>() {
                Some(fields) => fields.update(line),
                None => drop(extensions.replace(SpanFields::new(line))),
            }
        });
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let time = now();
        Scratch::with(|Scratch { line, clock }| {
            let metadata = event.metadata();
            line.head(clock, time, metadata.level(), metadata.target());
            event.record(&mut Fields::of(metadata, line));
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
    Scratch::with(|Scratch { line, clock }| {
        line.head(clock, time, &tracing::Level::WARN, crate::TARGET);
        line.field("message", |out| out.extend_from_slice(b"\"log lines dropped\""));
        line.field("dropped", |out| crate::number::unsigned(dropped, out));
        out.extend_from_slice(line.finish());
    });
}

/// What a thread keeps from line to line.
struct Scratch {
    line: Line,
    clock: Clock,
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
        let mut scratch = kept.unwrap_or_else(|| Box::new(Self { line: Line::default(), clock: Clock::new() }));
        write(&mut scratch);
        scratch.line.clear();
        scratch.line.trim();
        let _ = SCRATCH.try_with(|kept| kept.set(Some(scratch)));
    }
}
