use std::{
    convert::Infallible,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use http_body_util::{BodyExt, Empty, Full};
use tracing::{
    Event, Level, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::{Layer, layer::Context, layer::SubscriberExt, registry::LookupSpan};

pub(crate) const SECOND: Duration = Duration::from_secs(1);
pub(crate) const MS: Duration = Duration::from_millis(1);

pub(crate) type Answered = Result<Response<Full<Bytes>>, Infallible>;

pub(crate) fn request() -> Request<Empty<Bytes>> {
    Request::new(Empty::new())
}

pub(crate) fn ok(text: &'static str) -> Answered {
    Ok(Response::new(Full::new(Bytes::from_static(text.as_bytes()))))
}

pub(crate) async fn text<B: Body<Data = Bytes>>(response: Response<B>) -> String
where
    B::Error: std::fmt::Debug,
{
    let bytes = response.into_body().collect().await.expect("a whole body").to_bytes();
    String::from_utf8(bytes.to_vec()).expect("text")
}

/// Goes into a handler, and tells outside when the handler is gone.
#[derive(Clone, Default)]
pub(crate) struct Gone(Arc<AtomicBool>);

impl Gone {
    pub(crate) fn guard(&self) -> impl Drop + Send + use<> {
        struct Guard(Gone);
        impl Drop for Guard {
            fn drop(&mut self) {
                self.0.0.store(true, Ordering::SeqCst);
            }
        }
        Guard(self.clone())
    }

    pub(crate) fn is_gone(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}

/// One event, as a subscriber sees it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Logged {
    pub(crate) level: Option<Level>,
    pub(crate) message: String,
    pub(crate) panic: String,
    pub(crate) span: Option<&'static str>,
}

#[derive(Clone, Default)]
pub(crate) struct Log(Arc<Mutex<Vec<Logged>>>);

impl Log {
    /// Captures the events of this thread until the guard is dropped.
    pub(crate) fn capture() -> (Self, tracing::subscriber::DefaultGuard) {
        let log = Self::default();
        let guard = tracing::subscriber::set_default(tracing_subscriber::registry().with(log.clone()));
        (log, guard)
    }

    /// What this crate logged.
    pub(crate) fn events(&self) -> Vec<Logged> {
        self.0.lock().unwrap().clone()
    }
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Log {
    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        if !event.metadata().target().starts_with("graceful_timeout") {
            return;
        }
        let mut logged = Logged {
            level: Some(*event.metadata().level()),
            span: context.event_span(event).map(|span| span.name()),
            ..Logged::default()
        };
        event.record(&mut logged);
        self.0.lock().unwrap().push(logged);
    }
}

impl Visit for Logged {
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "panic" {
            value.clone_into(&mut self.panic);
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        if field.name() == "message" {
            self.message = format!("{value:?}");
        }
    }
}
