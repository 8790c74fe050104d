//! Exactly one access record a request, written at its true end.
#![forbid(unsafe_code)]
