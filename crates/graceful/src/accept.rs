//! The accept loop: one for the public port, one for the internal one.

use std::{
    io,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use axum::extract::ConnectInfo;
use graceful_connection::{Connection, EntryGuard, HttpService, Interrupted, Place, Registry, Settings};
use graceful_listener::{
    AcceptError, Accepted, Backoff, Guarded, Listener, Peer, PerIpPlace, ProxyIo, ResetSwitch, Resettable, ZeroLinger,
};
use pin_project::pin_project;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::{Instant, sleep, timeout, timeout_at},
};

#[cfg(feature = "tls")]
use crate::tls::Tls;
use crate::{
    public::PerAddress,
    server_log::{self, ServerLog},
};

/// What each accepted socket is given to.
#[derive(Clone, Debug)]
pub(crate) struct Serve<S> {
    pub(crate) service: S,
    pub(crate) settings: Arc<Settings>,
    pub(crate) registry: Registry,
    pub(crate) log: ServerLog,
    /// Counts the clients that a proxy names, and not the proxy.
    pub(crate) per_address: PerAddress,
    /// Makes the end of every connection a reset: what a client has not taken by then is not kept for it.
    pub(crate) reset: ResetSwitch,
    #[cfg(feature = "tls")]
    pub(crate) tls: Tls,
}

/// After the order to stop, the queue counts as empty when nothing came out of it for so long: a round trip over most of
/// the world, for a handshake that has begun. It is longer than an idle connection lives on then: where the server is
/// full, its place is the next client's. …
const QUIET: Duration = Duration::from_millis(250);

/// … and however busy it is, the listener closes after this.
const LAST_CALL: Duration = Duration::from_secs(1);

/// A listener that gives nothing but errors for so long, and not for want of anything, is broken for good: shut down by
/// whoever handed it over, as a rule.
const BROKEN: Duration = Duration::from_secs(10);

/// How long to wait after an error there.
const RETRY: Duration = Duration::from_millis(5);

/// Accepts until `stop` is ready, then takes what the kernel has already accepted for us, and closes the listener.
///
/// A client whose handshake the kernel has finished believes it is connected: closing the listener at once would reset
/// it (measured: `axum::serve` loses 100 of 100 such clients).
///
/// # Errors
///
/// If the listener is broken for good.
pub(crate) async fn accept<L, Io, S>(
    mut listener: L,
    serve: Serve<S>,
    stop: impl Future<Output = ()>,
) -> Result<(), io::Error>
where
    L: Listener<Io = ProxyIo<Io>>,
    Io: AsyncRead + AsyncWrite + ZeroLinger + Unpin + Send + 'static,
    S: HttpService,
{
    let mut stop = pin!(stop);
    let mut backoff = Backoff::new();
    loop {
        tokio::select! {
            biased;
            () = &mut stop => break,
            accepted = accept_patiently(&mut listener, &mut backoff) => serve.connection(accepted?),
        }
    }
    // Before the last call, not after: those who wait may be waiting for the place of an idle connection.
    serve.registry.drain();
    // Where that can be had, the queue comes to an end. Else the listener closes between two clients if it can, and while
    // they never stop to come, upon some.
    listener.close_queue();
    serve.last_call(&mut listener).await;
    Ok(())
}

/// Accepts through errors: those of one connection are passed over, and when the process is out of descriptors it waits,
/// 5 ms doubling to 1 s, and warns once. It can be dropped at any time.
///
/// # Errors
///
/// If the listener is [`BROKEN`] for good. It can be asked again.
pub(crate) async fn accept_patiently<L: Listener>(
    listener: &mut L,
    backoff: &mut Backoff,
) -> Result<Accepted<L::Io>, io::Error> {
    let mut broken = None;
    loop {
        match listener.accept().await {
            Ok(accepted) => {
                if let Some(burst) = backoff.succeeded() {
                    server_log::accepting_again(burst);
                }
                return Ok(accepted);
            }
            Err(error) if AcceptError::of(&error) == AcceptError::Connection => {}
            Err(error) => {
                if AcceptError::of(&error) == AcceptError::Resource {
                    broken = None;
                } else if broken.get_or_insert_with(Instant::now).elapsed() >= BROKEN {
                    return Err(error);
                }
                let failed = backoff.failed();
                if failed.warn {
                    server_log::cannot_accept(&error);
                }
                sleep(failed.wait).await;
            }
        }
    }
}

impl<S> Serve<S>
where
    S: HttpService,
{
    /// Accepts until nobody has come for a while.
    async fn last_call<L, Io>(self, listener: &mut L)
    where
        L: Listener<Io = ProxyIo<Io>>,
        Io: AsyncRead + AsyncWrite + ZeroLinger + Unpin + Send + 'static,
    {
        let end = Instant::now() + LAST_CALL;
        // `timeout_at` asks what it bounds first: where that is ready each time, it never looks at the clock.
        while Instant::now() < end
            && let Ok(Ok(accepted)) = timeout_at(end, timeout(QUIET, listener.accept())).await
        {
            match accepted {
                Ok(accepted) => self.connection(accepted),
                Err(error) if AcceptError::of(&error) == AcceptError::Connection => {}
                // Out of descriptors, as a rule: the connections that end give some back.
                Err(_) => sleep(RETRY).await,
            }
        }
    }

    fn connection<Io>(&self, accepted: Accepted<ProxyIo<Io>>)
    where
        Io: AsyncRead + AsyncWrite + ZeroLinger + Unpin + Send + 'static,
    {
        let Accepted { io, peer, .. } = accepted;
        // Registered before anything is read: a shutdown knows it from the start.
        // Most have nothing before HTTP: their task, which is there as long as they are, is the connection and no more.
        if io.is_trusted() || self.is_tls() {
            self.registry.spawn(peer.socket_addr(), |place| self.clone().prepare(io, place, peer));
        } else {
            self.registry.spawn(peer.socket_addr(), |place| self.served(self.guarded(io, None), place, peer));
        }
    }

    #[cfg_attr(not(feature = "tls"), expect(clippy::unused_self, reason = "there is no TLS"))]
    fn is_tls(&self) -> bool {
        #[cfg(feature = "tls")]
        {
            self.tls.acceptor().is_some()
        }
        #[cfg(not(feature = "tls"))]
        {
            false
        }
    }

    /// What comes before HTTP: the word of a proxy, a TLS handshake. Both are boxed, for they are big and soon over.
    async fn prepare<Io>(self, mut io: ProxyIo<Io>, place: Place, peer: Peer)
    where
        Io: AsyncRead + AsyncWrite + ZeroLinger + Unpin + Send + 'static,
    {
        let (peer, counted) = if io.is_trusted() {
            let introduced = introduce(&mut io, &place, peer, self.settings.read_header, &self.log, &self.per_address);
            let Some((client, counted)) = Box::pin(introduced).await else { return };
            (client, counted)
        } else {
            (peer, None)
        };
        let io = self.guarded(io, counted);
        #[cfg(feature = "tls")]
        if let Some(acceptor) = self.tls.acceptor() {
            // What is said of its end belongs to the server's life as the connection itself does.
            let _until_logged = place.keep_entry();
            match Box::pin(acceptor.accept(io, place)).await {
                Ok((io, place)) => self.served(io, place, peer).await,
                Err(error) => self.log.handshake(peer, &error),
            }
            return;
        }
        self.served(io, place, peer).await;
    }

    fn guarded<Io: ZeroLinger>(&self, io: ProxyIo<Io>, counted: Option<PerIpPlace>) -> GuardedIo<Io> {
        Guarded::new(Resettable::new(io, self.reset.clone()), counted)
    }

    fn served<T>(&self, io: T, place: Place, peer: Peer) -> Served<T, S> {
        let until_logged = place.keep_entry();
        let mut connection = Connection::new(io, place, self.service.clone(), Arc::clone(&self.settings));
        if let Some(peer) = peer.socket_addr() {
            connection = connection.extension(ConnectInfo(peer));
        }
        Served { connection, peer, log: self.log.clone(), until_logged }
    }
}

type GuardedIo<Io> = Guarded<Resettable<ProxyIo<Io>>, Option<PerIpPlace>>;

/// A connection, and the line in the log at its end.
///
/// Written by hand: an `async` block holds what it awaits twice, once as it was captured.
#[pin_project]
struct Served<T, S: HttpService> {
    #[pin]
    connection: Connection<T, S>,
    peer: Peer,
    log: ServerLog,
    /// What is said of its end belongs to the server's life as the connection itself does.
    until_logged: EntryGuard,
}

impl<T, S> Future for Served<T, S>
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    S: HttpService,
{
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.project();
        let ended = ready!(this.connection.poll(cx));
        this.log.connection(*this.peer, &ended);
        Poll::Ready(())
    }
}

/// Reads who the client is from a proxy that is trusted to say so, and counts it; a proxy that speaks for itself, as to see
/// whether the server is there, is not counted. `None` if that fails, or if there are too many from there.
async fn introduce<Io>(
    io: &mut ProxyIo<Io>,
    place: &Place,
    proxy: Peer,
    read_header: Option<Duration>,
    log: &ServerLog,
    per_address: &PerAddress,
) -> Option<(Peer, Option<PerIpPlace>)>
where
    Io: AsyncRead + AsyncWrite + Unpin,
{
    match place.wait_for(read_header, io.header()).await {
        Ok(Ok(_)) => {}
        Ok(Err(error)) => {
            log.proxy(proxy, &error);
            return None;
        }
        // It has done nothing wrong.
        Err(Interrupted::Shutdown) => return None,
        Err(interrupted) => {
            log.proxy(proxy, &interrupted);
            return None;
        }
    }
    let client = io.peer();
    if let Some(client) = client.socket_addr() {
        place.set_client(client);
    }
    if io.proxy_header().is_none_or(|header| header.client().is_none()) {
        return Some((client, None));
    }
    // One too many from there: closed at once, and counted by the limit.
    match per_address.admit(client) {
        Some(counted) => Some((client, Some(counted))),
        None => {
            server_log::too_many_from(client);
            None
        }
    }
}

#[cfg(test)]
mod tests;
