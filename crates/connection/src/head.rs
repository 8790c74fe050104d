//! What hyper does not tell of the bytes that come in: read along, never changed.

use memchr::memchr;

/// Reads along with HTTP/1 heads, for how long the request line is: hyper's answer to a head that is too long does not say
/// where it was too long.
#[derive(Debug, Default)]
pub(crate) struct LineScan {
    /// How many requests had begun before the one whose line this is.
    before: u64,
    length: usize,
    ended: bool,
}

impl LineScan {
    /// Takes in bytes of a head, in pieces as they come, after so many requests. A line that is shorter than `enough` need
    /// not be measured.
    pub(crate) fn feed(&mut self, before: u64, bytes: &[u8], enough: usize) {
        if self.before != before {
            *self = Self { before, length: 0, ended: false };
        }
        if self.ended {
            return;
        }
        if self.length == 0 && bytes.len() < enough && bytes.ends_with(b"\r\n\r\n") {
            // The whole of a head, as most come.
            self.ended = true;
            return;
        }
        let end = memchr(b'\n', bytes);
        self.ended = end.is_some();
        self.length = self.length.saturating_add(end.unwrap_or(bytes.len()));
    }

    /// How long the line of the last request is, or what has come of it; 0 if that is too short to matter.
    pub(crate) const fn length(&self) -> usize {
        self.length
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_is_measured_in_whatever_pieces_it_comes() {
        let text = [&b"GET /"[..], &[b'x'; 1000], b" HTTP/1.1\r\nhost: x\r\n\r\nGET / HTTP/1.1\r\n"].concat();
        for piece in [1, 2, 7, 1013, 1014, 1015, 1016, text.len()] {
            let mut scan = LineScan::default();
            let mut fed = 0;
            for bytes in text.chunks(piece) {
                scan.feed(0, bytes, 0);
                fed += bytes.len();
                assert_eq!(scan.length(), fed.min(1015), "in pieces of {piece}");
            }
        }
    }

    #[test]
    fn the_next_request_begins_anew() {
        let mut scan = LineScan::default();
        scan.feed(0, b"GET / HTTP/1.1\r\nhost: x\r\n\r\n", 0);
        scan.feed(1, b"GET /", 0);
        assert_eq!(scan.length(), 5);
    }

    #[test]
    fn a_whole_head_is_not_looked_through_where_no_line_of_it_is_too_long() {
        const WHOLE: &[u8] = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n";
        let mut scan = LineScan::default();
        scan.feed(0, WHOLE, WHOLE.len() + 1);
        assert_eq!(scan.length(), 0, "shorter than it need be");
        scan.feed(0, &[b'x'; 100], 10);
        assert_eq!(scan.length(), 0, "its line is over");
        scan.feed(1, WHOLE, WHOLE.len());
        assert_eq!(scan.length(), 15, "it may be too long");
        scan.feed(2, b"GET /", WHOLE.len() + 6);
        scan.feed(2, WHOLE, WHOLE.len() + 6);
        assert_eq!(scan.length(), 20, "the rest of one that has begun");
    }
}
