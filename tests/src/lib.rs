//! The harness of the integration tests: raw clients and servers on ports of their own.
#![forbid(unsafe_code)]
