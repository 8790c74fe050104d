use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Config;

/// Limits for a kind of service; see [`Config::preset`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "clap", derive(clap::ValueEnum))]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Preset {
    /// Small requests, small answers: the defaults.
    #[default]
    JsonApi,
    /// Big request bodies: no limit for the whole of one, but a minimum rate; and none for a handler, which reads it.
    Upload,
    /// Long polls, event streams, downloads without end: no total limits; a client that stops reading is still cut.
    Streaming,
}

impl Config {
    /// The defaults for a kind of service.
    #[must_use]
    pub fn preset(preset: Preset) -> Self {
        let defaults = Self::default();
        match preset {
            Preset::JsonApi => defaults,
            Preset::Upload => Self {
                read_timeout: None,
                min_rate: Some(240),
                write_timeout: Some(Duration::from_secs(30)),
                idle_timeout: Some(Duration::from_secs(60)),
                handler_timeout: None,
                ..defaults
            },
            Preset::Streaming => {
                Self { read_timeout: None, write_timeout: None, idle_timeout: None, handler_timeout: None, ..defaults }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_preset_keeps_the_header_limit_and_the_stall_limit() {
        for preset in [Preset::JsonApi, Preset::Upload, Preset::Streaming] {
            let config = Config::preset(preset);
            assert_eq!(config.check(), Ok(()), "{preset:?}");
            assert_eq!(config.read_header_timeout, Some(Duration::from_secs(5)), "{preset:?}: slowloris");
            assert!(config.write_stall_timeout.is_some(), "{preset:?}: a reader that stops");
        }
    }
}
