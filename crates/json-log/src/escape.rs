//! Text as it stands in a JSON string.

use std::fmt;

/// Appends `text` as it stands between the quotes of a JSON string (RFC 8259, 7).
///
/// Beyond what JSON demands it escapes what would end a line for some reader, or steer a terminal that shows the log:
/// DEL, the C1 controls (U+0080 to U+009F, among them NEL) and the separators U+2028 and U+2029. All other text stays
/// as it is, in UTF-8.
pub(crate) fn escape(text: &str, out: &mut Vec<u8>) {
    if is_clean(text.as_bytes()) {
        out.extend_from_slice(text.as_bytes());
    } else {
        escape_by_char(text, out);
    }
}

/// A formatter's target that escapes what is written into it.
pub(crate) struct Escaped<'a>(pub(crate) &'a mut Vec<u8>);

impl fmt::Write for Escaped<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        escape(text, self.0);
        Ok(())
    }
}

/// Whether all of it is ASCII that needs no escape, as nearly every string is: eight bytes at a time.
fn is_clean(bytes: &[u8]) -> bool {
    let marked = match *bytes {
        [] => 0,
        // Up to three bytes: the first, the middle one and the last are all of them.
        [first, ref rest @ ..] if bytes.len() < 4 => {
            let last = rest.last().copied().unwrap_or(first);
            let [a, b, c] = [first, bytes[bytes.len() / 2], last].map(u64::from);
            marks(SPACES << 24 | a | b << 8 | c << 16)
        }
        _ if bytes.len() < 8 => {
            let half = |half: Option<&[u8; 4]>| half.map_or(0, |half| u64::from(u32::from_le_bytes(*half)));
            marks(half(bytes.first_chunk()) | half(bytes.last_chunk()) << 32)
        }
        _ => {
            let word = |word: &[u8; 8]| marks(u64::from_le_bytes(*word));
            let (words, _) = bytes.as_chunks::<8>();
            // The last eight bytes may overlap the last whole word.
            words.iter().map(word).fold(bytes.last_chunk().map_or(0, word), |all, marks| all | marks)
        }
    };
    marked == 0
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
fn escape_by_char(text: &str, out: &mut Vec<u8>) {
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
        out.extend_from_slice(&text.as_bytes()[kept..at]);
        kept = at + character.len_utf8();
        out.extend_from_slice(&[b'\\', short]);
        if short == b'u' {
            let code = u32::from(character);
            out.extend([12, 8, 4, 0].map(|shift| HEX[(code >> shift & 15) as usize]));
        }
    }
    out.extend_from_slice(&text.as_bytes()[kept..]);
}

const HEX: &[u8; 16] = b"0123456789abcdef";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Random;

    fn escaped(text: &str) -> String {
        let mut out = vec![b'"'];
        escape(text, &mut out);
        out.push(b'"');
        String::from_utf8(out).expect("what goes in is UTF-8, and so is what comes out")
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
            for before in 0..17 {
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
        let mut out = Vec::new();
        let (text, character) = ("a\"b", 'é');
        write!(Escaped(&mut out), "{text}-{:?}-{character}", "c\n").unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), r#"a\"b-\"c\\n\"-é"#, "each piece is escaped once");
    }
}
