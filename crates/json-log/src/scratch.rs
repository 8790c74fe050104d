//! What a thread keeps from line to line.

use std::cell::Cell;

use tracing::{Event, Metadata, span};

use crate::{
    LineFields, LogWriter,
    fields::Fields,
    keys::Cache,
    line::Line,
    time::{Clock, now},
};

/// The memory in which a line is made, and what is known of the lines before it.
pub(crate) struct Scratch {
    line: Line,
    clock: Clock,
    cache: Cache,
    /// For a line that is made [without an event](crate::write_line).
    room: [u8; LineFields::ROOM],
}

thread_local! {
    static SCRATCH: Cell<Option<Box<Scratch>>> = const { Cell::new(None) };
}

impl Scratch {
    /// Runs `write` with an empty line.
    ///
    /// The scratch is taken out while it is used: an event within an event (a `Debug` that logs), and one in a
    /// destructor of a thread that ends, gets a new one; one that panics takes it along.
    #[inline(always)]
    pub(crate) fn with<R>(write: impl FnOnce(&mut Self) -> R) -> R {
        let kept = SCRATCH.try_with(Cell::take).ok().flatten();
        let mut scratch = kept.unwrap_or_else(Self::new);
        let result = write(&mut scratch);
        scratch.line.clear();
        let _ = SCRATCH.try_with(|kept| kept.set(Some(scratch)));
        result
    }

    #[cold]
    fn new() -> Box<Self> {
        Box::new(Self {
            line: Line::default(),
            clock: Clock::new(),
            cache: Cache::default(),
            room: [0; LineFields::ROOM],
        })
    }

    /// Writes an event with the fields of its spans, which `inherit` adds, the innermost first.
    #[inline]
    pub(crate) fn event(writer: &LogWriter, event: &Event<'_>, inherit: impl FnOnce(&mut Line)) {
        let time = now();
        Self::with(|Self { line, clock, cache, .. }| {
            let texts = cache.texts(event.metadata());
            line.head(clock, time, &texts.head);
            event.record(&mut Fields { line, keys: &texts.keys });
            inherit(line);
            writer.push(time, line.finish());
        });
    }

    /// Writes a line with the fields that `record` gives it, spans included.
    #[inline]
    pub(crate) fn line(
        writer: &LogWriter,
        metadata: &'static Metadata<'static>,
        record: impl FnOnce(&mut LineFields<'_>),
    ) {
        let time = now();
        Self::with(|Self { line, clock, cache, room }| {
            let mut fields = LineFields::new(room, line, clock, time, cache.texts(metadata));
            record(&mut fields);
            writer.push(time, fields.finish());
        });
    }

    /// The fields with which a span begins.
    pub(crate) fn attributes(&mut self, attributes: &span::Attributes<'_>) -> &Line {
        let Self { line, cache, .. } = self;
        let texts = cache.texts(attributes.metadata());
        attributes.record(&mut Fields { line, keys: &texts.keys });
        line
    }

    /// Fields that a span has got later.
    pub(crate) fn record(&mut self, metadata: &'static Metadata<'static>, values: &span::Record<'_>) -> &Line {
        let Self { line, cache, .. } = self;
        let texts = cache.texts(metadata);
        values.record(&mut Fields { line, keys: &texts.keys });
        line
    }
}
