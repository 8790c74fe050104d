//! A production axum server in one call.
//!
//! ```no_run
//! use axum::{Router, routing::get};
//!
//! #[tokio::main]
//! async fn main() -> Result<(), graceful::Error> {
//!     let app = Router::new().route("/", get(async || "hello"));
//!     graceful::serve("127.0.0.1:8080", app).await
//! }
//! ```
//!
//! That call has every default on: panics become a 500, every request has an id, a span and one line in the access log,
//! the number of requests in flight is bounded, handlers have 30 s, connections have their deadlines, and SIGTERM ends
//! it in order. `axum::serve` has none of that: no header timeout, and a graceful shutdown that never returns with one
//! half-sent header.
//!
//! - [`serve`]: that call.
//! - [`Server`]: the builder below it, with [`Config`], shutdown hooks, and the [`Report`] at the end.
//! - `Args` (feature `clap`): the same configuration as flags and environment variables.
//! - [`main`]: a `main` whose exit code tells how it ended, and that ends even with a blocked thread.
//! - The layers, each usable alone: [`request_logger`], [`access_log`], [`recovery`], [`concurrency_limit`],
//!   [`timeout`]; and below them [`connection`], [`listener`], [`shutdown`].
//!
//! # The stack
//!
//! From the outside to the inside, and why in this order:
//!
//! | layer | because |
//! |---|---|
//! | [`request_logger`] | the id and the span are there for every line that follows |
//! | [`access_log`] | the record sees every answer, also those of the layers inside it |
//! | [`recovery`] | a panic in a layer is caught like one in a handler |
//! | [`concurrency_limit`] | waiting for a place is not the handler's time |
//! | [`timeout`] | the handler's clock starts when the handler does |
//! | your `Router` | |
//!
//! They go around the finished router: a `Router::layer` costs 4 to 6 allocations a request. The name of the matched
//! route, which only the inside knows, is passed out by one route layer.
//!
//! Layers of your own, as those of `tower-http`, go onto the router as ever; they are inside of all this.
//!
//! # What a handler finds
//!
//! | extractor | gives |
//! |---|---|
//! | `ConnectInfo<SocketAddr>` | who asks; behind a proxy of [`Config::proxy_protocol`] the client that it names; missing on a Unix socket |
//! | `Extension<`[`RequestId`](request_logger::RequestId)`>` | the id that is in the log and in the answer |
//! | `Extension<`[`Deadline`](timeout::Deadline)`>` | how much time is left |
//! | `Extension<`[`ConnectionControl`](connection::ConnectionControl)`>` | longer or no limits for this request's body and answer |
//! | [`ShutdownSignal`] | the order to end, for what waits or streams for long |
//! | [`InTime`](handler::body::InTime)`<Json<T>>` | a body, or 408 where it came too late |
//!
//! ```
//! use std::{net::SocketAddr, time::Duration};
//!
//! use axum::{Extension, Router, extract::ConnectInfo, routing::get};
//! use graceful::{connection::ConnectionControl, timeout::RouteTimeoutLayer};
//!
//! async fn export(ConnectInfo(peer): ConnectInfo<SocketAddr>, Extension(control): Extension<ConnectionControl>) -> String {
//!     // Its client may take ten minutes to read the answer, …
//!     control.set_write_timeout(Duration::from_secs(600));
//!     format!("for {peer}")
//! }
//!
//! // … and it may take five to begin with it.
//! let slow = RouteTimeoutLayer::new(Duration::from_secs(300));
//! let app: Router = Router::new().route("/export", get(export).layer(slow));
//! ```
//!
//! # What never becomes a request
//!
//! Some requests are refused below the stack: bytes that are no request, a bad `Host` (400), a head that is late (408) or
//! too large (414, 431), one upgrade too many (503). They are answered as the stack answers, as plain text or with
//! [`Config::problem_details`] as problem details; the connection closes, and the access log has a line for each, with
//! `outcome` `refused` and a `reason`. There is no request id, and of what could not be read no method and no path. A
//! connection that is closed without an answer (silence, a failed handshake) is in no access log: what came of those is
//! told on the target `graceful::server`, summed up where it is the noise of scanners.
//!
//! # The end
//!
//! SIGTERM or SIGINT: `/readyz` on the internal port says 503; after [`Config::drain_delay`] the connections that the
//! kernel has already accepted are taken in, and the listener closes; idle connections close, answers carry
//! `Connection: close` or GOAWAY; then what was started with [`spawn`](spawn()) is told to end, and waited for; then the
//! hooks of [`Phase::Workers`] run, then those of [`Phase::Resources`]. One deadline, [`Config::shutdown_timeout`],
//! bounds all of it; a second signal ends it at once. What is left is closed by force and named in the log, with the
//! place where it waits; [`Server::run`] gives [`Error::Forced`], which [`main`] makes the exit code 3. Under
//! `#[tokio::main]` it is 1, as for any error, and a thread that is blocked keeps the process: what is to be restarted by
//! others has [`main`].
//!
//! # Work that outlives its request
//!
//! [`spawn`](spawn()), [`spawn_named`] and [`spawn_blocking`] start it so that it is not lost: it is waited for at the end,
//! it is told with [`cancelled`], it keeps the request's span, and its panic is logged. A bare `tokio::spawn` has none of
//! that.
//!
//! In a test, [`leak_checked`] fails if anything is left behind: a connection, a request, a task.
//!
//! # Two generations on one port
//!
//! For a restart that loses nothing, the new generation is started beside the old one, and the old one is told to end when
//! the new one listens. They share one of two things:
//!
//! | | how | who connects while the old one ends |
//! |---|---|---|
//! | a socket | somebody holds it and hands it to both: systemd, or any parent that sets `LISTEN_FDS` | is served at once: there is one queue, and whoever is left empties it |
//! | a port | [`Config::reuse_port`] for both | is served, by one of two queues. The old one closes the entrance of its own and empties it, so nobody is lost; but the kernel picks the old one for half of those who come in these 250 ms, and they try again after 1 s. `sysctl net.ipv4.tcp_migrate_req=1` spares them that. Linux only; elsewhere some are reset |
//!
//! Prefer the socket. Give the old one a [`Config::drain_delay`] of some 100 ms or more, so that it can tell clients with
//! kept connections to go in an answer. Without it, a request that crosses the close of its connection has to be sent
//! again, as RFC 9112 (9.3.1) has it. Each of the two needs an internal port of its own ([`Config::debug_listen`]).
//!
//! # Where it builds
//!
//! On Unix: Linux and macOS. The crates below it build on Windows, too.
//!
//! # Crate features
//!
//! - `clap`: `Args`, the command line of a server.
//! - `tls`: HTTPS, with [`Config::tls_cert`] and [`Config::tls_key`] or `Server::tls`. Off by
//!   default: it needs a C compiler, and where a proxy does it, it is not needed.
//! - `ws`: `handler::ws`, WebSockets that end with the server.
#![forbid(unsafe_code)]

mod accept;
mod axum_listener;
mod config;
mod descriptors;
mod error;
pub mod handler;
mod internal;
mod last_resort;
mod last_word;
pub mod logging;
mod public;
mod run;
mod server;
mod server_log;
mod stack;
mod systemd;
mod tls;

use axum::Router;

#[doc(inline)]
pub use graceful_access_log as access_log;
#[doc(inline)]
pub use graceful_answer as answer;
#[doc(inline)]
pub use graceful_concurrency_limit as concurrency_limit;
#[doc(inline)]
pub use graceful_connection as connection;
#[doc(inline)]
pub use graceful_json_log as json_log;
#[doc(inline)]
pub use graceful_listener as listener;
#[doc(inline)]
pub use graceful_recovery as recovery;
#[doc(inline)]
pub use graceful_request_logger as request_logger;
#[doc(inline)]
pub use graceful_shutdown as shutdown;
#[doc(no_inline)]
pub use graceful_shutdown::{HookContext, Phase, Report, Shutdown};
#[doc(inline)]
pub use graceful_tasks as tasks;
#[doc(inline)]
pub use graceful_tasks::{LeakCheck, cancelled, is_cancelled, leak_checked, spawn, spawn_blocking, spawn_named};
#[doc(inline)]
pub use graceful_timeout as timeout;

pub use self::axum_listener::{AxumListener, FromAxum, PeerInfo};
#[cfg(feature = "clap")]
pub use self::config::Args;
pub use self::config::{Config, ConfigError, LogFormat, OrOff, Preset, RequestIdFormat};
pub use self::error::Error;
#[doc(inline)]
pub use self::handler::ShutdownSignal;
pub use self::run::main;
pub use self::server::{BoundServer, Server};

/// Serves `app` on `address` with every default on, until SIGTERM or SIGINT.
///
/// `address` is as in [`Config::listen`]. Log lines go to standard output as JSON, unless there is a `tracing`
/// subscriber already.
///
/// # Errors
///
/// [`Error::Signals`], [`Error::Inherited`], [`Error::Bind`] and [`Error::BindInternal`] before anything is served,
/// [`Error::Accept`] and [`Error::Forced`] at the end.
pub async fn serve(address: &str, app: Router) -> Result<(), Error> {
    let config = Config { listen: address.to_owned(), ..Config::default() };
    // Somebody else's subscriber is as good.
    let _log = logging::init(&config).ok();
    Server::new(app).config(config).run().await.map(drop)
}

/// The README's program compiles.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
pub struct ReadmeDoctests;
