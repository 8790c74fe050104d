use bytes::Bytes;
use http::{Response, header::CONTENT_LENGTH};

/// Leaves out the content of an answer to `HEAD`, and says how long it is to a `GET` (RFC 9110, 9.3.2).
///
/// A server may leave that to the service: hyper sends over HTTP/2 what it is given, and a client takes content where there
/// is none for a breach of the protocol (RFC 9113, 8.1.1). A `Content-Length` that is there already stays.
#[must_use]
pub fn without_content(response: Response<Bytes>) -> Response<Bytes> {
    let (mut head, content) = response.into_parts();
    head.headers.entry(CONTENT_LENGTH).or_insert_with(|| content.len().into());
    Response::from_parts(head, Bytes::new())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_length_is_that_of_the_answer_to_get() {
        let response = without_content(Response::new(Bytes::from_static(b"server busy")));
        assert_eq!((response.headers()[CONTENT_LENGTH].as_bytes(), response.body().len()), (&b"11"[..], 0));
        let told = Response::builder().header(CONTENT_LENGTH, 7).body(Bytes::new()).expect("valid");
        assert_eq!(without_content(told).headers()[CONTENT_LENGTH], "7", "by whoever knows better");
    }
}
