//! Signals, ordered phases, one deadline, a report.
#![forbid(unsafe_code)]
