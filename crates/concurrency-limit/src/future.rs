use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use graceful_answer::Answer;
use http::{Method, Request, Response, StatusCode};
use http_body::Body;
use pin_project::pin_project;
use tokio::time::{Instant, Sleep, sleep_until};
use tower_service::Service;

use crate::{
    Overloaded, Reason, ResponseBody,
    gate::{Permit, Waiter},
    settings::Settings,
};

/// The future of a [`ConcurrencyLimit`](crate::ConcurrencyLimit).
///
/// It has its place, or its place in the queue, from the moment it is made. Dropping it gives that back.
#[pin_project]
pub struct ResponseFuture<F, S, ReqBody, A> {
    #[pin]
    state: State<F, S, ReqBody, A>,
}

#[pin_project(project = StateProj)]
enum State<F, S, ReqBody, A> {
    Running {
        // Before the permit: dropped while it runs, the work ends first.
        #[pin]
        future: F,
        /// Taken by the response's body.
        permit: Option<Permit>,
        connect: bool,
    },
    /// Boxed, as `Refused`: they are rare and larger than the future of many a service, and every future would carry the
    /// room for them through all the layers.
    Queued(Pin<Box<Queued<S, ReqBody, A>>>),
    /// Empty once it has answered.
    Refused(Option<Box<Refused<ReqBody, A>>>),
}

#[pin_project]
struct Queued<S, ReqBody, A> {
    waiter: Waiter,
    #[pin]
    time: WaitTime,
    /// What must be at hand when the wait is over.
    held: Option<Held<S, ReqBody, A>>,
}

struct Held<S, ReqBody, A> {
    service: S,
    request: Request<ReqBody>,
    settings: Arc<Settings<A>>,
}

struct Refused<ReqBody, A> {
    reason: Reason,
    request: Request<ReqBody>,
    settings: Arc<Settings<A>>,
}

impl<F, S, ReqBody, A> ResponseFuture<F, S, ReqBody, A> {
    /// The call's panic drops the permit.
    pub(crate) fn admitted(service: &mut S, request: Request<ReqBody>, permit: Permit) -> Self
    where
        S: Service<Request<ReqBody>, Future = F>,
    {
        Self { state: State::running(service, request, permit) }
    }

    pub(crate) fn queued(waiter: Waiter, service: S, request: Request<ReqBody>, settings: Arc<Settings<A>>) -> Self {
        let time = WaitTime { deadline: settings.deadline(), timer: None };
        let held = Some(Held { service, request, settings });
        Self { state: State::Queued(Box::pin(Queued { waiter, time, held })) }
    }

    pub(crate) fn refused(reason: Reason, request: Request<ReqBody>, settings: Arc<Settings<A>>) -> Self {
        Self { state: State::refused(reason, request, settings) }
    }
}

impl<F, S, ReqBody, A> State<F, S, ReqBody, A> {
    fn running(service: &mut S, request: Request<ReqBody>, permit: Permit) -> Self
    where
        S: Service<Request<ReqBody>, Future = F>,
    {
        let connect = request.method() == Method::CONNECT;
        let future = service.call(request);
        Self::Running { future, permit: Some(permit), connect }
    }

    fn refused(reason: Reason, request: Request<ReqBody>, settings: Arc<Settings<A>>) -> Self {
        Self::Refused(Some(Box::new(Refused { reason, request, settings })))
    }
}

impl<F, S, ReqBody, A, ResBody, E> Future for ResponseFuture<F, S, ReqBody, A>
where
    S: Service<Request<ReqBody>, Future = F>,
    F: Future<Output = Result<Response<ResBody>, E>>,
    A: Answer<Overloaded>,
    ReqBody: Body,
{
    type Output = Result<Response<ResponseBody<ResBody, ReqBody>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.project().state;
        loop {
            match state.as_mut().project() {
                StateProj::Running { future, permit, connect } => {
                    let response = ready!(future.poll(cx));
                    // Not kept by a future that somebody keeps: from here on it is the body's, or nobody's.
                    let permit = permit.take();
                    return Poll::Ready(response.map(|response| {
                        let permit = permit.filter(|_| !ends_with_head(response.status(), *connect));
                        response.map(|body| ResponseBody::inner(body, permit))
                    }));
                }
                StateProj::Queued(queued) => {
                    let queued = queued.as_mut().project();
                    // The place before the clock: one that comes together with the end of the wait is taken.
                    let permit = match queued.waiter.poll(cx) {
                        Poll::Ready(permit) => Some(permit),
                        Poll::Pending => {
                            ready!(queued.time.poll(cx));
                            queued.waiter.time_out()
                        }
                    };
                    let Some(Held { mut service, request, settings }) = queued.held.take() else {
                        return Poll::Pending;
                    };
                    // Should the call panic, the place goes with it, and polling this again finds nothing to do.
                    state.set(match permit {
                        Some(permit) => State::running(&mut service, request, permit),
                        None => State::refused(Reason::WaitedTooLong, request, settings),
                    });
                }
                StateProj::Refused(refused) => {
                    let Some(refused) = refused.take() else { return Poll::Pending };
                    let Refused { reason, request, settings } = *refused;
                    return Poll::Ready(Ok(settings.refuse(reason, request)));
                }
            }
        }
    }
}

impl<F, S, ReqBody, A> fmt::Debug for ResponseFuture<F, S, ReqBody, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { state } = self;
        f.debug_struct("ResponseFuture")
            .field(
                "state",
                &match state {
                    State::Running { .. } => "running",
                    State::Queued(_) => "queued",
                    State::Refused(_) => "refused",
                },
            )
            .finish_non_exhaustive()
    }
}

/// The time that is left to wait, and a timer for it from the first poll that finds no place.
#[pin_project]
struct WaitTime {
    /// `None`: for ever.
    deadline: Option<Instant>,
    #[pin]
    timer: Option<Sleep>,
}

impl WaitTime {
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut this = self.project();
        let Some(deadline) = *this.deadline else { return Poll::Pending };
        if this.timer.is_none() {
            this.timer.set(Some(sleep_until(deadline)));
        }
        this.timer.as_pin_mut().map_or(Poll::Pending, |timer| timer.poll(cx))
    }
}

/// After these the socket is no longer HTTP's, and what goes on there is not this request: an upgrade, a tunnel.
fn ends_with_head(status: StatusCode, connect: bool) -> bool {
    status == StatusCode::SWITCHING_PROTOCOLS || (connect && status.is_success())
}
