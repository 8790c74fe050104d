//! What the span says.

use std::{collections::BTreeMap, convert::Infallible};

use graceful_request_logger::{RequestLoggerLayer, TARGET};
use http::{Method, Request, Response, Uri};
use tower::{ServiceBuilder, ServiceExt, service_fn};
use tracing::{Level, info_span};

use crate::capture::{Capture, SpanRecord};

async fn span_of(layer: RequestLoggerLayer, request: Request<()>) -> SpanRecord {
    let capture = Capture::new();
    let service = service_fn(async |_| Ok::<_, Infallible>(Response::new(())));
    ServiceBuilder::new().layer(layer).service(service).oneshot(request).await.expect("infallible");
    capture.assert_all_ended();
    capture.span()
}

fn get(uri: &str) -> http::request::Builder {
    Request::get(uri).header("x-request-id", "r-1")
}

#[tokio::test]
async fn it_has_the_fields_that_the_docs_list() {
    let request = get("http://host/api/work?secret=hunter2").body(()).expect("a request");
    let span = span_of(RequestLoggerLayer::new(), request).await;
    assert_eq!((span.name, span.target, span.level), ("request", TARGET, Level::INFO));
    let expected = [("method", "GET"), ("path", "/api/work"), ("request_id", "r-1")];
    assert_eq!(
        span.text,
        BTreeMap::from(expected.map(|(name, text)| (name, text.to_owned()))),
        "nothing else: neither the query nor a trace that there is not"
    );
    assert!(span.is_root);
}

#[tokio::test]
async fn the_query_is_there_if_asked_for() {
    let layer = RequestLoggerLayer::new().query(true);
    let span = span_of(layer.clone(), get("/search?q=a&b").body(()).expect("a request")).await;
    assert_eq!((&*span.text["path"], &*span.text["query"]), ("/search", "q=a&b"));
    let span = span_of(layer, get("/search").body(()).expect("a request")).await;
    assert!(!span.text.contains_key("query"), "no query, no field");
}

#[tokio::test]
async fn a_valid_traceparent_is_there() {
    let (trace, parent) = ("4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7");
    let request = get("/").header("traceparent", format!("00-{trace}-{parent}-01")).body(()).expect("a request");
    let span = span_of(RequestLoggerLayer::new(), request).await;
    assert_eq!((&*span.text["trace_id"], &*span.text["parent_id"]), (trace, parent));

    let request = get("/").header("traceparent", format!("ff-{trace}-{parent}-01")).body(()).expect("a request");
    let span = span_of(RequestLoggerLayer::new(), request).await;
    assert!(!span.text.contains_key("trace_id") && !span.text.contains_key("parent_id"), "an invalid one is ignored");
}

#[tokio::test]
async fn what_the_client_chooses_is_bounded() {
    let path = format!("/{}", "ü".repeat(1000));
    let uri: Uri = format!("{path}?{}", "q".repeat(5000)).parse().expect("a URI");
    let method = Method::from_bytes(&[b'X'; 5000]).expect("a method");
    let request = Request::builder().method(method).uri(uri).body(()).expect("a request");
    let span = span_of(RequestLoggerLayer::new().query(true), request).await;
    assert_eq!(span.text["method"], "X".repeat(32));
    assert_eq!(span.text["path"], path[..1023], "cut before a half character");
    assert_eq!(span.text["query"], "q".repeat(1024));
}

#[tokio::test]
async fn uris_without_a_path_have_a_span_too() {
    for (method, uri, path) in [(Method::OPTIONS, "*", "*"), (Method::CONNECT, "host:443", "")] {
        let request = Request::builder().method(method).uri(uri).body(()).expect("a request");
        assert_eq!(span_of(RequestLoggerLayer::new(), request).await.text["path"], path);
    }
}

#[tokio::test]
async fn a_span_outside_is_its_parent() {
    let capture = Capture::new();
    let outer = info_span!("outer");
    let service = service_fn(async |_| Ok::<_, Infallible>(Response::new(())));
    let mut service = ServiceBuilder::new().layer(RequestLoggerLayer::new()).service(service);
    let future = outer.in_scope(|| tower::Service::call(&mut service, get("/").body(()).expect("a request")));
    future.await.expect("infallible");
    assert!(!capture.span().is_root, "as any span, it belongs to the one that it is opened in");
    capture.assert_all_ended();
}
