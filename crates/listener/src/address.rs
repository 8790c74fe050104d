//! An address as a person types it.

use std::net::SocketAddr;

/// What `text` asks for.
#[derive(Debug, PartialEq)]
pub(crate) enum Address<'a> {
    /// `:8080`: every address of this machine.
    Every(u16),
    /// `127.0.0.1:8080`, `[::1]:8080`.
    Socket(SocketAddr),
    /// `localhost:8080`: a name that must be looked up.
    Name(&'a str, u16),
}

/// Reads `text`, or says what is wrong with it.
pub(crate) fn parse(text: &str) -> Result<Address<'_>, &'static str> {
    if let Ok(addr) = text.parse() {
        return Ok(Address::Socket(addr));
    }
    let (host, port) = text.rsplit_once(':').ok_or("it has no port")?;
    // Before the port: in a bare `fe80::1`, what follows the last colon looks like one.
    if host.contains(':') && !host.starts_with('[') && host.chars().all(|c| c.is_ascii_hexdigit() || c == ':') {
        return Err("an IPv6 address stands in brackets");
    }
    // `u16::from_str` would also take "+80".
    if port.is_empty() || !port.bytes().all(|b| b.is_ascii_digit()) {
        return Err("its port is not a number");
    }
    let port = port.parse().map_err(|_| "its port is above 65535")?;
    if host.is_empty() {
        return Ok(Address::Every(port));
    }
    // Not left to the resolver: it takes "127.1" and "0x7f000001", and waits on the network for "300.1.1.1".
    let numeric = host.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    let name = host.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_'));
    if numeric || !name {
        return Err("its host is neither an IP address nor a name");
    }
    Ok(Address::Name(host, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_type() {
        let socket = |text: &str| Ok(Address::Socket(text.parse().expect("an address")));
        for (text, expected) in [
            ("127.0.0.1:8080", socket("127.0.0.1:8080")),
            ("0.0.0.0:0", socket("0.0.0.0:0")),
            ("[::1]:8080", socket("[::1]:8080")),
            ("[::]:8080", socket("[::]:8080")),
            ("[fe80::1%3]:80", socket("[fe80::1%3]:80")),
            (":8080", Ok(Address::Every(8080))),
            (":0", Ok(Address::Every(0))),
            ("localhost:8080", Ok(Address::Name("localhost", 8080))),
            ("my-host_1.example.:80", Ok(Address::Name("my-host_1.example.", 80))),
            ("", Err("it has no port")),
            ("8080", Err("it has no port")),
            ("127.0.0.1", Err("it has no port")),
            ("127.0.0.1:", Err("its port is not a number")),
            (":+80", Err("its port is not a number")),
            ("localhost:http", Err("its port is not a number")),
            ("http://localhost", Err("its port is not a number")),
            (":-1", Err("its port is not a number")),
            (":65536", Err("its port is above 65535")),
            (":99999999999999999999", Err("its port is above 65535")),
            ("::1:8080", Err("an IPv6 address stands in brackets")),
            ("fe80::1", Err("an IPv6 address stands in brackets")),
            ("::1", Err("an IPv6 address stands in brackets")),
            ("300.0.0.1:80", Err("its host is neither an IP address nor a name")),
            ("127.1:80", Err("its host is neither an IP address nor a name")),
            ("[::1:80", Err("its host is neither an IP address nor a name")),
            ("[::g]:80", Err("its host is neither an IP address nor a name")),
            ("http://localhost:80", Err("its host is neither an IP address nor a name")),
            (" 127.0.0.1:80", Err("its host is neither an IP address nor a name")),
            ("ho\nst:80", Err("its host is neither an IP address nor a name")),
            ("hôte:80", Err("its host is neither an IP address nor a name")),
        ] {
            assert_eq!(parse(text), expected, "{text:?}");
        }
    }
}
