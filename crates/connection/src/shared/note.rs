use std::sync::atomic::{
    AtomicU64, AtomicUsize,
    Ordering::{Acquire, Relaxed, Release},
    fence,
};

/// How many bytes of a text there is room for.
pub(super) const MAX: usize = 8 * WORDS;
const WORDS: usize = 14;

/// A short text that is written often and read hardly ever, by another thread: no lock, no allocation, and a reader that
/// comes in between reads again.
///
/// It is a sequence lock: what is in it are atomics, so that a torn text is discarded, never undefined.
#[derive(Debug)]
pub(super) struct Note {
    /// Odd while somebody writes.
    version: AtomicU64,
    tag: AtomicU64,
    /// Padded with zeros.
    title: [AtomicU64; 2],
    len: AtomicUsize,
    words: [AtomicU64; WORDS],
}

/// What stands in a [`Note`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Noted {
    pub(super) tag: u64,
    pub(super) title: String,
    pub(super) text: String,
}

impl Default for Note {
    fn default() -> Self {
        Self {
            version: AtomicU64::new(0),
            tag: AtomicU64::new(0),
            title: [const { AtomicU64::new(0) }; 2],
            len: AtomicUsize::new(0),
            words: [const { AtomicU64::new(0) }; WORDS],
        }
    }
}

impl Note {
    /// Writes 16 bytes of `title` and [`MAX`] of `text`. One who writes at the same time goes without.
    pub(super) fn write(&self, tag: u64, title: &str, text: &str) {
        let version = self.version.load(Relaxed);
        if version.is_multiple_of(2) && self.version.compare_exchange(version, version + 1, Acquire, Relaxed).is_ok() {
            self.fill(version, tag, title, text);
        }
    }

    /// As [`write`](Self::write), for what nobody else writes: without a read-modify-write.
    #[inline]
    pub(super) fn write_alone(&self, tag: u64, title: &str, text: &str) {
        let version = self.version.load(Relaxed);
        self.version.store(version + 1, Relaxed);
        self.fill(version, tag, title, text);
    }

    #[inline]
    fn fill(&self, version: u64, tag: u64, title: &str, text: &str) {
        // Pairs with the fence in `read`: who sees any of what follows also sees that the version is odd.
        fence(Release);
        let (title, text) = (title.as_bytes(), text.as_bytes());
        let text = &text[..text.len().min(MAX)];
        self.tag.store(tag, Relaxed);
        self.title[0].store(word(title), Relaxed);
        self.title[1].store(word(title.get(8..).unwrap_or_default()), Relaxed);
        self.len.store(text.len(), Relaxed);
        let (whole, rest) = text.as_chunks();
        let mut words = self.words.iter();
        for (bytes, word) in whole.iter().zip(&mut words) {
            word.store(u64::from_le_bytes(*bytes), Relaxed);
        }
        if let Some(last) = words.next() {
            last.store(word(rest), Relaxed);
        }
        // Pairs with the first load in `read`.
        self.version.store(version + 2, Release);
    }

    /// What was written last; `None` if it is written all the time.
    pub(super) fn read(&self) -> Option<Noted> {
        let bytes = |words: &[AtomicU64]| -> Vec<u8> {
            words.iter().flat_map(|word| word.load(Relaxed).to_le_bytes()).collect()
        };
        for _ in 0..100 {
            let version = self.version.load(Acquire);
            let tag = self.tag.load(Relaxed);
            let len = self.len.load(Relaxed);
            let (title, mut text) = (bytes(&self.title), bytes(&self.words));
            fence(Acquire);
            if version.is_multiple_of(2) && self.version.load(Relaxed) == version {
                text.truncate(len);
                let title = String::from_utf8_lossy(&title).trim_end_matches('\0').to_owned();
                return Some(Noted { tag, title, text: String::from_utf8_lossy(&text).into_owned() });
            }
            std::hint::spin_loop();
        }
        None
    }
}

/// The first eight bytes, padded with zeros.
fn word(bytes: &[u8]) -> u64 {
    if let Some(eight) = bytes.first_chunk() {
        return u64::from_le_bytes(*eight);
    }
    // Four and the last four, or one, the middle and the last: they may lie on one another, where they are the same.
    let len = bytes.len();
    let shifted = |bytes: u64, by: usize| bytes << (8 * by);
    match (bytes.first_chunk(), bytes.last_chunk(), bytes) {
        (Some(first), Some(last), _) => {
            u64::from(u32::from_le_bytes(*first)) | shifted(u32::from_le_bytes(*last).into(), len - 4)
        }
        (_, _, [first, .., last]) => {
            u64::from(*first) | shifted(bytes[len / 2].into(), len / 2) | shifted((*last).into(), len - 1)
        }
        (_, _, [one]) => u64::from(*one),
        (_, _, []) => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noted(tag: u64, title: &str, text: &str) -> Option<Noted> {
        Some(Noted { tag, title: title.to_owned(), text: text.to_owned() })
    }

    #[test]
    fn what_is_written_is_read() {
        let note = Note::default();
        assert_eq!(note.read(), Some(Noted::default()));
        note.write(7, "GET", "/a/long/path");
        assert_eq!(note.read(), noted(7, "GET", "/a/long/path"));
        for len in 0..20 {
            let text = &"abcdefghijklmnopqrst"[..len];
            note.write(1, &text[..len.min(16)], text);
            assert_eq!(note.read(), noted(1, &text[..len.min(16)], text), "of any length");
        }
        note.write(8, "", "x");
        assert_eq!(note.read(), noted(8, "", "x"), "nothing is left of the longer one");
        let long = "xyz".repeat(MAX);
        note.write(9, "VERSION-CONTROL-AND-MORE", &long);
        assert_eq!(note.read(), noted(9, "VERSION-CONTROL-", &long[..MAX]), "cut off");
    }

    #[test]
    fn what_is_read_was_written() {
        let note = Note::default();
        let texts: Vec<String> = (0..10_usize).map(|i| i.to_string().repeat(10 * i + 1)).collect();
        std::thread::scope(|scope| {
            let writer = scope.spawn(|| {
                for round in 0..20_000 {
                    let i = round % texts.len();
                    let write = if round % 3 == 0 { Note::write } else { Note::write_alone };
                    write(&note, i as u64, &texts[i], &texts[i]);
                }
            });
            while !writer.is_finished() {
                if let Some(noted) = note.read().filter(|noted| !noted.text.is_empty()) {
                    let text = &texts[usize::try_from(noted.tag).expect("an index")];
                    assert_eq!(noted.text, text[..text.len().min(MAX)], "never a mixture");
                    assert_eq!(noted.title, text[..text.len().min(16)], "never a mixture");
                }
            }
        });
    }
}
