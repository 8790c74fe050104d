//! The event has the fields of the request's span, wherever it is written.

use std::convert::Infallible;

use bytes::Bytes;
use graceful_access_log::{AccessLogLayer, RequestBody};
use http::{Request, Response};
use http_body_util::{BodyExt, Empty, Full};
use tower::{Layer, Service, ServiceBuilder, ServiceExt, service_fn};
use tower_http::trace::TraceLayer;
use tracing::info_span;

use crate::capture::Capture;

type Received = Request<RequestBody<Empty<Bytes>>>;

async fn hello(_: Received) -> Result<Response<Full<Bytes>>, Infallible> {
    Ok(Response::new(Full::from("hello")))
}

#[tokio::test]
async fn the_span_of_the_call_is_the_span_of_the_event() {
    for (capture, spans) in [(true, vec!["connection", "request"]), (false, vec!["connection"])] {
        let mut log = Capture::new();
        let mut service = AccessLogLayer::new().capture_span(capture).layer(service_fn(hello));
        let connection = info_span!("connection").entered();
        let future = info_span!("request").in_scope(|| service.call(Request::new(Empty::new())));
        drop(future.await.expect("infallible"));
        drop(connection);
        assert_eq!(log.only().spans, spans, "with capture_span({capture})");
    }
}

#[tokio::test]
async fn without_a_span_there_is_none() {
    let mut log = Capture::new();
    drop(AccessLogLayer::new().layer(service_fn(hello)).oneshot(Request::new(Empty::new())).await);
    assert!(log.only().spans.is_empty());
}

#[tokio::test]
async fn under_tower_http_the_event_is_in_its_span_also_in_a_drop() {
    for polled in [true, false] {
        let mut log = Capture::new();
        let trace = TraceLayer::new_for_http().make_span_with(|_: &Request<_>| info_span!("request"));
        let service = ServiceBuilder::new().layer(trace).layer(AccessLogLayer::new()).service_fn(hello);
        let response = service.oneshot(Request::new(Empty::new())).await.expect("infallible");
        if polled {
            response.into_body().collect().await.expect("infallible");
        } else {
            drop(response);
        }
        let event = log.only();
        assert_eq!(event.spans, ["request"], "polled to its end: {polled}");
        assert_eq!(event.outcome().1, if polled { "complete" } else { "truncated" });
    }
}
