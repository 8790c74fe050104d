use std::fmt;

use super::{
    certificate::Certificate,
    rustls::{self, CipherSuite, HandshakeKind, ProtocolVersion, ServerConnection, pki_types::CertificateDer},
};

/// What was agreed on with the client of a TLS connection.
///
/// A handler finds it in [`ConnectionInfo::tls`](crate::ConnectionInfo::tls), by way of the request's
/// [`ConnectionControl`](crate::ConnectionControl).
#[derive(Clone, Debug)]
pub struct TlsInfo {
    version: TlsVersion,
    cipher_suite: &'static str,
    alpn: Option<&'static str>,
    server_name: Option<String>,
    resumed: bool,
    client_certificate: Option<ClientCertificate>,
}

impl TlsInfo {
    /// Of a connection whose handshake is done.
    ///
    /// # Errors
    ///
    /// If the client's certificate cannot be read: a handler that goes by it must not be left without.
    pub(super) fn of(connection: &ServerConnection) -> Result<Self, rustls::Error> {
        let client_certificate = match connection.peer_certificates().and_then(<[_]>::first) {
            Some(der) => Some(ClientCertificate::read(der)?),
            None => None,
        };
        Ok(Self {
            version: match connection.protocol_version() {
                Some(ProtocolVersion::TLSv1_2) => TlsVersion::Tls12,
                _ => TlsVersion::Tls13,
            },
            cipher_suite: connection.negotiated_cipher_suite().map_or("", |suite| iana(suite.suite())),
            alpn: match connection.alpn_protocol() {
                Some(b"h2") => Some("h2"),
                Some(_) => Some("http/1.1"),
                None => None,
            },
            server_name: connection.server_name().map(str::to_owned),
            resumed: connection.handshake_kind() == Some(HandshakeKind::Resumed),
            client_certificate,
        })
    }

    /// The version of TLS.
    #[must_use]
    pub const fn version(&self) -> TlsVersion {
        self.version
    }

    /// The cipher suite, by its name in the IANA registry: `TLS_AES_128_GCM_SHA256`.
    #[must_use]
    pub const fn cipher_suite(&self) -> &str {
        self.cipher_suite
    }

    /// What the connection speaks by ALPN: `h2` or `http/1.1`. `None` if the client did not ask: it may speak either.
    #[must_use]
    pub const fn alpn(&self) -> Option<&str> {
        self.alpn
    }

    /// The host name that the client asked for (SNI), in lower case. It need not be that of a request's `Host`.
    #[must_use]
    pub fn server_name(&self) -> Option<&str> {
        self.server_name.as_deref()
    }

    /// Whether an earlier session was resumed, without certificates and with less arithmetic.
    #[must_use]
    pub const fn resumed(&self) -> bool {
        self.resumed
    }

    /// The client's certificate, if it was asked for one and has one. It was checked for this connection: issued by one of
    /// those in the file, not expired, and the client has its key.
    #[must_use]
    pub const fn client_certificate(&self) -> Option<&ClientCertificate> {
        self.client_certificate.as_ref()
    }
}

/// A version of TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum TlsVersion {
    /// RFC 5246.
    Tls12,
    /// RFC 8446.
    Tls13,
}

impl TlsVersion {
    /// As OpenSSL and nginx write it: `TLSv1.3`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Tls12 => "TLSv1.2",
            Self::Tls13 => "TLSv1.3",
        }
    }
}

impl fmt::Display for TlsVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The certificate of a client.
#[derive(Clone, PartialEq, Eq)]
pub struct ClientCertificate {
    der: CertificateDer<'static>,
    subject: String,
    common_name: Option<String>,
}

impl ClientCertificate {
    fn read(der: &CertificateDer<'_>) -> Result<Self, rustls::Error> {
        let certificate = Certificate::from_der(der).map_err(|_| rustls::CertificateError::BadEncoding)?;
        Ok(Self {
            subject: certificate.subject(),
            common_name: certificate.common_name(),
            der: der.clone().into_owned(),
        })
    }

    /// Whom it names, as RFC 4514 writes it: `CN=billing,O=Example`.
    #[must_use]
    pub fn subject(&self) -> &str {
        &self.subject
    }

    /// The common name in the subject.
    #[must_use]
    pub fn common_name(&self) -> Option<&str> {
        self.common_name.as_deref()
    }

    /// All of it, in DER, for whoever wants to know more.
    #[must_use]
    pub fn der(&self) -> &[u8] {
        &self.der
    }
}

impl fmt::Debug for ClientCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { der: _, subject, common_name: _ } = self;
        f.debug_struct("ClientCertificate").field("subject", subject).finish_non_exhaustive()
    }
}

/// rustls has names of its own for the suites of TLS 1.3.
fn iana(suite: CipherSuite) -> &'static str {
    match suite {
        CipherSuite::TLS13_AES_128_GCM_SHA256 => "TLS_AES_128_GCM_SHA256",
        CipherSuite::TLS13_AES_256_GCM_SHA384 => "TLS_AES_256_GCM_SHA384",
        CipherSuite::TLS13_CHACHA20_POLY1305_SHA256 => "TLS_CHACHA20_POLY1305_SHA256",
        other => other.as_str().unwrap_or("unknown"),
    }
}
