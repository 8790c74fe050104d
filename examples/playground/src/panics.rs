//! Panics: before the head of the answer, and after it.

use std::convert::Infallible;

use axum::body::Body;
use futures_util::stream;

/// `/panic`: the head is not sent, so that there can be a 500.
pub(crate) async fn in_the_handler() -> &'static str {
    panic!("in the handler");
}

/// `/panic-body`: the client has read 200 and a part of the body. It must not take that for the whole.
pub(crate) async fn in_the_body() -> Body {
    Body::from_stream(stream::unfold(false, |begun| async move {
        if !begun {
            return Some((Ok::<_, Infallible>("the first half\n"), true));
        }
        // The server writes to the socket what it has while it waits for more.
        tokio::task::yield_now().await;
        panic!("in the body");
    }))
}
