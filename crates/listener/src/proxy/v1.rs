//! The text of version 1: `PROXY TCP4 192.0.2.1 198.51.100.1 56324 443\r\n` (specification, 2.1).

use std::{net::IpAddr, str};

use super::{Broken, Parsed, ProxyHeader};

pub(super) const START: &[u8] = b"PROXY ";

/// The longest line with its end (2.1, "the worst case").
const LONGEST: usize = 107;

/// Reads from `bytes`, whose start has been compared as far as it goes.
pub(super) fn parse(bytes: &[u8]) -> Result<Parsed, Broken> {
    // A line is printable; who sends anything else is not kept waiting for its end.
    let Some(end) = bytes.iter().take(LONGEST).position(|byte| !(b' '..=b'~').contains(byte)) else {
        return if bytes.len() < LONGEST { Ok(Parsed::More(bytes.len() + 1)) } else { Err(Broken::TooLong) };
    };
    let taken = end + 2;
    match &bytes[end..] {
        [b'\r', ..] if taken > LONGEST => Err(Broken::TooLong),
        [b'\r'] => Ok(Parsed::More(taken)),
        [b'\r', b'\n', ..] => Ok(Parsed::Header(line(&bytes[..end])?, taken)),
        _ => Err(Broken::Malformed("its line is not printable")),
    }
}

fn line(line: &[u8]) -> Result<ProxyHeader, Broken> {
    let malformed = Broken::Malformed;
    let line = str::from_utf8(line).map_err(|_| malformed("its line is not printable"))?;
    let mut words = line.split(' ');
    words.next(); // `PROXY`
    let v6 = match words.next() {
        // A proxy's own connection, or one of a kind that it cannot express: the rest means nothing.
        Some("UNKNOWN") => return Ok(ProxyHeader::without_addresses()),
        Some("TCP4") => false,
        Some("TCP6") => true,
        _ => return Err(malformed("it is neither TCP4, TCP6 nor UNKNOWN")),
    };
    let mut address = || {
        let addr: IpAddr = words.next()?.parse().ok()?;
        (addr.is_ipv6() == v6).then_some(addr)
    };
    let (Some(source), Some(destination)) = (address(), address()) else {
        return Err(malformed("its address is not one of its family"));
    };
    let (Some(source_port), Some(destination_port)) = (words.next().and_then(port), words.next().and_then(port)) else {
        return Err(malformed("its port is not a number up to 65535"));
    };
    if words.next().is_some() {
        return Err(malformed("something follows its ports"));
    }
    Ok(ProxyHeader::tcp((source, source_port).into(), (destination, destination_port).into()))
}

/// Digits only, and no zero in front ("heading zeroes are not permitted").
fn port(text: &str) -> Option<u16> {
    let is_number = text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    text.parse().ok().filter(|_| is_number)
}
