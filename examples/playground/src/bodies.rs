//! Bodies that are large, and bodies that take long.

use std::{convert::Infallible, sync::LazyLock, time::Duration};

use axum::{
    body::{Body, Bytes},
    extract::Query,
};
use futures_util::stream;
use serde::Deserialize;

use crate::number::{Millis, UpTo};

/// The most that `/big` has: 64 MiB.
const MOST: u32 = 64 << 20;

/// One block for all requests, however many: this is to strain the connection, not the memory.
static BLOCK: LazyLock<Bytes> = LazyLock::new(|| vec![b'x'; MOST as usize].into());

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Size {
    bytes: Option<UpTo<MOST>>,
}

/// `/big?bytes=`: all of it in one piece, as a handler has it that builds its answer in memory. No layer around the body
/// sees whether the client reads it.
pub(crate) async fn big(Query(size): Query<Size>) -> Bytes {
    let bytes: u32 = size.bytes.map_or(1 << 20, Into::into);
    BLOCK.slice(..bytes as usize)
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Lines {
    n: Option<UpTo<100_000>>,
    ms: Option<Millis>,
}

/// `/stream?n=&ms=`: `n` lines, the first at once, each of the others after `ms`.
pub(crate) async fn stream(Query(lines): Query<Lines>) -> Body {
    let last: u32 = lines.n.map_or(10, Into::into);
    let pause = lines.ms.map_or(Duration::from_millis(100), Into::into);
    Body::from_stream(stream::unfold(1, move |n| async move {
        if n > last {
            return None;
        }
        if n > 1 {
            tokio::time::sleep(pause).await;
        }
        Some((Ok::<_, Infallible>(format!("line {n}\n")), n + 1))
    }))
}
