//! The playground over each transport that it speaks: in the clear, and under TLS.

use std::net::SocketAddr;

use tests::Program;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};
use tokio_rustls::rustls::pki_types::CertificateDer;

use crate::{playground, tls};

pub(crate) trait Io: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Io for T {}

pub(crate) struct Server {
    pub(crate) program: Program,
    tls: Option<(tls::Files, CertificateDer<'static>)>,
}

impl Server {
    pub(crate) async fn start(encrypted: bool, args: &[&str]) -> Self {
        if !encrypted {
            return Self { program: playground(args).await, tls: None };
        }
        let files = tls::Files::new();
        let certificate = files.write("playground");
        let program = playground(&[args, &files.args()].concat()).await;
        Self { program, tls: Some((files, certificate)) }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.program.address()
    }

    /// A connection whose handshake is done; the client knows no ALPN, so it may speak either version.
    pub(crate) async fn connect(&self) -> Box<dyn Io> {
        match &self.tls {
            None => Box::new(TcpStream::connect(self.address()).await.expect("it listens")),
            Some((_, certificate)) => Box::new(tls::connect(self.address(), certificate).await.expect("a handshake")),
        }
    }
}
