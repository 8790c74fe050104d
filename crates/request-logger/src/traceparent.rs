use http::{HeaderMap, HeaderName};

use crate::header;

/// Who calls, in the words of the W3C: `00-<trace_id>-<parent_id>-<flags>`, all in lower-case hexadecimal digits.
///
/// <https://www.w3.org/TR/trace-context/#traceparent-header>
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct TraceParent<'a> {
    /// 32 digits, not all of them zero.
    pub(crate) trace_id: &'a str,
    /// 16 digits, not all of them zero.
    pub(crate) parent_id: &'a str,
}

impl<'a> TraceParent<'a> {
    /// `None` if there is no header, a bad one, or more than one.
    pub(crate) fn from_headers(headers: &'a HeaderMap) -> Option<Self> {
        match header::first_two(headers, &TRACEPARENT) {
            (Some(value), None) => Self::parse(value.to_str().ok()?),
            _ => None,
        }
    }

    fn parse(text: &'a str) -> Option<Self> {
        let (known, rest) = text.split_at_checked(55)?;
        let mut parts = known.split('-');
        let mut hex = |len| parts.next().filter(|part| part.len() == len && part.bytes().all(is_lower_hex));
        let (version, trace_id, parent_id, _flags) = (hex(2)?, hex(32)?, hex(16)?, hex(2)?);
        let rest_is_fit = match version {
            "ff" => false,
            "00" => rest.is_empty(),
            // A version yet to come may add parts, and what is known of it keeps its place.
            _ => rest.is_empty() || rest.starts_with('-'),
        };
        let is_set = |id: &str| id.bytes().any(|digit| digit != b'0');
        (rest_is_fit && is_set(trace_id) && is_set(parent_id)).then_some(Self { trace_id, parent_id })
    }
}

static TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

const fn is_lower_hex(byte: u8) -> bool {
    matches!(byte, b'0'..=b'9' | b'a'..=b'f')
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
    const PARENT: &str = "00f067aa0ba902b7";

    fn parent_of(values: &[&str]) -> Option<(String, String)> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append("traceparent", HeaderValue::from_bytes(value.as_bytes()).expect("a header value"));
        }
        TraceParent::from_headers(&headers).map(|it| (it.trace_id.to_owned(), it.parent_id.to_owned()))
    }

    #[test]
    fn a_valid_parent_is_read() {
        for text in [
            format!("00-{TRACE}-{PARENT}-01"),
            format!("00-{TRACE}-{PARENT}-00"),
            format!("00-{TRACE}-{PARENT}-ff"),
            format!("01-{TRACE}-{PARENT}-01"),
            format!("cc-{TRACE}-{PARENT}-01-what-the-future-will-be-like"),
            format!("fe-{TRACE}-{PARENT}-01-"),
        ] {
            assert_eq!(parent_of(&[&text]), Some((TRACE.to_owned(), PARENT.to_owned())), "{text:?} is valid");
        }
    }

    #[test]
    fn an_invalid_parent_is_ignored() {
        let zeros = "0".repeat(32);
        for text in [
            String::new(),
            "00".to_owned(),
            format!("ff-{TRACE}-{PARENT}-01"),
            format!("00-{zeros}-{PARENT}-01"),
            format!("00-{TRACE}-{}-01", &zeros[..16]),
            format!("00-{TRACE}-{PARENT}-01-more"),
            format!("00-{TRACE}-{PARENT}-01-"),
            format!("cc-{TRACE}-{PARENT}-01.more"),
            format!("00-{TRACE}-{PARENT}-0"),
            format!("00-{TRACE}-{PARENT}"),
            format!("00-{}-{PARENT}-01", TRACE.to_uppercase()),
            format!("00-{TRACE}-{}-01", PARENT.to_uppercase()),
            format!("0A-{TRACE}-{PARENT}-01"),
            format!("00-{TRACE}-{PARENT}-0x"),
            format!("00-{}g-{PARENT}-01", &TRACE[..31]),
            format!("00-{}-{PARENT}0-01", &TRACE[..31]),
            format!("00_{TRACE}_{PARENT}_01"),
            format!("00-{TRACE}-{PARENT}--1"),
            format!("0-0{TRACE}-{PARENT}-01"),
            "-".repeat(55),
            "ü".repeat(28),
        ] {
            assert_eq!(parent_of(&[&text]), None, "{text:?} is invalid");
        }
    }

    #[test]
    fn of_two_parents_neither_is_right() {
        let valid = format!("00-{TRACE}-{PARENT}-01");
        assert_eq!(parent_of(&[&valid, &valid]), None);
        assert_eq!(parent_of(&[]), None);
    }

    /// The rules of the W3C one by one, on the bytes.
    fn slowly(text: &[u8]) -> Option<(String, String)> {
        let hex = |bytes: &[u8]| bytes.iter().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(b));
        if !text.iter().all(|byte| (b' '..=b'~').contains(byte)) {
            return None;
        }
        let known = text.get(..55)?;
        let dashes = [2, 35, 52].iter().all(|&at| known[at] == b'-');
        let (version, trace, parent, flags) = (&known[..2], &known[3..35], &known[36..52], &known[53..]);
        let set = |id: &[u8]| id.iter().any(|b| *b != b'0');
        let end = match version {
            b"ff" => false,
            b"00" => text.len() == 55,
            _ => text.len() == 55 || text[55] == b'-',
        };
        let fits = dashes && end && [version, trace, parent, flags].into_iter().all(hex) && set(trace) && set(parent);
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("digits");
        fits.then(|| (text(trace), text(parent)))
    }

    #[test]
    fn on_random_input_it_agrees_with_the_rules_one_by_one() {
        let mut next = crate::testing::random();
        let mut seen = [0_u32; 2];
        for _ in 0..50_000 {
            let version = ["00", "00", "01", "ff", "cc"][next(5)];
            let mut bytes = format!("{version}-{TRACE}-{PARENT}-01{}", ["", "", "-more", "x"][next(4)]).into_bytes();
            if next(8) == 0 {
                bytes[3..35].fill(b'0');
            }
            for _ in 0..next(3) {
                let at = next(bytes.len());
                match next(3) {
                    0 => bytes[at] = *b"0aFg-\x80 ~".get(next(8)).expect("one of them"),
                    1 => drop(bytes.remove(at)),
                    _ => bytes.insert(at, b"0-f"[next(3)]),
                }
            }
            let Ok(value) = HeaderValue::from_bytes(&bytes) else { continue };
            let mut headers = HeaderMap::new();
            headers.insert("traceparent", value);
            let parent =
                TraceParent::from_headers(&headers).map(|it| (it.trace_id.to_owned(), it.parent_id.to_owned()));
            assert_eq!(parent, slowly(&bytes), "{}", bytes.escape_ascii());
            seen[usize::from(parent.is_some())] += 1;
        }
        assert!(seen[0] > 1000 && seen[1] > 1000, "both answers were given: {seen:?}");
    }
}
