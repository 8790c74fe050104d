//! One line in the making: fields are written once, and every key stands in it once.

use std::{error::Error, fmt, io::Write, time::Duration};

use smallvec::SmallVec;
use tracing::field::{Field, Visit};

use crate::{
    escape::{Escaped, escape},
    keys::Key,
    number,
    time::Clock,
};

/// The text of a line and where its fields stand in it.
///
/// It also renders the fields of a span, which then has no head.
#[derive(Default)]
pub(crate) struct Line {
    text: Vec<u8>,
    fields: Vec<Place>,
    bits: u64,
}

impl Line {
    /// Begins anew.
    pub(crate) fn clear(&mut self) {
        self.text.clear();
        self.fields.clear();
        self.bits = 0;
    }

    /// Writes what every line begins with.
    pub(crate) fn head(&mut self, clock: &mut Clock, time: Duration, rest: &[u8]) {
        self.text.extend_from_slice(HEAD);
        clock.write(time, &mut self.text);
        self.text.extend_from_slice(rest);
    }

    /// Adds the fields of a span, but for those whose keys are there already.
    pub(crate) fn inherit(&mut self, span: &SpanFields) {
        if self.bits & span.bits == 0 {
            let base = self.text.len();
            self.text.extend_from_slice(&span.text);
            self.fields.extend(span.fields.iter().map(|place| place.moved_to(place.start + base)));
            self.bits |= span.bits;
            return;
        }
        for place in &span.fields {
            if self.find(place.bit, place.key(&span.text)).is_none() {
                let base = self.text.len();
                self.text.extend_from_slice(place.all(&span.text));
                self.push(place.moved_to(base));
            }
        }
    }

    /// Ends the line.
    pub(crate) fn finish(&mut self) -> &[u8] {
        self.text.extend_from_slice(b"}\n");
        &self.text
    }

    /// Gives back the memory of a line that was unusually long.
    pub(crate) fn trim(&mut self) {
        const USUAL: usize = 64 << 10;
        if self.text.capacity() > USUAL {
            self.text = Vec::new();
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.fields.is_empty()
    }

    /// Writes a field. A key that is there already makes room: what was recorded last counts.
    fn field(&mut self, key: &Key, value: impl FnOnce(&mut Vec<u8>)) {
        let start = self.text.len();
        let key_end = start + key.write(&mut self.text);
        value(&mut self.text);
        let mut place = Place { start, key_end, end: self.text.len(), bit: key.bit };
        if key.again
            && let Some(earlier) = self.find(place.bit, place.key(&self.text))
        {
            place = place.moved_to(start - self.remove(earlier));
        }
        self.push(place);
    }

    fn push(&mut self, place: Place) {
        self.bits |= 1 << place.bit;
        self.fields.push(place);
    }

    fn find(&self, bit: u8, key: &[u8]) -> Option<usize> {
        if self.bits & 1 << bit == 0 {
            return None;
        }
        self.fields.iter().position(|place| place.bit == bit && place.key(&self.text) == key)
    }

    /// Cuts a field out and says how many bytes it had.
    #[cold]
    fn remove(&mut self, index: usize) -> usize {
        let place = self.fields.remove(index);
        let length = place.all(&self.text).len();
        self.text.drain(place.start..place.start + length);
        for later in &mut self.fields[index..] {
            *later = later.moved_to(later.start - length);
        }
        length
    }
}

/// What every line begins with; a torn line at the end of a file is known by it.
pub(crate) const HEAD: &[u8] = b"{\"timestamp\":\"";

/// The fields of a span as they will stand in a line, in the span's extensions.
///
/// In place for the spans of most requests, so that the box of the extension is the only allocation.
#[derive(Default)]
pub(crate) struct SpanFields {
    text: SmallVec<[u8; 256]>,
    fields: SmallVec<[Place; 8]>,
    bits: u64,
}

impl SpanFields {
    pub(crate) fn new(line: &Line) -> Self {
        Self { text: SmallVec::from_slice(&line.text), fields: SmallVec::from_slice(&line.fields), bits: line.bits }
    }

    /// Takes in what was recorded later, which counts more than what was there.
    pub(crate) fn update(&mut self, recorded: &Line) {
        let before = std::mem::take(self);
        for place in before.fields {
            if recorded.find(place.bit, place.key(&before.text)).is_none() {
                self.push(place, &before.text);
            }
        }
        for place in &recorded.fields {
            self.push(*place, &recorded.text);
        }
    }

    fn push(&mut self, place: Place, text: &[u8]) {
        let base = self.text.len();
        self.text.extend_from_slice(place.all(text));
        self.fields.push(place.moved_to(base));
        self.bits |= 1 << place.bit;
    }
}

/// Where `,"key":value` stands in a text.
#[derive(Clone, Copy)]
struct Place {
    start: usize,
    key_end: usize,
    end: usize,
    /// As of its [`Key`].
    bit: u8,
}

impl Place {
    /// `,"key":`.
    fn key<'a>(&self, text: &'a [u8]) -> &'a [u8] {
        &text[self.start..self.key_end]
    }

    fn all<'a>(&self, text: &'a [u8]) -> &'a [u8] {
        &text[self.start..self.end]
    }

    const fn moved_to(self, start: usize) -> Self {
        Self { start, key_end: start + self.key_end - self.start, end: start + self.end - self.start, bit: self.bit }
    }
}

/// Writes the fields of an event or of a span into a line.
pub(crate) struct Fields<'a> {
    pub(crate) line: &'a mut Line,
    pub(crate) keys: &'a [Key],
}

impl Fields<'_> {
    fn write(&mut self, field: &Field, value: impl FnOnce(&mut Vec<u8>)) {
        // Every field of a callsite has its key.
        if let Some(key) = self.keys.get(field.index()) {
            self.line.field(key, value);
        }
    }

    fn write_text(&mut self, field: &Field, text: fmt::Arguments<'_>) {
        self.write(field, |out| {
            out.push(b'"');
            // A `Debug` or `Display` that fails has written what it has.
            let _ = fmt::write(&mut Escaped(out), text);
            out.push(b'"');
        });
    }
}

impl Visit for Fields<'_> {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.write(field, |out| number::float(value, out));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.write(field, |out| number::signed(value, out));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.write(field, |out| number::unsigned(value, out));
    }

    fn record_i128(&mut self, field: &Field, value: i128) {
        self.write(field, |out| write!(out, "{value}").unwrap_or_default());
    }

    fn record_u128(&mut self, field: &Field, value: u128) {
        self.write(field, |out| write!(out, "{value}").unwrap_or_default());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.write(field, |out| out.extend_from_slice(if value { b"true" } else { b"false" }));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.write(field, |out| {
            out.push(b'"');
            escape(value, out);
            out.push(b'"');
        });
    }

    fn record_error(&mut self, field: &Field, value: &(dyn Error + 'static)) {
        self.write_text(field, format_args!("{}", Chain(value)));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.write_text(field, format_args!("{value:?}"));
    }
}

/// An error and the errors behind it: `cannot read config: no such file`.
struct Chain<'a>(&'a (dyn Error + 'static));

impl fmt::Display for Chain<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        /// No honest chain is as long; one that leads back to itself would never end.
        const LONGEST: usize = 32;
        write!(formatter, "{}", self.0)?;
        let sources = std::iter::successors(self.0.source(), |error| (*error).source());
        for source in sources.take(LONGEST) {
            write!(formatter, ": {source}")?;
        }
        Ok(())
    }
}
