use http::{HeaderMap, HeaderName};

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
        let mut values = headers.get_all(&TRACEPARENT).iter();
        match (values.next(), values.next()) {
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
}
