//! Values as they are logged.

use std::{slice::EscapeAscii, time::Duration};

use http::{Method, Version};
use tracing::field::{DisplayValue, Field, Value, Visit, display};

use crate::peer::PeerText;

/// Bytes of a text from the client that a line may hold. A client can send as much as the server's limit for a head, 64
/// KiB and more, and should not be able to fill a disk with it.
const MAX_METHOD: usize = 32;
pub(crate) const MAX_PATH: usize = 1024;
pub(crate) const MAX_USER_AGENT: usize = 256;

/// The value of a field, for both ways to a log.
pub(crate) trait FieldValue {
    /// Hands it to a visitor, as an event does.
    fn record(&self, field: &Field, visitor: &mut (impl Visit + ?Sized));

    /// As it stands in an event.
    fn value(&self) -> impl Value;
}

impl FieldValue for &str {
    #[inline(always)]
    fn record(&self, field: &Field, visitor: &mut (impl Visit + ?Sized)) {
        visitor.record_str(field, self);
    }

    fn value(&self) -> impl Value {
        *self
    }
}

impl FieldValue for u64 {
    #[inline(always)]
    fn record(&self, field: &Field, visitor: &mut (impl Visit + ?Sized)) {
        visitor.record_u64(field, *self);
    }

    fn value(&self) -> impl Value {
        *self
    }
}

impl FieldValue for f64 {
    #[inline(always)]
    fn record(&self, field: &Field, visitor: &mut (impl Visit + ?Sized)) {
        visitor.record_f64(field, *self);
    }

    fn value(&self) -> impl Value {
        *self
    }
}

impl FieldValue for PeerText {
    #[inline(always)]
    fn record(&self, field: &Field, visitor: &mut (impl Visit + ?Sized)) {
        visitor.record_str(field, self.as_str());
    }

    fn value(&self) -> impl Value {
        self.as_str()
    }
}

impl FieldValue for Text<'_> {
    #[inline(always)]
    fn record(&self, field: &Field, visitor: &mut (impl Visit + ?Sized)) {
        match self {
            Self::Plain(text) => visitor.record_str(field, text),
            Self::Escaped(text) => visitor.record_debug(field, text),
        }
    }

    fn value(&self) -> impl Value {
        self.as_value()
    }
}

/// A field that does not apply is left out.
impl<T: FieldValue> FieldValue for Option<T> {
    #[inline(always)]
    fn record(&self, field: &Field, visitor: &mut (impl Visit + ?Sized)) {
        if let Some(value) = self {
            value.record(field, visitor);
        }
    }

    fn value(&self) -> impl Value {
        self.as_ref().map(T::value)
    }
}

/// What a client sent, so that it is harmless in any log: as it is, if it is ASCII, else escaped byte for byte
/// (`\xc3\xa9`), so that no terminal can be steered by it; and never longer than its limit. ASCII needs no second look:
/// none of `http`'s types holds a control character, except that a header value may have tabs.
pub(crate) enum Text<'a> {
    Plain(&'a str),
    Escaped(DisplayValue<EscapeAscii<'a>>),
}

impl<'a> Text<'a> {
    pub(crate) fn new(text: &'a str, max: usize) -> Self {
        let cut = &text.as_bytes()[..text.len().min(max)];
        if is_ascii(cut) { Self::Plain(&text[..cut.len()]) } else { Self::escaped(cut, max) }
    }

    pub(crate) fn of_bytes(bytes: &'a [u8], max: usize) -> Self {
        let cut = &bytes[..bytes.len().min(max)];
        std::str::from_utf8(cut).map_or_else(|_| Self::escaped(cut, max), |text| Self::new(text, max))
    }

    /// One byte becomes four characters at most.
    fn escaped(cut: &'a [u8], max: usize) -> Self {
        Self::Escaped(display(cut[..cut.len().min(max / 4)].escape_ascii()))
    }

    pub(crate) fn as_value(&self) -> &dyn Value {
        match self {
            Self::Plain(text) => text,
            Self::Escaped(text) => text,
        }
    }
}

/// The same as `<[u8]>::is_ascii`, which looks at a short text byte by byte.
#[inline]
fn is_ascii(text: &[u8]) -> bool {
    const HIGH: u64 = 0x8080_8080_8080_8080;
    // The last eight overlap those before.
    let (words, Some(last)) = (text.as_chunks::<8>().0, text.last_chunk()) else { return text.is_ascii() };
    let marks = words.iter().fold(u64::from_ne_bytes(*last), |marks, word| marks | u64::from_ne_bytes(*word));
    marks & HIGH == 0
}

/// A method is a token, and so ASCII.
pub(crate) fn method(method: &Method) -> &str {
    let method = method.as_str();
    method.get(..MAX_METHOD).unwrap_or(method)
}

/// As in a status line. `Version`'s own `Debug` writes `HTTP/2.0`, a name that HTTP/2 does not have.
pub(crate) const fn version(version: Version) -> &'static str {
    match version {
        Version::HTTP_09 => "HTTP/0.9",
        Version::HTTP_10 => "HTTP/1.0",
        Version::HTTP_2 => "HTTP/2",
        Version::HTTP_3 => "HTTP/3",
        _ => "HTTP/1.1",
    }
}

/// Milliseconds, exact to the microsecond: more digits would be noise. Divided once, so that 1.234 is printed as 1.234.
#[inline]
pub(crate) fn millis(duration: Duration) -> f64 {
    /// 34,000 years.
    const LONGEST: u64 = 1 << 40;
    // A number with a sign is the shorter way to a float.
    let seconds = duration.as_secs().min(LONGEST).cast_signed();
    let micros = seconds * 1_000_000 + i64::from(duration.subsec_micros());
    micros as f64 / 1000.0
}
