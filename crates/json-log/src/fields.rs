//! Values on their way into a line.

use std::{error::Error, fmt, fmt::Write};

use tracing::field::{Field, Visit};

use crate::{
    escape::{self, Escaped, Short, Tiny},
    keys::Key,
    line::Line,
    number::{self, ShortFloat},
    text::Text,
};

/// Writes the fields of an event or of a span into a line.
pub(crate) struct Fields<'a> {
    pub(crate) line: &'a mut Line,
    pub(crate) keys: &'a [Key],
}

/// A value of a kind that a line has many of, in the few instructions that it takes as long as nothing is out of the
/// ordinary.
macro_rules! short {
    ($line:expr, $key:expr, $value:expr) => {
        $value.is_some_and(|value| $line.short_field($key, |out| Some(value.write(out))))
    };
}

// Out of line, for visitors that are called one value at a time. One for each length, so that none saves the registers
// that only another needs.

#[inline(never)]
fn tiny_string(line: &mut Line, key: &Key, value: &str) {
    if !short!(line, key, Tiny::new(value)) {
        string(line, key, value);
    }
}

#[inline(never)]
fn short_string(line: &mut Line, key: &Key, value: &str) {
    if !short!(line, key, Short::new(value)) {
        string(line, key, value);
    }
}

/// The longest text for it; what is longer is worth a call.
const MIDDLING: usize = 128;

#[inline(never)]
fn middling_string(line: &mut Line, key: &Key, value: &str) {
    if !line.short_field(key, |out: &mut [u8; MIDDLING + 2]| escape::middling(value, out)) {
        string(line, key, value);
    }
}

// What is out of the ordinary.

#[cold]
#[inline(never)]
pub(crate) fn string(line: &mut Line, key: &Key, value: &str) {
    line.field(key, |out| escape::string(value, out));
}

#[cold]
#[inline(never)]
pub(crate) fn unsigned(line: &mut Line, key: &Key, value: u64) {
    line.field(key, |out| number::unsigned(value, out));
}

#[cold]
#[inline(never)]
pub(crate) fn float(line: &mut Line, key: &Key, value: f64) {
    line.field(key, |out| number::float(value, out));
}

#[cold]
#[inline(never)]
pub(crate) fn text(line: &mut Line, key: &Key, text: fmt::Arguments<'_>) {
    line.field(key, |out| {
        out.push(b"\"", 1);
        // A `Debug` or `Display` that fails has written what it has.
        let _ = fmt::write(&mut Escaped(out), text);
        out.push(b"\"", 1);
    });
}

impl Fields<'_> {
    /// The line, and the key of a field. Every field of a callsite has one.
    #[inline(always)]
    fn at(&mut self, field: &Field) -> Option<(&mut Line, &Key)> {
        Some((self.line, self.keys.get(field.index())?))
    }

    #[cold]
    #[inline(never)]
    fn write(&mut self, field: &Field, value: impl FnOnce(&mut Text)) {
        if let Some((line, key)) = self.at(field) {
            line.field(key, value);
        }
    }
}

impl Visit for Fields<'_> {
    fn record_f64(&mut self, field: &Field, value: f64) {
        let Some((line, key)) = self.at(field) else { return };
        if !short!(line, key, ShortFloat::new(value)) {
            float(line, key, value);
        }
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        match u64::try_from(value) {
            Ok(value) => self.record_u64(field, value),
            Err(_) => self.write(field, |out| number::signed(value, out)),
        }
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        let Some((line, key)) = self.at(field) else { return };
        if !short!(line, key, number::Short::new(value)) {
            unsigned(line, key, value);
        }
    }

    fn record_i128(&mut self, field: &Field, value: i128) {
        self.write(field, |out| write!(out, "{value}").unwrap_or_default());
    }

    fn record_u128(&mut self, field: &Field, value: u128) {
        self.write(field, |out| write!(out, "{value}").unwrap_or_default());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.write(field, |out| out.extend(if value { b"true" } else { b"false" }));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        let Some((line, key)) = self.at(field) else { return };
        match value.len() {
            0..8 => tiny_string(line, key, value),
            8..17 => short_string(line, key, value),
            17.. => middling_string(line, key, value),
        }
    }

    fn record_error(&mut self, field: &Field, value: &(dyn Error + 'static)) {
        self.record_debug(field, &format_args!("{}", Chain(value)));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if let Some((line, key)) = self.at(field) {
            text(line, key, format_args!("{value:?}"));
        }
    }
}

/// An error and the errors behind it: `cannot read config: no such file`.
pub(crate) struct Chain<'a>(pub(crate) &'a (dyn Error + 'static));

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
