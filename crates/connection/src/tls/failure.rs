use std::{error::Error, fmt, io};

use super::rustls::{self, PeerIncompatible};
use crate::Interrupted;

/// Why there is no TLS connection with a client.
#[derive(Debug)]
#[non_exhaustive]
pub enum HandshakeError {
    /// It was not done within [`TlsSettings::handshake_timeout`](super::TlsSettings::handshake_timeout): a client that
    /// says nothing, or goes silent half-way, or a server that has too many of them.
    Timeout,
    /// The client speaks plain HTTP, and was told so: somebody wrote `http://` for `https://`, or a scanner.
    PlainHttp,
    /// The client speaks neither TLS nor HTTP: a scanner, or a client of something else.
    NotTls,
    /// The client knows TLS 1.1 or older only, and was told so.
    NoSharedVersion,
    /// There is a version but no cipher suite, group, kind of signature or protocol (ALPN) that both know.
    NothingShared(rustls::Error),
    /// The client asked for a name that is in no certificate, or for none, and
    /// [`TlsSettings::known_names_only`](super::TlsSettings::known_names_only) is on.
    UnknownName(Option<String>),
    /// The client has no certificate where one is required, or a bad one.
    ClientCertificate(rustls::Error),
    /// The client ended the handshake with an alert. It does not like the certificate: not issued by whom it believes,
    /// not for the name it wanted, expired.
    Refused(rustls::Error),
    /// The client broke the rules of TLS.
    Protocol(rustls::Error),
    /// The socket failed, or the client closed it half-way.
    Io(io::Error),
    /// The server is shutting down.
    Shutdown,
}

impl HandshakeError {
    pub(super) fn of(error: io::Error) -> Self {
        match error.downcast::<rustls::Error>() {
            Ok(error) => Self::from_rustls(error),
            Err(error) => Self::Io(error),
        }
    }

    fn from_rustls(error: rustls::Error) -> Self {
        match error {
            rustls::Error::AlertReceived(_) => Self::Refused(error),
            rustls::Error::NoCertificatesPresented | rustls::Error::InvalidCertificate(_) => {
                Self::ClientCertificate(error)
            }
            rustls::Error::PeerIncompatible(
                PeerIncompatible::Tls12NotOffered
                | PeerIncompatible::Tls12NotOfferedOrEnabled
                | PeerIncompatible::SupportedVersionsExtensionRequired
                // Came with TLS 1.2, and is looked for before the version is.
                | PeerIncompatible::SignatureAlgorithmsExtensionRequired,
            ) => Self::NoSharedVersion,
            rustls::Error::PeerIncompatible(_) | rustls::Error::NoApplicationProtocol => Self::NothingShared(error),
            error => Self::Protocol(error),
        }
    }

    /// The word that logs and metrics use.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Timeout => "tls_timeout",
            Self::PlainHttp => "tls_plain_http",
            Self::NotTls => "tls_garbage",
            Self::NoSharedVersion => "tls_version",
            Self::NothingShared(_) => "tls_nothing_shared",
            Self::UnknownName(_) => "tls_unknown_name",
            Self::ClientCertificate(_) => "tls_client_certificate",
            Self::Refused(_) => "tls_refused",
            Self::Protocol(_) => "tls_protocol",
            Self::Io(_) => "tls_io",
            Self::Shutdown => "tls_shutdown",
        }
    }

    /// Whether it is what every server on the internet sees all day, and nobody can do anything about: worth a count,
    /// not a line each. What may be the server's own fault (its certificate is refused, its clients are too slow, its
    /// own clients have no certificate) is not noise.
    #[must_use]
    pub const fn is_noise(&self) -> bool {
        match self {
            Self::PlainHttp
            | Self::NotTls
            | Self::NoSharedVersion
            | Self::NothingShared(_)
            | Self::Protocol(_)
            | Self::Io(_) => true,
            Self::Timeout | Self::UnknownName(_) | Self::ClientCertificate(_) | Self::Refused(_) | Self::Shutdown => {
                false
            }
        }
    }
}

impl From<Interrupted> for HandshakeError {
    fn from(interrupted: Interrupted) -> Self {
        match interrupted {
            Interrupted::Elapsed => Self::Timeout,
            Interrupted::Shutdown => Self::Shutdown,
        }
    }
}

impl fmt::Display for HandshakeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Timeout => "TLS handshake timeout",
            Self::PlainHttp => "plain HTTP on a TLS port",
            Self::NotTls => "neither TLS nor HTTP",
            Self::NoSharedVersion => "the client knows neither TLS 1.2 nor 1.3",
            Self::NothingShared(_) => "the client has nothing in common with this server",
            Self::UnknownName(Some(name)) => return write!(f, "no certificate for the name {name:?}"),
            Self::UnknownName(None) => "the client did not say which name it wants",
            Self::ClientCertificate(_) => "no good client certificate",
            Self::Refused(_) => "the client refused the handshake",
            Self::Protocol(_) => "the client broke the rules of TLS",
            Self::Io(_) => "the client went away during the TLS handshake",
            Self::Shutdown => "the server is shutting down",
        })
    }
}

impl Error for HandshakeError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::NothingShared(error)
            | Self::ClientCertificate(error)
            | Self::Refused(error)
            | Self::Protocol(error) => Some(error),
            Self::Io(error) => Some(error),
            Self::Timeout
            | Self::PlainHttp
            | Self::NotTls
            | Self::NoSharedVersion
            | Self::UnknownName(_)
            | Self::Shutdown => None,
        }
    }
}
