//! At most so many requests in flight, a bounded queue in front for a bounded time, and an honest 503 for the rest.
//!
//! A server without a limit answers a burst by taking on all of it: memory grows, everything slows down together, and
//! clients give up on work that is still being done for them. [`ConcurrencyLimitLayer`] lets in what the machine can do,
//! lets a short burst wait, and refuses the rest at once and cheaply, with a `Retry-After`.
//!
//! Use it once around a whole server, as the last resort that keeps it alive, and once more around a group of routes that
//! share something scarce: a pool, a disk, a downstream service. Do not use it as a rate limit (it counts work, not
//! requests a second), nor to be fair among clients (it is first come, first served for all together). Streams that are
//! open for hours, such as server-sent events, hold their place for hours: give them a limit of their own.
//!
//! # Examples
//!
//! On axum, for all routes together. Errors need no handling: the layer answers by itself.
//!
//! ```no_run
//! use std::time::Duration;
//!
//! use axum::{Router, routing::get};
//! use graceful_concurrency_limit::ConcurrencyLimitLayer;
//!
//! # #[tokio::main] async fn main() -> std::io::Result<()> {
//! let busy = ConcurrencyLimitLayer::new(512).max_queue(256).max_wait(Duration::from_millis(50));
//! let limit = busy.limit(); // to read and change it later
//!
//! let app = Router::new().route("/", get(|| async { "hello" })).layer(busy);
//! let listener = tokio::net::TcpListener::bind("127.0.0.1:8080").await?;
//! # let _ = limit;
//! axum::serve(listener, app).await
//! # }
//! ```
//!
//! On any tower stack:
//!
//! ```
//! use bytes::Bytes;
//! use graceful_concurrency_limit::ConcurrencyLimitLayer;
//! use http::{Request, Response};
//! use http_body_util::{Empty, Full};
//! use tower::{ServiceBuilder, ServiceExt, service_fn};
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), std::convert::Infallible> {
//! let layer = ConcurrencyLimitLayer::new(1).max_queue(0);
//! let limit = layer.limit();
//! let service = ServiceBuilder::new().layer(layer).service(service_fn(|_: Request<Empty<Bytes>>| async {
//!     Ok::<_, std::convert::Infallible>(Response::new(Full::new(Bytes::from_static(b"hello"))))
//! }));
//!
//! // The first response is out, but its body is not: it still holds the only place.
//! let first = service.clone().oneshot(Request::new(Empty::new())).await?;
//! let second = service.clone().oneshot(Request::new(Empty::new())).await?;
//! assert_eq!(first.status(), 200);
//! assert_eq!(second.status(), 503);
//! assert_eq!(second.headers()["retry-after"], "1");
//!
//! drop(first);
//! assert_eq!(limit.stats().in_flight, 0);
//! # Ok(())
//! # }
//! ```
//!
//! # In flight
//!
//! A request holds its place from the call of the service to the *end of the response's body*: its last frame, an error,
//! or the drop of a body that nobody reads to the end (the client left; `HEAD`, 204 and 304, whose bodies are never
//! polled). It gives it back as well when the inner service fails or panics and when the future is dropped. After a 101,
//! and a 2xx to `CONNECT`, it ends with the head: the socket belongs to another protocol then and wants a limit of its own.
//!
//! The limit is the layer's, not the service's. axum applies a layer to every route anew, so with
//! `tower::limit::ConcurrencyLimitLayer`, which makes its semaphore there, two routes have two limits and 12 connections
//! have more; with this one `new(2)` is two.
//!
//! # The queue
//!
//! When all places are taken a request waits, at most [`max_wait`](ConcurrencyLimitLayer::max_wait) and behind at most
//! [`max_queue`](ConcurrencyLimitLayer::max_queue) others. First come, first served, strictly: a place that becomes free
//! goes to the first in the queue, and a request that comes at that very moment goes behind the last. A client that leaves
//! frees its place in the queue. A place that comes in the same moment as the end of the wait is taken.
//!
//! Keep both bounds small. A queue longer than what is served within `max_wait` cannot be served in time, and a wait that
//! is longer than the clients' patience is work for nobody.
//!
//! # Refusing an upload
//!
//! A server that answers and closes the connection while the client is still sending does not just lose the rest of the
//! upload. The kernel meets the bytes that nobody read with a TCP reset, and a reset can overtake the answer: the client
//! reports a broken connection instead of a 503 (hyper [#3078] and [#2384]).
//!
//! So the answer to a request whose body is still on its way has no known length: the head and the text go out at once, and
//! the response ends when the client has sent the rest, which is read and thrown away. The client reads its answer and the
//! connection can serve the next request. This is bounded, by [`drain`](ConcurrencyLimitLayer::drain) (256 KiB) and
//! [`drain_time`](ConcurrencyLimitLayer::drain_time) (1 s), and it takes no place of the limit. Nothing is drained, and the
//! answer is of known length,
//!
//! - when the request has no body, or all of it was read;
//! - when its `Content-Length` is over the bound, as it would not be read to the end (`net/http` does the same);
//! - when the client waits for a `100 Continue`, which it will not get;
//! - in HTTP/2, where the stream alone is reset, after the answer and without harm to it.
//!
//! What is over the bounds is for the server, which alone can close its side of the socket, read on for a moment and only
//! then close it (a *lingering close*). hyper and `axum::serve` do not do that; `graceful::Server` does.
//!
//! # Where it stands
//!
//! Inside request ids, access log and panic recovery, so that a refusal is recorded like any answer and a panic gives the
//! place back before it is caught; outside the handler's timeout, so that waiting is not handler time. Best around the
//! finished router: every `Router::layer` costs each request some allocations.
//!
//! Waiting needs tokio's timer: a runtime with its time driver on. While there is a free place no timer is made.
//!
//! # Cost
//!
//! A request that finds a free place pays one compare-and-swap, and one atomic addition to give it back, on a cache line of
//! its own; besides that the count of an `Arc`, which keeps the limit alive as long as the response. There is no
//! allocation and no lock. The lock guards the queue, for a few instructions at a time, and only those meet it who come
//! when the server is full, or leave while somebody waits.
//!
//! [#3078]: https://github.com/hyperium/hyper/issues/3078
//! [#2384]: https://github.com/hyperium/hyper/issues/2384
#![forbid(unsafe_code)]

mod body;
mod drain;
mod error;
mod future;
mod gate;
mod layer;
mod limit;
mod service;
mod settings;
mod sync;

pub use self::body::ResponseBody;
pub use self::error::{Overloaded, Reason};
pub use self::future::ResponseFuture;
pub use self::layer::ConcurrencyLimitLayer;
pub use self::limit::{Limit, Stats};
pub use self::service::ConcurrencyLimit;
