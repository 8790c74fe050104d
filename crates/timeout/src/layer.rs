use std::time::Duration;

use graceful_answer::{Answer, AnswerBody, PlainText, without_content};
use http::{Response, StatusCode};
use tower_layer::{Layer, Stack};

use crate::{BodyDeadlineLayer, DetachLayer, Elapsed, SpawnDetached, Timeout, TokioSpawn, clock::Limit};

/// Answers 503 in place of a handler that passes its limit, and stops the handler.
///
/// See the [crate docs](crate) for what counts as the handler's time, what is stopped and what is not.
#[derive(Clone, Debug)]
pub struct TimeoutLayer<A = PlainText> {
    pub(crate) settings: Settings<A>,
}

/// What a timeout knows besides the service it wraps.
#[derive(Clone, Debug)]
pub(crate) struct Settings<A> {
    pub(crate) limit: Limit,
    pub(crate) trust_client: bool,
    pub(crate) extension: bool,
    pub(crate) refusal: Refusal<A>,
}

/// The answer in place of the handler's, before its cause is known.
#[derive(Clone, Debug)]
pub(crate) struct Refusal<A> {
    pub(crate) status: StatusCode,
    pub(crate) message: &'static str,
    pub(crate) answer: A,
}

impl Settings<PlainText> {
    pub(crate) fn new(limit: Option<Duration>) -> Self {
        let refusal =
            Refusal { status: StatusCode::SERVICE_UNAVAILABLE, message: "handler timed out", answer: PlainText::new() };
        Self { limit: Limit::new(limit), trust_client: false, extension: true, refusal }
    }
}

impl<A> Settings<A> {
    pub(crate) fn answer<B>(self, answer: B) -> Settings<B> {
        let Self { limit, trust_client, extension, refusal: Refusal { status, message, answer: _ } } = self;
        Settings { limit, trust_client, extension, refusal: Refusal { status, message, answer } }
    }
}

impl<A: Answer<Elapsed>> Refusal<A> {
    /// What is sent in place of a handler's response; without its content `to_head`.
    pub(crate) fn answer<B>(&self, limit: Duration, to_head: bool) -> Response<AnswerBody<B>> {
        let elapsed = Elapsed { limit, status: self.status, message: self.message };
        let mut response = self.answer.answer(&elapsed);
        response.extensions_mut().insert(elapsed);
        if to_head {
            response = without_content(response);
        }
        response.map(AnswerBody::answer)
    }
}

impl TimeoutLayer {
    /// Gives each handler this long, counted from the moment at which this layer calls it, to answer with a head.
    ///
    /// `None`, zero and all from 30 years to [`Duration::MAX`] mean no limit; zero never means "at once". A layer
    /// without a limit still keeps the time for [`RouteTimeoutLayer`](crate::RouteTimeoutLayer) and
    /// [`trust_client`](Self::trust_client). Tokio's timer has a resolution of 1 ms, and never ends early.
    #[must_use]
    pub fn new(limit: impl Into<Option<Duration>>) -> Self {
        Self { settings: Settings::new(limit.into()) }
    }
}

impl<A> TimeoutLayer<A> {
    /// The status of the answer. Default: 503, as Go's `TimeoutHandler`; 504 is common too.
    ///
    /// 408 would be wrong: it says that the *client* was too slow, and lets it repeat the request unasked (RFC 9110,
    /// 15.5.9).
    #[must_use]
    pub fn status(mut self, status: StatusCode) -> Self {
        self.settings.refusal.status = status;
        self
    }

    /// The few words that the client reads. Default: `handler timed out`.
    #[must_use]
    pub fn message(mut self, message: &'static str) -> Self {
        self.settings.refusal.message = message;
        self
    }

    /// Who makes the answer, from the [`Elapsed`] that carries the status and the message. Default: [`PlainText`].
    ///
    /// A closure will do; [`ProblemDetails`](graceful_answer::ProblemDetails) answers in JSON. It is cloned with the
    /// service and for each request: keep what is large in an `Arc`.
    #[must_use]
    pub fn answer<B: Answer<Elapsed>>(self, answer: B) -> TimeoutLayer<B> {
        TimeoutLayer { settings: self.settings.answer(answer) }
    }

    /// Whether a client may shorten its own limit by a request header. It can never lengthen it. Default: no.
    ///
    /// A client that waits 2 s for the answer says so with `x-request-timeout: 2` (or `2s`, or `2000ms`) or
    /// `grpc-timeout: 2S` (the gRPC protocol over HTTP/2: at most eight digits and one of `H M S m u n`); the shorter
    /// counts if both are there. What is zero or cannot be read is ignored. Work for which nobody waits any more is
    /// then stopped, and the [`Deadline`](crate::Deadline) is the client's.
    ///
    /// Leave it off where strangers call: they could have handlers stopped half-way, at will.
    #[must_use]
    pub fn trust_client(mut self, trust: bool) -> Self {
        self.settings.trust_client = trust;
        self
    }

    /// Whether the request carries a [`Deadline`](crate::Deadline) in its extensions. Default: yes.
    ///
    /// An extension costs an allocation a request, three if it is the first;
    /// [`Deadline::current`](crate::Deadline::current) works without. Without it a
    /// [`RouteTimeoutLayer`](crate::RouteTimeoutLayer) cannot tell this request from one that the handler makes of its
    /// own and sends to a service in the same process.
    #[must_use]
    pub fn extension(mut self, extension: bool) -> Self {
        self.settings.extension = extension;
        self
    }

    /// Lets a handler that has begun run on to its end when the time is up, or when its client leaves, in a tokio task.
    ///
    /// Short for a [`DetachLayer`] inside this layer; set the other options first. Give a [`DetachLayer`] to single
    /// routes instead where only some handlers must not be stopped.
    #[must_use]
    pub fn detached(self) -> Stack<DetachLayer<TokioSpawn>, Self> {
        Stack::new(DetachLayer::new(), self)
    }

    /// As [`detached`](Self::detached), with a spawner of one's own: a `TaskTracker`, a registry, another runtime.
    #[must_use]
    pub fn detached_on<P: SpawnDetached>(self, spawn: P) -> Stack<DetachLayer<P>, Self> {
        Stack::new(DetachLayer::on(spawn), self)
    }

    /// Cuts also a response *body* that is not at its end when this much time has passed since the request came here.
    ///
    /// Short for a [`BodyDeadlineLayer`] around this layer, and not the rule: see there. Set the other options first.
    #[must_use]
    pub fn body_deadline(self, limit: impl Into<Option<Duration>>) -> Stack<Self, BodyDeadlineLayer> {
        Stack::new(self, BodyDeadlineLayer::new(limit))
    }
}

impl<S, A: Clone> Layer<S> for TimeoutLayer<A> {
    type Service = Timeout<S, A>;

    fn layer(&self, inner: S) -> Self::Service {
        Timeout { inner, settings: self.settings.clone() }
    }
}
