//! What cannot work, said before anything starts.

use std::{error::Error, fmt};

use super::Config;

impl Config {
    /// Looks for what cannot work, alone or together, before anything starts.
    ///
    /// # Errors
    ///
    /// The first field that is wrong, and what to write instead.
    pub fn check(&self) -> Result<(), ConfigError> {
        if let Some(total) = self.end_within()
            && self.drain_delay >= total
        {
            return Err(ConfigError::new(
                "drain_delay",
                format!("{:?} leaves nothing of the shutdown_timeout of {total:?}; make it shorter", self.drain_delay),
            ));
        }
        if self.max_connection_burst_per_ip.is_some() && self.max_connection_rate_per_ip.is_none() {
            return Err(ConfigError::new(
                "max_connection_burst_per_ip",
                "limits nothing without max_connection_rate_per_ip; set both",
            ));
        }
        crate::public::proxies(self)?;
        self.check_counts()?;
        self.check_debug_listen()?;
        match (&self.tls_cert, &self.tls_key) {
            (None, None) => {}
            (Some(_), None) => return Err(ConfigError::new("tls_key", "missing: tls_cert is not served without it")),
            (None, Some(_)) => return Err(ConfigError::new("tls_cert", "missing: tls_key is not used without it")),
            (Some(_), Some(_)) if cfg!(feature = "tls") => {}
            (Some(_), Some(_)) => {
                return Err(ConfigError::new(
                    "tls_cert",
                    "this build has no TLS: give the dependency `graceful` the feature `tls`",
                ));
            }
        }
        // What hyper asks for, and what Go's and nginx' smallest are.
        if self.max_header_bytes < 1024 {
            return Err(ConfigError::new(
                "max_header_bytes",
                format!("{} is too small for a browser's request; write 1024 or more", self.max_header_bytes),
            ));
        }
        crate::logging::check(&self.log_level).map_err(|error| ConfigError::new("log_level", error))
    }

    /// No flag and no file gives a zero; what is written in code may.
    fn check_counts(&self) -> Result<(), ConfigError> {
        for (field, is_zero) in [
            ("max_connections", self.max_connections == Some(0)),
            ("max_connections_per_ip", self.max_connections_per_ip == Some(0)),
            ("max_connection_rate_per_ip", self.max_connection_rate_per_ip == Some(0)),
            ("max_connection_burst_per_ip", self.max_connection_burst_per_ip == Some(0)),
            ("max_connection_requests", self.max_connection_requests == Some(0)),
            ("max_in_flight", self.max_in_flight == Some(0)),
        ] {
            if is_zero {
                return Err(ConfigError::new(
                    field,
                    "0 would let nobody in; write a number from 1, or None for no limit",
                ));
            }
        }
        if self.h2_max_streams == 0 {
            return Err(ConfigError::new("h2_max_streams", "0 would let no request in; write a number from 1"));
        }
        Ok(())
    }

    /// The listener's own message would send people to what it does not take either.
    fn check_debug_listen(&self) -> Result<(), ConfigError> {
        match &self.debug_listen {
            Some(address) if address.starts_with("unix:") || address.starts_with(['/', '.', '@']) => {
                Err(ConfigError::new(
                    "debug_listen",
                    format!("{address:?}: the internal port is TCP only; write host:port, as 127.0.0.1:6060, or off"),
                ))
            }
            _ => Ok(()),
        }
    }
}

/// A [`Config`] that cannot work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    field: &'static str,
    message: String,
}

impl ConfigError {
    pub(crate) fn new(field: &'static str, message: impl Into<String>) -> Self {
        Self { field, message: message.into() }
    }

    /// The field of [`Config`].
    #[must_use]
    pub const fn field(&self) -> &'static str {
        self.field
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.message)
    }
}

impl Error for ConfigError {}
#[cfg(test)]
mod tests {
    use std::{path::PathBuf, time::Duration};

    use super::*;

    #[test]
    fn a_zero_that_lets_nobody_in_is_refused() {
        for (field, config) in [
            ("max_connections", Config { max_connections: Some(0), ..Config::default() }),
            ("max_connections_per_ip", Config { max_connections_per_ip: Some(0), ..Config::default() }),
            ("max_connection_rate_per_ip", Config { max_connection_rate_per_ip: Some(0), ..Config::default() }),
            ("max_connection_requests", Config { max_connection_requests: Some(0), ..Config::default() }),
            ("max_in_flight", Config { max_in_flight: Some(0), ..Config::default() }),
            ("h2_max_streams", Config { h2_max_streams: 0, ..Config::default() }),
        ] {
            let error = config.check().expect_err(field);
            assert_eq!(error.field(), field);
            assert!(error.to_string().contains("write a number from 1"), "the way out: {error}");
        }
        // It means what it says.
        for config in
            [Config { max_queue: 0, ..Config::default() }, Config { max_upgraded: Some(0), ..Config::default() }]
        {
            assert_eq!(config.check(), Ok(()));
        }
    }

    #[test]
    fn the_internal_port_is_tcp() {
        for address in ["unix:/run/app.sock", "/run/app.sock", "@app"] {
            let error = Config { debug_listen: Some(address.to_owned()), ..Config::default() }.check();
            assert!(error.expect_err(address).to_string().contains("TCP only; write host:port"), "{address}");
        }
    }

    #[test]
    fn what_cannot_work_together_is_said() {
        let config = Config { drain_delay: Duration::from_secs(30), ..Config::default() };
        let error = config.check().expect_err("nothing is left");
        assert_eq!(error.field(), "drain_delay");
        assert_eq!(
            error.to_string(),
            "drain_delay: 30s leaves nothing of the shutdown_timeout of 30s; make it shorter"
        );
        let burst = Config { max_connection_burst_per_ip: Some(10), ..Config::default() };
        assert_eq!(burst.check().expect_err("nothing is limited").field(), "max_connection_burst_per_ip");
        assert!(Config { max_header_bytes: 10, ..Config::default() }.check().is_err());
        assert!(Config { proxy_protocol: vec!["10.0.0.0/99".to_owned()], ..Config::default() }.check().is_err());
        let file = || Some(PathBuf::from("file.pem"));
        let only_cert = Config { tls_cert: file(), ..Config::default() };
        assert_eq!(only_cert.check().expect_err("no key").field(), "tls_key");
        let only_key = Config { tls_key: file(), ..Config::default() };
        assert_eq!(only_key.check().expect_err("no certificate").field(), "tls_cert");
        let both = Config { tls_cert: file(), tls_key: file(), ..Config::default() };
        assert_eq!(both.check().is_ok(), cfg!(feature = "tls"), "a build without TLS must not serve in the clear");
        assert!(Config { log_level: "loud".to_owned(), ..Config::default() }.check().is_err());
    }
}
