//! Bounded in-flight work with a bounded queue, a bounded wait and an honest 503.
#![forbid(unsafe_code)]
