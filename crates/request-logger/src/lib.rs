//! A request id and a request-scoped span for every request.
//!
//! Every line that is logged while a request is handled, wherever in the code, then says which request it belongs to;
//! and the client holds the same id in its hand when it calls for help.
//!
//! For each request [`RequestLogger`]
//!
//! - takes the id from the `x-request-id` header, if the client or a proxy sent a fit one, or makes a UUID. See
//!   [Ids](#ids);
//! - puts it into the request's extensions as a [`RequestId`], and into the `x-request-id` header of the response;
//! - opens a [`tracing`] span with the name `request`. See [The span](#the-span).
//!
//! It writes no line of its own. An access record, for example by `graceful-access-log`, is a layer inside it.
//!
//! # When to use it
//!
//! On every server that logs. Do without it where a tracing library already opens the span and the id (an OpenTelemetry
//! layer, for example): two spans a request cost twice.
//!
//! # Examples
//!
//! On axum:
//!
//! ```
//! use axum::{Extension, Router, routing::get};
//! use graceful_request_logger::{RequestId, RequestLoggerLayer};
//!
//! async fn hello(Extension(id): Extension<RequestId>) -> String {
//!     tracing::info!("greeting"); // inside the span: this line carries the id
//!     format!("hello, {id}")
//! }
//!
//! # async fn serve() -> std::io::Result<()> {
//! let app = Router::new().route("/", get(hello)).layer(RequestLoggerLayer::new());
//!
//! let listener = tokio::net::TcpListener::bind("127.0.0.1:8080").await?;
//! axum::serve(listener, app).await
//! # }
//! ```
//!
//! Around the finished router instead it costs less, for axum boxes each `Router::layer` a route; `axum::serve` then
//! wants its own type of response back:
//!
//! ```
//! use axum::{Router, ServiceExt, extract::Request, response::IntoResponse};
//! use graceful_request_logger::RequestLoggerLayer;
//! use tower::ServiceBuilder;
//!
//! # async fn serve(listener: tokio::net::TcpListener, router: Router) -> std::io::Result<()> {
//! let app = ServiceBuilder::new()
//!     .map_response(IntoResponse::into_response)
//!     .layer(RequestLoggerLayer::new())
//!     .service(router);
//! axum::serve(listener, ServiceExt::<Request>::into_make_service(app)).await
//! # }
//! ```
//!
//! On any other tower stack:
//!
//! ```
//! # use std::convert::Infallible;
//! use graceful_request_logger::{IdFormat, RequestLoggerLayer};
//! use http::{Request, Response};
//! use http_body_util::Empty;
//! use tower::{ServiceBuilder, ServiceExt, service_fn};
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() {
//! let service = ServiceBuilder::new()
//!     .layer(RequestLoggerLayer::new().id_format(IdFormat::V7).trust_inbound(false))
//!     .service(service_fn(async |_: Request<Empty<&[u8]>>| {
//!         Ok::<_, Infallible>(Response::new(Empty::<&[u8]>::new()))
//!     }));
//!
//! let response = service.oneshot(Request::new(Empty::new())).await.unwrap();
//! assert_eq!(response.headers()["x-request-id"].len(), 36);
//! # }
//! ```
//!
//! A spawned task leaves the span, as it leaves the request. Where its lines belong to the request, it carries the span
//! on, and the span then lives until the task ends:
//!
//! ```
//! use tracing::Instrument;
//!
//! async fn sign_up() -> &'static str {
//!     # #[expect(clippy::disallowed_methods, reason = "a bare task is what this example is about")]
//!     tokio::spawn(async { tracing::info!("welcome mail sent") }.in_current_span());
//!     "see your mail"
//! }
//! ```
//!
//! # Ids
//!
//! An id from outside is 1 to 128 characters of `A-Z a-z 0-9 . _ : / + = -`: that takes in UUIDs, ULIDs, numbers,
//! base64 and the trace ids of the large clouds, and leaves out all that a log line, a shell or a page of HTML would
//! read as something else. Anything else (too long, empty, control bytes, not ASCII, more than one header) is replaced
//! by a fresh id: it is neither echoed nor logged, and the request's own header is overwritten, so that inner code and
//! the servers it calls do not read it either. [`trust_inbound(false)`](RequestLoggerLayer::trust_inbound) replaces every
//! id from outside. A fit id is still only the client's word: two requests may carry the same one.
//!
//! A fresh id is a UUID of version 4, from a generator that is seeded by the kernel and cannot be guessed, or of
//! [version 7](IdFormat::V7), which sorts by time.
//!
//! A `RequestId` that is in the extensions already is kept. So another format of ids is a small layer outside this one,
//! which puts the id there; and this layer twice in a stack still makes one id.
//!
//! The response carries exactly one id, the one in the log: a header of the same name that the handler set, or that it
//! passed on from a server behind it, is replaced. Over HTTP/2 and HTTP/3 its value is
//! [sensitive](http::HeaderValue::set_sensitive), which is how the table of header compression is told not to remember
//! what never comes again (RFC 7541, 6.2.3); only the value's `Debug` shows it.
//!
//! # The span
//!
//! Name `request`, level `INFO`, target [`TARGET`]. Its fields, all text:
//!
//! | field | |
//! |---|---|
//! | `method` | at most 32 bytes |
//! | `path` | without the query; at most 1,024 bytes, cut at a character |
//! | `query` | only with [`query(true)`](RequestLoggerLayer::query), and if there is one; cut like the path |
//! | `request_id` | |
//! | `trace_id`, `parent_id` | from a valid `traceparent` header ([W3C Trace Context]); otherwise absent |
//!
//! A query often holds what must not be in a log, such as tokens, mail addresses and search words; so it is off.
//!
//! The span is entered while the inner service is called, whenever its future or the response body is polled, and while
//! they are dropped, finished or not. So what an inner layer logs at the very end of a response is inside it, too. In
//! between nothing is entered, however the requests of a connection, or of a thread, take turns. The span ends with the
//! response body, or with the future if there is no response; the connection never holds it. The body of a `101
//! Switching Protocols` ends with its head: what runs on the upgraded socket is a task and carries the span on if it
//! should.
//!
//! A filter that lets a line through, but not its span, logs the line without the id: with `tracing-subscriber`'s
//! `EnvFilter` say `graceful=info,my_app=debug`, not `my_app=debug` alone.
//!
//! # Where it stands
//!
//! Outermost: then the span is there for every line of every other layer, and the id for every answer, be it a 503 of a
//! limit or the 500 after a panic.
//!
//! # Costs
//!
//! The id is one allocation (its text, shared by extension and header), the extension a second one. If they were empty
//! before, the extensions allocate their map and the response its header table. What goes with the request to its end lies
//! in a box that its thread uses again. A span that nobody wants is one check;
//! everything else about the span is the subscriber's. There is no shared state: no lock and no counter that all
//! requests touch.
//!
//! [W3C Trace Context]: https://www.w3.org/TR/trace-context/#traceparent-header
#![forbid(unsafe_code)]

mod body;
mod future;
mod header;
mod id;
mod layer;
mod service;
mod span;
#[cfg(test)]
mod testing;
mod traceparent;
mod trail;

pub use self::body::ResponseBody;
pub use self::future::ResponseFuture;
pub use self::id::{IdFormat, InvalidRequestId, RequestId};
pub use self::layer::RequestLoggerLayer;
pub use self::service::RequestLogger;
pub use self::span::TARGET;
