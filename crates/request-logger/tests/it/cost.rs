//! What the docs promise about allocations.

use std::{convert::Infallible, future::Future, pin::pin, task::Context};

use allocation_counter::measure;
use graceful_request_logger::{IdFormat, RequestId, RequestLoggerLayer};
use http::{HeaderValue, Request, Response, header::HOST};
use tower::{Layer, Service, service_fn};

/// Something in the extensions, as a server's `ConnectInfo` is.
#[derive(Clone)]
struct Peer;

fn request(id: Option<&'static str>) -> Request<()> {
    let mut request = Request::new(());
    request.extensions_mut().insert(Peer);
    request.headers_mut().insert(HOST, HeaderValue::from_static("a"));
    if let Some(id) = id {
        request.headers_mut().insert("x-request-id", HeaderValue::from_static(id));
    }
    request
}

async fn handler(_: Request<()>) -> Result<Response<()>, Infallible> {
    let mut response = Response::new(());
    response.headers_mut().insert("content-type", HeaderValue::from_static("text/plain"));
    Ok(response)
}

fn allocations<S: Service<Request<()>>>(mut service: S, request: Request<()>) -> u64 {
    let counted = measure(|| {
        let mut future = pin!(service.call(request));
        assert!(future.as_mut().poll(&mut Context::from_waker(std::task::Waker::noop())).is_ready());
    });
    counted.count_total
}

#[test]
fn the_id_and_the_extension_are_all_that_is_allocated() {
    // The generator of this thread is made, and seeded, once; and so is the first box for what goes with a request.
    allocations(RequestLoggerLayer::new().layer(service_fn(handler)), request(None));
    let bare = allocations(service_fn(handler), request(None));
    let cases: [(&str, Option<&'static str>, RequestLoggerLayer); 4] = [
        ("version 4", None, RequestLoggerLayer::new()),
        ("version 7", None, RequestLoggerLayer::new().id_format(IdFormat::V7)),
        ("from outside", Some("fit-1"), RequestLoggerLayer::new()),
        ("replaced", Some("un fit"), RequestLoggerLayer::new()),
    ];
    for (name, id, layer) in cases {
        let layered = allocations(layer.layer(service_fn(handler)), request(id));
        assert_eq!(layered - bare, 2, "{name}: the id's text, and its box in the extensions");
    }
}

#[test]
fn a_clone_of_an_id_allocates_nothing() {
    let id = RequestId::generate(IdFormat::V4);
    let counted = measure(|| drop((id.clone(), id.header_value().clone())));
    assert_eq!(counted.count_total, 0, "an id shares its text");
}
