use std::task::{Context, Poll};

use graceful_answer::{Answer, AnswerBody};
use http::{Request, Response};
use tower_service::Service;

use crate::{
    Elapsed, ResponseFuture,
    clock::{self, Clock, Limit},
    layer::Settings,
    patience,
};

/// The service that [`TimeoutLayer`](crate::TimeoutLayer) makes.
#[derive(Clone, Debug)]
pub struct Timeout<S, A> {
    pub(crate) inner: S,
    pub(crate) settings: Settings<A>,
}

impl<S, A> Timeout<S, A> {
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

impl<S, A, ReqBody, ResBody> Service<Request<ReqBody>> for Timeout<S, A>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>>,
    A: Answer<Elapsed> + Clone,
{
    type Response = Response<AnswerBody<ResBody>>;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future, A>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<ReqBody>) -> Self::Future {
        let Settings { limit, trust_client, extension, refusal } = &self.settings;
        let patience = if *trust_client { patience::of(request.headers()) } else { Limit::NONE };
        let mut clock = Clock::start(*limit, patience);
        clock.attach(&mut request, *extension);
        let mut clock = Some(clock);
        let inside = clock::enter(&mut clock);
        let handler = self.inner.call(request);
        drop(inside);
        ResponseFuture::new(handler, clock, refusal.clone())
    }
}
