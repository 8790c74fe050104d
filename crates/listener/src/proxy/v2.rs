//! The bytes of version 2: a signature, a command, a family, a length, addresses, and what else there is to say, each
//! with its type and length (specification, 2.2).

use std::net::{IpAddr, SocketAddr};

use super::{
    Broken, Parsed, ProxyHeader,
    header::{self, CRC32C},
};
use crate::Peer;

pub(super) const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// The signature, version and command, family, length.
pub(super) const HEAD: usize = 16;

/// Two paths of 108 bytes, the longest addresses.
pub(super) const UNIX_ADDRESSES: usize = 216;

/// Reads from `bytes`, whose start has been compared as far as it goes.
pub(super) fn parse(bytes: &[u8], max: usize) -> Result<Parsed, Broken> {
    let malformed = |reason| Err(Broken::Malformed(reason));
    let Some((head, _)) = bytes.split_first_chunk::<HEAD>() else {
        return Ok(Parsed::More(HEAD));
    };
    let &[.., command, family, high, low] = head;
    let taken = HEAD + usize::from(u16::from_be_bytes([high, low]));
    let local = match command {
        0x20 => true,
        0x21 => false,
        _ => return malformed("its version is not 2, or its command neither LOCAL nor PROXY"),
    };
    // Before the rest is waited for, and before there is memory for it.
    if taken > max {
        return Err(Broken::TooLong);
    }
    let Some(body) = bytes.get(HEAD..taken) else {
        return Ok(Parsed::More(taken));
    };
    // The proxy speaks for itself, as in a health check: all that follows is to be discarded.
    if local {
        return Ok(Parsed::Header(ProxyHeader::without_addresses(), taken));
    }
    // The transport is the one between client and proxy: a proxy may well take HTTP/3, over UDP, to us.
    let addresses = match (family >> 4, family & 0xf) {
        (0..=3, 0) | (0, 1 | 2) => return Ok(Parsed::Header(ProxyHeader::without_addresses(), taken)),
        (1, 1 | 2) => ip_addresses::<4>(body),
        (2, 1 | 2) => ip_addresses::<16>(body),
        (3, 1 | 2) => body.get(UNIX_ADDRESSES..).map(|tlvs| (ProxyHeader::from_client(Peer::Unix), tlvs)),
        _ => return malformed("its address family or transport does not exist"),
    };
    let Some((header, tlvs)) = addresses else { return malformed("it is shorter than its addresses") };
    if !header::are_whole(tlvs) {
        return malformed("one of its values is longer than what is there");
    }
    let header = header.with_tlvs(tlvs);
    match header.tlv(CRC32C) {
        Some(sum) if !is_sum(sum, &bytes[..taken], tlvs.len()) => malformed("its checksum is wrong"),
        _ => Ok(Parsed::Header(header, taken)),
    }
}

/// Source and destination, then their ports; and what follows.
fn ip_addresses<const N: usize>(body: &[u8]) -> Option<(ProxyHeader, &[u8])>
where
    IpAddr: From<[u8; N]>,
{
    let (source, rest) = body.split_first_chunk::<N>()?;
    let (destination, rest) = rest.split_first_chunk::<N>()?;
    let (source_port, rest) = rest.split_first_chunk()?;
    let (destination_port, rest) = rest.split_first_chunk()?;
    let addr = |ip: &[u8; N], port: &[u8; 2]| SocketAddr::new(IpAddr::from(*ip), u16::from_be_bytes(*port));
    Some((ProxyHeader::tcp(addr(source, source_port), addr(destination, destination_port)), rest))
}

/// Whether `sum` is the checksum of the whole header with zeros in place of the sum itself.
fn is_sum(sum: &[u8], whole: &[u8], tlvs_len: usize) -> bool {
    let Ok(expected) = sum.try_into().map(u32::from_be_bytes) else { return false };
    let (before, tlvs) = whole.split_at(whole.len() - tlvs_len);
    // Where it stands: behind the values that come before the first of its type.
    let mut at = before.len();
    for (kind, value) in header::tlvs(tlvs) {
        at += 3;
        if kind == CRC32C {
            break;
        }
        at += value.len();
    }
    let zeroed = whole.iter().enumerate().map(|(i, &byte)| if (at..at + 4).contains(&i) { 0 } else { byte });
    crc32c(zeroed) == expected
}

/// CRC-32C (Castagnoli), a bit at a time: it is run once a connection, over tens of bytes, where a proxy asks for it.
fn crc32c(bytes: impl Iterator<Item = u8>) -> u32 {
    !bytes.fold(!0, |crc, byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| if crc & 1 == 1 { crc >> 1 ^ 0x82f6_3b78 } else { crc >> 1 })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_of_the_catalogue() {
        // RFC 3720, B.4, and the usual check value.
        assert_eq!(crc32c(b"123456789".iter().copied()), 0xe306_9283);
        assert_eq!(crc32c([0; 32].into_iter()), 0x8a91_36aa);
        assert_eq!(crc32c([0xff; 32].into_iter()), 0x62a8_ab43);
    }
}
