//! The server that listens: run to its end.

use std::{fmt, net::SocketAddr, sync::Arc, time::Duration};

use axum::Router;
use graceful_connection::Registry;
use graceful_listener::{AnyListener, IpPrefix, Listener, ResetSwitch, Several, TcpListener};
use graceful_shutdown::{Shutdown, Signals};
use graceful_tasks::{Claim, Watchdog, WatchdogThread};

use super::{
    drain::{self, Draining},
    ports::{ForceOnDrop, serve_internal, serve_public},
};
use crate::{
    Config, Error, Report,
    accept::Serve,
    public::PerAddress,
    server_log::ServerLog,
    stack::{Refusals, stack},
    systemd,
    tls::Tls,
};

/// A server that listens and is about to serve.
#[must_use = "a server does nothing until it is run"]
pub struct BoundServer {
    pub(super) router: Router,
    pub(super) config: Config,
    pub(super) shutdown: Shutdown,
    pub(super) tls: Tls,
    pub(super) signals: Signals,
    pub(super) public: Several<AnyListener>,
    /// Who is trusted to say who the client is.
    pub(super) proxies: Vec<IpPrefix>,
    pub(super) internal: Option<TcpListener>,
    /// Where its connections and requests are listed, and what they spawn.
    pub(super) work: Claim,
}

impl BoundServer {
    /// Where it listens, with the port that the system chose where port 0 was asked for; the first TCP address of several.
    #[must_use]
    pub fn local_addr(&self) -> Option<SocketAddr> {
        self.public.iter().find_map(|listener| listener.local_addr().ok()?.socket_addr())
    }

    /// Where the internal port listens; `None` if it is off.
    #[must_use]
    pub fn debug_addr(&self) -> Option<SocketAddr> {
        self.internal.as_ref()?.local_addr().ok()?.socket_addr()
    }

    /// The order to end this server.
    #[must_use]
    pub fn shutdown(&self) -> Shutdown {
        self.shutdown.clone()
    }

    /// The live work of this server: its connections, requests and upgraded sockets, and what they
    /// [spawn](crate::spawn()).
    ///
    /// It is the [current](graceful_tasks::Registry::current) registry, that of the process, so that what was spawned
    /// before the server ran is waited for as well. A second server in the process has a registry of its own.
    #[must_use]
    pub const fn live_work(&self) -> &graceful_tasks::Registry {
        self.work.registry()
    }

    /// Serves until a signal (SIGINT, SIGTERM) or [`Shutdown::trigger`], then drains.
    ///
    /// A second signal, or [`Shutdown::force`], ends the drain at once. Dropping the future closes every connection.
    /// When it has ended nobody listens for signals, and they do not kill either: what a program does then, as closing a
    /// pool, belongs into a hook of [`Phase::Resources`](crate::Phase), or is bounded.
    ///
    /// # Errors
    ///
    /// [`Error::Forced`] if something had to be closed by force, or a hook panicked. [`Error::Accept`] if its listener broke.
    pub async fn run(self) -> Result<Report, Error> {
        let Self { router, config, shutdown, tls, mut signals, public, proxies, internal, work } = self;
        let addresses: Vec<_> = public
            .iter()
            .filter_map(|listener| listener.local_addr().ok())
            .map(|address| address.to_string())
            .collect();
        tracing::info!(
            address = addresses.join(","),
            debug_address = internal.as_ref().and_then(|i| i.get_ref().local_addr().ok()).map(tracing::field::display),
            "listening"
        );
        systemd::ready();
        let work = work.registry();
        let _watchdog = watch(work, &config);
        let registry =
            Registry::builder().context(shutdown.clone()).answer(Refusals::new(&config)).live_work(work).build();
        let draining = Draining { shutdown: shutdown.clone(), registry: registry.clone(), work: work.clone() };
        let _cut = ForceOnDrop(registry.clone());
        let log = ServerLog::default();
        let serve = Serve {
            service: stack(router, &config),
            settings: Arc::new(config.connection()),
            registry: registry.clone(),
            log: log.clone(),
            per_address: PerAddress::of(&config),
            reset: ResetSwitch::new(),
            #[cfg(feature = "tls")]
            tls: tls.clone(),
        };
        let served = async {
            let reset = serve.reset.clone();
            let (order, broken) = serve_public(public, &proxies, serve, &config, &draining).await;
            (drain::drain(&draining, &reset, &order, &log).await, broken)
        };
        let stopping = async {
            shutdown.triggered().await;
            systemd::stopping(config.budget().deadline()).await
        };
        let internal = serve_internal(internal, &shutdown, work, &log);
        let (report, broken) = tokio::select! {
            ended = served => ended,
            never = internal => match never {},
            never = log.tell_noise() => match never {},
            never = tls.watch(&log) => match never {},
            never = systemd::watchdog() => match never {},
            never = stopping => match never {},
            never = signals.watch(&shutdown) => match never {},
        };
        log.flush();
        // A panic's report may still be on its way to the log.
        if !graceful_recovery::flush(Duration::from_secs(2)) {
            tracing::warn!("reports of panics are still to be written");
        }
        match broken {
            _ if !report.is_clean() => Err(Error::Forced(Box::new(report))),
            Some(error) => Err(Error::Accept(error)),
            None => Ok(report),
        }
    }
}

impl fmt::Debug for BoundServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { router: _, config, shutdown, tls: _, signals: _, public, proxies, internal, work: _ } = self;
        f.debug_struct("BoundServer")
            .field("config", config)
            .field("shutdown", shutdown)
            .field("public", public)
            .field("proxies", proxies)
            .field("internal", internal)
            .finish_non_exhaustive()
    }
}

/// Watches the live work, on a thread of its own: to see it also if every worker is stuck.
fn watch(work: &graceful_tasks::Registry, config: &Config) -> Option<WatchdogThread> {
    let stuck_after = config.stuck_after.filter(|bound| !bound.is_zero());
    if config.high_water.is_none() && stuck_after.is_none() {
        return None;
    }
    let watchdog = Watchdog::new(work).high_water(config.high_water).stuck_after(stuck_after);
    match watchdog.watch_on_thread() {
        Ok(thread) => Some(thread),
        // The server is no worse off than without.
        Err(error) => {
            tracing::warn!(%error, "nobody watches for leaks and for stuck workers");
            None
        }
    }
}
