use std::{error::Error, fmt, io};

/// Why a socket does not listen. One line that names the address, as it was given, and the way out.
#[derive(Debug)]
#[non_exhaustive]
pub enum BindError {
    /// The text is not `host:port` or `unix:/path`. Usually a typing mistake: an error of usage.
    BadAddress {
        /// What was given.
        address: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The host's name could not be looked up. Usually a typing mistake, or no network yet.
    UnknownHost {
        /// What was given.
        address: String,
        /// What the resolver said.
        source: io::Error,
    },
    /// Someone listens there already. Usually another instance of the same program.
    InUse {
        /// What was given.
        address: String,
    },
    /// The system does not allow it. Usually a port below 1024 without the right to it.
    PermissionDenied {
        /// What was given.
        address: String,
        /// Whether the port is below 1024, which needs a right of its own on most systems.
        low_port: bool,
    },
    /// The address does not belong to this machine. Usually a public address that is held by a load balancer.
    NotAvailable {
        /// What was given.
        address: String,
    },
    /// The directory of a Unix socket does not exist. Usually one below `/run`, which is empty after each start of the
    /// system.
    NoDirectory {
        /// What was given.
        address: String,
    },
    /// Something that is not a socket has the path of a Unix socket. Usually a typing mistake; it is not touched.
    NotASocket {
        /// What was given.
        address: String,
    },
    /// Anything else that the system may say, as "too many open files".
    Failed {
        /// What was given.
        address: String,
        /// What the system said.
        source: io::Error,
    },
}

impl BindError {
    /// Whether what was asked for cannot be right on any machine: exit code 2 on a command line, where the others are 1.
    #[must_use]
    pub const fn is_usage(&self) -> bool {
        matches!(self, Self::BadAddress { .. })
    }

    /// The address as it was given.
    #[must_use]
    pub fn address(&self) -> &str {
        match self {
            Self::BadAddress { address, .. }
            | Self::UnknownHost { address, .. }
            | Self::InUse { address }
            | Self::PermissionDenied { address, .. }
            | Self::NotAvailable { address }
            | Self::NoDirectory { address }
            | Self::NotASocket { address }
            | Self::Failed { address, .. } => address,
        }
    }

    pub(crate) fn of(source: io::Error, address: &str, port: u16) -> Self {
        let address = address.to_owned();
        match source.kind() {
            io::ErrorKind::AddrInUse => Self::InUse { address },
            io::ErrorKind::PermissionDenied => Self::PermissionDenied { address, low_port: (1..1024).contains(&port) },
            io::ErrorKind::AddrNotAvailable => Self::NotAvailable { address },
            _ => Self::Failed { address, source },
        }
    }
}

impl fmt::Display for BindError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BadAddress { address, reason }
                if address.starts_with("unix:") || address.starts_with(['/', '.', '@']) =>
            {
                write!(f, "cannot listen on {address:?}: {reason}; give unix:/path, as unix:/run/app/app.sock")
            }
            Self::BadAddress { address, reason } => {
                write!(f, "cannot listen on {address:?}: {reason}; give host:port, as 127.0.0.1:8080 or :8080")
            }
            Self::UnknownHost { address, .. } => {
                write!(f, "cannot listen on {address}: its name cannot be looked up; give an IP address instead")
            }
            Self::InUse { address } => write!(
                f,
                "cannot listen on {address}: the address is in use, by another process or another address given here \
                 ([::] takes in 0.0.0.0); stop it or choose another address"
            ),
            Self::PermissionDenied { address, low_port: true } => write!(
                f,
                "cannot listen on {address}: permission denied for a port below 1024; \
                 choose a higher one or grant the right (CAP_NET_BIND_SERVICE)"
            ),
            Self::PermissionDenied { address, low_port: false } => {
                write!(f, "cannot listen on {address}: permission denied; choose another address")
            }
            Self::NotAvailable { address } => write!(
                f,
                "cannot listen on {address}: this machine has no such address; \
                 choose one that it has, or leave the host out to listen on all"
            ),
            Self::NoDirectory { address } => {
                write!(
                    f,
                    "cannot listen on {address}: its directory does not exist; create it (systemd: RuntimeDirectory=)"
                )
            }
            Self::NotASocket { address } => write!(
                f,
                "cannot listen on {address}: a file that is no socket is in the way; remove it or choose another path"
            ),
            Self::Failed { address, .. } => write!(f, "cannot listen on {address}: the system refuses the socket"),
        }
    }
}

impl Error for BindError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::UnknownHost { source, .. } | Self::Failed { source, .. } => Some(source),
            // They are the system's words in other words.
            Self::BadAddress { .. }
            | Self::InUse { .. }
            | Self::PermissionDenied { .. }
            | Self::NotAvailable { .. }
            | Self::NoDirectory { .. }
            | Self::NotASocket { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_one_line_that_names_the_address() {
        let kinds = [
            (io::ErrorKind::AddrInUse, "in use, by another process or another address given here"),
            (io::ErrorKind::PermissionDenied, "CAP_NET_BIND_SERVICE"),
            (io::ErrorKind::AddrNotAvailable, "no such address"),
            (io::ErrorKind::Other, "refuses the socket"),
        ];
        for (kind, hint) in kinds {
            let error = BindError::of(kind.into(), "10.0.0.1:80", 80);
            let line = error.to_string();
            assert!(line.starts_with("cannot listen on 10.0.0.1:80: "), "{line}");
            assert!(line.contains(hint) && !line.contains('\n'), "{line}");
            assert_eq!(error.address(), "10.0.0.1:80");
            assert!(!error.is_usage(), "the system refused, the address may be right: {line}");
        }
    }

    #[test]
    fn the_privilege_is_named_only_where_it_is_the_cause() {
        for (port, low) in [(80, true), (1023, true), (1024, false), (0, false)] {
            let line = BindError::of(io::ErrorKind::PermissionDenied.into(), "a", port).to_string();
            assert_eq!(line.contains("1024"), low, "{line}");
        }
    }

    #[test]
    fn a_source_is_not_repeated() {
        let error = BindError::of(io::Error::other("too many open files"), ":80", 80);
        assert!(!error.to_string().contains("too many"));
        assert_eq!(error.source().expect("the system's words").to_string(), "too many open files");
    }

    #[test]
    fn what_was_typed_cannot_break_the_line() {
        let error = BindError::BadAddress { address: "a\nb".to_owned(), reason: "it has no port" };
        assert_eq!(
            error.to_string(),
            r#"cannot listen on "a\nb": it has no port; give host:port, as 127.0.0.1:8080 or :8080"#
        );
        assert!(error.is_usage());
    }
}
