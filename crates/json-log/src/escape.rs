//! Text as it stands in a JSON string.

use std::fmt;

use crate::text::Text;

/// Appends `text` as a JSON string (RFC 8259, 7), in its quotes.
///
/// Beyond what JSON demands it escapes what would end a line for some reader, or steer a terminal that shows the log:
/// DEL, the C1 controls (U+0080 to U+009F, among them NEL) and the separators U+2028 and U+2029. All other text stays
/// as it is, in UTF-8.
pub(crate) fn string(text: &str, out: &mut Text) {
    out.push(b"\"", 1);
    escape(text, out);
    out.push(b"\"", 1);
}

/// Appends `text` as it stands between the quotes.
pub(crate) fn escape(text: &str, out: &mut Text) {
    let (words, rest) = text.as_bytes().as_chunks::<8>();
    let mut last = [b' '; 8];
    last[..rest.len()].copy_from_slice(rest);
    if marks_of(words) | marks(u64::from_le_bytes(last)) == 0 {
        out.extend(text.as_bytes());
    } else {
        escape_by_char(text, out);
    }
}

/// A formatter's target that escapes what is written into it.
pub(crate) struct Escaped<'a>(pub(crate) &'a mut Text);

impl fmt::Write for Escaped<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        escape(text, self.0);
        Ok(())
    }
}

/// A text of up to seven bytes that needs no escape, and spaces behind it.
///
/// It is looked at before there is a place to write it to, and copied in words: nearly no text needs an escape, and a copy
/// of a length that the compiler does not know is a call, which costs more than the copy.
pub(crate) struct Tiny {
    word: u64,
    length: usize,
}

impl Tiny {
    /// `None` if it is longer, is not ASCII or needs an escape.
    #[inline(always)]
    pub(crate) fn new(text: &str) -> Option<Self> {
        let bytes = text.as_bytes();
        let length = bytes.len();
        if length > 7 {
            return None;
        }
        let word = if let (Some(first), Some(last)) = (bytes.first_chunk::<4>(), bytes.last_chunk::<4>()) {
            // Where they overlap they are the same.
            u64::from(u32::from_le_bytes(*first)) | u64::from(u32::from_le_bytes(*last)) << (8 * (length - 4))
        } else if let (Some(first), Some(last)) = (bytes.first(), bytes.last()) {
            // Of three bytes at most: the first, the middle one and the last are all of them.
            let middle = length / 2;
            u64::from(*first) | u64::from(bytes[middle]) << (8 * middle) | u64::from(*last) << (8 * (length - 1))
        } else {
            0
        };
        let word = word | SPACES << (8 * length);
        (marks(word) == 0).then_some(Self { word, length })
    }

    /// Writes it in its quotes and says how long that is.
    #[inline(always)]
    pub(crate) fn write(self, out: &mut [u8; 10]) -> usize {
        let length = self.length % 8;
        out[0] = b'"';
        out[1..9].copy_from_slice(&self.word.to_le_bytes());
        out[1 + length] = b'"';
        length + 2
    }
}

/// As [`Tiny`], but eight to sixteen bytes: the first eight and the last, which may overlap.
pub(crate) struct Short {
    first: u64,
    last: u64,
    length: usize,
}

impl Short {
    /// `None` if it is of another length, is not ASCII or needs an escape.
    #[inline(always)]
    pub(crate) fn new(text: &str) -> Option<Self> {
        let bytes = text.as_bytes();
        let (first, last) = (bytes.first_chunk()?, bytes.last_chunk()?);
        let (first, last) = (u64::from_le_bytes(*first), u64::from_le_bytes(*last));
        let clean = bytes.len() <= 16 && marks(first) | marks(last) == 0;
        clean.then_some(Self { first, last, length: bytes.len() })
    }

    /// Writes it in its quotes and says how long that is.
    #[inline(always)]
    pub(crate) fn write(self, out: &mut [u8; 18]) -> usize {
        let length = self.length.clamp(8, 16);
        out[0] = b'"';
        out[1..9].copy_from_slice(&self.first.to_le_bytes());
        out[length - 7..=length].copy_from_slice(&self.last.to_le_bytes());
        out[1 + length] = b'"';
        length + 2
    }
}

/// Writes a text of eight bytes and more in its quotes and says how long that is. `None` if it is shorter, is not ASCII or
/// needs an escape, or if there is no room for it.
#[inline(always)]
pub(crate) fn middling(text: &str, out: &mut [u8]) -> Option<usize> {
    let bytes = text.as_bytes();
    let out = out.get_mut(..bytes.len() + 2)?;
    let [first_quote, room @ .., last_quote] = out else { return None };
    room.copy_from_slice(bytes);
    // The last one overlaps the one before.
    let found = marks_of(bytes.as_chunks().0) | marks(u64::from_le_bytes(*bytes.last_chunk()?));
    (*first_quote, *last_quote) = (b'"', b'"');
    (found == 0).then_some(bytes.len() + 2)
}

const ONES: u64 = 0x0101_0101_0101_0101;
const SPACES: u64 = ONES * b' ' as u64;

/// Zero if all eight bytes are clean.
///
/// A byte minus another borrows if it is the lesser one, and leaves its own high bit set; that bit in the byte itself
/// (not ASCII) counts anyway. The borrow may mark the byte above wrongly, but there is none without a mark below.
const fn marks(word: u64) -> u64 {
    const HIGH: u64 = ONES * 0x80;
    // The quote becomes a space, the space something larger, and a control character another one.
    let control_or_quote = (word ^ (ONES * 2)).wrapping_sub(ONES * (b' ' as u64 + 1));
    let backslash = (word ^ (ONES * b'\\' as u64)).wrapping_sub(ONES);
    let delete = word.wrapping_add(ONES); // 0x7f becomes 0x80
    (control_or_quote | backslash | delete | word) & HIGH
}

/// Of all of them. The compiler makes vector instructions of it, and no branch for each word.
#[inline(always)]
fn marks_of(words: &[[u8; 8]]) -> u64 {
    words.iter().fold(0, |found, word| found | marks(u64::from_le_bytes(*word)))
}

#[cold]
#[inline(never)]
fn escape_by_char(text: &str, out: &mut Text) {
    let mut kept = 0;
    for (at, character) in text.char_indices() {
        let short = match character {
            '"' => b'"',
            '\\' => b'\\',
            '\n' => b'n',
            '\r' => b'r',
            '\t' => b't',
            '\u{8}' => b'b',
            '\u{c}' => b'f',
            '\0'..='\u{1f}' | '\u{7f}'..='\u{9f}' | '\u{2028}' | '\u{2029}' => b'u',
            _ => continue,
        };
        out.extend(&text.as_bytes()[kept..at]);
        kept = at + character.len_utf8();
        out.push(&[b'\\', short], 2);
        if short == b'u' {
            let code = u32::from(character);
            out.push(&[12, 8, 4, 0].map(|shift| HEX[(code >> shift & 15) as usize]), 4);
        }
    }
    out.extend(&text.as_bytes()[kept..]);
}

const HEX: &[u8; 16] = b"0123456789abcdef";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Random;

    fn escaped(text: &str) -> String {
        let (mut out, mut quoted) = (Text::default(), Text::default());
        escape(text, &mut out);
        string(text, &mut quoted);
        assert_eq!(*quoted, [b"\"", &*out, b"\""].concat());
        let clean = text.bytes().all(|byte| matches!(byte, b' '..=b'~') && byte != b'"' && byte != b'\\');
        let (mut tiny, mut short, mut more) = ([0; 10], [0; 18], [0; 130]);
        let by_words = match text.len() {
            0..8 => Tiny::new(text).map(|text| text.write(&mut tiny)).map(|length| &tiny[..length]),
            8..17 => Short::new(text).map(|text| text.write(&mut short)).map(|length| &short[..length]),
            17.. => middling(text, &mut more).map(|length| &more[..length]),
        };
        assert_eq!(by_words, (clean && text.len() <= 128).then_some(&*quoted), "the short ways write the same");
        String::from_utf8(quoted.to_vec()).expect("what goes in is UTF-8, and so is what comes out")
    }

    /// What this crate escapes and `serde_json` leaves as it is.
    fn escaped_beyond_json(character: char) -> bool {
        matches!(character, '\u{7f}'..='\u{9f}' | '\u{2028}' | '\u{2029}')
    }

    fn check(text: &str) {
        let ours = escaped(text);
        assert_eq!(serde_json::from_str::<String>(&ours).expect(&ours), text, "what is read back is what was written");
        assert!(
            !ours.contains(|c: char| c.is_control() || c == '\u{2028}' || c == '\u{2029}'),
            "one line, and harmless"
        );
        if !text.contains(escaped_beyond_json) {
            assert_eq!(ours, serde_json::to_string(text).unwrap(), "byte for byte as serde_json writes it");
        }
    }

    #[test]
    fn every_character_at_every_place_of_a_word() {
        for character in '\0'..=char::MAX {
            check(character.encode_utf8(&mut [0; 4]));
        }
        for character in ('\0'..='\u{100}').chain(['\u{2027}', '\u{2028}', '\u{2029}', '\u{202a}', '\u{ffff}', '🦀'])
        {
            for before in (0..34).chain([47, 48, 62, 63, 64, 126, 127, 128]) {
                for after in [0, 1, 7, 8, 9] {
                    check(&format!("{}{character}{}", "a".repeat(before), "z".repeat(after)));
                }
            }
        }
    }

    #[test]
    fn random_strings() {
        let mut random = Random::new(7);
        for _ in 0..50_000 {
            check(&random.text(40));
        }
    }

    #[test]
    fn a_formatter_may_write_in_pieces() {
        use fmt::Write;
        let mut out = Text::default();
        let (text, character) = ("a\"b", 'é');
        write!(Escaped(&mut out), "{text}-{:?}-{character}", "c\n").unwrap();
        assert_eq!(String::from_utf8(out.to_vec()).unwrap(), r#"a\"b-\"c\\n\"-é"#, "each piece is escaped once");
    }
}
