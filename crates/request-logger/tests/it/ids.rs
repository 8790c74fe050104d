//! Which id a request gets, and who gets to see it.

use std::convert::Infallible;

use graceful_request_logger::{IdFormat, RequestId, RequestLoggerLayer};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, Version};
use tower::{ServiceBuilder, ServiceExt, service_fn};
use tracing::info;

use crate::capture::Capture;

/// What everybody sees of one request.
struct Seen {
    /// In the extensions.
    extension: String,
    /// In the request's header, as the handler reads it.
    request: Vec<HeaderValue>,
    /// In the response's header.
    response: Vec<HeaderValue>,
    /// In the span of a line of the handler's.
    line: String,
    everything: String,
}

async fn ask(layer: RequestLoggerLayer, name: &'static str, sent: &[&[u8]], answered: &'static [&'static str]) -> Seen {
    let capture = Capture::new();
    let mut inside = None;
    let mut request = Request::new(());
    for value in sent {
        request.headers_mut().append(name, HeaderValue::from_bytes(value).expect("a header value"));
    }
    let handler = service_fn(|request: Request<()>| {
        info!("handling");
        let id = request.extensions().get::<RequestId>().expect("an id in the extensions").to_string();
        inside = Some((id, values(request.headers(), name)));
        let mut response = Response::new(());
        for value in answered {
            response.headers_mut().append(name, HeaderValue::from_static(value));
        }
        std::future::ready(Ok::<_, Infallible>(response))
    });
    let response = ServiceBuilder::new().layer(layer).service(handler).oneshot(request).await.expect("infallible");
    let (extension, request) = inside.expect("the handler ran");
    let response = values(response.headers(), name);
    let everything = format!("{:?} {:?} {extension} {request:?} {response:?}", capture.lines(), capture.spans());
    let line = capture.lines()[0].ids[0].clone();
    Seen { extension, request, response, line, everything }
}

fn values(headers: &HeaderMap, name: &str) -> Vec<HeaderValue> {
    headers.get_all(name).iter().cloned().collect()
}

impl Seen {
    /// Asserts that it is one id, whoever looks at it.
    #[track_caller]
    fn one_id(&self) -> &str {
        assert_eq!(self.response, [self.extension.as_str()], "the response carries the id, once");
        assert_eq!(self.line, self.extension, "a log line carries the id");
        for value in &self.request {
            assert_eq!(value, self.extension.as_str(), "inner code that reads the header reads the same id");
        }
        &self.extension
    }

    #[track_caller]
    fn fresh_id(&self) -> &str {
        let id = self.one_id();
        assert_eq!((id.len(), id.as_bytes()[14]), (36, b'4'), "a fresh id is a UUID: {id}");
        id
    }
}

const NAME: &str = "x-request-id";

#[tokio::test]
async fn a_fit_id_is_taken() {
    let longest = "z".repeat(128);
    for good in ["a", "7f2c1e40-0000-4000-8000-000000000000", "A.b_c:d/e+f=g-1", &longest] {
        let seen = ask(RequestLoggerLayer::new(), NAME, &[good.as_bytes()], &[]).await;
        assert_eq!(seen.one_id(), good);
    }
}

#[tokio::test]
async fn an_unfit_id_is_replaced_and_seen_by_nobody() {
    let too_long = [b"unfit".as_slice(), &[b'z'; 124]].concat();
    assert_eq!(too_long.len(), 129);
    for bad in [
        &too_long[..],
        b"",
        b"unfit id",
        b"unfit\tid",
        b"unfit;id",
        b"unfit\"id",
        b"unfit{}",
        b"<unfit>",
        "unfit\u{fc}".as_bytes(),
        b"unfit\x80\xff",
        b"unfit\x9b31m",
    ] {
        for layer in [RequestLoggerLayer::new(), RequestLoggerLayer::new().forward(true)] {
            let seen = ask(layer, NAME, &[bad], &[]).await;
            let id = seen.fresh_id();
            assert_eq!(seen.request, [id], "inner code does not read the bad one either");
            assert!(!seen.everything.contains("unfit"), "a bad id is neither echoed nor logged: {}", seen.everything);
        }
    }
}

#[tokio::test]
async fn of_two_headers_neither_is_taken() {
    for sent in [[b"unfit-1", b"unfit-2"], [b"unfit-1", b"unfit-1"]] {
        let seen = ask(RequestLoggerLayer::new(), NAME, &sent.map(|value| &value[..]), &[]).await;
        let id = seen.fresh_id();
        assert_eq!(seen.request, [id], "both are overwritten");
        assert!(!seen.everything.contains("unfit"), "{}", seen.everything);
    }
}

#[tokio::test]
async fn a_request_without_an_id_gets_one() {
    let one = ask(RequestLoggerLayer::new(), NAME, &[], &[]).await;
    let other = ask(RequestLoggerLayer::default(), NAME, &[], &[]).await;
    assert_ne!(one.fresh_id(), other.fresh_id(), "each request its own");
    assert!(one.request.is_empty(), "its headers are left as they were sent");

    let seen = ask(RequestLoggerLayer::new().forward(true), NAME, &[], &[]).await;
    let id = seen.fresh_id();
    assert_eq!(seen.request, [id], "unless inner code is to find the id there");
}

#[tokio::test]
async fn nobody_is_trusted_if_so_told() {
    let layer = RequestLoggerLayer::new().trust_inbound(false);
    let seen = ask(layer, NAME, &[b"fit"], &[]).await;
    let id = seen.fresh_id();
    assert_eq!(seen.request, [id]);
}

#[tokio::test]
async fn the_format_is_a_choice() {
    let seen = ask(RequestLoggerLayer::new().id_format(IdFormat::V7), NAME, &[], &[]).await;
    assert_eq!(seen.one_id().as_bytes()[14], b'7');
    let seen = ask(RequestLoggerLayer::new().id_format(IdFormat::V7), NAME, &[b"fit"], &[]).await;
    assert_eq!(seen.one_id(), "fit");
}

#[tokio::test]
async fn the_header_is_a_choice() {
    let name = "x-correlation-id";
    let layer = RequestLoggerLayer::new().header_name(HeaderName::from_static(name));
    let seen = ask(layer.clone(), name, &[b"fit"], &[]).await;
    assert_eq!(seen.one_id(), "fit");

    let request = Request::builder().header(NAME, "fit").body(()).expect("a request");
    let service = service_fn(async |_| Ok::<_, Infallible>(Response::new(())));
    let response = ServiceBuilder::new().layer(layer).service(service).oneshot(request).await.expect("infallible");
    assert!(!response.headers().contains_key(NAME), "the usual header is nothing special then");
    assert_eq!(response.headers()[name].len(), 36);
}

#[tokio::test]
async fn the_response_carries_the_id_of_the_log_whatever_the_handler_set() {
    for answered in [&["theirs"][..], &["theirs", "and-theirs"]] {
        let seen = ask(RequestLoggerLayer::new(), NAME, &[b"ours"], answered).await;
        assert_eq!(seen.one_id(), "ours");
    }
}

/// A ULID.
const KNOWN: &str = "01ARZ3NDEKTSV4RRFFQ69G5FAV";

#[tokio::test]
async fn header_compression_is_told_not_to_remember_it() {
    for (version, compresses) in [(Version::HTTP_10, false), (Version::HTTP_11, false), (Version::HTTP_2, true)] {
        for sent in [None, Some("from-outside")] {
            let mut request = Request::new(());
            *request.version_mut() = version;
            request.headers_mut().extend(sent.map(|id| (HeaderName::from_static(NAME), HeaderValue::from_static(id))));
            let handler = service_fn(|request: Request<()>| {
                let id = request.extensions().get::<RequestId>().expect("an id in the extensions");
                assert!(!id.header_value().is_sensitive(), "what is passed on to other servers is as it was");
                std::future::ready(Ok::<_, Infallible>(Response::new(())))
            });
            let service = ServiceBuilder::new().layer(RequestLoggerLayer::new()).service(handler);
            let response = service.oneshot(request).await.expect("infallible");
            assert_eq!(response.headers()[NAME].is_sensitive(), compresses, "{version:?}, sent {sent:?}");
        }
    }
}

#[tokio::test]
async fn an_id_that_is_known_already_is_kept() {
    let capture = Capture::new();
    let mut request = Request::builder().header(NAME, "sent").body(()).expect("a request");
    request.extensions_mut().insert(KNOWN.parse::<RequestId>().expect("an id"));
    let handler = service_fn(async |request: Request<()>| {
        info!("handling");
        assert_eq!(request.headers()[NAME], KNOWN, "what was sent beside it is overwritten");
        Ok::<_, Infallible>(Response::new(()))
    });
    let service = ServiceBuilder::new().layer(RequestLoggerLayer::new()).layer(RequestLoggerLayer::new());
    let response = service.service(handler).oneshot(request).await.expect("infallible");
    assert_eq!(response.headers()[NAME], KNOWN);
    for id in &capture.lines()[0].ids {
        assert_eq!(id, KNOWN, "the layer twice is still one id");
    }
    assert_eq!(capture.lines()[0].ids.len(), 2);
}

#[tokio::test]
async fn without_a_subscriber_there_is_still_an_id() {
    let request = Request::builder().header(NAME, "fit").body(()).expect("a request");
    let handler = service_fn(async |request: Request<()>| {
        assert!(tracing::Span::current().is_none());
        Ok::<_, Infallible>(Response::new(request.extensions().get::<RequestId>().cloned()))
    });
    let service = ServiceBuilder::new().layer(RequestLoggerLayer::new()).service(handler);
    let response = service.oneshot(request).await.expect("infallible");
    assert_eq!(response.headers()[NAME], "fit");
}
