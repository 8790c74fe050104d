//! Every way in which a place comes back, and that it comes back once.

use std::{
    convert::Infallible,
    future::{self, Future},
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll, Waker},
    time::Duration,
};

use bytes::Bytes;
use futures_util::{FutureExt, poll};
use graceful_concurrency_limit::{ConcurrencyLimitLayer, ResponseBody};
use http::{Method, Request, Response, StatusCode};
use http_body::Body;
use http_body_util::{BodyExt, Empty};
use tower::{Layer, Service, service_fn};

use crate::support::{Broken, Script, Step, Work, get, head_of, in_flight, script};

fn one() -> ConcurrencyLimitLayer {
    ConcurrencyLimitLayer::new(1).max_wait(Duration::from_secs(3600))
}

/// The body of an answered request, which holds the only place.
async fn body(layer: &ConcurrencyLimitLayer, script: Script) -> ResponseBody<Script, Empty<Bytes>> {
    let script = Arc::new(Mutex::new(Some(script)));
    let response = head_of(layer, get("/"), move |_| {
        let body = script.lock().expect("no panic").take().expect("one request");
        future::ready(Ok::<_, Infallible>(Response::new(body)))
    });
    let response = response.await.expect("infallible");
    assert_eq!(in_flight(&layer.limit()), 1, "the body holds the place");
    response.into_body()
}

#[tokio::test]
async fn at_the_end_of_the_body() {
    let layer = one();
    let mut body = body(&layer, script([Step::Data(b"a"), Step::Data(b"b")])).await;
    for _ in 0..2 {
        body.frame().await.expect("a frame").expect("no error");
        assert_eq!(in_flight(&layer.limit()), 1, "not before the end");
    }
    assert!(body.frame().await.is_none());
    assert_eq!(in_flight(&layer.limit()), 0, "with `None`, though the body is still there");
}

#[tokio::test]
async fn when_the_body_tells_its_end() {
    let layer = one();
    let mut told = script([Step::Data(b"a"), Step::Data(b"b")]);
    told.tells_end = true;
    let mut body = body(&layer, told).await;
    body.frame().await.expect("a frame").expect("no error");
    assert_eq!(in_flight(&layer.limit()), 1);
    body.frame().await.expect("a frame").expect("no error");
    assert!(body.is_end_stream());
    assert_eq!(in_flight(&layer.limit()), 0, "a server does not poll again");
}

#[tokio::test]
async fn after_trailers() {
    let layer = one();
    let mut told = script([Step::Data(b"a"), Step::Trailers]);
    told.tells_end = true;
    let mut body = body(&layer, told).await;
    body.frame().await.expect("a frame").expect("no error");
    assert!(body.frame().await.expect("a frame").expect("no error").is_trailers(), "trailers pass through");
    assert_eq!(in_flight(&layer.limit()), 0);
}

#[tokio::test]
async fn with_an_error_of_the_body() {
    let layer = one();
    let mut body = body(&layer, script([Step::Data(b"a"), Step::Error])).await;
    body.frame().await.expect("a frame").expect("no error");
    body.frame().await.expect("a frame").expect_err("the error passes through");
    assert_eq!(in_flight(&layer.limit()), 0);
}

#[tokio::test]
async fn when_the_body_is_dropped() {
    for polls in 0..2 {
        let layer = one();
        let mut body = body(&layer, script([Step::Data(b"a"), Step::Data(b"b"), Step::Wait])).await;
        for _ in 0..polls {
            body.frame().await.expect("a frame").expect("no error");
        }
        drop(body);
        assert_eq!(in_flight(&layer.limit()), 0, "dropped after {polls} frames");
    }
}

#[tokio::test]
async fn when_the_body_panics() {
    let layer = one();
    let mut body = body(&layer, script([Step::Panic])).await;
    let mut cx = Context::from_waker(Waker::noop());
    let caught = catch_unwind(AssertUnwindSafe(|| Pin::new(&mut body).poll_frame(&mut cx).is_ready()));
    assert!(caught.is_err());
    drop(body);
    assert_eq!(in_flight(&layer.limit()), 0);
}

#[tokio::test]
async fn when_the_drop_of_the_body_panics() {
    let layer = one();
    let mut bad = script([]);
    bad.panics_in_drop = true;
    let body = body(&layer, bad).await;
    assert!(catch_unwind(AssertUnwindSafe(|| drop(body))).is_err());
    assert_eq!(in_flight(&layer.limit()), 0);
}

#[tokio::test]
async fn with_an_error_of_the_service_though_the_future_is_kept() {
    let layer = one();
    let mut service =
        layer.layer(service_fn(|_: Request<Empty<Bytes>>| future::ready(Err::<Response<Script>, _>(Broken))));
    let mut kept = Box::pin(service.call(get("/")));
    assert_eq!(in_flight(&layer.limit()), 1, "from the call on");
    assert!(matches!(poll!(&mut kept), Poll::Ready(Err(Broken))), "the error passes through");
    assert_eq!(in_flight(&layer.limit()), 0);
}

#[tokio::test]
async fn it_goes_to_the_body_though_the_future_is_kept() {
    let layer = one();
    let mut service = layer
        .layer(service_fn(|_: Request<Empty<Bytes>>| future::ready(Ok::<_, Infallible>(Response::new(script([]))))));
    let mut kept = Box::pin(service.call(get("/")));
    let Poll::Ready(Ok(response)) = poll!(&mut kept) else { panic!("ready") };
    drop(response);
    assert_eq!(in_flight(&layer.limit()), 0);
}

#[tokio::test]
async fn when_the_future_is_dropped() {
    let work = Work::new();
    let layer = one();
    let mut service = layer.layer(work.service());
    for poll_it in [false, true] {
        let mut call = Box::pin(service.call(get("/")));
        if poll_it {
            assert!(poll!(&mut call).is_pending());
        }
        assert_eq!(in_flight(&layer.limit()), 1);
        drop(call);
        assert_eq!(in_flight(&layer.limit()), 0, "polled: {poll_it}");
    }
}

#[tokio::test]
async fn when_the_call_panics() {
    let layer = one();
    let mut service = layer.layer(service_fn(panic_in_call));
    assert!(catch_unwind(AssertUnwindSafe(|| service.call(get("/")))).is_err());
    assert_eq!(in_flight(&layer.limit()), 0);
}

#[tokio::test]
async fn when_the_call_panics_after_waiting() {
    let layer = one();
    let inside = layer.layer(Work::new().service()).call(get("/"));
    let mut service = layer.layer(service_fn(panic_in_call));
    let mut waits = Box::pin(service.call(get("/")));
    assert!(poll!(&mut waits).is_pending());
    drop(inside);
    assert!(AssertUnwindSafe(&mut waits).catch_unwind().await.is_err());
    assert_eq!(in_flight(&layer.limit()), 0, "though the future is kept");
    assert!(poll!(&mut waits).is_pending(), "polled again, it neither takes a place nor panics");
    assert_eq!(in_flight(&layer.limit()), 0);
}

fn panic_in_call(_: Request<Empty<Bytes>>) -> future::Ready<Result<Response<Script>, Infallible>> {
    panic!("in the call")
}

#[tokio::test]
async fn when_the_future_panics() {
    let layer = one();
    let call = head_of(&layer, get("/"), |_| async {
        if true {
            panic!("in the future");
        }
        Ok::<_, Infallible>(Response::new(script([])))
    });
    assert!(AssertUnwindSafe(call).catch_unwind().await.is_err());
    assert_eq!(in_flight(&layer.limit()), 0);
}

#[tokio::test]
async fn when_the_drop_of_the_future_panics() {
    struct Bad;
    impl Future for Bad {
        type Output = Result<Response<Script>, Infallible>;
        fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Self::Output> {
            Poll::Pending
        }
    }
    impl Drop for Bad {
        fn drop(&mut self) {
            panic!("in the future's drop");
        }
    }
    let layer = one();
    let call = layer.layer(service_fn(|_: Request<Empty<Bytes>>| Bad)).call(get("/"));
    assert!(catch_unwind(AssertUnwindSafe(|| drop(call))).is_err());
    assert_eq!(in_flight(&layer.limit()), 0);
}

#[tokio::test(start_paused = true)]
async fn one_that_leaves_the_queue_frees_its_place_there() {
    let work = Work::new();
    let layer = one().max_queue(1);
    let mut service = layer.layer(work.service());
    let inside = service.call(get("/in"));
    for poll_it in [false, true] {
        let mut gone = Box::pin(service.call(get("/gone")));
        if poll_it {
            assert!(poll!(&mut gone).is_pending());
        }
        assert_eq!(layer.limit().stats().queued, 1);
        drop(gone);
        assert_eq!(layer.limit().stats().queued, 0, "polled: {poll_it}");
    }
    assert_eq!(layer.limit().stats().abandoned, 2);
    drop(inside);
    assert!(work.started().is_empty(), "the handler never saw them");
}

#[tokio::test(start_paused = true)]
async fn one_that_leaves_with_a_place_just_granted_leaves_it_to_the_next() {
    let work = Work::new();
    let layer = one();
    let mut service = layer.layer(work.service());
    let inside = service.call(get("/in"));
    let mut gone = Box::pin(service.call(get("/gone")));
    let mut next = Box::pin(service.call(get("/next")));
    assert!(poll!(&mut gone).is_pending());
    assert!(poll!(&mut next).is_pending());
    drop(inside);
    drop(gone);
    work.finish(1);
    assert_eq!(next.await.expect("infallible").status(), 200);
    assert_eq!(work.started(), ["/next"]);
    assert_eq!(in_flight(&layer.limit()), 0);
}

#[tokio::test]
async fn with_the_head_of_an_upgrade() {
    for (method, status, held) in [
        (Method::GET, StatusCode::SWITCHING_PROTOCOLS, 0),
        (Method::CONNECT, StatusCode::OK, 0),
        (Method::CONNECT, StatusCode::FORBIDDEN, 1),
        (Method::GET, StatusCode::OK, 1),
        (Method::GET, StatusCode::NO_CONTENT, 1),
    ] {
        let layer = one();
        let mut request = get("/");
        *request.method_mut() = method.clone();
        let response = head_of(&layer, request, |_| {
            let mut response = Response::new(script([]));
            *response.status_mut() = status;
            future::ready(Ok::<_, Infallible>(response))
        })
        .await
        .expect("infallible");
        assert_eq!(in_flight(&layer.limit()), held, "{method} {status}, body not dropped yet");
        drop(response);
        assert_eq!(in_flight(&layer.limit()), 0, "{method} {status}");
    }
}

#[tokio::test]
async fn the_body_is_forwarded_whole() {
    let layer = one();
    let body = body(&layer, script([Step::Data(b"a"), Step::Data(b"b"), Step::Trailers])).await;
    assert_eq!(body.size_hint().exact(), Some(42), "a known length stays known");
    let collected = body.collect().await.expect("no error");
    assert!(collected.trailers().is_some());
    assert_eq!(collected.to_bytes(), "ab");
}
