use std::{
    io::{self, ErrorKind, Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use crate::{Ask, BODY};

/// A client of one connection that is kept alive: bytes out, bytes in, nothing allocated for a request, so that next to
/// nothing of what is measured is the client's.
#[derive(Debug)]
pub struct KeepAlive {
    socket: TcpStream,
    request: Vec<u8>,
    /// How long a response is; they are all of the same length.
    expected: usize,
    response: Box<[u8; 4096]>,
}

impl KeepAlive {
    /// Connects, sends a first request, and checks its response.
    ///
    /// # Errors
    ///
    /// If the server is not there, or answers something else.
    pub fn connect(address: SocketAddr) -> io::Result<Self> {
        Self::connect_to(address, Ask::Bare)
    }

    /// The same for a client that asks for this.
    ///
    /// # Errors
    ///
    /// Those of [`connect`](Self::connect).
    pub fn connect_to(address: SocketAddr, ask: Ask) -> io::Result<Self> {
        let socket = TcpStream::connect(address)?;
        socket.set_nodelay(true)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        let mut client = Self { socket, request: ask.request(address), expected: 0, response: Box::new([0; 4096]) };
        client.send()?;
        while client.expected == 0 || !client.response[..client.expected].ends_with(BODY) {
            client.expected += client.read_at(client.expected)?;
        }
        if client.response.starts_with(b"HTTP/1.1 200 OK\r\n") {
            Ok(client)
        } else {
            Err(wrong(&client.response[..client.expected]))
        }
    }

    /// Sends a request.
    ///
    /// # Errors
    ///
    /// Those of the socket.
    pub fn send(&mut self) -> io::Result<()> {
        self.socket.write_all(&self.request)
    }

    /// Reads the response to a request that was sent.
    ///
    /// # Errors
    ///
    /// Those of the socket, and if it is not the response that the first one was.
    pub fn receive(&mut self) -> io::Result<()> {
        let mut read = 0;
        while read < self.expected {
            read += self.read_at(read)?;
        }
        let response = &self.response[..read];
        // Not compared whole: the date and the id differ.
        if read == self.expected && response.starts_with(b"HTTP/1.1 200") && response.ends_with(BODY) {
            Ok(())
        } else {
            Err(wrong(response))
        }
    }

    /// One request after the other.
    ///
    /// # Errors
    ///
    /// Those of [`send`](Self::send) and [`receive`](Self::receive).
    pub fn ask(&mut self, requests: usize) -> io::Result<()> {
        for _ in 0..requests {
            self.send()?;
            self.receive()?;
        }
        Ok(())
    }

    fn read_at(&mut self, at: usize) -> io::Result<usize> {
        match self.socket.read(&mut self.response[at..])? {
            0 => Err(ErrorKind::UnexpectedEof.into()),
            n => Ok(n),
        }
    }
}

fn wrong(response: &[u8]) -> io::Error {
    io::Error::other(format!("not the response that was expected: {}", response.escape_ascii()))
}

/// Valgrind is slow, and the machine may be busy.
const PATIENCE: Duration = Duration::from_secs(60);
