//! `Host`: what hyper does not check, and every server behind a proxy relies on.

use http::{Request, Version, header::HOST, uri::Authority};

use crate::Refusal;

/// Checks the `Host` of a connection's requests.
#[derive(Debug, Default)]
pub(super) struct KnownHost(Box<[u8]>);

/// No more than this is kept.
const MAX_KNOWN: usize = 64;

impl KnownHost {
    /// HTTP/1.1 requires exactly one `Host` field with a valid value, and 400 otherwise (RFC 9112, 3.2). It may be empty,
    /// where the target has no authority.
    pub(super) fn check<B>(&mut self, request: &Request<B>) -> Result<(), Refusal> {
        if request.version() != Version::HTTP_11 {
            return Ok(());
        }
        let headers = request.headers();
        let host = match headers.iter().next() {
            // Nearly every client sends it first. Where there are as many values as names, it is there once.
            Some((&HOST, host)) if headers.len() == headers.keys_len() => host,
            _ => {
                let mut hosts = headers.get_all(HOST).iter();
                match (hosts.next(), hosts.next()) {
                    (Some(host), None) => host,
                    _ => return Err(Refusal::BadHost),
                }
            }
        };
        let host = host.as_bytes();
        if *self.0 == *host && !host.is_empty() {
            return Ok(());
        }
        if !is_host(host) {
            return Err(Refusal::BadHost);
        }
        if host.len() <= MAX_KNOWN {
            self.0 = host.into();
        }
        Ok(())
    }
}

fn is_host(host: &[u8]) -> bool {
    // The usual name, with or without a port, without the cost of parsing it.
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    let name = host.iter().position(|byte| !plain(byte)).unwrap_or(host.len());
    match host[name..].split_first() {
        None => return true,
        Some((b':', port)) if name > 0 && port.len() <= 4 && port.iter().all(u8::is_ascii_digit) => return true,
        Some(_) => {}
    }
    !host.contains(&b'@') && Authority::try_from(host).is_ok() && is_port(host)
}

/// Whether what stands where a port does is one; `Authority` takes anything.
fn is_port(host: &[u8]) -> bool {
    let name = host.iter().rposition(|byte| *byte == b']').map_or(0, |end| end + 1);
    let Some(colon) = host[name..].iter().position(|byte| *byte == b':') else { return true };
    let port = &host[name + colon + 1..];
    port.is_empty() || str::from_utf8(port).is_ok_and(|port| !port.starts_with('+') && port.parse::<u16>().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(hosts: &[&[u8]], version: Version) -> Result<(), Refusal> {
        let mut request = Request::get("/").version(version);
        for host in hosts {
            request = request.header(HOST, *host);
        }
        let request = request.body(()).expect("a request");
        let mut known = KnownHost::default();
        let first = known.check(&request);
        assert_eq!(known.check(&request), first, "the second time as well");
        first
    }

    #[test]
    fn exactly_one_valid_host() {
        for good in ["example.org", "example.org:8080", "x:65535", "x:", "127.0.0.1", "[::1]:80", "under_score", ""] {
            assert_eq!(with(&[good.as_bytes()], Version::HTTP_11), Ok(()), "{good:?}");
        }
        for bad in ["a b", "a/b", "a@b", "exa\u{e4}mple", "a:b:c", "x:99999", "x:+1", ":80a", "[::1]:x", "http://x"] {
            assert_eq!(with(&[bad.as_bytes()], Version::HTTP_11), Err(Refusal::BadHost), "{bad:?}");
        }
        assert_eq!(with(&[], Version::HTTP_11), Err(Refusal::BadHost), "none");
        assert_eq!(with(&[b"x", b"x"], Version::HTTP_11), Err(Refusal::BadHost), "two, even alike");
    }

    #[test]
    fn what_is_known_is_the_whole_of_it() {
        let mut known = KnownHost::default();
        let mut check = |host: &str| known.check(&Request::get("/").header(HOST, host).body(()).expect("a request"));
        assert_eq!(check("example.org"), Ok(()));
        assert_eq!(check("example.org/"), Err(Refusal::BadHost));
        assert_eq!(check("example.or"), Ok(()));
        assert_eq!(check("a b"), Err(Refusal::BadHost));
    }

    #[test]
    fn its_place_does_not_matter() {
        let request = |names: &[&str]| {
            let request = names.iter().fold(Request::get("/"), |request, name| request.header(*name, "x"));
            KnownHost::default().check(&request.body(()).expect("a request"))
        };
        assert_eq!(request(&["accept", "host"]), Ok(()));
        assert_eq!(request(&["host", "accept", "accept"]), Ok(()), "another one may be doubled");
        assert_eq!(request(&["host", "accept", "host"]), Err(Refusal::BadHost));
        assert_eq!(request(&["accept", "accept"]), Err(Refusal::BadHost));
    }

    #[test]
    fn only_http_1_1_requires_it() {
        assert_eq!(with(&[], Version::HTTP_10), Ok(()));
        assert_eq!(with(&[], Version::HTTP_2), Ok(()));
    }
}
