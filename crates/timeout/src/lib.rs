//! A deadline for every handler, that the handler can read.
#![forbid(unsafe_code)]
