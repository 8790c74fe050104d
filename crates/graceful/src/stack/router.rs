use std::{
    cell::RefCell,
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll, ready},
};

use axum::{body::Body, routing::future::RouteFuture};
use bytes::Bytes;
use graceful_connection::Pieces;
use http::{Request, Response, Version};
use pin_project::pin_project;
use tower_service::Service;

use super::{body_limit::BodyLimit, route::Routes};

/// The router as the layers call it, with whatever body they make of a request's.
#[derive(Clone, Debug)]
pub(super) struct RouterService {
    routes: Routes,
    limit: Option<BodyLimit>,
}

impl RouterService {
    pub(super) const fn new(routes: Routes, limit: Option<BodyLimit>) -> Self {
        Self { routes, limit }
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

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        // As a `Router` always is.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> RouterFuture {
        let version = request.version();
        let router = self.routes.router_for(&request);
        let limit = self.limit;
        if let Some(response) = limit.and_then(|limit| limit.refuse(request.body())) {
            return RouterFuture::refused(response, version);
        }
        // axum boxes every body; an empty one costs no allocation.
        let request = request.map(|body| match limit {
            _ if body.is_end_stream() => Body::empty(),
            Some(limit) => limit.limit(body),
            None => Body::new(body),
        });
        RouterFuture::routed(router.call(request), version)
    }
}

/// The router's answer, in pieces: the layers around it carry a permit and a record to the end of its body, which must
/// not come before most of it is on its way.
///
/// In a box that its thread uses again: the router's future is large, and the layers around it would each move it.
pub(crate) struct RouterFuture(Option<Place>);

type Place = Pin<Box<Answer>>;

/// Empty in a box that waits for a request.
#[pin_project]
#[derive(Default)]
struct Answer {
    #[pin]
    route: Option<RouteFuture<Infallible>>,
    /// In the router's place. Boxed: rare.
    refused: Option<Box<Response<Bytes>>>,
    version: Version,
}

thread_local! {
    static FREE: RefCell<Vec<Place>> = const { RefCell::new(Vec::new()) };
}

/// How many boxes a thread keeps: 42 KiB.
const FREE_BOXES: usize = 128;

impl RouterFuture {
    fn routed(route: RouteFuture<Infallible>, version: Version) -> Self {
        let mut place = Self::place();
        let mut answer = place.as_mut().project();
        answer.route.set(Some(route));
        *answer.version = version;
        Self(Some(place))
    }

    #[cold]
    fn refused(response: Box<Response<Bytes>>, version: Version) -> Self {
        let mut place = Self::place();
        let answer = place.as_mut().project();
        *answer.refused = Some(response);
        *answer.version = version;
        Self(Some(place))
    }

    fn place() -> Place {
        FREE.try_with(|free| free.borrow_mut().pop()).ok().flatten().unwrap_or_else(|| Box::pin(Answer::default()))
    }
}

impl Drop for RouterFuture {
    fn drop(&mut self) {
        let Some(mut place) = self.0.take() else { return };
        // What the handler holds goes now. If its drop panics, the box goes as well.
        let mut answer = place.as_mut().project();
        answer.route.set(None);
        *answer.refused = None;
        let _ = FREE.try_with(|free| {
            let mut free = free.borrow_mut();
            if free.len() < FREE_BOXES {
                free.push(place);
            }
        });
    }
}

impl Future for RouterFuture {
    type Output = Result<Response<Pieces<Body>>, Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Some(place) = &mut self.get_mut().0 else { return Poll::Pending };
        let answer = place.as_mut().project();
        let response = match (answer.route.as_pin_mut(), answer.refused.take()) {
            (Some(route), _) => match ready!(route.poll(cx)) {
                Ok(response) => response,
                Err(never) => match never {},
            },
            (None, Some(refused)) => refused.map(Body::from),
            (None, None) => return Poll::Pending,
        };
        Poll::Ready(Ok(response.map(|body| Pieces::new(body, *answer.version))))
    }
}
