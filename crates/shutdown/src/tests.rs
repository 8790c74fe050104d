mod order;
mod phases;
mod work;

use std::{
    fmt,
    sync::{Arc, Mutex},
};

use tracing::{Level, Subscriber, field::Field};
use tracing_subscriber::{layer::Context, prelude::*};

/// What happened, in order.
#[derive(Clone, Debug, Default)]
struct Journal(Arc<Mutex<Vec<String>>>);

impl Journal {
    fn note(&self, what: impl Into<String>) {
        self.0.lock().unwrap().push(what.into());
    }

    fn notes(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }
}

/// Notes when it is dropped.
struct Dropped(&'static str, Journal);

impl Drop for Dropped {
    fn drop(&mut self) {
        self.1.note(format!("{} dropped", self.0));
    }
}

/// Takes down this thread's events as `LEVEL message field=value …`.
#[derive(Clone, Default)]
struct Log(Journal);

impl Log {
    fn install(&self) -> tracing::subscriber::DefaultGuard {
        tracing::subscriber::set_default(tracing_subscriber::registry().with(self.clone()))
    }

    fn lines(&self) -> Vec<String> {
        self.0.notes()
    }
}

impl<S: Subscriber> tracing_subscriber::Layer<S> for Log {
    fn on_event(&self, event: &tracing::Event<'_>, _: Context<'_, S>) {
        if *event.metadata().level() > Level::INFO || event.metadata().target() != "graceful::shutdown" {
            return;
        }
        let (mut message, mut fields) = (String::new(), String::new());
        event.record(&mut |field: &Field, value: &dyn fmt::Debug| match field.name() {
            "message" => message = format!("{value:?}"),
            name => fields += &format!(" {name}={value:?}"),
        });
        self.0.note(format!("{} {message}{fields}", event.metadata().level()));
    }
}
