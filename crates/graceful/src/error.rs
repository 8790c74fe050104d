use std::{error::Error as StdError, fmt, io, process::ExitCode};

use graceful_json_log::InitError;
use graceful_listener::BindError;

use crate::{ConfigError, Report};

/// Why a server did not start, or did not end well.
///
/// Its `Debug` is its `Display`, so that a `main` that returns it prints a line for people.
#[non_exhaustive]
pub enum Error {
    /// The configuration cannot work. Exit code 2.
    Config(ConfigError),
    /// An address cannot be listened on: in use, not ours, or not an address. Exit code 1; 2 if it is not an address.
    Bind(BindError),
    /// The same of the internal port, which many do not know that they have: see
    /// [`Config::debug_listen`](crate::Config::debug_listen).
    BindInternal(BindError),
    /// The certificate or its key cannot be served: missing, damaged, expired, of another pair. Exit code 1, as for a port
    /// in use: the command is right, the machine is not.
    #[cfg(feature = "tls")]
    Tls(graceful_connection::tls::TlsError),
    /// The signal handlers could not be installed. Exit code 1.
    Signals(io::Error),
    /// The sockets that were handed over (`LISTEN_FDS`) cannot be used. Exit code 1.
    Inherited(io::Error),
    /// The listener is broken for good: for 10 s it gave nothing but errors, and not for want of descriptors or memory.
    /// What was in flight was finished. Exit code 1.
    Accept(io::Error),
    /// The log could not be set up: there is a `tracing` subscriber already, or no memory for a thread. Exit code 1.
    Logging(InitError),
    /// The runtime could not be built. Exit code 1.
    Runtime(io::Error),
    /// The shutdown ran out of time, or was told to hurry by a second signal: something was closed by force. Or a hook
    /// panicked. The report names it. Exit code 3.
    Forced(Box<Report>),
}

impl Error {
    /// The exit code that says the same: 1 it could not run, 2 it was asked for nonsense, 3 it ended by force.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Config(_) => 2,
            Self::Bind(error) | Self::BindInternal(error) if error.is_usage() => 2,
            #[cfg(feature = "tls")]
            Self::Tls(_) => 1,
            Self::Bind(_)
            | Self::BindInternal(_)
            | Self::Signals(_)
            | Self::Inherited(_)
            | Self::Accept(_)
            | Self::Logging(_)
            | Self::Runtime(_) => 1,
            Self::Forced(_) => 3,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Config(error) => error.fmt(f),
            Self::Bind(error) => error.fmt(f),
            Self::BindInternal(error) => write!(f, "internal port (debug_listen): {error}"),
            #[cfg(feature = "tls")]
            Self::Tls(error) => error.fmt(f),
            Self::Signals(_) => f.write_str("the signal handlers could not be installed"),
            Self::Inherited(_) => f.write_str("the sockets that were handed over cannot be used"),
            Self::Accept(_) => f.write_str("the listener is broken: no connection can be accepted any more"),
            Self::Logging(_) => f.write_str("the log could not be set up"),
            Self::Runtime(_) => f.write_str("the runtime could not be built"),
            Self::Forced(report) => report.fmt(f),
        }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")?;
        let mut source = self.source();
        while let Some(error) = source {
            write!(f, ": {error}")?;
            source = error.source();
        }
        Ok(())
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match self {
            Self::Signals(error) | Self::Inherited(error) | Self::Accept(error) | Self::Runtime(error) => Some(error),
            Self::Bind(error) | Self::BindInternal(error) => error.source(),
            Self::Logging(error) => Some(error),
            #[cfg(feature = "tls")]
            Self::Tls(error) => error.source(),
            Self::Config(_) | Self::Forced(_) => None,
        }
    }
}

impl From<ConfigError> for Error {
    fn from(error: ConfigError) -> Self {
        Self::Config(error)
    }
}

impl From<BindError> for Error {
    fn from(error: BindError) -> Self {
        Self::Bind(error)
    }
}

impl From<Error> for ExitCode {
    fn from(error: Error) -> Self {
        Self::from(error.exit_code())
    }
}
