//! Limits of single routes.

use std::{convert::Infallible, time::Duration};

use bytes::Bytes;
use graceful_timeout::{Deadline, RouteTimeoutLayer, TimeoutLayer};
use http::{HeaderValue, Request, Response, StatusCode};
use http_body_util::{Empty, Full};
use tokio::time::{Instant, sleep};
use tower::{Layer, Service, ServiceBuilder, ServiceExt, service_fn};

use crate::support::{MS, SECOND, ok, request, text};

/// A handler that answers after `seconds`.
fn takes(
    seconds: u64,
) -> impl Service<Request<Empty<Bytes>>, Response = Response<Full<Bytes>>, Error = Infallible, Future: Send>
+ Clone
+ Send
+ 'static {
    service_fn(move |_| async move {
        sleep(Duration::from_secs(seconds)).await;
        ok("done")
    })
}

/// Serves one request and gives its answer and how long that took.
async fn serve<S, B>(service: S) -> (String, Duration)
where
    S: Service<Request<Empty<Bytes>>, Response = Response<B>>,
    S::Error: std::fmt::Debug,
    B: http_body::Body<Data = Bytes>,
    B::Error: std::fmt::Debug,
{
    let start = Instant::now();
    let response = service.oneshot(request()).await.unwrap();
    (text(response).await, start.elapsed())
}

fn outer() -> TimeoutLayer {
    TimeoutLayer::new(5 * SECOND).message("outer")
}

fn route(seconds: u64) -> RouteTimeoutLayer {
    RouteTimeoutLayer::new(Duration::from_secs(seconds)).message("route")
}

#[tokio::test(start_paused = true)]
async fn a_route_can_have_longer_or_shorter_or_for_ever() {
    for outer in [outer(), outer().extension(false)] {
        let done = |seconds| ("done".to_owned(), seconds * SECOND);
        let cut = |seconds| ("outer".to_owned(), seconds * SECOND);

        let longer = outer.layer(route(9).layer(takes(8)));
        assert_eq!(serve(longer).await, done(8), "longer");
        let longer = outer.layer(route(9).layer(takes(60)));
        assert_eq!(serve(longer).await, cut(9), "longer is still a limit, and the outer layer answers");

        let shorter = outer.layer(route(2).layer(takes(60)));
        assert_eq!(serve(shorter).await, cut(2), "shorter");

        let off = outer.layer(RouteTimeoutLayer::off().layer(takes(3600)));
        assert_eq!(serve(off).await, done(3600), "off");
        let none = TimeoutLayer::new(None).message("outer").layer(route(2).layer(takes(60)));
        assert_eq!(serve(none).await, cut(2), "the outer layer keeps the time also without a limit of its own");

        let nested = outer.layer(route(2).layer(route(9).layer(takes(60))));
        assert_eq!(serve(nested).await, cut(9), "the innermost wins");
        let nested = outer.layer(route(9).layer(route(2).layer(takes(60))));
        assert_eq!(serve(nested).await, cut(2), "the innermost wins");
    }
}

#[tokio::test(start_paused = true)]
async fn the_time_of_a_route_starts_with_the_outer_layer() {
    // Something between the two that takes its time, as authentication may.
    let slow = |inner: RouteService| {
        service_fn(move |request| {
            let inner = inner.clone();
            async move {
                sleep(SECOND).await;
                inner.oneshot(request).await
            }
        })
    };
    let route = tower::util::BoxCloneService::new(route(3).layer(takes(60)));
    assert_eq!(serve(outer().layer(slow(route))).await, ("outer".to_owned(), 3 * SECOND));

    type RouteService = tower::util::BoxCloneService<
        Request<Empty<Bytes>>,
        Response<graceful_answer::AnswerBody<Full<Bytes>>>,
        Infallible,
    >;
}

#[tokio::test(start_paused = true)]
async fn a_route_that_is_reached_too_late_ends_at_once() {
    let route = route(1).layer(takes(60));
    let slow = service_fn(move |request| {
        let route = route.clone();
        async move {
            sleep(3 * SECOND).await;
            route.oneshot(request).await
        }
    });
    assert_eq!(serve(outer().layer(slow)).await, ("outer".to_owned(), 3 * SECOND));
}

#[tokio::test(start_paused = true)]
async fn the_deadline_follows_the_route() {
    let tell = service_fn(|request: Request<Empty<Bytes>>| async move {
        let shown: &Deadline = request.extensions().get().expect("shown");
        let found = Deadline::current().expect("found");
        assert_eq!(shown.remaining(), found.remaining(), "both ways tell the same");
        Ok::<_, Infallible>(Response::new(Full::new(Bytes::from(format!("{:?}", shown.remaining())))))
    });
    let left = async |layer: RouteTimeoutLayer| serve(outer().layer(layer.layer(tell))).await.0;
    assert_eq!(left(route(2)).await, "2s");
    assert_eq!(left(route(9)).await, "9s");
    assert_eq!(left(RouteTimeoutLayer::off()).await, format!("{:?}", Duration::MAX));
    // A timeout further out, which the route does not reach, still is what ends the request.
    let service = TimeoutLayer::new(4 * SECOND).layer(outer().layer(route(9).layer(tell)));
    assert_eq!(serve(service).await.0, "4s");
}

#[tokio::test(start_paused = true)]
async fn a_route_waits_no_longer_than_the_client() {
    for layer in [route(9), route(3), RouteTimeoutLayer::off()] {
        let mut request = request();
        request.headers_mut().insert("x-request-timeout", HeaderValue::from_static("2"));
        let start = Instant::now();
        let response = outer().trust_client(true).layer(layer.layer(takes(60))).oneshot(request).await.unwrap();
        assert_eq!(response.status(), 503);
        assert_eq!(start.elapsed(), 2 * SECOND, "{layer:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn alone_it_is_a_timeout() {
    assert_eq!(serve(route(2).layer(takes(60))).await, ("route".to_owned(), 2 * SECOND));
    assert_eq!(serve(route(2).layer(takes(1))).await, ("done".to_owned(), SECOND));
    assert_eq!(serve(RouteTimeoutLayer::off().layer(takes(3600))).await, ("done".to_owned(), 3600 * SECOND));
    // Then the innermost wins among routes as well.
    assert_eq!(serve(route(2).layer(route(9).layer(takes(8)))).await, ("done".to_owned(), 8 * SECOND));
    let response = route(2).status(StatusCode::GATEWAY_TIMEOUT).layer(takes(60)).oneshot(request()).await.unwrap();
    assert_eq!(response.status(), 504);
    let layer = route(2).answer(|_: &graceful_timeout::Elapsed| Response::new(Bytes::from_static(b"own words")));
    assert_eq!(serve(layer.layer(takes(60))).await.0, "own words");
}

#[tokio::test(start_paused = true)]
async fn out_of_reach_a_shorter_limit_works_and_a_longer_one_cannot() {
    // The buffer calls and polls the service in a task of its own.
    let service =
        |layer: RouteTimeoutLayer| ServiceBuilder::new().layer(outer()).buffer(1).layer(layer).service(takes(60));
    assert_eq!(serve(service(route(2))).await, ("route".to_owned(), 2 * SECOND));
    assert_eq!(serve(service(route(9))).await, ("outer".to_owned(), 5 * SECOND));
    assert_eq!(serve(service(RouteTimeoutLayer::off())).await, ("outer".to_owned(), 5 * SECOND));
}

#[tokio::test(start_paused = true)]
async fn the_routes_of_another_request_are_none_of_ours() {
    // A handler that asks a service in the same process, which has routes with limits of their own.
    for layer in [RouteTimeoutLayer::off(), route(2), route(9)] {
        let handler = service_fn(move |_: Request<Empty<Bytes>>| {
            let inner = layer.layer(takes(1));
            async move {
                inner.oneshot(request()).await.unwrap();
                let left = Deadline::current().expect("still there").remaining();
                sleep(60 * SECOND).await;
                Ok::<_, Infallible>(Response::new(Full::new(Bytes::from(format!("{left:?}")))))
            }
        });
        assert_eq!(serve(outer().layer(handler)).await, ("outer".to_owned(), 5 * SECOND));
    }
    // A request that is handed on by the handler stays ours.
    let handler = service_fn(|request: Request<Empty<Bytes>>| async {
        sleep(MS).await;
        route(9).layer(takes(8)).oneshot(request).await
    });
    assert_eq!(serve(outer().layer(handler)).await.0, "done");
}
