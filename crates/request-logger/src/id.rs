use std::{
    error::Error,
    fmt,
    str::FromStr,
    time::{SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use http::HeaderValue;
use uuid::{NoContext, Timestamp, Uuid, fmt::Hyphenated};

/// The id of a request: 1 to 128 characters of `A-Z a-z 0-9 . _ : / + = -`.
///
/// [`RequestLogger`](crate::RequestLogger) puts it into the extensions of each request. A clone shares the text and
/// costs one atomic operation. It holds nothing else of the request, so it may outlive it.
///
/// ```
/// use graceful_request_logger::RequestId;
///
/// async fn order(http_request: http::Request<()>) {
///     if let Some(id) = http_request.extensions().get::<RequestId>() {
///         let call = http::Request::get("http://stock/").header("x-request-id", id.header_value());
///     }
/// }
/// ```
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct RequestId(HeaderValue);

/// How an id is made for a request that brings none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum IdFormat {
    /// A random UUID (RFC 9562, 5.4).
    #[default]
    V4,
    /// A UUID that begins with the time (RFC 9562, 5.7): ids sort by the millisecond they were made in, and within one
    /// in no particular order. It tells whoever sees it when that was.
    V7,
}

impl RequestId {
    /// The longest id, in characters.
    pub const MAX_LEN: usize = 128;

    /// The length of a fresh id.
    pub(crate) const FRESH_LEN: usize = Hyphenated::LENGTH;

    /// A fresh id.
    #[must_use]
    pub fn generate(format: IdFormat) -> Self {
        Self::generate_in(format, &mut [0; Self::FRESH_LEN]).0
    }

    /// A fresh id, and its text.
    pub(crate) fn generate_in(format: IdFormat, text: &mut [u8; Self::FRESH_LEN]) -> (Self, &str) {
        let uuid = match format {
            IdFormat::V4 => Uuid::new_v4(),
            IdFormat::V7 => {
                // `Uuid::now_v7` counts up within a millisecond, under a lock that all requests would share; and it
                // panics if the clock is before 1970, where this only loses the order.
                let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
                Uuid::new_v7(Timestamp::from_unix(NoContext, now.as_secs(), now.subsec_nanos()))
            }
        };
        let text = uuid.hyphenated().encode_lower(text);
        let mut owned = [0; Self::FRESH_LEN];
        owned.copy_from_slice(text.as_bytes());
        (Self::new(owned), text)
    }

    /// The id that these bytes spell, if they do.
    ///
    /// The bytes are copied: a slice of the request's head would keep the whole buffer of the connection from being
    /// used again, for as long as the id lives.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        if bytes.is_empty() || bytes.len() > Self::MAX_LEN || !bytes.iter().copied().all(is_fit) {
            return None;
        }
        Some(if bytes.len() <= Hyphenated::LENGTH {
            Self::new(Text::<{ Hyphenated::LENGTH }>::copy(bytes))
        } else {
            Self::new(Text::<{ Self::MAX_LEN }>::copy(bytes))
        })
    }

    /// The text must be made of characters that are [fit](is_fit).
    ///
    /// An owner that holds its text in itself makes this the only allocation: `Bytes` of a `Vec` would allocate its
    /// counter a second time, at the first clone.
    fn new(text: impl AsRef<[u8]> + Send + 'static) -> Self {
        let value = HeaderValue::from_maybe_shared(Bytes::from_owner(text));
        Self(value.expect("the alphabet of ids is a part of what a header may hold"))
    }

    /// The id as text.
    #[must_use]
    #[expect(clippy::missing_panics_doc, reason = "it cannot: an id is made of ASCII")]
    pub fn as_str(&self) -> &str {
        str::from_utf8(self.0.as_bytes()).expect("an id is made of ASCII")
    }

    /// The id as the value of a header, ready to be cloned into one.
    #[must_use]
    pub const fn header_value(&self) -> &HeaderValue {
        &self.0
    }
}

/// An error if the text is no id: empty, too long, or with a character outside the alphabet of ids.
impl FromStr for RequestId {
    type Err = InvalidRequestId;

    fn from_str(text: &str) -> Result<Self, InvalidRequestId> {
        Self::from_bytes(text.as_bytes()).ok_or(InvalidRequestId(()))
    }
}

impl AsRef<str> for RequestId {
    fn as_ref(&self) -> &str {
        self.as_str()
    }
}

impl From<RequestId> for HeaderValue {
    fn from(id: RequestId) -> Self {
        id.0
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Debug for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("RequestId").field(&self.as_str()).finish()
    }
}

/// A text is not 1 to 128 characters of `A-Z a-z 0-9 . _ : / + = -`.
///
/// It does not say which text: that may be anything, and errors end up in logs.
#[derive(Debug)]
pub struct InvalidRequestId(());

impl fmt::Display for InvalidRequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a request id is 1 to 128 characters of A-Z a-z 0-9 . _ : / + = -")
    }
}

impl Error for InvalidRequestId {}

/// Up to `N` bytes in place.
struct Text<const N: usize> {
    bytes: [u8; N],
    len: usize,
}

impl<const N: usize> Text<N> {
    fn copy(from: &[u8]) -> Self {
        let mut bytes = [0; N];
        bytes[..from.len()].copy_from_slice(from);
        Self { bytes, len: from.len() }
    }
}

impl<const N: usize> AsRef<[u8]> for Text<N> {
    fn as_ref(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

const fn is_fit(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b':' | b'/' | b'+' | b'=' | b'-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_alphabet_and_the_length_decide() {
        let longest = "x".repeat(128);
        for good in ["a", "0", "AZaz09._:/+=-", "Root=1-67891233-abcdef012345678912345678", &"y".repeat(36), &longest] {
            let id = RequestId::from_bytes(good.as_bytes()).unwrap_or_else(|| panic!("{good:?} is an id"));
            assert_eq!(id.as_str(), good);
        }
        let too_long = "x".repeat(129);
        for bad in ["", " ", "a b", "a,b", "a\"b", "a<b", "a%0a", "a\n", "a\r\nb", "a\0", "\u{7f}", "ü", &too_long] {
            assert!(RequestId::from_bytes(bad.as_bytes()).is_none(), "{bad:?} is not an id");
            assert!(bad.parse::<RequestId>().is_err());
        }
        assert!(RequestId::from_bytes(b"\xff\xfe").is_none(), "bytes that are not even UTF-8 are not an id");
        let fit = (0..=u8::MAX).filter(|byte| RequestId::from_bytes(&[*byte]).is_some()).count();
        assert_eq!(fit, 26 + 26 + 10 + 7, "no other character is in the alphabet");
    }

    #[test]
    fn a_fresh_id_has_the_shape_of_its_version() {
        for (format, version) in [(IdFormat::V4, b'4'), (IdFormat::V7, b'7')] {
            let mut seen = std::collections::HashSet::new();
            for _ in 0..1000 {
                let id = RequestId::generate(format);
                let text = id.as_str().as_bytes();
                assert_eq!(text.len(), 36);
                for (i, byte) in text.iter().enumerate() {
                    match i {
                        8 | 13 | 18 | 23 => assert_eq!(*byte, b'-', "{id}"),
                        14 => assert_eq!(*byte, version, "the version is in place: {id}"),
                        19 => assert!(b"89ab".contains(byte), "the variant is RFC 9562's: {id}"),
                        _ => assert!(matches!(byte, b'0'..=b'9' | b'a'..=b'f'), "lower-case hexadecimal: {id}"),
                    }
                }
                assert!(RequestId::from_bytes(text).is_some(), "our own ids are fit to be sent to us: {id}");
                assert!(seen.insert(id), "an id is made once");
            }
        }
    }

    #[test]
    fn version_7_begins_with_the_time() {
        let millis = || SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_millis();
        let before = millis();
        let id = RequestId::generate(IdFormat::V7);
        let after = millis();
        let digits = id.as_str()[..13].replace('-', "");
        let time = u128::from_str_radix(&digits, 16).expect("hexadecimal");
        assert!((before..=after).contains(&time), "ids sort by the time they were made: {id}");
    }

    #[test]
    fn an_id_prints_as_its_text() {
        let id: RequestId = "abc-1".parse().expect("an id");
        assert_eq!(format!("{id}"), "abc-1");
        assert_eq!(format!("{id:>7}"), "  abc-1");
        assert_eq!(format!("{id:?}"), r#"RequestId("abc-1")"#);
        assert_eq!(id.header_value(), "abc-1");
        assert_eq!(HeaderValue::from(id.clone()), "abc-1");
        assert_eq!(AsRef::<str>::as_ref(&id), "abc-1");
    }

    #[test]
    fn on_random_input_an_id_is_what_it_was_made_of_or_nothing() {
        const ALPHABET: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._:/+=-";
        let mut next = crate::testing::random();
        let mut seen = [0_u32; 2];
        for _ in 0..50_000 {
            let mut bytes: Vec<u8> = (0..next(140)).map(|_| ALPHABET.as_bytes()[next(ALPHABET.len())]).collect();
            if next(2) == 0 && !bytes.is_empty() {
                let at = next(bytes.len());
                bytes[at] = u8::try_from(next(256)).expect("a byte");
            }
            let fits = (1..=128).contains(&bytes.len()) && bytes.iter().all(|byte| ALPHABET.as_bytes().contains(byte));
            let id = RequestId::from_bytes(&bytes);
            assert_eq!(id.is_some(), fits, "{}", bytes.escape_ascii());
            assert!(id.is_none_or(|id| id.as_str().as_bytes() == bytes), "{}", bytes.escape_ascii());
            seen[usize::from(fits)] += 1;
        }
        assert!(seen[0] > 1000 && seen[1] > 1000, "both answers were given: {seen:?}");
    }
}
