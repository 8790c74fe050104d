//! Where log lines go.

#[cfg(test)]
mod same_line;

use graceful_access_log::AccessEvent;
use graceful_json_log::{Format, InitError, LiveFilter, LogConfig, LogGuard, LogHandle};

use crate::{Config, ConfigError, Error, LogFormat};

/// The log of this program: keep it to the end of `main`, where it writes out what waits.
#[derive(Debug)]
#[must_use = "it writes out what waits when it is dropped: at once, if it is not kept"]
pub struct Logging {
    handle: LogHandle,
    _guard: LogGuard,
}

impl Logging {
    /// To change the level while the program runs, and to see whether lines were dropped.
    #[must_use]
    pub const fn handle(&self) -> &LogHandle {
        &self.handle
    }
}

/// Sends what is logged to standard output, as [`Config::log_format`] and [`Config::log_level`] say.
///
/// To be called once, first in `main`. The lines are written by a thread of their own, which never makes a worker wait:
/// see [`graceful_json_log`]. A program that has a subscriber of its own leaves it out: the server only speaks `tracing`.
///
/// # Errors
///
/// [`Error::Config`] if the filter cannot be read, [`Error::Logging`] if there is a subscriber already or no memory for a thread.
pub fn init(config: &Config) -> Result<Logging, Error> {
    let format = match config.log_format {
        LogFormat::Json => Format::Json,
        LogFormat::Pretty => Format::Pretty,
    };
    let log = LogConfig::new().format(format).filter(config.log_level.as_str());
    let (handle, guard) = graceful_json_log::init(log).map_err(|error| match error {
        InitError::Filter(error) => ConfigError::new("log_level", error.to_string()).into(),
        error => Error::Logging(error),
    })?;
    Ok(Logging { handle, _guard: guard })
}

/// Logs a record of the access log without an event, if all that this thread logs goes where [`init`] sends it.
pub(crate) fn write_access(event: &AccessEvent<'_>) -> bool {
    graceful_json_log::write_line(event.callsite(), |line| event.record(line))
}

/// Whether the filter can be read; what is wrong with it, if not.
pub(crate) fn check(filter: &str) -> Result<(), String> {
    LiveFilter::new(filter).map(drop).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_that_is_no_level_is_no_filter() {
        for good in ["info", "warn,my_crate=debug", "off", "my_crate[request]=trace", "my_crate=off, info"] {
            assert_eq!(check(good), Ok(()), "{good}");
        }
        for bad in ["inof", "", "info,", "my_crate=", "my_crate=loud", "a=b=c", "=info"] {
            assert!(check(bad).is_err(), "{bad:?}");
        }
    }
}
