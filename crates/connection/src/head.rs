//! What hyper does not tell of the bytes that come in: read along, never changed.

use memchr::memchr;

/// Reads along with HTTP/1 heads, for whether the request line has ended: hyper's answer to a head that is too long does
/// not say where it was too long.
#[derive(Debug, Default)]
pub(crate) struct LineScan {
    /// How many requests had begun before the one whose line this is.
    before: u64,
    bytes: usize,
    ended: bool,
}

impl LineScan {
    /// Takes in bytes of a head, in pieces as they come, after so many requests.
    pub(crate) fn feed(&mut self, before: u64, bytes: &[u8]) {
        if self.before != before {
            *self = Self { before, bytes: 0, ended: false };
        }
        self.bytes = self.bytes.saturating_add(bytes.len());
        // Nearly every head comes whole, and then ends in one.
        self.ended = self.ended || bytes.last() == Some(&b'\n') || memchr(b'\n', bytes).is_some();
    }

    /// How many bytes have come since the last request began, if its line has not ended yet.
    pub(crate) const fn unfinished(&self) -> Option<usize> {
        if self.ended { None } else { Some(self.bytes) }
    }

    /// The line is answered.
    pub(crate) const fn end(&mut self) {
        self.ended = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_does_not_end_is_known() {
        let mut scan = LineScan::default();
        scan.feed(0, b"GET /");
        scan.feed(0, &[b'x'; 1000]);
        assert_eq!(scan.unfinished(), Some(1005));
        scan.feed(0, b" HTTP/1.1\r\nx: y");
        assert_eq!(scan.unfinished(), None);
        scan.feed(0, b"z");
        assert_eq!(scan.unfinished(), None, "more of the same head");
    }

    #[test]
    fn the_next_request_begins_anew() {
        let mut scan = LineScan::default();
        scan.feed(0, b"GET / HTTP/1.1\r\nhost: x\r\n\r\n");
        assert_eq!(scan.unfinished(), None);
        scan.feed(1, b"GET /");
        assert_eq!(scan.unfinished(), Some(5));
    }
}
