//! What all lines of one place in the code have in common, rendered once a thread.

use std::{
    collections::HashMap,
    hash::{BuildHasherDefault, Hasher},
};

use tracing::Metadata;

use crate::escape::escape;

/// The constant text of the lines of one callsite.
pub(crate) struct Texts {
    /// `","level":"INFO","target":"my_crate"`: what follows the time.
    pub(crate) head: Box<[u8]>,
    /// One for each field, in its order.
    pub(crate) keys: Box<[Key]>,
}

/// The key of a field.
pub(crate) struct Key {
    /// `,"key":`, if it fits.
    short: [u8; SHORT],
    length: usize,
    /// Else it is here.
    long: Box<[u8]>,
    /// Two keys with different bits (0 to 63) are different keys.
    pub(crate) bit: u8,
    /// Whether an earlier field of the same callsite has the same key.
    pub(crate) again: bool,
}

/// The texts of the callsites that a thread has met. Those are part of the program's text, so they do not become more
/// and more, and no two ever have the same address.
#[derive(Default)]
pub(crate) struct Cache {
    texts: HashMap<usize, Texts, BuildHasherDefault<AddressHasher>>,
}

impl Cache {
    pub(crate) fn texts(&mut self, metadata: &'static Metadata<'static>) -> &Texts {
        self.texts.entry(std::ptr::from_ref(metadata).addr()).or_insert_with(|| Texts::new(metadata))
    }
}

impl Key {
    fn new(text: &[u8], again: bool) -> Self {
        let mut short = [0; SHORT];
        let fits = text.len() <= SHORT;
        if fits {
            short[..text.len()].copy_from_slice(text);
        }
        let long = if fits { [].into() } else { text.into() };
        Self { short, length: text.len(), long, bit: bit(text), again }
    }

    /// `,"key":`.
    fn text(&self) -> &[u8] {
        if self.length <= SHORT { &self.short[..self.length] } else { &self.long }
    }

    /// Appends `,"key":` and says how long that is.
    pub(crate) fn write(&self, out: &mut Vec<u8>) -> usize {
        if self.length <= SHORT {
            // Of a length that is known to the compiler, a copy is two moves; of another it is a call.
            let length = out.len() + self.length;
            out.extend_from_slice(&self.short);
            out.truncate(length);
        } else {
            out.extend_from_slice(&self.long);
        }
        self.length
    }
}

/// Most keys have less than 28 bytes.
const SHORT: usize = 32;

impl Texts {
    #[cold]
    fn new(metadata: &Metadata<'_>) -> Self {
        let mut head = b"\",\"level\":\"".to_vec();
        head.extend_from_slice(metadata.level().as_str().as_bytes());
        head.extend_from_slice(b"\",\"target\":\"");
        escape(metadata.target(), &mut head);
        head.push(b'"');

        let mut keys = Vec::<Key>::new();
        for field in metadata.fields() {
            let mut text = b",\"".to_vec();
            escape(key(field.name(), metadata.is_span()), &mut text);
            text.extend_from_slice(b"\":");
            let again = keys.iter().any(|key| key.text() == text);
            keys.push(Key::new(&text, again));
        }
        Self { head: head.into(), keys: keys.into() }
    }
}

/// The key of a field. The line's own keys are not for fields: those move aside.
fn key(name: &str, of_span: bool) -> &str {
    let name = name.strip_prefix("r#").unwrap_or(name);
    match name {
        "timestamp" => "field.timestamp",
        "level" => "field.level",
        "target" => "field.target",
        // An event's `message` is the line's; a span's is not.
        "message" if of_span => "field.message",
        _ => name,
    }
}

/// Spreads the keys of a line over 64 bits (FNV-1a).
fn bit(key: &[u8]) -> u8 {
    let hash = key.iter().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193));
    (hash.wrapping_mul(0x9e37_79b9) >> 26) as u8
}

/// Addresses need no defence against chosen keys, only their zeros moved away from the low end.
#[derive(Default)]
struct AddressHasher(u64);

impl Hasher for AddressHasher {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_usize(usize::from(*byte));
        }
    }

    fn write_usize(&mut self, address: usize) {
        self.0 = (self.0 ^ address as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(32);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}
