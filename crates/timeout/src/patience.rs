//! How long a client says that it waits.

use std::time::Duration;

use http::{HeaderMap, HeaderName};

use crate::clock::Limit;

static X_REQUEST_TIMEOUT: HeaderName = HeaderName::from_static("x-request-timeout");
static GRPC_TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");

/// The shorter of the two, if both are there; what cannot be read counts as not there.
pub(crate) fn of(headers: &HeaderMap) -> Limit {
    let plain = headers.get(&X_REQUEST_TIMEOUT).and_then(|value| plain(value.as_bytes()));
    let grpc = headers.get(&GRPC_TIMEOUT).and_then(|value| grpc(value.as_bytes()));
    Limit::new(plain).min(Limit::new(grpc))
}

/// `2`, `2s` or `2000ms`. There is no standard; a bare number is seconds, as in `Retry-After`. If its sender meant
/// milliseconds the request keeps the server's own limit: an error to the harmless side.
fn plain(value: &[u8]) -> Option<Duration> {
    let (number, unit) = number(value)?;
    match unit {
        b"" | b"s" => Some(Duration::from_secs(number)),
        b"ms" => Some(Duration::from_millis(number)),
        _ => None,
    }
}

/// At most eight digits and one letter: `TimeoutValue TimeoutUnit` of the gRPC protocol over HTTP/2.
fn grpc(value: &[u8]) -> Option<Duration> {
    if value.len() > 9 {
        return None;
    }
    let (number, unit) = number(value)?;
    match unit {
        b"H" => Some(Duration::from_secs(number * 60 * 60)),
        b"M" => Some(Duration::from_secs(number * 60)),
        b"S" => Some(Duration::from_secs(number)),
        b"m" => Some(Duration::from_millis(number)),
        b"u" => Some(Duration::from_micros(number)),
        b"n" => Some(Duration::from_nanos(number)),
        _ => None,
    }
}

fn number(value: &[u8]) -> Option<(u64, &[u8])> {
    let digits = value.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (number, unit) = value.split_at(digits);
    Some((str::from_utf8(number).ok()?.parse().ok()?, unit))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn of_one(name: &HeaderName, value: &[u8]) -> Option<Duration> {
        let value = HeaderValue::from_bytes(value).expect("a header value");
        of(&HeaderMap::from_iter([(name.clone(), value)])).duration()
    }

    #[test]
    fn a_plain_timeout_is_seconds_or_milliseconds() {
        for (value, millis) in [("2", 2000), ("2s", 2000), ("2000ms", 2000), ("1ms", 1), ("007", 7000)] {
            let want = Some(Duration::from_millis(millis));
            assert_eq!(of_one(&X_REQUEST_TIMEOUT, value.as_bytes()), want, "{value}");
        }
    }

    #[test]
    fn a_grpc_timeout_has_its_six_units() {
        for (value, want) in [
            ("1H", Duration::from_secs(3600)),
            ("2M", Duration::from_secs(120)),
            ("3S", Duration::from_secs(3)),
            ("4m", Duration::from_millis(4)),
            ("5u", Duration::from_micros(5)),
            ("6n", Duration::from_nanos(6)),
            ("99999999n", Duration::from_nanos(99_999_999)),
            ("99999999S", Duration::from_secs(99_999_999)),
        ] {
            assert_eq!(of_one(&GRPC_TIMEOUT, value.as_bytes()), Some(want), "{value}");
        }
        assert_eq!(of_one(&GRPC_TIMEOUT, b"99999999H"), None, "eleven thousand years are no limit, and no overflow");
    }

    #[test]
    fn nonsense_is_as_if_it_were_not_there() {
        for value in [
            "",
            "s",
            "ms",
            "-1",
            "+1",
            "1.5",
            "1 s",
            "1S",
            "5m",
            "1h",
            "0",
            "0ms",
            "1s1s",
            "NaN",
            "\u{ff}",
            "18446744073709551616",
            "18446744073709551615",
            "99999999999999999999999999999ms",
        ] {
            assert_eq!(of_one(&X_REQUEST_TIMEOUT, value.as_bytes()), None, "{value}");
        }
        for value in
            ["", "S", "1", "1s", "1 S", "1SS", "-1S", "+1S", "1.5S", "0S", "123456789S", "99999999999999999999H"]
        {
            assert_eq!(of_one(&GRPC_TIMEOUT, value.as_bytes()), None, "{value}");
        }
    }

    #[test]
    fn the_shorter_of_the_two_counts() {
        for (plain, grpc, seconds) in [("2", "3S", 2), ("3", "2S", 2), ("x", "2S", 2), ("2", "x", 2)] {
            let mut headers = HeaderMap::new();
            headers.insert(&X_REQUEST_TIMEOUT, HeaderValue::from_static(plain));
            headers.insert(&GRPC_TIMEOUT, HeaderValue::from_static(grpc));
            assert_eq!(of(&headers).duration(), Some(Duration::from_secs(seconds)), "{plain} and {grpc}");
        }
        assert_eq!(of(&HeaderMap::new()), Limit::NONE);
    }
}
