//! TLS on the public port, where the build has it and the configuration asks for it.

#[cfg(feature = "tls")]
use graceful_connection::tls::{Acceptor, TlsSettings};
use graceful_shutdown::Signals;

#[cfg(feature = "tls")]
use crate::Config;
use crate::server_log::ServerLog;

/// How often the files are looked at. One that has changed is read when it has kept still for as long again.
#[cfg(feature = "tls")]
const LOOK: std::time::Duration = std::time::Duration::from_secs(5);

/// What a port speaks below HTTP: TLS, or nothing.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tls {
    #[cfg(feature = "tls")]
    acceptor: Option<Acceptor>,
}

#[cfg(feature = "tls")]
impl Tls {
    /// What is asked for: `settings`, or else the files of the configuration, or else nothing. Reads the files.
    pub(crate) fn load(config: &Config, settings: Option<TlsSettings>) -> Result<Self, crate::Error> {
        let of_config = || match (&config.tls_cert, &config.tls_key) {
            (Some(chain), Some(key)) => Some(TlsSettings::new(chain, key)),
            _ => None,
        };
        let settings = settings.or_else(of_config).map(|s| s.handshake_timeout(config.tls_handshake_timeout));
        Ok(Self { acceptor: settings.map(Acceptor::new).transpose().map_err(crate::Error::Tls)? })
    }

    pub(crate) const fn acceptor(&self) -> Option<&Acceptor> {
        self.acceptor.as_ref()
    }
}

impl Tls {
    /// Reads the files again on SIGHUP.
    #[cfg_attr(not(feature = "tls"), expect(clippy::unused_self, reason = "there is nothing to reload"))]
    pub(crate) fn reload_on(&self, signals: Signals) -> Signals {
        #[cfg(feature = "tls")]
        if let Some(acceptor) = self.acceptor.clone() {
            return signals.on_reload(move || acceptor.request_reload());
        }
        signals
    }

    /// Reads the files again when that was asked for, and when they have changed. To be polled as long as the server runs.
    #[cfg_attr(not(feature = "tls"), expect(unused_variables, reason = "there is nothing to reload"))]
    pub(crate) async fn watch(&self, log: &ServerLog) -> std::convert::Infallible {
        #[cfg(feature = "tls")]
        if let Some(acceptor) = &self.acceptor {
            log.certificates(acceptor.expires());
            let reloaded = |result: Result<(), _>| match result {
                Ok(()) => log.certificates(acceptor.expires()),
                Err(error) => log.bad_certificates(&error),
            };
            return acceptor.watch(Some(LOOK), reloaded).await;
        }
        std::future::pending().await
    }
}
