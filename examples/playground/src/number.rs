//! Numbers in a query: bounded, and a clear 400 for all else.

use std::time::Duration;

use serde::Deserialize;

/// A whole number from 0 to `MAX`.
///
/// ```text
/// Failed to deserialize query string: n: expected a whole number from 0 to 10000
/// ```
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct UpTo<const MAX: u32>(u32);

impl<const MAX: u32> TryFrom<String> for UpTo<MAX> {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        match text.parse() {
            Ok(number) if number <= MAX => Ok(Self(number)),
            _ => Err(format!("expected a whole number from 0 to {MAX}")),
        }
    }
}

impl<const MAX: u32> From<UpTo<MAX>> for u32 {
    fn from(UpTo(number): UpTo<MAX>) -> Self {
        number
    }
}

/// Milliseconds, ten minutes at most: longer than any limit of the server is by default.
pub(crate) type Millis = UpTo<600_000>;

impl From<Millis> for Duration {
    fn from(UpTo(millis): Millis) -> Self {
        Self::from_millis(millis.into())
    }
}
