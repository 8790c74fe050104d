//! Why a response did not come out whole, and the way for a handler to ask for that.

use std::{any::Any, borrow::Cow, fmt};

use graceful_answer::Cause;
use http::StatusCode;

/// Where in a request's way a panic was caught.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Place {
    /// In the inner service's `call`, before there was a future.
    Call,
    /// In a poll of the response future: a handler's own code is here.
    Future,
    /// In the response body, after the head was given out.
    Body,
    /// In a `Drop`: of the future, of the response body, or of the panic's payload.
    Drop,
    /// In the [`Answer`](graceful_answer::Answer) that was to speak for the panicked handler; the client then got plain
    /// text.
    Answer,
}

impl Place {
    /// Every place, in the order of the declaration.
    pub const ALL: [Self; 5] = [Self::Call, Self::Future, Self::Body, Self::Drop, Self::Answer];

    /// The place as the field `where` of the log names it: `call`, `future`, `body`, `drop`, `answer`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Call => "call",
            Self::Future => "future",
            Self::Body => "body",
            Self::Drop => "drop",
            Self::Answer => "answer",
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The service panicked: the [`Cause`] of the 500 where the head was not out, the error of the body where it was.
///
/// It carries nothing of the panic itself, because a client may read what is made of it; the log has the rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Panicked {
    place: Place,
}

impl Panicked {
    pub(crate) const fn new(place: Place) -> Self {
        Self { place }
    }

    /// Where the panic was caught.
    #[must_use]
    pub const fn place(&self) -> Place {
        self.place
    }
}

impl Cause for Panicked {
    fn status(&self) -> StatusCode {
        StatusCode::INTERNAL_SERVER_ERROR
    }

    fn message(&self) -> &str {
        "internal error"
    }
}

impl fmt::Display for Panicked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the service panicked ({})", self.place)
    }
}

impl std::error::Error for Panicked {}

/// The response was given up by [`abort`]: the error of its body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Aborted;

impl fmt::Display for Aborted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the response was aborted on purpose")
    }
}

impl std::error::Error for Aborted {}

/// Gives up the response at once and in silence, as a panic with Go's `http.ErrAbortHandler` does.
///
/// For a handler that finds, perhaps deep in a call, that what it has begun to send cannot be finished: a proxy whose
/// upstream broke off, an export whose row cannot be read. The client must not take what it has for the whole.
///
/// The stack unwinds up to the recovery layer, so destructors run. No panic hook runs, no error is logged (one line at
/// `DEBUG` is), nothing is counted. Then the response is cut: over HTTP/1 the connection is closed, without a status line
/// if the head was not out yet; over HTTP/2 the stream is reset with `INTERNAL_ERROR` and the other streams go on. One
/// case is left: an answer to `HEAD` has no body that could be cut. Where the server does not poll it (hyper over HTTP/1, and
/// `graceful` over both) the client gets an empty 500, and over HTTP/1 then the close.
///
/// # Panics
///
/// Always; that is how it gets out. Where no recovery layer is above (a spawned task, another thread) it ends that task
/// or thread, in silence. With `panic = "abort"` it ends the process.
pub fn abort() -> ! {
    // Not `panic_any`: resuming is the way to unwind that calls no hook. A box of nothing allocates nothing.
    std::panic::resume_unwind(Box::new(AbortPayload))
}

/// Private, so that nothing but [`abort`] is taken for it.
struct AbortPayload;

pub(crate) fn is_abort(payload: &(dyn Any + Send)) -> bool {
    payload.is::<AbortPayload>()
}

/// What is left of a response whose service unwound.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Cut {
    Panicked(Panicked),
    Aborted,
}

impl Cut {
    pub(crate) fn into_error(self) -> Box<dyn std::error::Error + Send + Sync> {
        match self {
            Self::Panicked(panicked) => panicked.into(),
            Self::Aborted => Aborted.into(),
        }
    }
}

/// What a panic said.
pub(crate) fn text_of(payload: &(dyn Any + Send)) -> Cow<'static, str> {
    if let Some(text) = payload.downcast_ref::<&'static str>() {
        bounded(text).map_or(Cow::Borrowed(*text), Cow::Owned)
    } else if let Some(text) = payload.downcast_ref::<String>() {
        Cow::Owned(bounded(text).unwrap_or_else(|| text.clone()))
    } else {
        Cow::Borrowed("non-string panic payload")
    }
}

/// The beginning of a text that is too long for a line of a log.
fn bounded(text: &str) -> Option<String> {
    if text.len() <= MAX_TEXT {
        return None;
    }
    let end = (0..=MAX_TEXT).rev().find(|&end| text.is_char_boundary(end)).unwrap_or(0);
    Some(format!("{}… ({} bytes)", &text[..end], text.len()))
}

/// In bytes. A failed `assert_eq!` prints both sides whole, and what it compares may come from a client.
const MAX_TEXT: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_is_what_the_panic_said() {
        assert_eq!(text_of(&"literal"), "literal");
        assert_eq!(text_of(&String::from("formatted")), "formatted");
        assert_eq!(text_of(&7_u32), "non-string panic payload");
    }

    #[test]
    fn a_long_text_is_cut_between_characters() {
        // Two bytes a character, and one to put the limit into the middle of one.
        let long = format!("x{}", "é".repeat(MAX_TEXT));
        let text = text_of(&long);
        assert!(text.len() < MAX_TEXT + 32, "bounded: {}", text.len());
        assert!(text.starts_with("xéé") && text.ends_with("é… (8193 bytes)"), "says that it was cut");
    }

    #[test]
    fn a_client_reads_two_words() {
        let cause = Panicked::new(Place::Future);
        assert_eq!((cause.status().as_u16(), cause.message()), (500, "internal error"));
    }

    #[test]
    fn abort_is_known_by_a_type_that_nobody_else_can_make() {
        let payload = std::panic::catch_unwind(|| abort()).expect_err("it never returns");
        assert!(is_abort(&*payload));
        assert!(!is_abort(&"abort"));
    }
}
