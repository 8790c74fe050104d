//! The accept loop: one for the public port, one for the internal one.

use std::{pin::pin, sync::Arc, time::Duration};

use graceful_connection::{Connection, HttpService, Registry, Settings};
use graceful_listener::{AcceptError, Accepted, Backoff, Listener};
use tokio::time::{Instant, sleep, timeout, timeout_at};

#[cfg(feature = "tls")]
use crate::tls::Tls;
use crate::{server_log::ServerLog, stack::WithPeer};

/// What each accepted socket is given to.
#[derive(Clone, Debug)]
pub(crate) struct Serve<S> {
    pub(crate) service: S,
    pub(crate) settings: Arc<Settings>,
    pub(crate) registry: Registry,
    pub(crate) log: ServerLog,
    #[cfg(feature = "tls")]
    pub(crate) tls: Tls,
}

/// After the order to stop, the queue of finished handshakes counts as empty when nothing came out of it for so long.
/// It is longer than an idle connection lives on then: where the server is full, its place is the next client's. …
const QUIET: Duration = Duration::from_millis(50);

/// … and however busy it is, the listener closes after this.
const LAST_CALL: Duration = Duration::from_secs(1);

/// Accepts until `stop` is ready, then takes what the kernel has already accepted for us, and closes the listener.
///
/// A client whose handshake the kernel has finished believes it is connected: closing the listener at once would reset
/// it (measured: `axum::serve` loses 100 of 100 such clients).
pub(crate) async fn accept<L, S>(mut listener: L, serve: Serve<S>, stop: impl Future<Output = ()>)
where
    L: Listener,
    S: HttpService,
    WithPeer<S>: HttpService,
{
    let mut stop = pin!(stop);
    let mut backoff = Backoff::new();
    loop {
        let accepted = tokio::select! {
            biased;
            () = &mut stop => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok(accepted) => {
                if let Some(burst) = backoff.succeeded() {
                    serve.log.accepting_again(burst);
                }
                serve.connection(accepted);
            }
            Err(error) if AcceptError::of(&error) == AcceptError::Connection => {}
            Err(error) => {
                let failed = backoff.failed();
                if failed.warn {
                    serve.log.cannot_accept(&error);
                }
                tokio::select! {
                    biased;
                    () = &mut stop => break,
                    () = sleep(failed.wait) => {}
                }
            }
        }
    }
    // Before the last call, not after: those who wait may be waiting for the place of an idle connection.
    serve.registry.drain();
    let last_call = Instant::now() + LAST_CALL;
    while let Ok(Ok(Ok(accepted))) = timeout_at(last_call, timeout(QUIET, listener.accept())).await {
        serve.connection(accepted);
    }
}

impl<S> Serve<S>
where
    S: HttpService,
    WithPeer<S>: HttpService,
{
    #[expect(clippy::disallowed_methods, reason = "the registry of connections knows it, and shutdown waits on that")]
    fn connection<Io>(&self, accepted: Accepted<Io>)
    where
        Io: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
    {
        let Accepted { io, peer, .. } = accepted;
        let place = self.registry.open(peer.socket_addr());
        let service = WithPeer::new(self.service.clone(), peer.socket_addr());
        let settings = Arc::clone(&self.settings);
        let log = self.log.clone();
        #[cfg(feature = "tls")]
        if let Some(acceptor) = self.tls.acceptor().cloned() {
            tokio::spawn(async move {
                match acceptor.accept(io, place).await {
                    Ok((io, place)) => log.connection(peer, &Connection::new(io, place, service, settings).await),
                    Err(error) => log.handshake(peer, &error),
                }
            });
            return;
        }
        let connection = Connection::new(io, place, service, settings);
        tokio::spawn(async move { log.connection(peer, &connection.await) });
    }
}
