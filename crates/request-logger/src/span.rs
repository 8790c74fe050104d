use std::cell::LazyCell;

use http::request::Parts;
use tracing::Span;

use crate::traceparent::TraceParent;

/// The target of the span, for filters: `graceful::request`.
pub const TARGET: &str = "graceful::request";

/// A client chooses how long its path is, within the server's limit for a whole head; a log line need not hold it all.
const MAX_PATH: usize = 1024;

/// The longest registered method, `UPDATEREDIRECTREF`, has 17 bytes.
const MAX_METHOD: usize = 32;

pub(crate) fn request_span<'a>(request: &Parts, id: impl FnOnce() -> &'a str, query: bool) -> Span {
    let uri = &request.uri;
    // The fields below are evaluated only where somebody wants the span; so is this.
    let parent = LazyCell::new(|| TraceParent::from_headers(&request.headers));
    tracing::info_span!(
        target: TARGET,
        "request",
        method = bounded(request.method.as_str(), MAX_METHOD),
        path = bounded(uri.path(), MAX_PATH),
        query = if query { uri.query().map(|query| bounded(query, MAX_PATH)) } else { None },
        request_id = id(),
        trace_id = parent.as_ref().map(|parent| parent.trace_id),
        parent_id = parent.as_ref().map(|parent| parent.parent_id),
    )
}

/// At most `max` bytes of `text`, and no half character. `str::floor_char_boundary` is younger than our `rust-version`.
fn bounded(text: &str, max: usize) -> &str {
    if text.len() <= max {
        return text;
    }
    let mut end = max;
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_text_is_cut_at_a_character() {
        for (text, max, expected) in [
            ("/path", 5, "/path"),
            ("/path", 4, "/pat"),
            ("/grüße", 4, "/gr"),
            ("/grüße", 5, "/grü"),
            ("€", 2, ""),
            ("", 0, ""),
        ] {
            assert_eq!(bounded(text, max), expected, "{max} bytes of {text:?}");
        }
    }
}
