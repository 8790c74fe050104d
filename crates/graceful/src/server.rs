//! The server: bound first, then run to its end.

mod drain;

use std::{fmt, io, net::SocketAddr, sync::Arc, time::Duration};

use axum::Router;
#[cfg(feature = "tls")]
use graceful_connection::tls::TlsSettings;
use graceful_connection::{HttpService, Registry, Settings};
use graceful_listener::{AnyListener, IpPrefix, Listener, Proxied, ResetSwitch, Several, TcpListener};
use graceful_shutdown::{HookContext, Phase, Shutdown, Signals};
use graceful_tasks::{Claim, Watchdog, WatchdogThread};

use self::drain::Order;
pub(crate) use self::drain::{Draining, late, tell_late};
use crate::{
    Config, Error, Report,
    accept::{Serve, accept},
    descriptors, internal, last_resort,
    public::{self, PerAddress},
    server_log::{self, ServerLog},
    stack::{Refusals, stack},
    systemd,
    tls::Tls,
};

/// A production server around a router.
///
/// ```no_run
/// use axum::{Router, routing::get};
/// use graceful::{Config, Phase, Server};
///
/// # async fn example() -> Result<(), graceful::Error> {
/// let app = Router::new().route("/", get(async || "hello"));
/// let mut config = Config::default();
/// config.max_in_flight = Some(64);
/// let report = Server::new(app)
///     .config(config)
///     .listen(":8080")
///     .on_shutdown(Phase::Resources, "database", |_| async { /* pool.close().await */ })
///     .run()
///     .await?;
/// println!("{report}");
/// # Ok(())
/// # }
/// ```
#[must_use = "a server does nothing until it is run"]
pub struct Server {
    router: Router,
    config: Config,
    shutdown: Shutdown,
    reload: Vec<Box<dyn FnMut() + Send>>,
    #[cfg(feature = "tls")]
    tls: Option<TlsSettings>,
}

impl Server {
    /// A server with the default [`Config`].
    pub fn new(router: Router) -> Self {
        Self {
            router,
            config: Config::default(),
            shutdown: Shutdown::new(),
            reload: Vec::new(),
            #[cfg(feature = "tls")]
            tls: None,
        }
    }

    /// Replaces the configuration.
    pub fn config(mut self, config: Config) -> Self {
        self.config = config;
        self
    }

    /// Where to listen: see [`Config::listen`].
    pub fn listen(mut self, address: impl Into<String>) -> Self {
        self.config.listen = address.into();
        self
    }

    /// Serves HTTPS with more than [`Config::tls_cert`] can say: several certificates, client certificates. It stands in
    /// the place of that; the handshake timeout is still [`Config::tls_handshake_timeout`].
    #[cfg(feature = "tls")]
    pub fn tls(mut self, settings: TlsSettings) -> Self {
        self.tls = Some(settings);
        self
    }

    /// The order to end this server, and what handlers look at to end in time: a clone for whoever needs it.
    #[must_use]
    pub fn shutdown(&self) -> Shutdown {
        self.shutdown.clone()
    }

    /// Registers what is to be done when the connections are drained: see [`Shutdown::on_shutdown`].
    pub fn on_shutdown<F, Fut>(self, phase: Phase, name: impl Into<String>, hook: F) -> Self
    where
        F: FnOnce(HookContext) -> Fut + Send + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        self.shutdown.on_shutdown(phase, name, hook);
        self
    }

    /// Calls `reload` on each SIGHUP, after the server's own certificates: for a file that is to be read again, or a log
    /// that `logrotate` has moved away.
    ///
    /// It runs on a worker, so it should be quick: what takes longer, let it tell a task. A panic in it is logged.
    ///
    /// ```no_run
    /// # use axum::Router;
    /// # use graceful::Server;
    /// use graceful_json_log::{LogConfig, Output};
    ///
    /// # fn example(app: Router) -> Result<(), Box<dyn std::error::Error>> {
    /// let (log, _flush) = graceful_json_log::init(LogConfig::new().output(Output::File("shop.log".into())))?;
    /// let server = Server::new(app).on_reload(move || {
    ///     if let Err(error) = log.reopen() {
    ///         tracing::error!(%error, "still writing to the old log");
    ///     }
    /// });
    /// # Ok(())
    /// # }
    /// ```
    pub fn on_reload(mut self, reload: impl FnMut() + Send + 'static) -> Self {
        self.reload.push(Box::new(reload));
        self
    }

    /// Raises the soft limit of open files if [`Config::max_connections`] needs it and the hard one lets it, reads the
    /// certificates, installs the signal handlers and binds both ports. Nothing is accepted yet, but clients can
    /// connect: they wait in the kernel.
    ///
    /// From here on a signal does not kill the process any more: one that comes before [`BoundServer::run`] ends the server
    /// as soon as that is called. A program with a long way from here to there bounds it.
    ///
    /// # Errors
    ///
    /// [`Error::Config`], [`Error::Tls`](crate::Error), [`Error::Signals`], [`Error::Inherited`], [`Error::Bind`].
    pub async fn bind(self) -> Result<BoundServer, Error> {
        self.config.check()?;
        descriptors::make_room(&self.config);
        #[cfg(feature = "tls")]
        let tls = Tls::load(&self.config, self.tls)?;
        #[cfg(not(feature = "tls"))]
        let tls = Tls::default();
        let Self { router, config, shutdown, reload, .. } = self;
        let signals = tls.reload_on(Signals::install().map_err(Error::Signals)?);
        let signals = reload.into_iter().fold(signals, Signals::on_reload);
        last_resort::server_listens();
        let proxies = public::proxies(&config)?;
        let public = public::bind(&config).await?;
        let internal = match &config.debug_listen {
            Some(address) => Some(TcpListener::bind(address).await?),
            None => None,
        };
        Ok(BoundServer { router, config, shutdown, tls, signals, public, proxies, internal, work: Claim::of_current() })
    }

    /// Binds, serves until a signal or [`Shutdown::trigger`], drains, and says how that went.
    ///
    /// # Errors
    ///
    /// What [`bind`](Self::bind) and [`BoundServer::run`] say.
    pub async fn run(self) -> Result<Report, Error> {
        self.bind().await?.run().await
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            router: _,
            config,
            shutdown,
            reload: _,
            #[cfg(feature = "tls")]
                tls: _,
        } = self;
        f.debug_struct("Server").field("config", config).field("shutdown", shutdown).finish_non_exhaustive()
    }
}

/// A server that listens and is about to serve.
#[must_use = "a server does nothing until it is run"]
pub struct BoundServer {
    router: Router,
    config: Config,
    shutdown: Shutdown,
    tls: Tls,
    signals: Signals,
    public: Several<AnyListener>,
    /// Who is trusted to say who the client is.
    proxies: Vec<IpPrefix>,
    internal: Option<TcpListener>,
    /// Where its connections and requests are listed, and what they spawn.
    work: Claim,
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
    /// pool, belongs into a hook of [`Phase::Resources`], or is bounded.
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

/// Accepts on the public port until the order to end was given, and for `drain_delay` more. Gives the order, and why it gave
/// it itself, if the listener broke.
async fn serve_public<S>(
    listener: Several<AnyListener>,
    proxies: &[IpPrefix],
    serve: Serve<S>,
    config: &Config,
    draining: &Draining,
) -> (Order, Option<io::Error>)
where
    S: HttpService,
{
    let Draining { shutdown, registry, .. } = draining;
    let mut order = None;
    let stop = async {
        shutdown.triggered().await;
        order = Some(Order::given(config.budget(), draining));
        if !config.drain_delay.is_zero() {
            tracing::info!(target: "graceful::shutdown", delay = ?config.drain_delay, "not ready any more, still accepting");
            registry.retire();
            tokio::select! {
                () = tokio::time::sleep(config.drain_delay) => {}
                () = shutdown.forced() => {}
            }
        }
    };
    // However busy the queue is at the end: not into the time of what comes next, nor after force.
    let over = async {
        shutdown.triggered().await;
        let next = shutdown.phases_start_by(config.budget());
        tokio::select! {
            () = tokio::time::sleep_until(next) => {}
            () = shutdown.forced() => {}
        }
    };
    let ended = tokio::select! {
        ended = accept(public::limited(listener, config, &serve.per_address, proxies), serve, stop) => ended,
        () = over => Ok(()),
    };
    if let Err(error) = &ended {
        // Nobody comes any more, and nothing mends that but a new start: whoever watches the process is to see it end.
        server_log::broken(error);
        shutdown.trigger();
        registry.drain();
    }
    (order.unwrap_or_else(|| Order::given(config.budget(), draining)), ended.err())
}

/// Serves the internal port, to the end of everything and beyond.
async fn serve_internal(
    listener: Option<TcpListener>,
    shutdown: &Shutdown,
    work: &graceful_tasks::Registry,
    log: &ServerLog,
) -> std::convert::Infallible {
    if let Some(listener) = listener {
        let registry = Registry::builder().live_work(work).build();
        let _cut = ForceOnDrop(registry.clone());
        let serve = Serve {
            service: crate::stack::plain(internal::router(shutdown.readiness())),
            settings: Arc::new(Settings::default()),
            registry,
            log: log.clone(),
            per_address: PerAddress::unlimited(),
            reset: ResetSwitch::new(),
            #[cfg(feature = "tls")]
            tls: Tls::default(),
        };
        if let Err(error) = accept(Proxied::new(listener, []), serve, std::future::pending()).await {
            server_log::broken(&error);
        }
    }
    std::future::pending().await
}

/// Closes what is open when the server's future is dropped: its connections are tasks of their own.
struct ForceOnDrop(Registry);

impl Drop for ForceOnDrop {
    fn drop(&mut self) {
        self.0.force();
    }
}
