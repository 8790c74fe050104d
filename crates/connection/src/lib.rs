//! One accepted socket to its end: version sniff, deadlines, states, drain.
//!
//! hyper's `http1` and `http2` connections are the protocol engines; this crate is what Go's `http.Server` does around
//! them. A [`Connection`] is a future that takes an accepted socket and a service, finds out which version the client
//! speaks, and drives hyper under deadlines that sit on the *socket*, where a client that stops reading is seen: body
//! layers cannot see that (one buffered 8 MiB frame, and their timer never fires).
//!
//! | phase | limit ([`Settings`]) | counted from | ends with |
//! |---|---|---|---|
//! | sniff and request head | `read_header` | accept; later the first byte of a head | 408 and close; nothing if no byte came |
//! | request body | `read_body` | the end of the head | the body fails with [`BodyTimeout`], its answer still goes out, then close |
//! | response | `write` | the end of the request | close; h2: reset of that stream |
//! | a reader that stops | `write_stall` | the last byte it took | the same |
//! | between requests | `idle` | the last byte of a response | plain close; h2: GOAWAY, then close |
//!
//! All of them run on the connection's one timer, which is touched only when a deadline moves *earlier*; it is lent to
//! the handler through [`graceful_timer`], so that a request costs no timer. What it allocates is its
//! [`ConnectionControl`] in the extensions ([`Settings::control_extension`]), and the state of a body
//! where it has one; it saves the second buffer that hyper reads into while a handler works. hyper's own header timer stays
//! off: it is the idle limit as well, and boxes a timer for each request.
//!
//! A [`Registry`] knows every connection from accept to close, upgrades included. It tells them to
//! [drain](Registry::drain), waits for them, and in the end [closes them by force](Registry::force).
//!
//! Each connection, request and upgraded socket is live work of a [`graceful_tasks::Registry`] too, which lists it with
//! what else the program runs, and says where it waits.
//!
//! Where there is no request to hand on, or none that may be, the connection answers by itself: see [`Refused`]. The words
//! are the server's to choose ([`RegistryBuilder::answer`]).
//!
//! # Examples
//!
//! ```no_run
//! use std::{convert::Infallible, sync::Arc};
//!
//! use bytes::Bytes;
//! use graceful_connection::{Connection, Registry, RequestBody, Settings};
//! use http::{Request, Response};
//! use http_body_util::Full;
//! use tower::service_fn;
//!
//! # #[tokio::main]
//! # async fn main() -> std::io::Result<()> {
//! let settings = Arc::new(Settings::default());
//! let registry = Registry::new();
//! let service = service_fn(|_: Request<RequestBody>| async {
//!     Ok::<_, Infallible>(Response::new(Full::new(Bytes::from_static(b"hello"))))
//! });
//! let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
//! loop {
//!     let (socket, peer) = listener.accept().await?;
//!     let (service, settings) = (service.clone(), Arc::clone(&settings));
//!     registry.spawn(Some(peer), |place| Connection::new(socket, place, service, settings));
//! }
//! # }
//! ```
//!
//! # Crate features
//!
//! - `tls`: module `tls`, handshakes in front of all this. Off by default: a proxy often does it.
#![forbid(unsafe_code)]

mod connection;
mod control;
mod current;
mod executor;
mod frames;
mod gather;
mod head;
mod io;
mod live;
mod observer;
mod phase;
mod pieces;
mod protocol;
mod refusal;
mod registry;
mod request_body;
mod response_body;
mod roll;
mod service;
mod settings;
mod shared;
mod state;
mod sync;
#[cfg(feature = "tls")]
pub mod tls;
mod told;
mod upgrades;
mod wait;

pub use self::connection::Connection;
pub use self::control::ConnectionControl;
pub use self::observer::{ConnectionInfo, Observer};
pub use self::pieces::Pieces;
pub use self::refusal::{Refusal, Refused, RefusedHead};
pub use self::registry::{EntryGuard, Gauges, Open, OpenRequest, Place, Registry, RegistryBuilder};
pub use self::request_body::{BodyTimeout, RequestBody};
pub use self::response_body::ResponseBody;
pub use self::service::HttpService;
pub use self::settings::{MinRate, Settings};
pub use self::state::{CloseReason, ConnectionState, Ended};
pub use self::wait::Interrupted;

type BoxError = Box<dyn std::error::Error + Send + Sync>;
