//! A deadline for every handler, that the handler can read.
//!
//! [`TimeoutLayer`] answers `503 handler timed out` in place of a handler that does not answer within its limit, and
//! stops the handler. Nothing is buffered, nothing is boxed, and the service stays infallible if it was: no
//! `HandleErrorLayer`.
//!
//! Use it around everything that waits for something: a database, another service, a lock. It is no help against a
//! client that sends or reads too slowly, which is for deadlines on the socket, nor against code that blocks a thread,
//! which nothing can stop.
//!
//! # With axum
//!
//! ```
//! use std::time::Duration;
//! use axum::{Extension, Router, routing::{get, post}};
//! use graceful_timeout::{Deadline, DetachLayer, RouteTimeoutLayer, TimeoutLayer};
//!
//! async fn price(Extension(deadline): Extension<Deadline>) -> String {
//!     format!("there are {:?} left to find out", deadline.remaining())
//! }
//! # async fn report() {}
//! # async fn charge() {}
//! # async fn events() {}
//!
//! let app: Router = Router::new()
//!     .route("/price", get(price))
//!     // This one may take longer, this one for ever,
//!     .route("/report", post(report).layer(RouteTimeoutLayer::new(Duration::from_secs(300))))
//!     .route("/events", get(events).layer(RouteTimeoutLayer::off()))
//!     // and this one must not be stopped half-way.
//!     .route("/charge", post(charge).layer(DetachLayer::new()))
//!     .layer(TimeoutLayer::new(Duration::from_secs(30)));
//! # let _ = app;
//! ```
//!
//! # With any other service
//!
//! ```
//! use std::{convert::Infallible, time::Duration};
//! use bytes::Bytes;
//! use graceful_timeout::TimeoutLayer;
//! use http::{Request, Response, StatusCode};
//! use http_body_util::{BodyExt, Full};
//! use tower::{ServiceBuilder, ServiceExt, service_fn};
//!
//! # #[tokio::main(flavor = "current_thread", start_paused = true)] async fn main() {
//! let service = ServiceBuilder::new()
//!     .layer(TimeoutLayer::new(Duration::from_secs(5)).status(StatusCode::GATEWAY_TIMEOUT))
//!     .service(service_fn(async |_: Request<()>| {
//!         tokio::time::sleep(Duration::from_secs(60)).await;
//!         Ok::<_, Infallible>(Response::new(Full::new(Bytes::from_static(b"late"))))
//!     }));
//!
//! let response = service.oneshot(Request::new(())).await.unwrap();
//! assert_eq!(response.status(), StatusCode::GATEWAY_TIMEOUT);
//! assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "handler timed out");
//! # }
//! ```
//!
//! # What counts
//!
//! - The time starts when the layer calls the service inside: not when the connection was accepted, and not while the
//!   request waits for its turn in a limit further out. A handler that blocks its thread before its first await is on
//!   the clock too.
//! - It ends with the response's *head*. A body that is on its way is never cut, unless by a [`BodyDeadlineLayer`], and
//!   an upgraded connection never.
//! - An answer that is ready when the time is up counts: there is exactly one answer.
//!
//! # What is stopped
//!
//! The handler's future is dropped *before* the client is answered: it does not get past the await that it stands at.
//! Tasks that the handler spawned and threads that it occupied go on. For code that must not be stopped between two
//! awaits there is [`DetachLayer`]. If the client leaves first, the server drops the whole future, the handler goes the
//! same way, and there is no answer.
//!
//! A panic in the handler passes through, for a recovery layer further out. On HTTP/2 the other streams of the
//! connection go on.
//!
//! # Limits of its own
//!
//! For a route: [`RouteTimeoutLayer`], longer, shorter or off. For a request: a client that is trusted may shorten its
//! limit by `x-request-timeout` or `grpc-timeout` ([`TimeoutLayer::trust_client`]). Of two [`TimeoutLayer`]s around
//! each other the earlier ends the request, and the [`Deadline`] tells of the earlier.
//!
//! # Where it stands
//!
//! Innermost, right around the router: inside the access log and recovery, which see its answer and its panics, and
//! inside the concurrency limit, so that waiting for a permit is not the handler's time.
//!
//! # What it costs
//!
//! A handler that is ready on its first poll costs a look at the clock and, unless switched off
//! ([`TimeoutLayer::extension`]), the request extension. One that waits costs a timer, and not even that where the
//! connection lends its own (`graceful-timer`).
#![forbid(unsafe_code)]

mod body_deadline;
mod clock;
mod deadline;
mod detach;
mod detached;
mod error;
mod future;
mod layer;
mod patience;
mod route;
mod service;

pub use self::body_deadline::{BodyDeadline, BodyDeadlineFuture, BodyDeadlineLayer, ResponseBody};
pub use self::deadline::Deadline;
pub use self::detach::{Detach, DetachFuture, DetachLayer};
pub use self::detached::{DetachedHandler, SpawnDetached, TokioSpawn};
pub use self::error::{BodyElapsed, Elapsed};
pub use self::future::ResponseFuture;
pub use self::layer::TimeoutLayer;
pub use self::route::{RouteTimeout, RouteTimeoutLayer};
pub use self::service::Timeout;
