//! Where log lines go.

use std::io::IsTerminal;

use tracing_subscriber::{EnvFilter, filter::LevelFilter, fmt, layer::SubscriberExt, util::SubscriberInitExt};

use crate::{Config, ConfigError, Error, LogFormat};

/// Sends what is logged to standard output, as [`Config::log_format`] and [`Config::log_level`] say.
///
/// To be called once, first in `main`. A program that has a subscriber of its own leaves it out: the server only speaks
/// `tracing`.
///
/// # Errors
///
/// If the filter cannot be read, or if there is a subscriber already.
pub fn init(config: &Config) -> Result<(), Error> {
    let filter = EnvFilter::builder()
        .parse(&config.log_level)
        .map_err(|error| ConfigError::new("log_level", error.to_string()))?;
    let registry = tracing_subscriber::registry().with(filter);
    let lines = fmt::layer().with_writer(std::io::stdout);
    let result = match config.log_format {
        LogFormat::Json => {
            let json = lines.json().flatten_event(true).with_current_span(true).with_span_list(false);
            registry.with(json).try_init()
        }
        LogFormat::Pretty => {
            let colour = std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
            registry.with(lines.with_ansi(colour)).try_init()
        }
    };
    result.map_err(|error| Error::Config(ConfigError::new("log_format", error.to_string())))
}

/// Whether the filter can be read; what is wrong with it, if not.
///
/// `EnvFilter` takes a word that is no level for the name of a crate, so that `inof` would log nothing at all.
pub(crate) fn check(filter: &str) -> Result<(), String> {
    let wrong = |part: &str| format!("{part:?} is no log level: write a level such as info, or my_crate=debug");
    for part in filter.split(',').map(str::trim) {
        if part.is_empty() || part.ends_with('=') || !part.contains(['=', '[']) && part.parse::<LevelFilter>().is_err()
        {
            return Err(wrong(part));
        }
    }
    EnvFilter::builder().parse(filter).map(drop).map_err(|_| wrong(filter))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_that_is_no_level_is_no_filter() {
        for good in ["info", "warn,my_crate=debug", "off", "my_crate[request]=trace", "my_crate=off, info"] {
            assert_eq!(check(good), Ok(()), "{good}");
        }
        for bad in ["inof", "", "info,", "my_crate=", "my_crate=loud", "a=b=c"] {
            assert!(check(bad).is_err(), "{bad:?}");
        }
    }
}
