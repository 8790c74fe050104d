use std::{
    error::Error,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use graceful_timer::Alarm;
use http::Response;
use http_body::{Body, Frame, SizeHint};
use pin_project::pin_project;
use tokio::time::Instant;
use tower_layer::Layer;
use tower_service::Service;

use crate::{BodyElapsed, clock::Limit};

type BoxError = Box<dyn Error + Send + Sync>;

/// Cuts a response body that is not at its end when a total time has passed since the request came here.
///
/// The source of the body is dropped and the body ends with the error [`BodyElapsed`]: the server closes the connection
/// (HTTP/1.1) or resets the stream (HTTP/2), never as if the body were complete. A frame that is ready when the time is
/// up and ends the body is still sent. Errors of the body are boxed, to make room for this one.
///
/// It bounds the *source* of a body, such as a stream from a database. It cannot see a client that stops reading, as it
/// is not asked for a frame then: that is for a write deadline on the socket. Nor is it for streams that are meant to
/// stay open.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use axum::{Router, routing::get};
/// use graceful_timeout::BodyDeadlineLayer;
///
/// # async fn export() {}
/// let app: Router = Router::new()
///     .route("/export", get(export))
///     .layer(BodyDeadlineLayer::new(Duration::from_secs(600)));
/// ```
#[derive(Clone, Copy, Debug)]
pub struct BodyDeadlineLayer {
    limit: Limit,
}

impl BodyDeadlineLayer {
    /// Gives head and body together this long; `None`, zero and all from 30 years to [`Duration::MAX`] mean no limit.
    #[must_use]
    pub fn new(limit: impl Into<Option<Duration>>) -> Self {
        Self { limit: Limit::new(limit.into()) }
    }
}

impl<S> Layer<S> for BodyDeadlineLayer {
    type Service = BodyDeadline<S>;

    fn layer(&self, inner: S) -> Self::Service {
        BodyDeadline { inner, limit: self.limit }
    }
}

/// The service that [`BodyDeadlineLayer`] makes.
#[derive(Clone, Copy, Debug)]
pub struct BodyDeadline<S> {
    inner: S,
    limit: Limit,
}

impl<S> BodyDeadline<S> {
    /// The service inside.
    pub fn get_ref(&self) -> &S {
        &self.inner
    }

    /// The service inside.
    pub fn get_mut(&mut self) -> &mut S {
        &mut self.inner
    }

    /// Takes the service out.
    pub fn into_inner(self) -> S {
        self.inner
    }
}

impl<S, R, B> Service<R> for BodyDeadline<S>
where
    S: Service<R, Response = Response<B>>,
{
    type Response = Response<ResponseBody<B>>;
    type Error = S::Error;
    type Future = BodyDeadlineFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: R) -> Self::Future {
        let end = self.limit.duration().map(|limit| End { at: Instant::now() + limit, limit });
        BodyDeadlineFuture { inner: self.inner.call(request), end }
    }
}

/// When a body must be at its end.
#[derive(Clone, Copy, Debug)]
struct End {
    at: Instant,
    limit: Duration,
}

/// The response future of [`BodyDeadline`].
#[pin_project]
#[derive(Debug)]
pub struct BodyDeadlineFuture<F> {
    #[pin]
    inner: F,
    end: Option<End>,
}

impl<F, B, E> Future for BodyDeadlineFuture<F>
where
    F: Future<Output = Result<Response<B>, E>>,
{
    type Output = Result<Response<ResponseBody<B>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let response = ready!(this.inner.poll(cx))?;
        Poll::Ready(Ok(response.map(|body| ResponseBody { inner: Some(body), end: *this.end, alarm: Alarm::new() })))
    }
}

/// The response body of [`BodyDeadline`].
#[pin_project]
#[derive(Debug)]
pub struct ResponseBody<B> {
    /// Gone once it was cut.
    #[pin]
    inner: Option<B>,
    end: Option<End>,
    #[pin]
    alarm: Alarm,
}

impl<B> Body for ResponseBody<B>
where
    B: Body,
    B::Error: Into<BoxError>,
{
    type Data = B::Data;
    type Error = BoxError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<B::Data>, BoxError>>> {
        let mut this = self.project();
        let Some(mut inner) = this.inner.as_mut().as_pin_mut() else {
            return Poll::Ready(None);
        };
        let poll = inner.as_mut().poll_frame(cx).map_err(Into::into);
        let Some(End { at, limit }) = *this.end else {
            return poll;
        };
        match &poll {
            Poll::Pending => ready!(this.alarm.poll_until(cx, at)),
            // A source that always has a frame must be cut as well: only a last frame may be late.
            Poll::Ready(Some(Ok(frame))) if Instant::now() >= at && !frame.is_trailers() && !inner.is_end_stream() => {}
            Poll::Ready(_) => return poll,
        }
        this.inner.set(None);
        Poll::Ready(Some(Err(BodyElapsed { limit }.into())))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.as_ref().map_or(SizeHint::with_exact(0), Body::size_hint)
    }
}
