//! What the layer allocates: nothing of its own, but for the counter of a request's body and the cell for the route.

use std::{
    convert::Infallible,
    future::{Ready, ready},
    hint::black_box,
    pin::pin,
    task::{Context, Poll, Waker},
};

use allocation_counter::measure;
use bytes::Bytes;
use graceful_access_log::{AccessLogLayer, RequestBody};
use http::{HeaderValue, Request, Response, Uri, header::USER_AGENT};
use http_body::Body;
use http_body_util::Full;
use hyper::{body::Incoming, server::conn::http1};
use hyper_util::{rt::TokioIo, service::TowerToHyperService};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tower::{Layer, Service, service_fn};
use tracing::{Event, Metadata, span};

/// Listens to everything, keeps nothing, and allocates nothing.
struct Listen;

impl tracing::Subscriber for Listen {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }
    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }
    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
    fn event(&self, event: &Event<'_>) {
        black_box(event);
    }
    fn enter(&self, _: &span::Id) {}
    fn exit(&self, _: &span::Id) {}
}

/// As hyper hands it over: what the head holds is shared, and cloning it is free.
fn request(body: &'static str) -> Request<Full<Bytes>> {
    let mut request = Request::new(Full::from(body));
    *request.uri_mut() = Uri::from_static("/users/7?a=b");
    request.headers_mut().insert(USER_AGENT, HeaderValue::from_static("curl/8.5.0"));
    request
}

fn answer<B>(_: Request<B>) -> Ready<Result<Response<Full<Bytes>>, Infallible>> {
    ready(Ok(Response::new(Full::from("hello"))))
}

/// Allocations of one request from the call to the drop of its body.
fn allocations<S, B>(service: &mut S, request: Request<Full<Bytes>>) -> u64
where
    S: Service<Request<Full<Bytes>>, Response = Response<B>, Error = Infallible>,
    B: Body,
{
    let run = || {
        let mut cx = Context::from_waker(Waker::noop());
        let future = pin!(service.call(request));
        let Poll::Ready(Ok(response)) = future.poll(&mut cx) else { panic!("the service is always ready") };
        let mut body = pin!(response.into_body());
        while let Poll::Ready(Some(frame)) = body.as_mut().poll_frame(&mut cx) {
            black_box(frame.is_ok());
        }
    };
    measure(run).count_total
}

/// The same with the layer and without, once the callsites are registered.
fn added(layer: &AccessLogLayer, body: &'static str) -> u64 {
    let mut bare = service_fn(answer);
    let mut logged = layer.layer(service_fn(answer));
    allocations(&mut logged, request(body));
    allocations(&mut logged, request(body)) - allocations(&mut bare, request(body))
}

#[test]
fn without_a_listener_there_is_no_allocation() {
    assert_eq!(added(&AccessLogLayer::new().route_cell(true), "upload"), 0);
}

#[test]
fn a_request_without_a_body_allocates_nothing() {
    let _default = tracing::subscriber::set_default(Listen);
    assert_eq!(added(&AccessLogLayer::new(), ""), 0);
    let everything = AccessLogLayer::new().query(true).peer(|_| Some(([127, 0, 0, 1], 80).into())).filter(|_| true);
    assert_eq!(added(&everything, ""), 0, "nor does any option but the route cell");
}

#[test]
fn a_request_with_a_body_allocates_its_counter() {
    let _default = tracing::subscriber::set_default(Listen);
    assert_eq!(added(&AccessLogLayer::new(), "upload"), 1);
}

/// Allocations of a server of hyper's for as many requests on one connection.
fn on_hyper<S, B>(service: S, requests: usize) -> u64
where
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible> + Clone + 'static,
    B: Body<Data = Bytes, Error = Infallible> + 'static,
{
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let run = async {
        let (mut client, server) = tokio::io::duplex(4096);
        let service = TowerToHyperService::new(service);
        let server = http1::Builder::new().serve_connection(TokioIo::new(server), service);
        let client = async move {
            let mut answer = [0; 1024];
            for _ in 0..requests {
                client.write_all(b"GET /a HTTP/1.1\r\nhost: b\r\nuser-agent: c\r\n\r\n").await.expect("writes");
                let n = client.read(&mut answer).await.expect("reads");
                assert!(answer[..n].ends_with(b"hello"), "one write of the server's for each answer");
            }
        };
        let (result, ()) = tokio::join!(server, client);
        result.expect("a clean end");
    };
    measure(|| runtime.block_on(run)).count_total
}

#[test]
fn on_hyper_a_get_allocates_nothing_more() {
    let _default = tracing::subscriber::set_default(Listen);
    // A handler that waits, while hyper looks for the client's next bytes: the worst case for a record that shares the
    // buffer of the head.
    let slow = service_fn(|request: Request<_>| async {
        tokio::task::yield_now().await;
        answer(request).await
    });
    let logged = AccessLogLayer::new().layer(service_fn(|request: Request<RequestBody<Incoming>>| async {
        tokio::task::yield_now().await;
        answer(request).await
    }));
    // The first run of each registers callsites and fills thread-locals.
    on_hyper(slow, 1);
    on_hyper(logged.clone(), 1);
    let bare = on_hyper(slow, 200) - on_hyper(slow, 100);
    let with_log = on_hyper(logged.clone(), 200) - on_hyper(logged, 100);
    // One more or less in a hundred requests is the runtime's.
    assert!(with_log.abs_diff(bare) < 10, "{with_log} and {bare} for 100 requests, with the record of each written");
}

#[test]
fn the_route_cell_allocates_for_the_cell_and_for_the_extensions() {
    let _default = tracing::subscriber::set_default(Listen);
    let layer = AccessLogLayer::new().route_cell(true);
    // The map, its table and the value are of `http::Extensions`.
    assert_eq!(added(&layer, ""), 4);
    assert_eq!(added(&layer, "upload"), 4, "the counter of the body lives in the same cell");
}
