//! A client: rustls' own, and raw bytes.

use std::{io, sync::Arc};

use graceful_connection::tls::rustls::{
    self, ClientConfig, RootCertStore, SupportedProtocolVersion,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
    version::{TLS12, TLS13},
};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::authority::{Authority, Files};

#[derive(Clone)]
pub(crate) struct Client {
    pub(crate) config: ClientConfig,
}

impl Client {
    pub(crate) fn new(authority: &Authority) -> Self {
        Self::build(authority, &[&TLS13, &TLS12], None)
    }

    pub(crate) fn speaking(authority: &Authority, version: &'static SupportedProtocolVersion) -> Self {
        Self::build(authority, &[version], None)
    }

    pub(crate) fn with_certificate(authority: &Authority, files: &Files) -> Self {
        Self::build(authority, &[&TLS13, &TLS12], Some(files))
    }

    pub(crate) fn build(
        authority: &Authority,
        versions: &[&'static SupportedProtocolVersion],
        files: Option<&Files>,
    ) -> Self {
        let mut roots = RootCertStore::empty();
        roots.add(authority.root()).expect("a root");
        let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(versions)
            .expect("versions")
            .with_root_certificates(roots);
        let config = match files {
            Some(files) => {
                let chain = CertificateDer::pem_file_iter(&files.chain).expect("a file");
                let chain = chain.collect::<Result<_, _>>().expect("a chain");
                let key = PrivateKeyDer::from_pem_file(&files.key).expect("a key");
                builder.with_client_auth_cert(chain, key).expect("a pair")
            }
            None => builder.with_no_client_auth(),
        };
        Self { config }
    }

    pub(crate) fn alpn(mut self, protocols: &[&str]) -> Self {
        self.config.alpn_protocols = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
        self
    }

    pub(crate) async fn connect<T>(&self, io: T) -> io::Result<TlsStream<T>>
    where
        T: AsyncRead + AsyncWrite + Unpin,
    {
        self.connect_to("localhost", io).await
    }

    pub(crate) async fn connect_to<T>(&self, name: &str, io: T) -> io::Result<TlsStream<T>>
    where
        T: AsyncRead + AsyncWrite + Unpin,
    {
        let name = ServerName::try_from(name.to_owned()).expect("a name");
        TlsConnector::from(Arc::new(self.config.clone())).connect(name, io).await
    }
}

/// The common name of the certificate that the server has shown.
pub(crate) fn shown<T>(stream: &TlsStream<T>) -> String {
    let certificates = stream.get_ref().1.peer_certificates().expect("a certificate");
    let certificate = rustls_certificate(&certificates[0]);
    certificate.split_once("CN=").expect("a common name").1.to_owned()
}

fn rustls_certificate(der: &CertificateDer<'_>) -> String {
    use x509_cert::der::Decode;
    let certificate = x509_cert::Certificate::from_der(der).expect("a certificate");
    certificate.tbs_certificate().subject().to_string()
}

/// One request on a connection that stays open; gives the whole answer.
pub(crate) async fn get<T>(io: &mut T, path: &str) -> io::Result<String>
where
    T: AsyncRead + AsyncWrite + Unpin,
{
    io.write_all(format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n").as_bytes()).await?;
    io.flush().await?;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(io.read_u8().await?);
    }
    let head = String::from_utf8(head).expect("ASCII");
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "))
        .map_or(0, |length| length.parse().expect("a number"));
    let mut body = vec![0; length];
    io.read_exact(&mut body).await?;
    Ok(head + &String::from_utf8_lossy(&body))
}

/// The body of that answer.
pub(crate) fn body(answer: &str) -> &str {
    answer.split_once("\r\n\r\n").expect("a head").1
}

/// The error of rustls in one of IO.
pub(crate) fn alert(error: &io::Error) -> &rustls::Error {
    error.get_ref().and_then(|error| error.downcast_ref()).expect("an error of rustls")
}

/// Everything that is still to come.
pub(crate) async fn rest<T: AsyncRead + Unpin>(io: &mut T) -> Vec<u8> {
    let mut rest = Vec::new();
    let _ = io.read_to_end(&mut rest).await;
    rest
}

/// The first message of a client of TLS 1.3 who goes no further, as bytes.
pub(crate) async fn client_hello(client: &Client) -> Vec<u8> {
    let (io, mut other) = tokio::io::duplex(16 << 10);
    let client = client.clone();
    let connecting = tokio::spawn(async move { client.connect(io).await.map(drop) });
    let mut hello = vec![0; 5];
    other.read_exact(&mut hello).await.expect("a record");
    let length = usize::from(u16::from_be_bytes([hello[3], hello[4]]));
    hello.resize(5 + length, 0);
    other.read_exact(&mut hello[5..]).await.expect("a whole record");
    connecting.abort();
    hello
}
