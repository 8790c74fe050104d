use std::io;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::within;

/// An HTTP/2 client that does what it is told and nothing else: no PONG, no ACK, no window.
#[derive(Debug)]
pub struct Http2<Io> {
    io: Io,
}

/// A frame (RFC 9113, 4.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Its type.
    pub kind: u8,
    /// Its flags.
    pub flags: u8,
    /// The stream that it belongs to; 0 for the connection.
    pub stream: u32,
    /// What it carries.
    pub payload: Vec<u8>,
}

impl Frame {
    /// The type of DATA.
    pub const DATA: u8 = 0;
    /// The type of HEADERS.
    pub const HEADERS: u8 = 1;
    /// The type of PRIORITY.
    pub const PRIORITY: u8 = 2;
    /// The type of `RST_STREAM`.
    pub const RST_STREAM: u8 = 3;
    /// The type of SETTINGS.
    pub const SETTINGS: u8 = 4;
    /// The type of PING.
    pub const PING: u8 = 6;
    /// The type of GOAWAY.
    pub const GOAWAY: u8 = 7;
    /// The type of `WINDOW_UPDATE`.
    pub const WINDOW_UPDATE: u8 = 8;
    /// The type of CONTINUATION.
    pub const CONTINUATION: u8 = 9;
    /// The flag that a SETTINGS or a PING is an answer.
    pub const ACK: u8 = 1;
    /// The flag that nothing more comes on the stream.
    pub const END_STREAM: u8 = 1;
    /// The flag that the header block is whole.
    pub const END_HEADERS: u8 = 4;

    /// A frame as it is sent.
    ///
    /// # Panics
    ///
    /// If the payload is longer than a frame can be.
    #[must_use]
    pub fn bytes(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
        let [_, length @ ..] = u32::try_from(payload.len()).expect("a short frame").to_be_bytes();
        [&length[..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
    }

    /// The last stream that a GOAWAY says is served.
    ///
    /// # Panics
    ///
    /// If it is another frame.
    #[must_use]
    pub fn last_stream(&self) -> u32 {
        assert_eq!(self.kind, Self::GOAWAY, "{self:?}");
        u32::from_be_bytes(self.payload[..4].try_into().expect("four bytes")) & u32::MAX >> 1
    }
}

impl<Io: AsyncRead + AsyncWrite + Unpin> Http2<Io> {
    /// Sends the preface and empty SETTINGS.
    ///
    /// # Panics
    ///
    /// If the server does not take them.
    pub async fn begin(mut io: Io) -> Self {
        within("the server to read", io.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")).await.expect("it reads");
        let mut client = Self { io };
        client.send(Frame::SETTINGS, 0, 0, &[]).await;
        client
    }

    /// Sends a frame.
    ///
    /// # Panics
    ///
    /// If the server does not take it.
    pub async fn send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        self.try_send(kind, flags, stream, payload).await.expect("it reads");
    }

    /// Sends a frame.
    ///
    /// # Errors
    ///
    /// If the server has closed the connection.
    pub async fn try_send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) -> io::Result<()> {
        self.try_send_bytes(&Frame::bytes(kind, flags, stream, payload)).await
    }

    /// Sends bytes as they are: many frames at once, or a part of one.
    ///
    /// # Errors
    ///
    /// If the server has closed the connection.
    pub async fn try_send_bytes(&mut self, bytes: &[u8]) -> io::Result<()> {
        within("the server to read", async {
            self.io.write_all(bytes).await?;
            self.io.flush().await
        })
        .await
    }

    /// Asks for `path`, of at most 126 bytes, on a new stream: 1, 3, 5, and so on.
    pub async fn get(&mut self, stream: u32, path: &str) {
        let flags = Frame::END_STREAM | Frame::END_HEADERS;
        self.send(Frame::HEADERS, flags, stream, &Self::head(path)).await;
    }

    /// The header block of a request for `path` (RFC 7541, 6.1 and 6.2.2).
    ///
    /// # Panics
    ///
    /// If the path is longer than 126 bytes.
    #[must_use]
    pub fn head(path: &str) -> Vec<u8> {
        let length = u8::try_from(path.len()).expect("a short path");
        assert!(length < 127, "a length of one byte");
        // `:method: GET`, `:scheme: http`, `:authority: test`, and the path.
        [&[0x82, 0x86, 0x01, 4][..], b"test", &[0x04, length], path.as_bytes()].concat()
    }

    /// Reads the next frame.
    ///
    /// # Errors
    ///
    /// `UnexpectedEof` at the end.
    pub async fn frame(&mut self) -> io::Result<Frame> {
        within("a frame", async {
            let mut head = [0; 9];
            self.io.read_exact(&mut head).await?;
            let [a, b, c, kind, flags, stream @ ..] = head;
            let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
            self.io.read_exact(&mut payload).await?;
            Ok(Frame { kind, flags, stream: u32::from_be_bytes(stream), payload })
        })
        .await
    }

    /// Reads to the next frame of a type.
    ///
    /// # Panics
    ///
    /// If there is none.
    pub async fn next(&mut self, kind: u8) -> Frame {
        loop {
            let frame = self.frame().await.expect("a frame of that type");
            if frame.kind == kind {
                return frame;
            }
        }
    }
}
