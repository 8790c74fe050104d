//! A request id and a request-scoped span for every request.
#![forbid(unsafe_code)]
