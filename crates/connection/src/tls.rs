//! TLS in front of a [`Connection`](crate::Connection): handshakes, certificates from files, reload (feature `tls`).
//!
//! An [`Acceptor`] is made once, from [`TlsSettings`]. It reads the files, and says in one line what is wrong with them.
//! Each accepted socket is then handed to [`Acceptor::accept`] *in the connection's own task*: a handshake never holds up
//! the accept loop, and since the [`Place`](crate::Place) goes in with the socket, a shutdown knows the connection before
//! its first byte.
//!
//! ```no_run
//! use std::{convert::Infallible, sync::Arc};
//!
//! use bytes::Bytes;
//! use graceful_connection::{
//!     Connection, ConnectionControl, Registry, RequestBody, Settings,
//!     tls::{Acceptor, TlsSettings},
//! };
//! use http::{Request, Response};
//! use http_body_util::Full;
//! use tower::service_fn;
//!
//! # #[tokio::main]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let acceptor = Acceptor::new(TlsSettings::new("cert.pem", "key.pem"))?;
//! let settings = Arc::new(Settings::default());
//! let registry = Registry::new();
//! let service = service_fn(|request: Request<RequestBody>| async move {
//!     let control = request.extensions().get::<ConnectionControl>().expect("every request has one");
//!     let tls = control.info().tls().expect("every request here came over TLS");
//!     let text = format!("{} {}\n", tls.version(), tls.cipher_suite());
//!     Ok::<_, Infallible>(Response::new(Full::new(Bytes::from(text))))
//! });
//! let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
//! loop {
//!     let (socket, peer) = listener.accept().await?;
//!     let (acceptor, settings, service) = (acceptor.clone(), Arc::clone(&settings), service.clone());
//!     let place = registry.open(Some(peer));
//!     tokio::spawn(async move {
//!         match acceptor.accept(socket, place).await {
//!             Ok((io, place)) => drop(Connection::new(io, place, service, settings).await),
//!             Err(error) => eprintln!("{peer}: {error}"),
//!         }
//!     });
//! }
//! # }
//! ```
//!
//! # What is spoken
//!
//! TLS 1.2 and 1.3, by rustls; with `ring` as the crypto, which builds with a C compiler alone, on every platform that
//! this runs on. It has no post-quantum key exchange: [`TlsSettings::crypto_provider`] takes another one. ALPN offers
//! `h2`, then `http/1.1`, and what was agreed on is binding: a client that agrees on one and speaks the other is closed.
//! One that knows no ALPN may speak either. Sessions are resumed by tickets, unless clients are asked for
//! [certificates](ClientAuth); early data (0-RTT), which can be replayed, is not accepted.
//!
//! # Reload
//!
//! [`Acceptor::reload`] reads the files again and takes them only if all of it is good, so that a bad file never stops a
//! running server. Connections go on with what they began with. [`Acceptor::watch`] does it when a file changes, also
//! by a swapped symbolic link as Kubernetes does it, or when [asked](Acceptor::request_reload), as on a SIGHUP.

mod acceptor;
mod certificate;
mod error;
mod failure;
mod files;
mod gate;
mod handshake;
mod hello;
mod info;
mod load;
mod names;
mod settings;
mod stamp;
mod stream;

pub use tokio_rustls::rustls;

pub use self::{
    acceptor::Acceptor,
    error::TlsError,
    failure::HandshakeError,
    info::{ClientCertificate, TlsInfo, TlsVersion},
    settings::{ClientAuth, TlsSettings},
    stream::TlsStream,
};
