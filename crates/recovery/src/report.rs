//! The report of one panic: an event in the span and with the subscriber of the request.

use std::{
    borrow::Cow,
    io::Write,
    panic::{AssertUnwindSafe, catch_unwind},
};

use http::{HeaderValue, Method, uri::PathAndQuery};
use tracing::{Dispatch, Level, Span, dispatcher, field::display, subscriber::NoSubscriber};

use crate::{
    Place,
    backtraces::{Trace, trimmed},
    reporter,
    section::Site,
};

/// What happened. Each is an event of its own, with a level of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Panic,
    /// The application caught it itself.
    Handled,
    Abort,
}

#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) kind: Kind,
    pub(crate) place: Place,
    pub(crate) site: Site,
    pub(crate) whole: bool,
    pub(crate) method: Method,
    pub(crate) path: Option<PathAndQuery>,
    pub(crate) request_id: Option<HeaderValue>,
}

impl Report {
    /// Writes it, on the reporter's thread if there is a backtrace to be given names.
    ///
    /// It is foreign code that listens: when a subscriber panics, that is the end of the report and of nothing else.
    pub(crate) fn send(self) {
        let sent = catch_unwind(AssertUnwindSafe(|| {
            let report = Addressed {
                thread: std::thread::current().name().map(str::to_owned),
                span: Span::current(),
                dispatch: dispatcher::get_default(Dispatch::clone),
                report: self,
            };
            match report.report.site.trace {
                Trace::Captured(_) => reporter::submit(Box::new(report)),
                Trace::Off | Trace::Omitted(_) => report.write(),
            }
        }));
        forget(sent);
    }
}

/// A report that can be written on any thread.
#[derive(Debug)]
pub(crate) struct Addressed {
    report: Report,
    thread: Option<String>,
    span: Span,
    dispatch: Dispatch,
}

impl Addressed {
    #[cfg(test)]
    pub(crate) fn to_nobody() -> Self {
        let report = Report {
            kind: Kind::Panic,
            place: Place::Future,
            site: Site::nowhere("".into()),
            whole: false,
            method: Method::GET,
            path: None,
            request_id: None,
        };
        Self { report, thread: None, span: Span::none(), dispatch: Dispatch::none() }
    }

    /// Gives up the backtrace, for this reason.
    pub(crate) fn omit_backtrace(&mut self, reason: &'static str) {
        self.report.site.trace = Trace::Omitted(reason);
    }

    pub(crate) fn write(self) {
        forget(catch_unwind(AssertUnwindSafe(move || {
            // Clones that live as long as what they enter.
            let (dispatch, span) = (self.dispatch.clone(), self.span.clone());
            dispatcher::with_default(&dispatch, || span.in_scope(|| self.emit()));
        })));
    }

    fn emit(self) {
        let Self { report: Report { kind, place, site, whole, method, path, request_id }, thread, span: _, dispatch } =
            self;
        let backtrace: Option<Cow<'static, str>> = match site.trace {
            Trace::Off => None,
            Trace::Omitted(reason) => Some(reason.into()),
            Trace::Captured(trace) if whole => Some(trace.to_string().into()),
            Trace::Captured(trace) => Some(trimmed(&trace.to_string()).into()),
        };
        let panic = &*site.text;
        let location = site.location.as_deref();
        let (method, path) = (method.as_str(), path.as_ref().map_or("", PathAndQuery::path));
        let request_id = request_id.as_ref().and_then(|id| id.to_str().ok());
        let place = place.as_str();
        let thread = thread.as_deref();
        // Nobody listens, and the hook that would have printed it was passed by. A panic is too much to lose.
        if dispatch.is::<NoSubscriber>() && kind != Kind::Abort {
            let _ = writeln!(
                std::io::stderr(),
                "thread '{}' panicked at {} in {method} {path} ({place}):\n{panic}\n{}",
                thread.unwrap_or("<unnamed>"),
                location.unwrap_or("an unknown place"),
                backtrace.as_deref().unwrap_or_default(),
            );
        }
        // Many lines: as a display value a formatter for people keeps them apart.
        let backtrace = backtrace.as_deref().map(display);
        match kind {
            Kind::Panic => tracing::event!(
                target: "graceful::panic", Level::ERROR,
                panic, location, method, path, request_id, "where" = place, thread, backtrace, "panic"
            ),
            Kind::Handled => tracing::event!(
                target: "graceful::panic", Level::WARN,
                panic, location, method, path, request_id, "where" = place, thread, backtrace,
                "panic that the application caught"
            ),
            Kind::Abort => tracing::event!(
                target: "graceful::panic", Level::DEBUG,
                method, path, request_id, "where" = place, thread, "response aborted"
            ),
        }
    }
}

/// A payload whose drop panics would be a panic out of the very code that survives them.
fn forget<T>(result: std::thread::Result<T>) {
    if let Err(payload) = result {
        std::mem::forget(payload);
    }
}
