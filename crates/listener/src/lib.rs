//! Accepting connections: bind, limits, errors that do not stop the server.
//!
//! A [`Listener`] hands out connections, one at a time, and says when it could not. Its sources:
//!
//! | listener | accepts |
//! |---|---|
//! | [`TcpListener`] | on a TCP address as a person types it, with errors that say what to do |
//! | `UnixListener` | on a Unix socket: a left-behind file is replaced, a live one is not, and ours goes with us |
//! | [`AnyListener`] | either, by the address: `127.0.0.1:8080`, `unix:/run/app.sock` |
//! | `inherited()` | on sockets that systemd or another parent hands over |
//! | [`Several`] | from several of them at once, in turns |
//!
//! Wrappers nest around any of them:
//!
//! | wrapper | gives |
//! |---|---|
//! | [`Limited`] | at most so many connections in all; over it the next one waits in the kernel, or is closed at once |
//! | [`PerIp`] | at most so many connections from one address |
//! | [`Rate`] | at most so many new connections a second from one address |
//! | [`Logged`] | a debug event for each connection |
//! | [`Proxied`] | the client's own address from behind a load balancer (PROXY protocol), from trusted proxies only |
//!
//! At the other end of a connection's life, [`Resettable`] closes it by a reset where nobody will wait for more.
//!
//! # When to use it
//!
//! Whenever a program accepts connections from the internet: without a limit, one address can take all descriptors, and
//! an accept loop that gives up on its first error, or spins on it, takes the server down with it. A limit on
//! connections is not a limit on requests: one HTTP/2 connection carries hundreds. Use both.
//!
//! # The accept loop
//!
//! What an error of `accept` means is the server's to decide; [`AcceptError`] and [`Backoff`] hold the usual decision.
//!
//! ```
//! use graceful_listener::{AcceptError, Backoff, Limited, Listener, Logged, PerIp, TcpListener};
//! # use tokio::io::AsyncReadExt;
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let listener = TcpListener::bind("127.0.0.1:0").await?;
//! let mut listener = Logged::new(PerIp::new(Limited::new(listener, 10_000), 50));
//! # let client = tokio::net::TcpStream::connect(listener.local_addr()?.to_string()).await?;
//!
//! let mut backoff = Backoff::new();
//! loop {
//!     match listener.accept().await {
//!         Ok(accepted) => {
//!             if let Some(burst) = backoff.succeeded() {
//!                 println!("accepting again after {burst}");
//!             }
//!             println!("{} is here", accepted.peer);
//!             // … hand `accepted.io` to a task of its own.
//! #           break;
//!         }
//!         Err(error) if AcceptError::of(&error) == AcceptError::Connection => {}
//!         Err(error) => {
//!             let failed = backoff.failed();
//!             if failed.warn {
//!                 eprintln!("cannot accept: {error}");
//!             }
//!             tokio::time::sleep(failed.wait).await;
//!         }
//!     }
//! }
//! # Ok(()) }
//! ```
//!
//! # Order of the wrappers
//!
//! Any order is correct. `Logged` outside the limits logs what was admitted and not what was refused. With `Limited`
//! inside `PerIp` as above, a connection that is refused for its address holds a place of the total for that moment only.
//! `Proxied` belongs outermost, where the owner of the connection finds its [`ProxyIo`]. [`Several`] belongs inside the
//! limits that hold for the sum.
//!
//! The connection of a wrapper that counts is a [`Guarded`]: it reads and writes as the one inside, and gives its place back when it is
//! dropped, once, wherever it has gone by then. A protocol upgrade moves the connection and its place with it.
//!
//! # What it does not do
//!
//! No TLS, and `accept` reads no byte of a connection: a peer that is slow to speak must not keep others from being
//! accepted. Hand the connection to its task first. The PROXY header is read there, too.
#![forbid(unsafe_code)]

mod address;
mod any;
mod error;
mod guarded;
#[cfg(unix)]
mod inherited;
mod key;
mod limited;
mod listener;
mod logged;
#[cfg(test)]
mod mock;
mod per_ip;
mod policy;
mod prefix;
mod proxy;
mod rate;
mod refuse;
mod reset;
mod several;
mod tcp;
#[cfg(unix)]
mod unix;

pub use self::any::{AnyIo, AnyListener};
pub use self::error::BindError;
pub use self::guarded::Guarded;
#[cfg(unix)]
pub use self::inherited::{Inherited, inherited};
pub use self::limited::{ConnectionLimit, Limited, LimitedIo, Place, WhenFull};
pub use self::listener::{Accepted, ListenAddr, Listener, Peer};
pub use self::logged::Logged;
pub use self::per_ip::{PerIp, PerIpIo, PerIpLimit, PerIpPlace};
pub use self::policy::{AcceptError, Backoff, Burst, Failed};
pub use self::prefix::{IpPrefix, ParseIpPrefixError};
pub use self::proxy::{Proxied, ProxyError, ProxyHeader, ProxyIo, ProxyTls};
pub use self::rate::{ConnectionRate, Rate};
pub use self::reset::{ResetSwitch, Resettable, ZeroLinger};
pub use self::several::Several;
pub use self::tcp::{TcpListener, TcpOptions};
#[cfg(unix)]
pub use self::unix::{UnixListener, UnixOptions};
