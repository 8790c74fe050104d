//! Values as people write them: `5s`, `100ms`, `off`, `1024`.

use std::{fmt, str::FromStr, time::Duration};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A value that a person can write.
pub trait Value: Sized {
    /// What to write, in a message about something else.
    const EXPECTED: &'static str;
    /// The same where there may be none of it.
    const EXPECTED_OR_NONE: &'static str = Self::EXPECTED;

    /// Reads it.
    ///
    /// # Errors
    ///
    /// What is wrong, for a person, without the text itself.
    fn read(text: &str) -> Result<Self, String>;

    /// Writes it so that [`read`](Self::read) gives the same.
    fn write(&self) -> String;
}

impl Value for Duration {
    const EXPECTED: &'static str = "a duration such as 5s or 100ms";

    fn read(text: &str) -> Result<Self, String> {
        humantime::parse_duration(text).map_err(|error| match error {
            humantime::DurationError::NumberOverflow => "that is longer than can be counted".to_owned(),
            _ => format!("expected {}", Self::EXPECTED),
        })
    }

    fn write(&self) -> String {
        humantime::format_duration(*self).to_string().replace(' ', "")
    }
}

macro_rules! counts {
    ($($number:ty),*) => {$(
        impl Value for $number {
            const EXPECTED: &'static str = "a whole number from 1";
            const EXPECTED_OR_NONE: &'static str = "a whole number";

            fn read(text: &str) -> Result<Self, String> {
                match text.parse() {
                    Ok(number) if number > 0 => Ok(number),
                    Err(error) if matches!(error.kind(), std::num::IntErrorKind::PosOverflow) => {
                        Err(format!("the most is {}", <$number>::MAX))
                    }
                    _ => Err(format!("expected {}", Self::EXPECTED)),
                }
            }

            fn write(&self) -> String {
                self.to_string()
            }
        }
    )*};
}

counts!(usize, u64, u32);

impl Value for String {
    const EXPECTED: &'static str = "an address";

    fn read(text: &str) -> Result<Self, String> {
        if text.is_empty() { Err(format!("expected {}", Self::EXPECTED)) } else { Ok(text.to_owned()) }
    }

    fn write(&self) -> String {
        self.clone()
    }
}

/// A value, or `off`. A duration of zero is off as well: zero never means "at once".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OrOff<T>(pub Option<T>);

impl<T: Value> FromStr for OrOff<T> {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim();
        if text.eq_ignore_ascii_case("off") {
            return Ok(Self(None));
        }
        T::read(text)
            .map(|value| Self(Some(value)))
            .map_err(|error| if error.starts_with("expected") { format!("{error}, or off") } else { error })
    }
}

impl<T: Value> fmt::Display for OrOff<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Some(value) => f.write_str(&value.write()),
            None => f.write_str("off"),
        }
    }
}

/// For `#[serde(with = …)]` on an `Option` that is `off` when `None`.
pub(super) mod or_off {
    use super::{Deserialize, Deserializer, OrOff, Serialize, Serializer, Text, Value, de};

    pub(in super::super) fn serialize<T, S>(value: &Option<T>, serializer: S) -> Result<S::Ok, S::Error>
    where
        T: Value + Clone,
        S: Serializer,
    {
        OrOff(value.clone()).to_string().serialize(serializer)
    }

    pub(in super::super) fn deserialize<'de, T, D>(deserializer: D) -> Result<Option<T>, D::Error>
    where
        T: Value,
        D: Deserializer<'de>,
    {
        let text = Text::deserialize(deserializer)?.0;
        text.parse::<OrOff<T>>()
            .map(|value| value.0)
            .map_err(|error| de::Error::custom(format!("invalid value {text:?}: {error}")))
    }
}

/// For `#[serde(with = …)]` on a value that cannot be off.
pub(super) mod plain {
    use super::{Deserialize, Deserializer, Serialize, Serializer, Text, Value, de};

    pub(in super::super) fn serialize<T: Value, S: Serializer>(value: &T, serializer: S) -> Result<S::Ok, S::Error> {
        value.write().serialize(serializer)
    }

    pub(in super::super) fn deserialize<'de, T, D>(deserializer: D) -> Result<T, D::Error>
    where
        T: Value,
        D: Deserializer<'de>,
    {
        let text = Text::deserialize(deserializer)?.0;
        T::read(text.trim()).map_err(|error| de::Error::custom(format!("invalid value {text:?}: {error}")))
    }
}

/// For `#[serde(with = …)]` on a value of which there may be none: zero, which can be written as `off`.
pub(super) mod or_none {
    use super::{Deserialize, Deserializer, Text, Value, de};

    pub(in super::super) use super::plain::serialize;

    pub(in super::super) fn deserialize<'de, T, D>(deserializer: D) -> Result<T, D::Error>
    where
        T: Value + Default,
        D: Deserializer<'de>,
    {
        let text = Text::deserialize(deserializer)?.0;
        read(&text).map_err(|error| de::Error::custom(format!("invalid value {text:?}: {error}")))
    }

    pub(in super::super) fn read<T: Value + Default>(text: &str) -> Result<T, String> {
        let text = text.trim();
        if text == "0" || text.eq_ignore_ascii_case("off") {
            return Ok(T::default());
        }
        T::read(text).map_err(|error| {
            if error.starts_with("expected") { format!("expected {}, or off", T::EXPECTED_OR_NONE) } else { error }
        })
    }
}

/// A string, or a number written as one: `max_in_flight = 8` and `"8"` are the same.
struct Text(String);

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = Text;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string such as \"5s\" or \"off\", or a number")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Text, E> {
                Ok(Text(text.to_owned()))
            }
            fn visit_u64<E: de::Error>(self, number: u64) -> Result<Text, E> {
                Ok(Text(number.to_string()))
            }
            fn visit_i64<E: de::Error>(self, number: i64) -> Result<Text, E> {
                Ok(Text(number.to_string()))
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_write() {
        for (text, millis) in [("5s", 5000), ("100ms", 100), (" 2m ", 120_000), ("1m30s", 90_000)] {
            assert_eq!(text.parse(), Ok(OrOff(Some(Duration::from_millis(millis)))), "{text}");
        }
        for text in ["off", "OFF"] {
            assert_eq!(text.parse(), Ok(OrOff::<Duration>(None)), "{text}");
        }
        assert_eq!("8".parse(), Ok(OrOff(Some(8_usize))));
    }

    #[test]
    fn nonsense_says_what_to_write() {
        for (text, says) in [
            ("5", "a duration such as 5s or 100ms, or off"),
            ("-5s", "a duration such as 5s or 100ms, or off"),
            ("soon", "a duration such as 5s or 100ms, or off"),
            ("", "a duration such as 5s or 100ms, or off"),
            ("99999999999999999999s", "longer than can be counted"),
        ] {
            let error = text.parse::<OrOff<Duration>>().expect_err(text);
            assert!(error.contains(says), "{text}: {error}");
        }
        for (text, says) in [
            ("0", "a whole number from 1, or off"),
            ("-1", "a whole number from 1, or off"),
            ("1.5", "a whole number from 1, or off"),
            ("99999999999999999999", "the most is 18446744073709551615"),
        ] {
            let error = text.parse::<OrOff<usize>>().expect_err(text);
            assert!(error.contains(says), "{text}: {error}");
        }
    }

    #[test]
    fn what_is_written_reads_the_same() {
        for millis in [1, 100, 1500, 60_000, 90_000] {
            let value = OrOff(Some(Duration::from_millis(millis)));
            assert_eq!(value.to_string().parse(), Ok(value));
        }
        assert_eq!(OrOff::<usize>(None).to_string(), "off");
    }
}
