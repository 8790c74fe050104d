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
    if text.as_bytes().chunks(16).all(is_clean) {
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

/// The longest text for [`short`].
pub(crate) const SHORT: usize = 16;
/// The longest text for [`middling`].
const MIDDLING: usize = 64;

/// Writes a text of at most [`SHORT`] bytes in its quotes and says how long that is. `None` if it is not ASCII or needs
/// an escape, as nearly no string does.
///
/// It is copied in words, of which the last may overlap the one before: a copy of any other length is a call, which costs
/// more than the copy.
#[inline(always)]
pub(crate) fn short(text: &str, out: &mut [u8; SHORT + 2]) -> Option<usize> {
    let bytes = text.as_bytes();
    let length = bytes.len().min(SHORT);
    let (first, last) = if let (Some(first), Some(last)) = (bytes.first_chunk::<8>(), bytes.last_chunk::<8>()) {
        out[1..9].copy_from_slice(first);
        out[length.max(8) - 7..=length.max(8)].copy_from_slice(last);
        (u64::from_le_bytes(*first), u64::from_le_bytes(*last))
    } else if let (Some(first), Some(last)) = (bytes.first_chunk::<4>(), bytes.last_chunk::<4>()) {
        out[1..5].copy_from_slice(first);
        out[length.max(4) - 3..=length.max(4)].copy_from_slice(last);
        let word = |half: &[u8; 4]| SPACES << 32 | u64::from(u32::from_le_bytes(*half));
        (word(first), word(last))
    } else {
        // Up to three bytes: the first, the middle one and the last are all of them.
        let byte = |at: usize| bytes.get(at).copied().unwrap_or(b' ');
        let (first, middle, last) = (byte(0), byte(length / 2), byte(length.saturating_sub(1)));
        out[1 + length.saturating_sub(1)] = last;
        out[1 + length / 2] = middle;
        out[1] = first;
        (SPACES, u64::from_le_bytes([first, middle, last, b' ', b' ', b' ', b' ', b' ']))
    };
    out[0] = b'"';
    out[1 + length] = b'"';
    (marks(first) | marks(last) == 0).then_some(length + 2)
}

/// As [`short`] for what is longer than that, but not much.
#[inline(always)]
pub(crate) fn middling(text: &str, out: &mut [u8; MIDDLING + 2]) -> Option<usize> {
    let bytes = text.as_bytes();
    let length = bytes.len();
    if length > MIDDLING {
        return None;
    }
    out[0] = b'"';
    *out.get_mut(1 + length)? = b'"';
    let mut clean = true;
    let mut at = 0;
    loop {
        let word = bytes.get(at..)?.first_chunk::<SHORT>()?;
        *out.get_mut(1 + at..)?.first_chunk_mut()? = *word;
        clean &= is_clean(word);
        if at + SHORT >= length {
            break;
        }
        at = (at + SHORT).min(length - SHORT);
    }
    clean.then_some(length + 2)
}

/// The same as [`marks`], in a form that becomes vector instructions.
#[inline(always)]
fn is_clean(bytes: &[u8]) -> bool {
    let marked =
        |byte: u8| u8::from(byte < b' ') | u8::from(byte > b'~') | u8::from(byte == b'"') | u8::from(byte == b'\\');
    bytes.iter().fold(0, |all, byte| all | marked(*byte)) == 0
}

const ONES: u64 = 0x0101_0101_0101_0101;
const SPACES: u64 = ONES * b' ' as u64;

/// Zero if all eight bytes are clean.
///
/// A byte minus another borrows if it is the lesser one, and leaves its own high bit set; that bit in the byte itself
/// (not ASCII) counts anyway. The borrow may mark the byte above wrongly, but there is none without a mark below.
const fn marks(word: u64) -> u64 {
    const HIGH: u64 = ONES * 0x80;
    let control = word.wrapping_sub(SPACES);
    let quote = (word ^ (ONES * b'"' as u64)).wrapping_sub(ONES);
    let backslash = (word ^ (ONES * b'\\' as u64)).wrapping_sub(ONES);
    let delete = word.wrapping_add(ONES); // 0x7f becomes 0x80
    (control | quote | backslash | delete | word) & HIGH
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
        let (mut few, mut more) = ([0; SHORT + 2], [0; MIDDLING + 2]);
        let few = if text.len() <= SHORT { short(text, &mut few).map(|length| &few[..length]) } else { None };
        let more = if text.len() > SHORT { middling(text, &mut more).map(|length| &more[..length]) } else { None };
        let clean = text.bytes().all(|byte| matches!(byte, b' '..=b'~') && byte != b'"' && byte != b'\\');
        let by_words = few.or(more);
        assert_eq!(by_words, (clean && text.len() <= MIDDLING).then_some(&*quoted), "the short ways write the same");
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
            for before in (0..34).chain([47, 48, 62, 63, 64]) {
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
