use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll},
};

use tower_layer::Layer;
use tower_service::Service;
use tracing::Span;

use crate::{DetachedHandler, SpawnDetached, TokioSpawn};

/// Lets a handler that has begun run to its end, whoever gives up on it.
///
/// In Rust a handler is a future, and it stops at its next await when that future is dropped: by a timeout, or by the
/// server because the client left. Code that must not stop half-way (it has charged a card and has yet to write that
/// down) belongs inside this layer. When the handler's future is dropped after its first poll, the layer hands the rest
/// of it to a task of its own; nobody reads its answer. This is what a Go handler does under `http.TimeoutHandler`, and
/// dropshot's `HandlerTaskMode::Detached`. A handler that was never polled has not begun, and is dropped.
///
/// It stands inside every timeout:
///
/// ```
/// use std::time::Duration;
/// use axum::{Router, routing::{get, post}};
/// use graceful_timeout::{DetachLayer, TimeoutLayer};
///
/// # async fn charge() {}
/// # async fn price() {}
/// let app: Router = Router::new()
///     .route("/charge", post(charge).layer(DetachLayer::new()))
///     .route("/price", get(price))
///     .layer(TimeoutLayer::new(Duration::from_secs(30)));
/// ```
///
/// A panic in the detached task is caught and logged as an `ERROR` event `panic`, in the span that was current when the
/// request came here. (Where it happened is told by the process' panic hook.) A panic before that goes its usual way.
///
/// # What it costs
///
/// Each request's future is boxed, so that it can move: one allocation. A task is spawned only for those that are
/// abandoned.
///
/// **What runs on is not bounded by this layer**, in number or in time. A concurrency limit further out has its permit
/// back once the client is answered. Put a limit *inside* this layer to count what runs on too, and a second, longer
/// [`TimeoutLayer`](crate::TimeoutLayer) inside to end it after all:
///
/// ```
/// use std::time::Duration;
/// use graceful_timeout::{DetachLayer, TimeoutLayer};
/// use tower::ServiceBuilder;
///
/// let stack = ServiceBuilder::new()
///     .layer(TimeoutLayer::new(Duration::from_secs(5))) // the client has its answer
///     .layer(DetachLayer::new())
///     .layer(TimeoutLayer::new(Duration::from_secs(60))); // the handler is stopped
/// # let _ = stack;
/// ```
#[derive(Clone, Copy, Debug)]
pub struct DetachLayer<P = TokioSpawn> {
    spawn: P,
}

impl DetachLayer {
    /// Detached handlers become tasks of the tokio runtime that they began on.
    ///
    /// Nobody waits for those at shutdown: use [`on`](Self::on) with a `TaskTracker` or a registry for that.
    #[must_use]
    pub const fn new() -> Self {
        Self { spawn: TokioSpawn::new() }
    }
}

impl Default for DetachLayer {
    fn default() -> Self {
        Self::new()
    }
}

impl<P: SpawnDetached> DetachLayer<P> {
    /// Detached handlers are given to `spawn`.
    ///
    /// ```
    /// use graceful_timeout::{DetachLayer, DetachedHandler};
    ///
    /// let tasks = tokio_util::task::TaskTracker::new();
    /// let tracked = tasks.clone();
    /// let layer = DetachLayer::on(move |rest: DetachedHandler| {
    ///     tracked.spawn(rest);
    /// });
    /// # let _ = layer;
    /// // At shutdown: tasks.close(); tasks.wait().await;
    /// ```
    #[must_use]
    pub const fn on(spawn: P) -> Self {
        Self { spawn }
    }
}

impl<S, P: Clone> Layer<S> for DetachLayer<P> {
    type Service = Detach<S, P>;

    fn layer(&self, inner: S) -> Self::Service {
        Detach { inner, spawn: self.spawn.clone() }
    }
}

/// The service that [`DetachLayer`] makes.
#[derive(Clone, Debug)]
pub struct Detach<S, P> {
    inner: S,
    spawn: P,
}

impl<S, P> Detach<S, P> {
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

impl<S, P, R> Service<R> for Detach<S, P>
where
    S: Service<R>,
    S::Future: Send + 'static,
    P: SpawnDetached,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = DetachFuture<S::Future, P>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: R) -> Self::Future {
        DetachFuture {
            handler: Some(Box::pin(self.inner.call(request))),
            begun: false,
            span: Span::current(),
            spawn: self.spawn.clone(),
        }
    }
}

/// The response future of [`Detach`]. Dropped half-way, it gives the rest of the handler away.
///
/// # Panics
///
/// If it is polled again after it was ready.
// The bounds are those of its `Drop`.
pub struct DetachFuture<F, P>
where
    F: Future + Send + 'static,
    P: SpawnDetached,
{
    /// Gone once it was ready or panicked.
    handler: Option<Pin<Box<F>>>,
    begun: bool,
    /// Kept from the start: a future may be dropped outside of the span that it was polled in.
    span: Span,
    spawn: P,
}

/// The handler has its own pin.
impl<F: Future + Send + 'static, P: SpawnDetached> Unpin for DetachFuture<F, P> {}

impl<F: Future + Send + 'static, P: SpawnDetached> Future for DetachFuture<F, P> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        // Out of the field while it runs: what has panicked is not polled again.
        let mut handler = self.handler.take().expect("not polled after completion");
        self.begun = true;
        let poll = handler.as_mut().poll(cx);
        if poll.is_pending() {
            self.handler = Some(handler);
        }
        poll
    }
}

impl<F: Future + Send + 'static, P: SpawnDetached> Drop for DetachFuture<F, P> {
    fn drop(&mut self) {
        if !self.begun {
            return;
        }
        if let Some(handler) = self.handler.take() {
            let span = std::mem::replace(&mut self.span, Span::none());
            self.spawn.spawn(DetachedHandler::new(handler, span));
        }
    }
}

impl<F: Future + Send + 'static, P: SpawnDetached> fmt::Debug for DetachFuture<F, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { handler, begun, span, spawn: _ } = self;
        f.debug_struct("DetachFuture")
            .field("ready", &handler.is_none())
            .field("begun", begun)
            .field("span", span)
            .finish_non_exhaustive()
    }
}
