//! Exactly one access record a request, written at its true end.
//!
//! For every request [`AccessLogLayer`] writes one `tracing` event that says what was asked, what was answered and how
//! it ended: with the last byte of the response, or with whatever kept that from being sent. A client that went away
//! before it had an answer, one that left in the middle of a download, a body that failed half way, a handler that
//! panicked: each has its record, and none has two.
//!
//! Use it where each request should leave one line that can be counted, searched and paid for. It is not a trace: it
//! opens no span, and for several events a request with hooks of their own there is tower-http's `TraceLayer`. And it
//! writes nothing itself: the format and the place of the line are the subscriber's, or those of a
//! [`writer`](AccessLogLayer::writer).
//!
//! # Examples
//!
//! On axum, around the finished router, with everything on:
//!
//! ```no_run
//! use std::net::SocketAddr;
//! use axum::{
//!     Router, ServiceExt,
//!     extract::{ConnectInfo, MatchedPath, Request},
//!     middleware::{Next, from_fn},
//!     response::{IntoResponse, Response},
//!     routing::get,
//! };
//! use graceful_access_log::{AccessLogLayer, tell_route};
//! use tower::ServiceBuilder;
//!
//! async fn tell(request: Request, next: Next) -> Response {
//!     if let Some(path) = request.extensions().get::<MatchedPath>() {
//!         tell_route(path.as_str());
//!     }
//!     next.run(request).await
//! }
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> std::io::Result<()> {
//! let router: Router = Router::new()
//!     .route("/users/{id}", get(|| async { "a user" }))
//!     .route_layer(from_fn(tell));
//! let access_log = AccessLogLayer::new()
//!     .peer(|extensions| extensions.get::<ConnectInfo<SocketAddr>>().map(|peer| peer.0))
//!     .filter(|record| record.path() != "/healthz" || !record.status().is_success());
//! // `axum::serve` takes no body but axum's own, hence the first line.
//! let app = ServiceBuilder::new().map_response(IntoResponse::into_response).layer(access_log).service(router);
//!
//! let listener = tokio::net::TcpListener::bind("127.0.0.1:8080").await?;
//! axum::serve(listener, ServiceExt::<Request>::into_make_service_with_connect_info::<SocketAddr>(app)).await
//! # }
//! ```
//!
//! `Router::layer(AccessLogLayer::new())` works as well. It costs a box or two more for each request, and what axum
//! answers around its layers, such as stripping the body for `HEAD`, is then not seen.
//!
//! On any other service:
//!
//! ```
//! use std::convert::Infallible;
//! use graceful_access_log::{AccessLogLayer, RequestBody};
//! use http::{Request, Response};
//! use http_body_util::{BodyExt, Full};
//! use tower::{ServiceBuilder, ServiceExt, service_fn};
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() {
//! let echo = |request: Request<RequestBody<Full<&'static [u8]>>>| async {
//!     let bytes = request.into_body().collect().await.expect("infallible").to_bytes();
//!     Ok::<_, Infallible>(Response::new(Full::new(bytes)))
//! };
//! let service = ServiceBuilder::new().layer(AccessLogLayer::new()).service(service_fn(echo));
//!
//! let response = service.oneshot(Request::new(Full::new(b"hello".as_slice()))).await.expect("infallible");
//! let body = response.into_body().collect().await.expect("infallible").to_bytes();
//! assert_eq!(body, "hello");
//! // INFO access: access method="GET" path="/" version="HTTP/1.1" status=200 … bytes=5 … outcome="complete"
//! # }
//! ```
//!
//! # Where it stands
//!
//! Outside everything that answers, so that the record tells what the client got: recovery, limits, timeouts and the
//! router are inside. Inside what opens the request's span, so that the event carries the fields of that span, the
//! request id among them. The event is always written inside the span that was current when the request arrived, also
//! where it is written from a drop ([`capture_span`](AccessLogLayer::capture_span)).
//!
//! A layer outside that changes the body, such as compression, changes it unseen: `bytes` are what this layer handed
//! over, before TLS, chunk headers and the like.
//!
//! # The event
//!
//! Target and name are `access`, and so is `message`. The level is `WARN` if the status is 500 or more, else `INFO`.
//! The fields are these; one that does not apply is left out.
//!
//! | field | type | is |
//! |---|---|---|
//! | `method` | string | at most 32 bytes of it |
//! | `path` | string | without the query unless [`query`](AccessLogLayer::query) is on; at most 1,024 bytes; left out for `CONNECT` |
//! | `route` | string | what [`tell_route`] has told, or was put in the [`MatchedRoute`] |
//! | `version` | string | `HTTP/1.0`, `HTTP/1.1`, `HTTP/2`, … |
//! | `status` | number | of the response; 499 if the client had gone before, 500 if the service failed before |
//! | `duration_ms` | float | from the call to the end, exact to the microsecond |
//! | `ttfb_ms` | float | from the call to the response's head |
//! | `bytes_in` | number | bytes of the request's body that were read |
//! | `bytes` | number | bytes of the response's body that were handed over |
//! | `bytes_expected` | number | how many they should be, where that is known |
//! | `peer` | string | the address that [`peer`](AccessLogLayer::peer) found |
//! | `user_agent` | string | at most 256 bytes of it |
//! | `outcome` | string | `complete`, `client_gone`, `truncated`, `body_error` or `upgraded`, see [`Outcome`]; `refused`, see [`RefusedRequest`] |
//! | `reason` | string | why it was refused |
//!
//! `method`, `path` and `user_agent` are the client's to choose. One that is not ASCII is escaped byte for byte
//! (`\xc3\xa9`), so that a log can be read in a terminal, and then a quarter of its bytes is kept. With the limits a
//! request cannot write more than some two kilobytes.
//!
//! # The end
//!
//! A record begins with the call of the service and is written at the first of these:
//!
//! - the head of the response, if no body is to follow: `HEAD`, 204, 304, a body that is at its end from the start, an
//!   upgrade (101, or 2xx to `CONNECT`);
//! - the end of the response's body, or its error;
//! - the drop of the body. If its exact length had been handed over, or it had said that the last frame was the last, the
//!   response is complete: a server does not ask for the `None` behind it. Under HTTP/2 a body that is at its end is
//!   dropped only when its last chunk has its place in the client's window, so that a slow reader shows in
//!   `duration_ms`. What the kernel still has to send is never seen;
//! - the drop of the future, or an error of the service: there was no answer.
//!
//! A panic that passes through this layer (none does with a recovery layer inside) is a `body_error` and never the
//! client's fault, whether it is caught further out or not. A filter or a subscriber that panics does so without effect
//! on the request.
//!
//! # Cost
//!
//! If nobody listens to the event when the request arrives, there is one check, and the request passes through: no clock
//! is read and nothing is copied. Otherwise the clock is read three times, and method, path and `User-Agent` are shared,
//! not copied; hyper's read buffer, in which they lie, is so kept until the end of the record. The record lies in a box
//! that its thread uses again. There is no allocation for a request without a body, and one, for the counter of
//! `bytes_in`, for a request with a body; [`route_cell`](AccessLogLayer::route_cell) has a cost of its own.
#![forbid(unsafe_code)]

mod entry;
mod event;
mod future;
mod layer;
mod peer;
mod record;
mod refused;
mod request_body;
mod response_body;
mod route;
mod service;
mod value;

pub use self::event::AccessEvent;
pub use self::future::ResponseFuture;
pub use self::layer::AccessLogLayer;
pub use self::record::{Outcome, Record};
pub use self::refused::RefusedRequest;
pub use self::request_body::RequestBody;
pub use self::response_body::ResponseBody;
pub use self::route::{MatchedRoute, tell_route};
pub use self::service::AccessLog;
