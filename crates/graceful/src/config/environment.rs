//! What of a command line is an environment variable's.

use std::{ffi::OsStr, str::FromStr};

use clap::{
    Arg, Command, Error,
    builder::{PossibleValue, Resettable, TypedValueParser, ValueParser, ValueParserFactory},
    error::{ContextKind, ContextValue},
    parser::ValueSource,
};

use super::setting::{OrOff, Value};

/// An empty variable is one that is not set: shells, compose files and charts write `NAME=` for "nothing".
///
/// Only ours: a program may have flags of its own beside them.
pub(super) fn unset_if_empty(arg: Arg) -> Arg {
    let is_empty =
        arg.get_env().is_some_and(|name| is_ours(name) && std::env::var_os(name).is_some_and(|value| value.is_empty()));
    if is_empty { arg.env(Resettable::Reset) } else { arg }
}

fn is_ours(name: &OsStr) -> bool {
    name.as_encoded_bytes().starts_with(b"GRACEFUL_")
}

/// Reads as `P` does, and says of a bad value which variable it came from: nobody looks for a flag that was not written.
#[derive(Clone, Debug)]
pub(super) struct Named<P>(pub(super) P);

impl<P: TypedValueParser> TypedValueParser for Named<P> {
    type Value = P::Value;

    fn parse_ref(&self, command: &Command, arg: Option<&Arg>, value: &OsStr) -> Result<P::Value, Error> {
        self.0.parse_ref(command, arg, value)
    }

    fn parse_ref_(
        &self,
        command: &Command,
        arg: Option<&Arg>,
        value: &OsStr,
        source: ValueSource,
    ) -> Result<P::Value, Error> {
        let read = self.0.parse_ref_(command, arg, value, source);
        read.map_err(|mut error| {
            if source == ValueSource::EnvVariable
                && let Some(arg) = arg
                && let Some(variable) = arg.get_env()
            {
                let both = format!("{arg} [env: {}]", variable.to_string_lossy());
                error.insert(ContextKind::InvalidArg, ContextValue::String(both));
            }
            error
        })
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        self.0.possible_values()
    }
}

impl<T: Value + Clone + Send + Sync + 'static> ValueParserFactory for OrOff<T> {
    type Parser = ValueParser;

    fn value_parser() -> ValueParser {
        ValueParser::new(Named(Self::from_str))
    }
}
