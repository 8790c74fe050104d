use std::{error::Error, fmt, io};

use super::Broken;

/// Why a trusted peer's PROXY header could not be read. The connection is of no more use: close it.
#[derive(Debug)]
#[non_exhaustive]
pub enum ProxyError {
    /// It began with something else. Usually a proxy that was not told to send the header, or a health check that goes
    /// past the proxy's own.
    Missing,
    /// It is longer than [allowed](super::Proxied::max_header), or a line of more than 107 bytes.
    TooLong,
    /// It began as a header and went wrong.
    Malformed {
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The peer closed the connection before the header's end. Without a byte, usually a health check that only
    /// connects.
    Closed {
        /// How many bytes had come.
        after: usize,
    },
    /// The connection broke.
    Io(io::Error),
}

impl From<Broken> for ProxyError {
    fn from(broken: Broken) -> Self {
        match broken {
            Broken::Missing => Self::Missing,
            Broken::TooLong => Self::TooLong,
            Broken::Malformed(reason) => Self::Malformed { reason },
        }
    }
}

impl From<ProxyError> for io::Error {
    /// For who only reads.
    fn from(error: ProxyError) -> Self {
        match error {
            ProxyError::Io(error) => error,
            ProxyError::Closed { .. } => Self::new(io::ErrorKind::UnexpectedEof, error),
            _ => Self::new(io::ErrorKind::InvalidData, error),
        }
    }
}

impl fmt::Display for ProxyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => f.write_str("a trusted peer sent no PROXY header"),
            Self::TooLong => f.write_str("the PROXY header is too long"),
            Self::Malformed { reason } => write!(f, "the PROXY header is malformed: {reason}"),
            Self::Closed { after } => write!(f, "the peer closed after {after} bytes of the PROXY header"),
            Self::Io(_) => f.write_str("the PROXY header could not be read"),
        }
    }
}

impl Error for ProxyError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Io(error) => Some(error),
            Self::Missing | Self::TooLong | Self::Malformed { .. } | Self::Closed { .. } => None,
        }
    }
}
