use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll, ready},
};

use axum::{Router, body::Body, routing::future::RouteFuture};
use bytes::Bytes;
use graceful_connection::Pieces;
use http::{Request, Response, Version};
use pin_project::pin_project;
use tower_service::Service;

/// The router as the layers call it, with whatever body they make of a request's.
#[derive(Clone, Debug)]
pub(super) struct RouterService {
    router: Router,
}

impl RouterService {
    pub(super) const fn new(router: Router) -> Self {
        Self { router }
    }
}

impl<B> Service<Request<B>> for RouterService
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<axum::BoxError>,
{
    type Response = Response<Pieces<Body>>;
    type Error = Infallible;
    type Future = RouterFuture;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Service::<Request<Body>>::poll_ready(&mut self.router, cx)
    }

    fn call(&mut self, request: Request<B>) -> RouterFuture {
        let version = request.version();
        // axum boxes every body; an empty one costs no allocation.
        let request = request.map(|body| if body.is_end_stream() { Body::empty() } else { Body::new(body) });
        RouterFuture { route: self.router.call(request), version }
    }
}

/// The router's answer, in pieces: the layers around it carry a permit and a record to the end of its body, which must
/// not come before most of it is on its way.
#[pin_project]
pub(crate) struct RouterFuture {
    #[pin]
    route: RouteFuture<Infallible>,
    version: Version,
}

impl Future for RouterFuture {
    type Output = Result<Response<Pieces<Body>>, Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let response = match ready!(this.route.poll(cx)) {
            Ok(response) => response,
            Err(never) => match never {},
        };
        Poll::Ready(Ok(response.map(|body| Pieces::new(body, *this.version))))
    }
}
