//! One accepted socket to its end: version sniff, deadlines, states, drain.
#![forbid(unsafe_code)]
