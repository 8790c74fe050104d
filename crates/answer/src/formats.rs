use std::time::Duration;

use bytes::Bytes;
use http::{
    HeaderValue, Response, StatusCode,
    header::{CONTENT_TYPE, RETRY_AFTER},
};

use crate::{Answer, Cause};

/// The message of the cause as `text/plain`: the default of every layer.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct PlainText;

impl PlainText {
    /// The only value of this type.
    #[must_use]
    pub const fn new() -> Self {
        Self
    }
}

impl<C: Cause + ?Sized> Answer<C> for PlainText {
    fn answer(&self, cause: &C) -> Response<Bytes> {
        let text = Bytes::copy_from_slice(cause.message().as_bytes());
        response(cause, "text/plain; charset=utf-8", text)
    }
}

/// The cause as problem details, `application/problem+json` (RFC 9457).
///
/// `type` is `about:blank`, so `title` is the status' own phrase (RFC 9457, 4.2.1); `detail` is the message of the
/// cause.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct ProblemDetails;

impl ProblemDetails {
    /// The only value of this type.
    #[must_use]
    pub const fn new() -> Self {
        Self
    }
}

impl<C: Cause + ?Sized> Answer<C> for ProblemDetails {
    fn answer(&self, cause: &C) -> Response<Bytes> {
        let status = cause.status();
        let mut json = String::with_capacity(128);
        json.push_str(r#"{"type":"about:blank","title":""#);
        escape_into(&mut json, title(status));
        json.push_str(r#"","status":"#);
        json.push_str(status.as_str());
        json.push_str(r#","detail":""#);
        escape_into(&mut json, cause.message());
        json.push_str("\"}");
        response(cause, "application/problem+json", json.into())
    }
}

fn response<C: Cause + ?Sized>(cause: &C, content_type: &'static str, body: Bytes) -> Response<Bytes> {
    let mut response = Response::new(body);
    *response.status_mut() = cause.status();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    if let Some(after) = cause.retry_after() {
        headers.insert(RETRY_AFTER, HeaderValue::from(whole_seconds(after)));
    }
    response
}

/// `Retry-After` has no fractions: half a second is "1", never "0", which would ask for a retry at once.
fn whole_seconds(after: Duration) -> u64 {
    after.as_secs().saturating_add(u64::from(after.subsec_nanos() > 0))
}

fn title(status: StatusCode) -> &'static str {
    status.canonical_reason().unwrap_or("Error")
}

/// A message is a few words of the program's own, but nothing stops a user's `Cause` from quoting something else.
fn escape_into(json: &mut String, text: &str) {
    for c in text.chars() {
        match c {
            '"' => json.push_str("\\\""),
            '\\' => json.push_str("\\\\"),
            '\n' => json.push_str("\\n"),
            c if (c as u32) < 0x20 => {
                json.push_str(&format!("\\u{:04x}", c as u32));
            }
            c => json.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Busy(&'static str, Option<Duration>);

    impl Cause for Busy {
        fn status(&self) -> StatusCode {
            StatusCode::SERVICE_UNAVAILABLE
        }
        fn message(&self) -> &str {
            self.0
        }
        fn retry_after(&self) -> Option<Duration> {
            self.1
        }
    }

    #[test]
    fn plain_text_is_the_message_and_says_so() {
        let response = PlainText.answer(&Busy("server busy", None));
        assert_eq!(response.status(), 503);
        assert_eq!(response.headers()[CONTENT_TYPE], "text/plain; charset=utf-8");
        assert!(!response.headers().contains_key(RETRY_AFTER), "no hint where the cause has none");
        assert_eq!(response.body(), "server busy");
    }

    #[test]
    fn retry_after_rounds_up() {
        for (millis, seconds) in [(1, "1"), (999, "1"), (1000, "1"), (1001, "2"), (0, "0")] {
            let cause = Busy("server busy", Some(Duration::from_millis(millis)));
            assert_eq!(PlainText.answer(&cause).headers()[RETRY_AFTER], seconds, "{millis} ms");
        }
        let never = Busy("server busy", Some(Duration::MAX));
        assert_eq!(PlainText.answer(&never).headers()[RETRY_AFTER], u64::MAX.to_string(), "and never to zero");
    }

    #[test]
    fn problem_details_are_rfc_9457() {
        let response = ProblemDetails.answer(&Busy("server busy", None));
        assert_eq!(response.headers()[CONTENT_TYPE], "application/problem+json");
        assert_eq!(
            response.body(),
            r#"{"type":"about:blank","title":"Service Unavailable","status":503,"detail":"server busy"}"#
        );
    }

    #[test]
    fn problem_details_escape_what_json_must_not_hold() {
        let response = ProblemDetails.answer(&Busy("a \"b\" \\ \n \u{1}", None));
        assert!(
            String::from_utf8_lossy(response.body()).ends_with(r#""detail":"a \"b\" \\ \n \u0001"}"#),
            "{:?}",
            response.body()
        );
    }

    #[test]
    fn a_closure_is_an_answer() {
        let teapot = |_: &Busy| {
            let mut response = Response::new(Bytes::from_static(b"short and stout"));
            *response.status_mut() = StatusCode::IM_A_TEAPOT;
            response
        };
        assert_eq!(teapot.answer(&Busy("", None)).status(), 418);
    }
}
