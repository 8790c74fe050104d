use std::{io, net::SocketAddr};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::within;

/// An HTTP/1.1 client that knows nothing but bytes: it sends what it is told and reads what is there.
#[derive(Debug)]
pub struct Client {
    stream: TcpStream,
    /// What was read and not yet asked for.
    buffer: Vec<u8>,
}

/// What a server answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The fields of the head, with names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body, without the frame of its chunks.
    pub body: String,
}

impl Client {
    /// Connects.
    ///
    /// # Panics
    ///
    /// If nobody listens.
    pub async fn connect(address: SocketAddr) -> Self {
        Self::try_connect(address).await.expect("somebody listens")
    }

    /// Connects.
    ///
    /// # Errors
    ///
    /// If nobody listens.
    pub async fn try_connect(address: SocketAddr) -> io::Result<Self> {
        let stream = within("a connection", TcpStream::connect(address)).await?;
        Ok(Self { stream, buffer: Vec::new() })
    }

    /// Takes over a connected socket of std's.
    ///
    /// # Panics
    ///
    /// Outside of a runtime.
    #[must_use]
    pub fn from_std(stream: std::net::TcpStream) -> Self {
        stream.set_nonblocking(true).expect("any socket can do that");
        Self { stream: TcpStream::from_std(stream).expect("in a runtime"), buffer: Vec::new() }
    }

    /// Where it connects from: what the server calls its peer.
    ///
    /// # Panics
    ///
    /// If the socket has no address any more.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.stream.local_addr().expect("a connected socket has an address")
    }

    /// Sends bytes as they are.
    ///
    /// # Panics
    ///
    /// If the server does not take them.
    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.try_send(bytes).await.expect("the server reads");
    }

    /// Sends bytes as they are.
    ///
    /// # Errors
    ///
    /// If the server has closed the connection.
    pub async fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        within("the server to read", self.stream.write_all(bytes.as_ref())).await
    }

    /// Asks for `path` and reads the answer. The connection is kept.
    pub async fn get(&mut self, path: &str) -> Answer {
        self.send(get(path)).await;
        self.answer().await
    }

    /// Whether nothing is there that was read and not asked for: after an error, that no part of an answer has come.
    #[must_use]
    pub const fn has_read_nothing(&self) -> bool {
        self.buffer.is_empty()
    }

    /// Reads one whole answer.
    ///
    /// # Panics
    ///
    /// If there is none, or a part of one.
    pub async fn answer(&mut self) -> Answer {
        self.try_answer().await.expect("a whole answer")
    }

    /// Reads one whole answer.
    ///
    /// # Errors
    ///
    /// `UnexpectedEof` if the server closes before its end; what the socket says otherwise.
    pub async fn try_answer(&mut self) -> io::Result<Answer> {
        let head = self.try_head().await?;
        self.body(head).await
    }

    /// Reads one answer to `HEAD`: a head, whatever length it tells.
    ///
    /// # Panics
    ///
    /// If there is none.
    pub async fn head(&mut self) -> Answer {
        self.try_head().await.expect("a whole head")
    }

    /// Reads to where `end` stands, and gives that with all before it.
    ///
    /// # Panics
    ///
    /// If the server closes before.
    pub async fn until(&mut self, end: &str) -> String {
        String::from_utf8(self.read_until(end.as_bytes()).await.expect(end)).expect("text")
    }

    /// Everything that the server still sends, until it closes.
    ///
    /// # Errors
    ///
    /// If the connection is reset.
    pub async fn rest(&mut self) -> io::Result<String> {
        let mut rest = std::mem::take(&mut self.buffer);
        within("the server to close", self.stream.read_to_end(&mut rest)).await?;
        String::from_utf8(rest).map_err(io::Error::other)
    }

    async fn try_head(&mut self) -> io::Result<Answer> {
        let head = self.read_until(b"\r\n\r\n").await?;
        let head = String::from_utf8(head).map_err(io::Error::other)?;
        let mut lines = head.trim_end().split("\r\n");
        let status = lines
            .next()
            .and_then(|line| line.strip_prefix("HTTP/1.1 "))
            .and_then(|line| line.get(..3)?.parse().ok())
            .ok_or_else(|| io::Error::other(format!("not a status line: {head:?}")))?;
        let headers = lines
            .filter_map(|line| line.split_once(": "))
            .map(|(name, value)| (name.to_lowercase(), value.to_owned()))
            .collect();
        Ok(Answer { status, headers, body: String::new() })
    }

    async fn body(&mut self, mut answer: Answer) -> io::Result<Answer> {
        if answer.header("transfer-encoding") == Some("chunked") {
            loop {
                let size = self.read_until(b"\r\n").await?;
                let size = std::str::from_utf8(&size).ok().and_then(|size| usize::from_str_radix(size.trim(), 16).ok());
                let size = size.ok_or_else(|| io::Error::other("not the size of a chunk"))?;
                let chunk = self.read_exact(size).await?;
                answer.body += std::str::from_utf8(&chunk).map_err(io::Error::other)?;
                self.read_exact(2).await?;
                if size == 0 {
                    return Ok(answer);
                }
            }
        }
        if let Some(length) = answer.header("content-length") {
            let length = length.parse().map_err(io::Error::other)?;
            answer.body = String::from_utf8(self.read_exact(length).await?).map_err(io::Error::other)?;
        }
        Ok(answer)
    }

    async fn read_until(&mut self, end: &[u8]) -> io::Result<Vec<u8>> {
        loop {
            if let Some(at) = self.buffer.windows(end.len()).position(|window| window == end) {
                return Ok(self.buffer.drain(..at + end.len()).collect());
            }
            self.read_more().await?;
        }
    }

    async fn read_exact(&mut self, length: usize) -> io::Result<Vec<u8>> {
        while self.buffer.len() < length {
            self.read_more().await?;
        }
        Ok(self.buffer.drain(..length).collect())
    }

    async fn read_more(&mut self) -> io::Result<()> {
        match within("the server to answer", self.stream.read_buf(&mut self.buffer)).await? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }
}

impl Answer {
    /// A field of the head; the first, if there are several.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|header| header.0 == name).map(|header| header.1.as_str())
    }

    /// The request's id, as the server tells it to the client.
    ///
    /// # Panics
    ///
    /// If it does not: every answer has one.
    #[must_use]
    pub fn request_id(&self) -> &str {
        self.header("x-request-id").expect("every answer carries the request's id")
    }
}

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nhost: test\r\n\r\n")
}
