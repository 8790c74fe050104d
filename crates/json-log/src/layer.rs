use std::fmt;

use tracing::{
    Event, Subscriber,
    span::{Attributes, Id, Record},
};
use tracing_subscriber::{Layer, layer::Context, registry::LookupSpan};

use crate::{LogWriter, line::SpanFields, scratch::Scratch};

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
        Scratch::with(|scratch| {
            let fields = scratch.attributes(attributes);
            if fields.is_empty() {
                return;
            }
            let Some(span) = context.span(id) else { return };
            span.extensions_mut().replace(SpanFields::of(fields));
        });
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        Scratch::with(|scratch| {
            let Some(span) = context.span(id) else { return };
            let recorded = scratch.record(span.metadata(), values);
            let mut extensions = span.extensions_mut();
            match extensions.get_mut::<SpanFields>() {
                Some(fields) => fields.update(recorded),
                None => drop(extensions.replace(SpanFields::of(recorded))),
            }
        });
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        Scratch::event(&self.writer, event, |line| {
            for span in context.event_scope(event).into_iter().flatten() {
                if let Some(fields) = span.extensions().get::<SpanFields>() {
                    line.inherit(fields);
                }
            }
        });
    }
}

impl fmt::Debug for JsonLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { writer } = self;
        f.debug_struct("JsonLayer").field("writer", writer).finish()
    }
}
