use std::{
    ffi::OsStr,
    fmt,
    io::{self, IsTerminal},
    time::Duration,
};

use crate::{FilterError, LogWriter, Output, line, time::now};

/// What a log is like. See [`init`](crate::init) and, for a registry of one's own, [`open`](Self::open).
#[derive(Debug)]
#[must_use = "it logs nothing before `init` or `open`"]
pub struct LogConfig {
    pub(crate) format: Format,
    pub(crate) output: Output,
    pub(crate) filter: String,
    pub(crate) flush_timeout: Duration,
    capacity: usize,
}

/// How an event is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Format {
    /// One line of JSON, for machines.
    #[default]
    Json,
    /// For people, as `tracing-subscriber` writes it. With colours on a terminal, unless `NO_COLOR` is set.
    Pretty,
}

/// Why there is no log.
#[derive(Debug)]
#[non_exhaustive]
pub enum InitError {
    /// The filter cannot be read.
    Filter(FilterError),
    /// The file cannot be opened, or there is no memory for a thread.
    Output(io::Error),
    /// There is a global subscriber already.
    AlreadySet,
}

impl LogConfig {
    /// JSON to standard output, of level `info` and above, with 4 MiB for a burst.
    pub fn new() -> Self {
        Self {
            format: Format::Json,
            output: Output::Stdout,
            filter: "info".into(),
            flush_timeout: Duration::from_secs(2),
            capacity: 4 << 20,
        }
    }

    /// How events are written. Default: [`Format::Json`].
    pub fn format(mut self, format: Format) -> Self {
        self.format = format;
        self
    }

    /// Where to. Default: [`Output::Stdout`].
    pub fn output(mut self, output: Output) -> Self {
        self.output = output;
        self
    }

    /// What is let through, as of [`LiveFilter`](crate::LiveFilter). Default: `info`.
    pub fn filter(mut self, directives: impl Into<String>) -> Self {
        self.filter = directives.into();
        self
    }

    /// How many bytes may wait for the output. Default: 4 MiB, some 13,000 access lines; at least one byte.
    ///
    /// What comes when they are used up is dropped and counted. They are divided among the cores (16 at most), but not into
    /// parts of less than 128 KiB; a line that is longer than its part is always dropped. Memory is only used when lines
    /// wait, but may then be three times as much: what comes in, what is sorted, what is written.
    pub fn capacity(mut self, bytes: usize) -> Self {
        self.capacity = bytes;
        self
    }

    /// How long the end of the program may wait for the output. Default: 2 s.
    pub fn flush_timeout(mut self, timeout: Duration) -> Self {
        self.flush_timeout = timeout;
        self
    }

    /// Opens the output and starts the thread that writes to it; the filter is not used. For a registry of one's own:
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use std::time::Duration;
    /// use graceful_json_log::{JsonLayer, LogConfig};
    /// use tracing_subscriber::{EnvFilter, Layer, layer::SubscriberExt};
    ///
    /// let log = LogConfig::new().open()?;
    /// let _guard = log.guard(Duration::from_secs(2));
    /// let json = JsonLayer::new(log.clone()).with_filter(EnvFilter::new("info"));
    /// let subscriber = tracing_subscriber::registry().with(json); // .with(telemetry)
    /// # drop(tracing::subscriber::set_default(subscriber));
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// If the file cannot be opened, or the thread cannot be started.
    pub fn open(self) -> io::Result<LogWriter> {
        LogWriter::open(self.output, self.capacity.max(1), self.format)
    }

    /// Whether people see colours: <https://no-color.org>.
    pub(crate) fn colours(&self) -> bool {
        let terminal = match self.output {
            Output::Stdout => io::stdout().is_terminal(),
            Output::Stderr => io::stderr().is_terminal(),
            Output::File(_) | Output::Writer(_) => false,
        };
        colours(terminal, std::env::var_os("NO_COLOR").as_deref())
    }
}

impl Default for LogConfig {
    fn default() -> Self {
        Self::new()
    }
}

impl Format {
    /// Writes the line that says how many lines were lost.
    pub(crate) fn loss(self, dropped: u64, out: &mut Vec<u8>) {
        match self {
            Self::Json => line::loss(now(), dropped, out),
            Self::Pretty => out.extend_from_slice(format!("{:>27} {dropped} log lines dropped\n", "WARN").as_bytes()),
        }
    }
}

fn colours(terminal: bool, no_color: Option<&OsStr>) -> bool {
    terminal && no_color.is_none_or(OsStr::is_empty)
}

impl fmt::Display for InitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Filter(_) => "the log filter cannot be read",
            Self::Output(_) => "the log cannot be opened",
            Self::AlreadySet => "there is a global tracing subscriber already",
        })
    }
}

impl std::error::Error for InitError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Filter(error) => Some(error),
            Self::Output(error) => Some(error),
            Self::AlreadySet => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_are_for_terminals_of_people_who_want_them() {
        assert!(colours(true, None));
        assert!(colours(true, Some("".as_ref())), "empty is as if it were not set");
        assert!(!colours(true, Some("1".as_ref())));
        assert!(!colours(false, None));
        assert!(!LogConfig::new().output(Output::File("log".into())).colours());
    }
}
