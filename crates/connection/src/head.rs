//! What hyper does not tell of the bytes that come in: read along, never changed.

use memchr::memchr;

/// Reads along with an HTTP/1 head, for two things that hyper's request no longer shows: whether it had a
/// `Content-Length` *and* a `Transfer-Encoding` (hyper drops the first, but RFC 9112, 6.1, asks to close the connection
/// after such a request), and whether the request line has ended.
#[derive(Debug, Default)]
pub(crate) struct HeadScan {
    at: At,
    bytes: usize,
    line_ended: bool,
    transfer_encoding: bool,
    content_length: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum At {
    /// In a line whose name does not matter.
    #[default]
    Elsewhere,
    /// At the start of a line, so many bytes into a name that may matter.
    Name(Name, usize),
    /// At the start of a line.
    Start,
    /// Behind the empty line.
    Done,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Name {
    TransferEncoding,
    ContentLength,
}

impl Name {
    const fn text(self) -> &'static [u8] {
        match self {
            Self::TransferEncoding => b"transfer-encoding",
            Self::ContentLength => b"content-length",
        }
    }
}

impl HeadScan {
    /// Takes in bytes of a head, in pieces as they come. Says whether it has ended, and had both fields.
    pub(crate) fn feed(&mut self, mut bytes: &[u8]) -> bool {
        if self.at == At::Done {
            *self = Self::default();
        }
        self.bytes += bytes.len();
        loop {
            match self.at {
                At::Done => return self.transfer_encoding && self.content_length,
                At::Elsewhere => match memchr(b'\n', bytes) {
                    None => return false,
                    Some(end) => {
                        self.line_ended = true;
                        self.at = At::Start;
                        bytes = &bytes[end + 1..];
                    }
                },
                At::Start => {
                    let Some((&byte, rest)) = bytes.split_first() else { return false };
                    self.at = match byte {
                        b'\r' => At::Start,
                        b'\n' => At::Done,
                        b't' | b'T' => At::Name(Name::TransferEncoding, 1),
                        b'c' | b'C' => At::Name(Name::ContentLength, 1),
                        _ => At::Elsewhere,
                    };
                    bytes = rest;
                }
                At::Name(name, seen) => {
                    let Some(&byte) = bytes.first() else { return false };
                    if let Some(expected) = name.text().get(seen) {
                        if byte.eq_ignore_ascii_case(expected) {
                            self.at = At::Name(name, seen + 1);
                            bytes = &bytes[1..];
                        } else {
                            self.at = At::Elsewhere;
                        }
                    } else {
                        // The name is whole if the colon follows; hyper refuses a blank before it.
                        if byte == b':' {
                            match name {
                                Name::TransferEncoding => self.transfer_encoding = true,
                                Name::ContentLength => self.content_length = true,
                            }
                        }
                        self.at = At::Elsewhere;
                    }
                }
            }
        }
    }

    /// How many bytes have come since the last request began, if its line has not ended yet.
    pub(crate) const fn unfinished_line(&self) -> Option<usize> {
        if self.line_ended { None } else { Some(self.bytes) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOTH: &str =
        "POST / HTTP/1.1\r\nHost: x\r\nTrailer: y\r\ncontent-Length: 5\r\nTRANSFER-encoding: chunked\r\n\r\n";

    #[test]
    fn both_fields_are_seen_wherever_the_pieces_end() {
        for piece in 1..BOTH.len() {
            let mut scan = HeadScan::default();
            let mut both = false;
            for bytes in BOTH.as_bytes().chunks(piece) {
                both |= scan.feed(bytes);
            }
            assert!(both, "in pieces of {piece}");
            assert!(!scan.feed(b"POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\n"), "the next head begins anew");
        }
    }

    #[test]
    fn one_field_is_not_both() {
        for head in [
            "POST / HTTP/1.1\r\nContent-Length: 5\r\nContent-Type: x\r\nTE: trailers\r\n\r\n",
            "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nX-Content-Length: 5\r\nContent-Lengths: 5\r\n\r\n",
            "GET /transfer-encoding: HTTP/1.1\r\ncontent-length: 0\r\n\r\n",
            // Behind the head is a body, whatever it looks like.
            "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n17\r\nContent-Length: 5\r\n\r\n",
        ] {
            let mut scan = HeadScan::default();
            assert!(!scan.feed(head.as_bytes()), "{head}");
        }
    }

    #[test]
    fn a_line_that_does_not_end_is_known() {
        let mut scan = HeadScan::default();
        scan.feed(b"GET /");
        scan.feed(&[b'x'; 1000]);
        assert_eq!(scan.unfinished_line(), Some(1005));
        scan.feed(b" HTTP/1.1\r\nx: y");
        assert_eq!(scan.unfinished_line(), None);
    }
}
