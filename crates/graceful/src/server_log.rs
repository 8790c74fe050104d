//! The server's own errors, as Go's `http.Server.ErrorLog`: typed, on one target, and not at the mercy of scanners.

mod noise;

#[cfg(feature = "tls")]
use std::time::SystemTime;
use std::{
    error::Error,
    io,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

#[cfg(feature = "tls")]
use graceful_connection::tls::{HandshakeError, TlsError};
use graceful_connection::{CloseReason, Ended};
use graceful_listener::{Burst, Peer, ProxyError};
use tokio::{sync::Notify, time::sleep};

use self::noise::Noise;

/// The target of every line, with the fields `kind`, `source` (always `http`) and, where there is one, `peer`.
const TARGET: &str = "graceful::server";

/// How long noise is added up before it is told.
const WINDOW: Duration = Duration::from_secs(60);

/// Where the accept loop and the connections say what went wrong. Clones are the same log.
///
/// What a scanner leaves behind (a connection that never became a request) is not worth a line each, and a flood of it
/// must not become a flood of lines; nor is it dropped: it is added up, and told once a minute. What may be the server's own
/// fault, as a certificate that clients refuse, has a line each, but for no more than 10 of a kind in that time.
#[derive(Clone, Debug, Default)]
pub(crate) struct ServerLog {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    noise: Mutex<Noise>,
    /// Told when there is noise where there was none.
    begun: Notify,
}

/// Nothing can be accepted: out of descriptors, as a rule. Told once a burst.
pub(crate) fn cannot_accept(error: &io::Error) {
    tracing::warn!(
        target: TARGET, kind = "accept", source = "http", %error, "cannot accept: waiting, then trying again"
    );
}

/// As many connections as are allowed will not be had.
#[cfg(unix)]
pub(crate) fn few_descriptors(files: u64, connections: u64) {
    tracing::warn!(
        target: TARGET, kind = "descriptors", source = "http", files, connections,
        "fewer files may be open than connections: raise the hard limit (LimitNOFILE=, ulimit -n) or lower max_connections"
    );
}

/// Nothing can be accepted any more.
pub(crate) fn broken(error: &io::Error) {
    tracing::error!(target: TARGET, kind = "accept", source = "http", %error, "the listener is broken");
}

/// As the limit says it of those that connect themselves.
pub(crate) fn too_many_from(client: Peer) {
    tracing::debug!(target: TARGET, kind = "per_ip_limit", peer = %client, source = "http", "connection refused");
}

pub(crate) fn accepting_again(burst: Burst) {
    tracing::info!(target: TARGET, kind = "accept", source = "http", %burst, "accepting again");
}

impl ServerLog {
    /// A connection has ended. A good end is not worth a line.
    pub(crate) fn connection(&self, peer: Peer, ended: &Ended) {
        let kind = ended.reason.as_str();
        let error = ended.error.as_ref().map(tracing::field::display);
        match ended.reason {
            CloseReason::HeaderTimeout | CloseReason::BadRequest | CloseReason::Broken if ended.requests == 0 => {
                self.noise(kind, peer.ip());
                tracing::debug!(target: TARGET, kind, %peer, source = "http", noise = true, error, "no request came");
            }
            CloseReason::HeaderTimeout | CloseReason::WriteTimeout | CloseReason::WriteStalled => {
                tracing::info!(target: TARGET, kind, %peer, source = "http", "connection closed at a limit");
            }
            CloseReason::BadRequest => {
                tracing::info!(target: TARGET, kind, %peer, source = "http", error, "not an HTTP request");
            }
            CloseReason::Broken => {
                tracing::debug!(target: TARGET, kind, %peer, source = "http", error, "connection broken");
            }
            _ => tracing::trace!(target: TARGET, kind, %peer, source = "http", "connection ended"),
        }
    }

    /// A trusted proxy did not say who its client is.
    pub(crate) fn proxy(&self, peer: Peer, error: &(dyn Error + 'static)) {
        const KIND: &str = "proxy_protocol";
        let cause = error.source().map(tracing::field::display);
        if matches!(error.downcast_ref(), Some(ProxyError::Closed { after: 0 })) {
            tracing::debug!(target: TARGET, kind = KIND, %peer, source = "http", %error, "no PROXY header");
        } else if self.spares_a_line(KIND, peer) {
            tracing::warn!(target: TARGET, kind = KIND, %peer, source = "http", %error, cause, "no PROXY header");
        } else {
            tracing::debug!(
                target: TARGET, kind = KIND, %peer, source = "http", noise = true, %error, cause, "no PROXY header"
            );
        }
    }

    /// There is no TLS connection with a client.
    #[cfg(feature = "tls")]
    pub(crate) fn handshake(&self, peer: Peer, failed: &HandshakeError) {
        let kind = failed.kind();
        let error = failed.source().map(tracing::field::display);
        if matches!(failed, HandshakeError::Shutdown) {
            tracing::trace!(target: TARGET, kind, %peer, source = "http", "{failed}");
        } else if !failed.is_noise() && self.spares_a_line(kind, peer) {
            tracing::info!(target: TARGET, kind, %peer, source = "http", error, "{failed}");
        } else {
            if failed.is_noise() {
                self.noise(kind, peer.ip());
            }
            tracing::debug!(target: TARGET, kind, %peer, source = "http", noise = true, error, "{failed}");
        }
    }

    /// These are the certificates from now on.
    #[cfg(feature = "tls")]
    #[expect(clippy::unused_self, reason = "a line of this log like the others")]
    pub(crate) fn certificates(&self, expires: SystemTime) {
        let expires = humantime::format_rfc3339_seconds(expires);
        tracing::info!(target: TARGET, kind = "certificates", source = "http", %expires, "certificates loaded");
    }

    /// The files have changed, and are no good.
    #[cfg(feature = "tls")]
    #[expect(clippy::unused_self, reason = "a line of this log like the others")]
    pub(crate) fn bad_certificates(&self, error: &TlsError) {
        let cause = error.source().map(tracing::field::display);
        tracing::error!(
            target: TARGET, kind = "certificates", source = "http", %error, cause,
            "certificates not loaded: those from before are still served"
        );
    }

    fn noise(&self, kind: &'static str, address: Option<IpAddr>) {
        let mut noise = self.lock();
        noise.add(kind, address);
        self.begin(noise);
    }

    /// Whether this one may have a line of its own. If not it is added up.
    fn spares_a_line(&self, kind: &'static str, peer: Peer) -> bool {
        let mut noise = self.lock();
        let spares = noise.spare(kind);
        if !spares {
            noise.add(kind, peer.ip());
        }
        self.begin(noise);
        spares
    }

    fn begin(&self, mut noise: MutexGuard<'_, Noise>) {
        if noise.begin() {
            self.shared.begun.notify_one();
        }
    }

    /// Tells the noise of each minute that had any. To be polled as long as the server runs.
    pub(crate) async fn tell_noise(&self) -> std::convert::Infallible {
        loop {
            self.shared.begun.notified().await;
            sleep(WINDOW).await;
            self.flush();
        }
    }

    /// Tells what was added up so far, if anything.
    pub(crate) fn flush(&self) {
        let noise = std::mem::take(&mut *self.lock());
        if noise.count() > 0 {
            tracing::info!(
                target: TARGET,
                kind = "noise",
                source = "http",
                noise = true,
                count = noise.count(),
                addresses = %noise.addresses(),
                kinds = %noise.kinds(),
                "{noise}"
            );
        }
    }

    fn lock(&self) -> MutexGuard<'_, Noise> {
        self.shared.noise.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
