//! The server: put together here, then bound, then run to its end.

mod bound;
mod drain;
mod ports;

use std::fmt;

use axum::Router;
#[cfg(feature = "tls")]
use graceful_connection::tls::TlsSettings;
use graceful_listener::TcpListener;
use graceful_shutdown::{HookContext, Phase, Shutdown, Signals};
use graceful_tasks::Claim;

pub use self::bound::BoundServer;
pub(crate) use self::drain::{Draining, late, tell_late};
use crate::{Config, Error, Report, descriptors, last_resort, public, tls::Tls};

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
    /// use graceful::json_log::{self, LogConfig, Output};
    ///
    /// # fn example(app: Router) -> Result<(), Box<dyn std::error::Error>> {
    /// let (log, _flush) = json_log::init(LogConfig::new().output(Output::File("shop.log".into())))?;
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
    /// [`Error::Config`], [`Error::Tls`](crate::Error), [`Error::Signals`], [`Error::Inherited`], [`Error::Bind`],
    /// [`Error::BindInternal`].
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
            Some(address) => Some(TcpListener::bind(address).await.map_err(Error::BindInternal)?),
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
