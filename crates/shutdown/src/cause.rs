use std::{borrow::Cow, fmt};

/// Why a shutdown began.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Cause {
    /// The process was told to.
    Signal(Sig),
    /// The program decided to, in its own words.
    Programmatic(Cow<'static, str>),
}

/// A signal that ends a process.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum Sig {
    /// `SIGINT`: Ctrl-C on a terminal.
    Int,
    /// `SIGTERM`: a service manager, a container runtime.
    Term,
}

impl From<Sig> for Cause {
    fn from(signal: Sig) -> Self {
        Self::Signal(signal)
    }
}

impl From<&'static str> for Cause {
    fn from(text: &'static str) -> Self {
        Self::Programmatic(text.into())
    }
}

impl From<String> for Cause {
    fn from(text: String) -> Self {
        Self::Programmatic(text.into())
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Signal(signal) => signal.fmt(f),
            Self::Programmatic(text) => f.write_str(text),
        }
    }
}

impl fmt::Display for Sig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Int => "SIGINT",
            Self::Term => "SIGTERM",
        })
    }
}
