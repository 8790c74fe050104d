//! Reading a header that few requests have.

use http::{HeaderMap, HeaderName, HeaderValue};

/// The first two values of this header. More are not needed: of two neither is more right than the other.
///
/// A table hashes a name of one's own character by character. To compare it with the names that are there is much less,
/// as most are standard ones, each a byte, or of another length.
pub(crate) fn first_two<'a>(
    headers: &'a HeaderMap,
    name: &HeaderName,
) -> (Option<&'a HeaderValue>, Option<&'a HeaderValue>) {
    if headers.keys_len() <= FEW && !headers.keys().any(|key| key == name) {
        return (None, None);
    }
    let mut values = headers.get_all(name).iter();
    (values.next(), values.next())
}

/// Up to here it pays: a name takes 10 to 15 instructions, the look-up 120.
const FEW: usize = 7;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_finds_what_is_there_among_few_and_among_many() {
        let wanted = HeaderName::from_static("x-request-id");
        for others in [0, 1, FEW - 1, FEW, FEW + 1, 40] {
            let mut headers = HeaderMap::new();
            for i in 0..others {
                // Of the same length, too.
                let name = HeaderName::try_from(format!("x-request-{i:02}")).expect("a name");
                headers.insert(name, HeaderValue::from_static("other"));
            }
            let found = |headers: &HeaderMap| {
                let (first, second) = first_two(headers, &wanted);
                (first.cloned(), second.cloned())
            };
            assert_eq!(found(&headers), (None, None), "{others} others");
            for (given, expected) in [
                ("a", (Some(HeaderValue::from_static("a")), None)),
                ("b", (Some(HeaderValue::from_static("a")), Some(HeaderValue::from_static("b")))),
                ("c", (Some(HeaderValue::from_static("a")), Some(HeaderValue::from_static("b")))),
            ] {
                headers.append(&wanted, HeaderValue::from_static(given));
                assert_eq!(found(&headers), expected, "{others} others");
            }
        }
    }
}
