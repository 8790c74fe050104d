use std::{error::Error, fmt, io, path::PathBuf, time::SystemTime};

use x509_cert::der::DateTime;

use super::rustls;

/// Why certificates cannot be served. `Display` is one line that names the file and what to do about it.
#[derive(Debug)]
#[non_exhaustive]
pub enum TlsError {
    /// A file cannot be read: it is not there, or this user may not read it.
    Read {
        /// The file.
        path: PathBuf,
        /// What it should hold.
        what: &'static str,
        /// What the system says.
        source: io::Error,
    },
    /// A file is not what it should be: no certificate in it, no key, not PEM.
    Missing {
        /// The file.
        path: PathBuf,
        /// What it should hold.
        what: &'static str,
        /// What it holds instead, and what to do.
        hint: &'static str,
    },
    /// A file is PEM, but damaged: cut off, or edited.
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where it breaks.
        reason: String,
    },
    /// A certificate is not X.509, or not a kind that can be served.
    Certificate {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: Box<dyn Error + Send + Sync>,
    },
    /// A private key is of a kind that cannot be used, as RSA of less than 2,048 bits.
    Key {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: rustls::Error,
    },
    /// The key does not belong to the certificate: two files of different renewals, or of different names.
    Mismatch {
        /// The file with the key.
        key: PathBuf,
        /// The file with the certificate.
        chain: PathBuf,
    },
    /// The key belongs to a certificate that is not the first in its file.
    Order {
        /// The file with the certificates.
        chain: PathBuf,
    },
    /// The certificate has expired.
    Expired {
        /// The file.
        path: PathBuf,
        /// When.
        not_after: SystemTime,
    },
    /// The certificate is not valid yet: issued ahead of time, or the clock of this machine is slow.
    NotYetValid {
        /// The file.
        path: PathBuf,
        /// From when on it is.
        not_before: SystemTime,
    },
    /// The reading panicked, in a crypto provider or in here.
    Panicked,
    /// The crypto provider has no random numbers, or lacks what TLS 1.2 and 1.3 need.
    Provider(rustls::Error),
}

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read { path, what, source } => {
                let path = path.display();
                match source.kind() {
                    io::ErrorKind::NotFound => write!(f, "{path}: no such file; {what} should be there"),
                    io::ErrorKind::PermissionDenied => {
                        write!(f, "{path}: no permission to read {what}; let the server's user read the file")
                    }
                    _ => write!(f, "{path}: cannot read {what}"),
                }
            }
            Self::Missing { path, what, hint } => write!(f, "{}: {what} is not in it; {hint}", path.display()),
            Self::Damaged { path, reason } => {
                write!(f, "{}: damaged PEM ({reason}); write the file anew", path.display())
            }
            Self::Certificate { path, .. } => {
                write!(f, "{}: this certificate cannot be served; have it issued anew", path.display())
            }
            Self::Key { path, .. } => write!(
                f,
                "{}: this private key cannot be used; make one of ECDSA P-256, Ed25519 or RSA from 2048 bits",
                path.display()
            ),
            Self::Mismatch { key, chain } => write!(
                f,
                "{}: this key does not belong to the certificate in {}; give the two that were issued together",
                key.display(),
                chain.display()
            ),
            Self::Order { chain } => write!(
                f,
                "{}: the certificate of the key is not the first in it; put it before those of its issuers",
                chain.display()
            ),
            Self::Expired { path, not_after } => {
                write!(f, "{}: this certificate expired at {}; renew it", path.display(), Date(*not_after))
            }
            Self::NotYetValid { path, not_before } => write!(
                f,
                "{}: this certificate is not valid before {}; if that is past, correct the clock of this machine",
                path.display(),
                Date(*not_before)
            ),
            Self::Panicked => f.write_str("reading the certificates panicked; the panic's own message says where"),
            Self::Provider(_) => f.write_str("the crypto provider cannot be used for TLS 1.2 and 1.3"),
        }
    }
}

impl Error for TlsError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            // Said already, in words that people know.
            Self::Read { source, .. } => {
                let said = matches!(source.kind(), io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied);
                if said { None } else { Some(source) }
            }
            Self::Certificate { source, .. } => Some(source.as_ref()),
            Self::Key { source, .. } | Self::Provider(source) => Some(source),
            Self::Missing { .. }
            | Self::Damaged { .. }
            | Self::Mismatch { .. }
            | Self::Order { .. }
            | Self::Expired { .. }
            | Self::NotYetValid { .. }
            | Self::Panicked => None,
        }
    }
}

/// As RFC 3339 writes it.
struct Date(SystemTime);

impl fmt::Display for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match DateTime::from_system_time(self.0) {
            Ok(date) => date.fmt(f),
            Err(_) => f.write_str("a date that cannot be written"),
        }
    }
}
