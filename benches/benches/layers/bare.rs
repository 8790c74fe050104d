//! The service that the layers stand around, and how a call is driven.

use std::{
    convert::Infallible,
    future::Future,
    pin::{Pin, pin},
    task::{Context, Poll, Waker},
};

use benches::{answer, request};
use bytes::Bytes;
use divan::{Bencher, black_box};
use http::{Method, Request, Response};
use http_body::Body;
use http_body_util::{Empty, Full};
use tower::Service;

pub(crate) type Call = Request<Empty<Bytes>>;

/// Answers once it was polled `pending` times for nothing, and a POST never.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bare {
    pending: u32,
}

#[derive(Debug)]
pub(crate) struct Handler {
    pending: u32,
}

pub(crate) const READY: Bare = Bare { pending: 0 };
pub(crate) const PENDING: Bare = Bare { pending: 1 };

impl<B> Service<Request<B>> for Bare {
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = Handler;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Handler {
        Handler { pending: if black_box(request).method() == Method::POST { u32::MAX } else { self.pending } }
    }
}

impl Future for Handler {
    type Output = Result<Response<Full<Bytes>>, Infallible>;

    fn poll(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Self::Output> {
        match self.pending {
            0 => Poll::Ready(Ok(answer())),
            u32::MAX => Poll::Pending,
            _ => {
                self.pending -= 1;
                Poll::Pending
            }
        }
    }
}

/// A request that keeps its place for as long as its future lives.
pub(crate) fn stuck() -> Call {
    let mut request = request();
    *request.method_mut() = Method::POST;
    request
}

pub(crate) fn bench<S, B>(bencher: Bencher<'_, '_>, mut service: S)
where
    S: Service<Call, Response = Response<B>>,
    B: Body,
{
    bencher.with_inputs(request).bench_local_values(|request| call(&mut service, request));
}

pub(crate) fn is_ready<S: Service<Call>>(service: &mut S) -> bool {
    matches!(service.poll_ready(&mut Context::from_waker(Waker::noop())), Poll::Ready(Ok(())))
}

/// One request, to the end of the body of its response.
pub(crate) fn call<S, B>(service: &mut S, request: Call)
where
    S: Service<Call, Response = Response<B>>,
    B: Body,
{
    assert!(is_ready(service));
    let mut cx = Context::from_waker(Waker::noop());
    let future = service.call(request);
    finish(future, |future| future.poll(&mut cx));
}

/// Polls `future` until there is a response, which is then read to its end.
pub(crate) fn finish<F, B, E>(future: F, mut poll: impl FnMut(Pin<&mut F>) -> Poll<Result<Response<B>, E>>)
where
    F: Future<Output = Result<Response<B>, E>>,
    B: Body,
{
    let result = {
        // A server drops the future before it looks at the body.
        let mut future = pin!(future);
        loop {
            if let Poll::Ready(result) = poll(future.as_mut()) {
                break result;
            }
        }
    };
    let Ok(response) = black_box(result) else { return };
    let mut cx = Context::from_waker(Waker::noop());
    let mut body = pin!(response.into_body());
    // As hyper does, which does not ask a body that has said that it is at its end.
    while !body.is_end_stream() {
        match body.as_mut().poll_frame(&mut cx) {
            Poll::Ready(Some(Ok(frame))) => drop(black_box(frame)),
            Poll::Ready(_) => break,
            Poll::Pending => {}
        }
    }
}

#[divan::bench]
fn ready(bencher: Bencher<'_, '_>) {
    bench(bencher, READY);
}

#[divan::bench]
fn pending(bencher: Bencher<'_, '_>) {
    bench(bencher, PENDING);
}
