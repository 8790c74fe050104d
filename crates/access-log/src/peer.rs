//! The address of a peer as text.

use std::{
    fmt::{self, Write},
    net::SocketAddr,
};

/// As `SocketAddr`'s own `Display` writes it; for IPv4 without the detour through `fmt`, which costs twenty times as much.
pub(crate) struct PeerText {
    bytes: Aligned,
    length: usize,
}

/// ASCII to its end, and in whole words: `from_utf8` takes those by pairs, and what is less byte by byte.
#[repr(align(16))]
struct Aligned([u8; LONGEST.next_multiple_of(16)]);

/// `[1111:2222:3333:4444:5555:6666:7777:8888%4294967295]:65535`
const LONGEST: usize = 58;

impl PeerText {
    #[inline]
    pub(crate) fn new(peer: SocketAddr) -> Self {
        let mut text = Self { bytes: Aligned([0; LONGEST.next_multiple_of(16)]), length: 0 };
        match peer {
            SocketAddr::V4(peer) => {
                for octet in peer.ip().octets() {
                    text.octet(octet);
                    // With the dot that stands there.
                    text.length += 1;
                }
                // In place of the last dot.
                text.length -= 1;
                text.push(*b":", 1);
                text.port(peer.port());
            }
            // It fits. If it did not, its beginning would do.
            SocketAddr::V6(_) => write!(text, "{peer}").unwrap_or_default(),
        }
        text
    }

    pub(crate) fn as_str(&self) -> &str {
        let whole = self.length.next_multiple_of(16);
        let text = str::from_utf8(&self.bytes.0[..whole]).unwrap_or_default();
        text.get(..self.length).unwrap_or_default()
    }

    /// The first `length` of some bytes, which come with zeros behind them.
    #[inline(always)]
    fn push<const N: usize>(&mut self, bytes: [u8; N], length: usize) {
        if let Some(end) = self.bytes.0.get_mut(self.length..).and_then(|end| end.first_chunk_mut()) {
            *end = bytes;
            self.length += length;
        }
    }

    #[inline(always)]
    fn octet(&mut self, octet: u8) {
        self.push(OCTETS[usize::from(octet)], 1 + usize::from(octet >= 10) + usize::from(octet >= 100));
    }

    #[inline(always)]
    fn port(&mut self, port: u16) {
        let [thousands, _] = (port / 1_000).to_le_bytes(); // 65 at most
        let below = port % 1_000;
        let [hundreds, tens, ones] =
            [below / 100, below / 10 % 10, below % 10].map(|digit| digit.to_le_bytes()[0] + b'0');
        let digits = u32::from_le_bytes([hundreds, tens, ones, 0]);
        if thousands > 0 {
            self.octet(thousands);
            self.push(digits.to_le_bytes(), 3);
        } else {
            let zeros = usize::from(port < 100) + usize::from(port < 10);
            self.push((digits >> (8 * zeros)).to_le_bytes(), 3 - zeros);
        }
    }
}

/// The digits of each number, and a dot.
const OCTETS: [[u8; 4]; 256] = {
    let mut octets = [[0; 4]; 256];
    let mut octet = 0_u8;
    loop {
        let (hundreds, tens, ones) = (b'0' + octet / 100, b'0' + octet / 10 % 10, b'0' + octet % 10);
        octets[octet as usize] = match octet {
            0..10 => [ones, b'.', 0, 0],
            10..100 => [tens, ones, b'.', 0],
            _ => [hundreds, tens, ones, b'.'],
        };
        if octet == u8::MAX {
            break octets;
        }
        octet += 1;
    }
};

impl Write for PeerText {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        text.bytes().for_each(|byte| self.push([byte], 1));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_reads_as_the_address_does() {
        let every_port = (0..=u16::MAX).map(|port| SocketAddr::from(([127, 0, 0, 1], port)));
        let every_octet = (0..=u8::MAX).map(|octet| SocketAddr::from(([octet, 255 - octet, 9, octet], 80)));
        let others = [
            "[::]:0",
            "[::1]:443",
            "[2001:db8::1:0:0:1]:8080",
            "[fe80::1%4294967295]:65535",
            "[::ffff:127.0.0.1]:1",
            "[1111:2222:3333:4444:5555:6666:7777:8888%4294967295]:65535",
        ];
        let others = others.map(|text| text.parse().expect("an address"));
        for peer in every_port.chain(every_octet).chain(others) {
            assert_eq!(PeerText::new(peer).as_str(), peer.to_string());
        }
    }
}
