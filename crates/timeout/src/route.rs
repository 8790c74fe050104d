use std::{
    task::{Context, Poll},
    time::Duration,
};

use graceful_answer::{Answer, AnswerBody, PlainText};
use http::{Request, Response, StatusCode};
use tower_layer::Layer;
use tower_service::Service;

use crate::{Elapsed, ResponseFuture, Timeout, clock, layer::Settings};

/// A limit for one route, in place of the one that a [`TimeoutLayer`](crate::TimeoutLayer) further out has for all.
///
/// Longer, shorter or none: it sets the limit of the request on its way to the handler, counted as ever from the moment
/// at which the outer layer called in. The outer layer enforces it and answers, in its own words; the
/// [`Deadline`](crate::Deadline) follows. Among several the innermost wins. A client's own wish
/// ([`trust_client`](crate::TimeoutLayer::trust_client)) stays in force.
///
/// Where no `TimeoutLayer` is within reach it is a timeout of its own, counted from here and answered by
/// [`status`](Self::status), [`message`](Self::message) and [`answer`](Self::answer). That is so if there is none, and
/// if something in between runs the handler in a task of its own (tower's `Buffer`) or makes a new request with empty
/// extensions; in the latter two cases a shorter limit works all the same, a longer one cannot.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use axum::{Router, routing::{get, post}};
/// use graceful_timeout::{RouteTimeoutLayer, TimeoutLayer};
///
/// # async fn report() {}
/// # async fn events() {}
/// # async fn price() {}
/// let app: Router = Router::new()
///     .route("/price", get(price))
///     .route("/report", post(report).layer(RouteTimeoutLayer::new(Duration::from_secs(300))))
///     .route("/events", get(events).layer(RouteTimeoutLayer::off()))
///     .layer(TimeoutLayer::new(Duration::from_secs(30)));
/// ```
#[derive(Clone, Debug)]
pub struct RouteTimeoutLayer<A = PlainText> {
    settings: Settings<A>,
}

impl RouteTimeoutLayer {
    /// Gives the handler this long; `None`, zero and [`Duration::MAX`] mean no limit, as for
    /// [`TimeoutLayer::new`](crate::TimeoutLayer::new).
    #[must_use]
    pub fn new(limit: impl Into<Option<Duration>>) -> Self {
        Self { settings: Settings::new(limit.into()) }
    }

    /// Gives the handler all the time it wants.
    #[must_use]
    pub fn off() -> Self {
        Self::new(None)
    }
}

impl<A> RouteTimeoutLayer<A> {
    /// The status of the answer where this layer itself enforces the limit. Default: 503.
    #[must_use]
    pub fn status(mut self, status: StatusCode) -> Self {
        self.settings.refusal.status = status;
        self
    }

    /// The few words that the client reads where this layer itself enforces the limit. Default: `handler timed out`.
    #[must_use]
    pub fn message(mut self, message: &'static str) -> Self {
        self.settings.refusal.message = message;
        self
    }

    /// Who makes the answer where this layer itself enforces the limit. Default: [`PlainText`].
    #[must_use]
    pub fn answer<B: Answer<Elapsed>>(self, answer: B) -> RouteTimeoutLayer<B> {
        RouteTimeoutLayer { settings: self.settings.answer(answer) }
    }
}

impl<S, A: Clone> Layer<S> for RouteTimeoutLayer<A> {
    type Service = RouteTimeout<S, A>;

    fn layer(&self, inner: S) -> Self::Service {
        RouteTimeout { timeout: Timeout { inner, settings: self.settings.clone() } }
    }
}

/// The service that [`RouteTimeoutLayer`] makes.
#[derive(Clone, Debug)]
pub struct RouteTimeout<S, A> {
    /// For when nobody further out is within reach.
    timeout: Timeout<S, A>,
}

impl<S, A> RouteTimeout<S, A> {
    /// The service inside.
    pub fn get_ref(&self) -> &S {
        self.timeout.get_ref()
    }

    /// The service inside.
    pub fn get_mut(&mut self) -> &mut S {
        self.timeout.get_mut()
    }

    /// Takes the service out.
    pub fn into_inner(self) -> S {
        self.timeout.into_inner()
    }
}

impl<S, A, ReqBody, ResBody> Service<Request<ReqBody>> for RouteTimeout<S, A>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>>,
    A: Answer<Elapsed> + Clone,
{
    type Response = Response<AnswerBody<ResBody>>;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future, A>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.timeout.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<ReqBody>) -> Self::Future {
        let Timeout { inner, settings } = &mut self.timeout;
        if clock::override_limit(&mut request, settings.limit) {
            ResponseFuture::new(inner.call(request), None, settings.refusal.clone())
        } else {
            self.timeout.call(request)
        }
    }
}
