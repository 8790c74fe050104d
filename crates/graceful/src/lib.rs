//! A production axum server in one call.
#![forbid(unsafe_code)]
