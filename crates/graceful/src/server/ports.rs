//! The two ports, each served to its end: the public one's comes with the order to end, the internal one's never.

use std::{io, sync::Arc};

use graceful_connection::{HttpService, Registry, Settings};
use graceful_listener::{AnyListener, IpPrefix, Proxied, ResetSwitch, Several, TcpListener};
use graceful_shutdown::Shutdown;

use super::drain::{Draining, Order};
#[cfg(feature = "tls")]
use crate::tls::Tls;
use crate::{
    Config,
    accept::{Serve, accept},
    internal,
    public::{self, PerAddress},
    server_log::{self, ServerLog},
};

/// Accepts on the public port until the order to end was given, and for `drain_delay` more. Gives the order, and why it gave
/// it itself, if the listener broke.
pub(super) async fn serve_public<S>(
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
pub(super) async fn serve_internal(
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
pub(super) struct ForceOnDrop(pub(super) Registry);

impl Drop for ForceOnDrop {
    fn drop(&mut self) {
        self.0.force();
    }
}
