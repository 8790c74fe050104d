//! What all lines of one place in the code have in common, rendered once a thread.

use std::{
    collections::{BTreeMap, HashMap},
    hash::{BuildHasherDefault, Hasher},
    sync::{Mutex, PoisonError},
};

use tracing::Metadata;

use crate::{escape::escape, text::Text};

/// The constant text of the lines of one callsite.
pub(crate) struct Texts {
    /// `","level":"INFO","target":"my_crate"`: what follows the time.
    pub(crate) head: Head,
    /// One for each field, in its order.
    pub(crate) keys: Box<[Key]>,
    /// Whether all keys are [plain](Key::plain) and none is [placed](Key::placed).
    pub(crate) ordinary: bool,
}

/// What follows the time of a line.
pub(crate) struct Head {
    text: Box<[u8]>,
    /// The same with zeros behind it, if it fits.
    short: Option<[u8; Head::SHORT]>,
}

/// The key of a field.
pub(crate) struct Key {
    /// `,"key":`, if it is [plain](Self::plain), and then zeros.
    short: [u8; Key::SHORT],
    text: Box<[u8]>,
    /// That of its name.
    pub(crate) bit: u64,
    pub(crate) name: Name,
    /// Whether an earlier field of the same callsite has the same key.
    pub(crate) again: bool,
    /// How long the short one is; [`SHORT`](Self::SHORT), which it never is, if there is none.
    short_length: u8,
    /// Whether anybody will ask where it stands in the text: as of a span's fields, and of an event's only if one of
    /// them may have to make room or has no bit of its own. All fields of a callsite are placed, or none.
    pub(crate) placed: bool,
}

/// The texts of the callsites that a thread has met. Those are part of the program's text, so they do not become more
/// and more, and no two ever have the same address.
#[derive(Default)]
pub(crate) struct Cache {
    texts: Vec<Texts>,
    /// Which of them is of which address.
    of: HashMap<usize, usize, BuildHasherDefault<AddressHasher>>,
    /// The last of those with the same low bits: most lines of a busy thread are from a few places.
    recent: [(usize, usize); RECENT],
}

const RECENT: usize = 16;

impl Cache {
    #[inline]
    pub(crate) fn texts(&mut self, metadata: &'static Metadata<'static>) -> &Texts {
        let address = std::ptr::from_ref(metadata).addr();
        let recent = address / align_of::<Metadata<'_>>() % RECENT;
        if self.recent[recent].0 != address {
            self.recent[recent] = (address, self.find(address, metadata));
        }
        &self.texts[self.recent[recent].1]
    }

    #[inline(never)]
    fn find(&mut self, address: usize, metadata: &Metadata<'_>) -> usize {
        *self.of.entry(address).or_insert_with(|| {
            self.texts.push(Texts::new(metadata));
            self.texts.len() - 1
        })
    }
}

impl Head {
    /// Most are as short, where the target is not a long path.
    pub(crate) const SHORT: usize = 64;

    fn new(text: &[u8]) -> Self {
        let short = (text.len() <= Self::SHORT).then(|| {
            let mut short = [0; Self::SHORT];
            short[..text.len()].copy_from_slice(text);
            short
        });
        Self { text: text.into(), short }
    }

    /// The same of a length that the compiler knows, and how long it really is. `None` if it is longer.
    #[inline(always)]
    pub(crate) fn short(&self) -> Option<(&[u8; Self::SHORT], usize)> {
        self.short.as_ref().map(|short| (short, self.text.len()))
    }

    #[inline(always)]
    pub(crate) fn write(&self, out: &mut Text) {
        match &self.short {
            Some(short) => out.push(short, self.text.len()),
            None => out.extend(&self.text),
        }
    }
}

impl Key {
    /// Most keys have less than 28 bytes.
    pub(crate) const SHORT: usize = 32;

    #[expect(clippy::cast_possible_truncation, reason = "at most 32")]
    fn new(text: &[u8], name: Name, again: bool, placed: bool) -> Self {
        let mut short = [0; Self::SHORT];
        let mut short_length = Self::SHORT as u8;
        if !again && text.len() < Self::SHORT {
            short[..text.len()].copy_from_slice(text);
            short_length = text.len() as u8;
        }
        Self { short, text: text.into(), bit: name.bit(), name, again, short_length, placed }
    }

    /// `,"key":`.
    pub(crate) fn text(&self) -> &[u8] {
        &self.text
    }

    /// The same, of a length that the compiler knows, and how long it really is: less than that. Of a key that is plain,
    /// as all of an [ordinary](Texts::ordinary) callsite are.
    #[inline(always)]
    pub(crate) fn short(&self) -> (&[u8; Self::SHORT], usize) {
        debug_assert!(self.plain().is_some(), "of an ordinary callsite");
        (&self.short, usize::from(self.short_length) % Self::SHORT)
    }

    /// As [`short`](Self::short). `None` if it is longer, or if there is more to do than to write it.
    #[inline(always)]
    pub(crate) fn plain(&self) -> Option<(&[u8; Self::SHORT], usize)> {
        let length = usize::from(self.short_length);
        (length < Self::SHORT).then_some((&self.short, length))
    }
}

/// A number for the text of a key: in all of the process the same for the same text, and another for another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Name(u32);

impl Name {
    fn of(key: &[u8]) -> Self {
        // Keys are part of the program's text, as their callsites are: they do not become more and more.
        static NAMES: Mutex<BTreeMap<Box<[u8]>, Name>> = Mutex::new(BTreeMap::new());
        let mut names = NAMES.lock().unwrap_or_else(PoisonError::into_inner);
        let next = Self(u32::try_from(names.len()).expect("a program's text is shorter"));
        *names.entry(key.into()).or_insert(next)
    }

    /// Two keys with different bits are different keys.
    #[inline(always)]
    pub(crate) fn bit(self) -> u64 {
        1 << self.0.min(Self::SHARED)
    }

    /// Whether no other key has its bit: the first 63 that a program logs.
    pub(crate) const fn has_a_bit(self) -> bool {
        self.0 < Self::SHARED
    }

    const SHARED: u32 = 63;

    /// That of all the others.
    pub(crate) const SHARED_BIT: u64 = 1 << Self::SHARED;
}

impl Texts {
    #[cold]
    fn new(metadata: &Metadata<'_>) -> Self {
        let mut head = Text::default();
        head.extend(b"\",\"level\":\"");
        head.extend(metadata.level().as_str().as_bytes());
        head.extend(b"\",\"target\":\"");
        escape(metadata.target(), &mut head);
        head.extend(b"\"");

        let named: Vec<_> = metadata
            .fields()
            .iter()
            .map(|field| {
                let mut text = Text::default();
                text.extend(b",\"");
                escape(key(field.name(), metadata.is_span()), &mut text);
                text.extend(b"\":");
                let name = Name::of(&text);
                (text, name)
            })
            .collect();
        let again = |at: usize| named[..at].iter().any(|(_, name)| *name == named[at].1);
        let odd = |at: usize| again(at) || !named[at].1.has_a_bit();
        let placed = metadata.is_span() || (0..named.len()).any(odd);
        let keys: Box<[_]> =
            named.iter().enumerate().map(|(at, (text, name))| Key::new(text, *name, again(at), placed)).collect();
        let ordinary = keys.iter().all(|key| key.plain().is_some() && !key.placed);
        Self { head: Head::new(&head), keys, ordinary }
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
