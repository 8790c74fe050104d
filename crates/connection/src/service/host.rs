//! `Host`: what hyper does not check, and every server behind a proxy relies on.

use graceful_answer::Cause;
use http::{Request, StatusCode, Version, header::HOST, uri::Authority};

/// A request that says not, or not clearly, whom it is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BadHost;

impl Cause for BadHost {
    fn status(&self) -> StatusCode {
        StatusCode::BAD_REQUEST
    }

    fn message(&self) -> &str {
        "missing, doubled or malformed Host header"
    }
}

/// HTTP/1.1 requires exactly one `Host` field with a valid value, and 400 otherwise (RFC 9112, 3.2). It may be empty,
/// where the target has no authority.
pub(super) fn check<B>(request: &Request<B>) -> Result<(), BadHost> {
    if request.version() != Version::HTTP_11 {
        return Ok(());
    }
    let mut hosts = request.headers().get_all(HOST).iter();
    match (hosts.next(), hosts.next()) {
        (Some(host), None) if is_host(host.as_bytes()) => Ok(()),
        _ => Err(BadHost),
    }
}

fn is_host(host: &[u8]) -> bool {
    // The usual name, without the cost of parsing it.
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    if host.iter().all(plain) {
        return true;
    }
    !host.contains(&b'@') && Authority::try_from(host).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(hosts: &[&[u8]], version: Version) -> Result<(), BadHost> {
        let mut request = Request::get("/").version(version);
        for host in hosts {
            request = request.header(HOST, *host);
        }
        check(&request.body(()).expect("a request"))
    }

    #[test]
    fn exactly_one_valid_host() {
        for good in ["example.org", "example.org:8080", "127.0.0.1", "[::1]:80", "under_score", ""] {
            assert_eq!(with(&[good.as_bytes()], Version::HTTP_11), Ok(()), "{good:?}");
        }
        for bad in ["a b", "a/b", "a@b", "exa\u{e4}mple", "a:b:c", "http://x"] {
            assert_eq!(with(&[bad.as_bytes()], Version::HTTP_11), Err(BadHost), "{bad:?}");
        }
        assert_eq!(with(&[], Version::HTTP_11), Err(BadHost), "none");
        assert_eq!(with(&[b"x", b"x"], Version::HTTP_11), Err(BadHost), "two, even alike");
    }

    #[test]
    fn only_http_1_1_requires_it() {
        assert_eq!(with(&[], Version::HTTP_10), Ok(()));
        assert_eq!(with(&[], Version::HTTP_2), Ok(()));
    }
}
