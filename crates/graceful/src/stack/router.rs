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
            return RouterFuture { answer: Answer::Refused(Some(response)), version };
        }
        // axum boxes every body; an empty one costs no allocation.
        let request = request.map(|body| match limit {
            _ if body.is_end_stream() => Body::empty(),
            Some(limit) => limit.limit(body),
            None => Body::new(body),
        });
        RouterFuture { answer: Answer::Router(RouteBox::new(router.call(request))), version }
    }
}

/// The router's answer, in pieces: the layers around it carry a permit and a record to the end of its body, which must
/// not come before most of it is on its way.
pub(crate) struct RouterFuture {
    answer: Answer,
    version: Version,
}

enum Answer {
    Router(RouteBox),
    /// In the router's place. Boxed: rare.
    Refused(Option<Box<Response<Bytes>>>),
}

/// The router's future in a box that its thread uses again: it is large, and the layers around it would each move it.
struct RouteBox(Option<Place>);

type Place = Pin<Box<Option<RouteFuture<Infallible>>>>;

thread_local! {
    static FREE: RefCell<Vec<Place>> = const { RefCell::new(Vec::new()) };
}

/// How many boxes a thread keeps: 32 KiB.
const FREE_BOXES: usize = 128;

impl RouteBox {
    fn new(route: RouteFuture<Infallible>) -> Self {
        let free = FREE.try_with(|free| free.borrow_mut().pop()).ok().flatten();
        let mut place = free.unwrap_or_else(|| Box::pin(None));
        place.set(Some(route));
        Self(Some(place))
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Response<Body>, Infallible>> {
        match self.0.as_mut().and_then(|place| place.as_mut().as_pin_mut()) {
            Some(route) => route.poll(cx),
            None => Poll::Pending,
        }
    }
}

impl Drop for RouteBox {
    fn drop(&mut self) {
        let Some(mut place) = self.0.take() else { return };
        // What the handler holds goes now. If its drop panics, the box goes as well.
        place.set(None);
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
        let this = self.get_mut();
        let response = match &mut this.answer {
            Answer::Router(route) => match ready!(route.poll(cx)) {
                Ok(response) => response,
                Err(never) => match never {},
            },
            Answer::Refused(response) => match response.take() {
                Some(response) => response.map(Body::from),
                None => return Poll::Pending,
            },
        };
        Poll::Ready(Ok(response.map(|body| Pieces::new(body, this.version))))
    }
}
