//! A panic becomes a 500 or a cut connection, and a full report.
#![forbid(unsafe_code)]
