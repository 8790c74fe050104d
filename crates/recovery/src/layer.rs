use std::{fmt, sync::Arc};

use graceful_answer::{Answer, PlainText};
use http::{HeaderValue, request::Parts};
use tower_layer::Layer;

use crate::{Panicked, Panics, Recovery, backtraces::Backtraces, hook};

/// Turns panics in the service below into a 500 or a cut response, and reports them.
///
/// See the [crate docs](crate).
pub struct RecoveryLayer<A = PlainText> {
    shared: Arc<Shared<A>>,
    settings: Settings,
}

/// What all services of a layer, their futures and bodies hold together. The answer comes last, so that a future and a
/// body can forget its type: only a panic asks for it.
pub(crate) struct Shared<A: ?Sized> {
    pub(crate) panics: Panics,
    pub(crate) answer: A,
}

#[derive(Clone, Copy)]
pub(crate) struct Settings {
    pub(crate) backtraces: Backtraces,
    pub(crate) request_id: Option<RequestId>,
}

/// How to find the id of a request, see [`RecoveryLayer::request_id`].
pub(crate) type RequestId = fn(&Parts) -> Option<HeaderValue>;

impl RecoveryLayer {
    /// A layer that answers `internal error` as plain text and reports with a backtrace.
    ///
    /// The first one of a process puts the panic hook in its place, in front of the hook that is there; see
    /// [the panic hook](crate#the-panic-hook). In a program that was built with `panic = "abort"` there is nothing to
    /// catch: it leaves the hook alone and says so in one event at `WARN`.
    #[must_use]
    pub fn new() -> Self {
        hook::install();
        Self {
            shared: Arc::new(Shared { panics: Panics::default(), answer: PlainText::new() }),
            settings: Settings { backtraces: Backtraces::from_env(), request_id: None },
        }
    }
}

impl<A> RecoveryLayer<A> {
    /// Answers in this way instead: a closure, or [`ProblemDetails`](graceful_answer::ProblemDetails).
    ///
    /// An answer that panics itself is caught and reported too, and the client gets plain text. One that calls
    /// [`abort`](crate::abort) closes the connection instead of answering.
    #[must_use]
    pub fn answer<B: Answer<Panicked>>(self, answer: B) -> RecoveryLayer<B> {
        let panics = self.shared.panics.clone();
        RecoveryLayer { shared: Arc::new(Shared { panics, answer }), settings: self.settings }
    }

    /// Whether a report has a backtrace. The default is yes, unless the environment says `RUST_BACKTRACE=0`.
    ///
    /// As in std, `RUST_LIB_BACKTRACE` is asked first where it is set. Unlike in std, *unset* means yes, because a panic
    /// in a server is rare and seldom happens twice for the one who looks. `RUST_BACKTRACE=full` leaves in the frames of
    /// the runtime and of this crate, which are otherwise cut away. What is said here wins over a `0` in the environment.
    #[must_use]
    pub fn backtrace(mut self, on: bool) -> Self {
        self.settings.backtraces = self.settings.backtraces.switched(on);
        self
    }

    /// How a report finds the id of the request, as its field `request_id`.
    ///
    /// By default it does not look: the event is emitted inside the span that is current around this layer, and with
    /// `graceful-request-logger` that span has the id. This is for stacks without such a span. It is asked for every
    /// request before the inner service is called, so it should be cheap.
    ///
    /// ```
    /// # use graceful_recovery::RecoveryLayer;
    /// RecoveryLayer::new().request_id(|head| head.headers.get("x-request-id").cloned());
    /// ```
    #[must_use]
    pub fn request_id(mut self, find: fn(&Parts) -> Option<HeaderValue>) -> Self {
        self.settings.request_id = Some(find);
        self
    }

    /// The counter of this layer: of all services that it makes, wherever they run.
    #[must_use]
    pub fn panics(&self) -> Panics {
        self.shared.panics.clone()
    }
}

impl Default for RecoveryLayer {
    fn default() -> Self {
        Self::new()
    }
}

impl<A> Clone for RecoveryLayer<A> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared), settings: self.settings }
    }
}

impl<A> fmt::Debug for RecoveryLayer<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { shared, settings } = self;
        f.debug_struct("RecoveryLayer")
            .field("panics", &shared.panics.total())
            .field("backtraces", &settings.backtraces)
            .finish_non_exhaustive()
    }
}

impl<S, A> Layer<S> for RecoveryLayer<A> {
    type Service = Recovery<S, A>;

    fn layer(&self, inner: S) -> Recovery<S, A> {
        Recovery::new(inner, Arc::clone(&self.shared), self.settings)
    }
}
