use std::{
    convert::Infallible,
    task::{Context, Poll},
};

use axum::{Router, body::Body, response::Response, routing::future::RouteFuture};
use bytes::Bytes;
use http::Request;
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
    type Response = Response;
    type Error = Infallible;
    type Future = RouteFuture<Infallible>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Service::<Request<Body>>::poll_ready(&mut self.router, cx)
    }

    fn call(&mut self, request: Request<B>) -> RouteFuture<Infallible> {
        // axum boxes every body; an empty one costs no allocation.
        let request = request.map(|body| if body.is_end_stream() { Body::empty() } else { Body::new(body) });
        self.router.call(request)
    }
}
