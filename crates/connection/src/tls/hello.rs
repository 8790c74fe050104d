//! The first bytes of a client, before TLS reads them.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::stream::Replayed;

/// What a client begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum First {
    /// A record of the type `handshake`.
    Tls,
    /// A method of HTTP/1, or the preface of HTTP/2.
    PlainHttp,
    Unknown,
}

/// Enough to tell, and no more: what is read here is replayed.
const ENOUGH: usize = 8;

const HANDSHAKE: u8 = 0x16;

const BEGINNINGS: [&[u8]; 10] =
    [b"GET ", b"HEAD ", b"POST ", b"PUT ", b"PATCH ", b"DELETE ", b"OPTIONS ", b"CONNECT ", b"TRACE ", b"PRI * HT"];

/// Short, since not everything that reads it is a browser, and in HTTP/1.1, since that is what such a client speaks.
const SPEAKS_HTTPS: &[u8] = b"HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain; charset=utf-8\r\n\
    content-length: 23\r\nconnection: close\r\n\r\nthis port speaks HTTPS\n";

/// Reads until it shows what the client speaks.
pub(super) async fn first<T: AsyncRead + Unpin>(io: &mut Replayed<T>) -> io::Result<First> {
    let mut bytes = [0; ENOUGH];
    let mut read = 0;
    loop {
        let more = io.get_mut().read(&mut bytes[read..]).await?;
        if more == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        read += more;
        if let Some(first) = tell(&bytes[..read]) {
            io.replay(&bytes[..read]);
            return Ok(first);
        }
    }
}

/// `None` if it takes more bytes to tell; never for `ENOUGH` of them.
fn tell(bytes: &[u8]) -> Option<First> {
    if bytes.first() == Some(&HANDSHAKE) {
        return Some(First::Tls);
    }
    let mut maybe = false;
    for beginning in BEGINNINGS {
        if bytes.starts_with(beginning) {
            return Some(First::PlainHttp);
        }
        maybe |= beginning.starts_with(bytes);
    }
    (!maybe).then_some(First::Unknown)
}

/// Tells a client of plain HTTP where it is, and reads on until it has understood: to close with unread bytes is to
/// reset the connection under the answer (RFC 9112, 9.6). The caller bounds it.
pub(super) async fn speaks_https<T: AsyncRead + AsyncWrite + Unpin>(io: &mut T) -> io::Result<()> {
    io.write_all(SPEAKS_HTTPS).await?;
    farewell(io).await
}

/// Closes our side, and waits until the client has closed its own.
pub(super) async fn farewell<T: AsyncRead + AsyncWrite + Unpin>(io: &mut T) -> io::Result<()> {
    io.shutdown().await?;
    let mut bytes = [0; 1024];
    while io.read(&mut bytes).await? > 0 {}
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_client_speaks_shows_in_its_first_bytes() {
        for (bytes, first) in [
            (b"\x16".as_slice(), Some(First::Tls)),
            (b"\x16\x03\x01", Some(First::Tls)),
            (b"GET /", Some(First::PlainHttp)),
            (b"OPTIONS ", Some(First::PlainHttp)),
            (b"PRI * HT", Some(First::PlainHttp)),
            (b"G", None),
            (b"OPTIONS", None),
            (b"GETS", Some(First::Unknown)),
            (b"get /", Some(First::Unknown)),
            (b"SSH-2.0", Some(First::Unknown)),
            (b"\x80\x2e\x01", Some(First::Unknown)),
            (b"\0", Some(First::Unknown)),
        ] {
            assert_eq!(tell(bytes), first, "{:?}", String::from_utf8_lossy(bytes));
        }
    }

    #[test]
    fn eight_bytes_are_enough() {
        for beginning in BEGINNINGS {
            assert!(beginning.len() <= ENOUGH, "{:?} cannot be told apart", String::from_utf8_lossy(beginning));
        }
    }

    #[test]
    fn the_answer_has_the_length_it_says() {
        let text = std::str::from_utf8(SPEAKS_HTTPS).expect("ASCII");
        let (head, body) = text.split_once("\r\n\r\n").expect("a head and a body");
        assert!(head.contains(&format!("content-length: {}\r\n", body.len())), "{text}");
    }
}
