//! Lines that need no event.

use std::{error::Error, fmt, time::Duration};

use tracing::{
    Subscriber,
    callsite::{Callsite, DefaultCallsite},
    dispatcher::get_default,
    field::{Field, Visit},
    level_filters::STATIC_MAX_LEVEL,
};

use crate::{
    escape::{self, Short, Tiny},
    fields::{self, Chain, Fields},
    keys::{Head, Key, Texts},
    line::{Line, SpanFields},
    number::{self, ShortFloat},
    time::Clock,
    whole::Whole,
};

/// Logs a line as an event of this callsite would, without the event: for a line that every request writes.
///
/// It says whether the event is taken care of: the line is written, or the filter does not let it through, or there is no
/// room for it. If it is not, nothing was done: this thread's events go elsewhere then, or to others as well, and it takes
/// an event to reach them all. It does it where this thread logs with [`init`](crate::init) in
/// [`Format::Json`](crate::Format::Json), or with [`JsonSubscriber::into_dispatch`](crate::JsonSubscriber::into_dispatch):
/// nobody else listens there.
///
/// The line is the one that an event would have been, with the fields of the span that the thread is in. `record` writes
/// fields of this callsite, each at most once. A panic must not be caught within it: the line would go on behind half a
/// value.
///
/// With an event each value is handed over by name, through two tables of functions. Here the compiler sees the whole
/// line: a line with many fields costs a third less.
///
/// ```
/// use graceful_json_log::{JsonSubscriber, LiveFilter, LogConfig, write_line};
/// use tracing::{Level, Metadata, callsite::DefaultCallsite, field::Visit, metadata::Kind};
///
/// static CALLSITE: DefaultCallsite = DefaultCallsite::new(&LINE);
/// static LINE: Metadata<'static> = tracing::metadata! {
///     name: "line",
///     target: "my_crate",
///     level: Level::INFO,
///     fields: &["message", "user"],
///     callsite: &CALLSITE,
///     kind: Kind::EVENT,
/// };
///
/// fn line(user: u64) {
///     let fields = || LINE.fields().iter();
///     let done = write_line(&CALLSITE, |line| {
///         fields().zip(["hello"]).for_each(|(field, text)| line.record_str(&field, text));
///         fields().skip(1).for_each(|field| line.record_u64(&field, user));
///     });
///     if !done {
///         tracing::info!(target: "my_crate", user, "hello");
///     }
/// }
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let log = JsonSubscriber::new(LogConfig::new().open()?).into_dispatch(LiveFilter::new("info")?);
/// # tracing::dispatcher::with_default(&log, || line(7));
/// # Ok(()) }
/// ```
#[inline]
#[must_use = "if it is false, there is to be an event"]
pub fn write_line(callsite: &'static DefaultCallsite, record: impl FnOnce(&mut LineFields<'_>)) -> bool {
    let mut record = Some(record);
    get_default(|dispatch| {
        let Some(whole) = dispatch.downcast_ref::<Whole>() else { return false };
        if is_on(callsite, whole)
            && let Some(record) = record.take()
        {
            whole.json().write(callsite.metadata(), record);
        }
        true
    })
}

/// Nearly as the macros of `tracing` find it out. What no log of the program wants they know without asking one, but may
/// know it of another thread's only.
#[inline]
fn is_on(callsite: &'static DefaultCallsite, whole: &Whole) -> bool {
    let metadata = callsite.metadata();
    *metadata.level() <= STATIC_MAX_LEVEL && (callsite.interest().is_always() || whole.enabled(metadata))
}

/// The fields of a line of [`write_line`], which takes them as it takes those of an event.
///
/// Where the calls come from is known when this is compiled, and no value goes to a place that is not known: a few
/// instructions each.
pub struct LineFields<'a> {
    /// The line so far, up to `at`: as long as nothing is out of the ordinary.
    room: &'a mut [u8; LineFields::ROOM],
    /// [`SPILT`](Self::SPILT), if something was: then the line goes on in `line`.
    at: usize,
    /// Of the names that are there.
    bits: u64,
    line: &'a mut Line,
    keys: &'a [Key],
}

impl<'a> LineFields<'a> {
    /// More than nearly every access line has.
    pub(crate) const ROOM: usize = 4096;

    /// There is never room there.
    const SPILT: usize = usize::MAX;

    #[inline]
    pub(crate) fn new(
        room: &'a mut [u8; LineFields::ROOM],
        line: &'a mut Line,
        clock: &mut Clock,
        time: Duration,
        texts: &'a Texts,
    ) -> Self {
        #[cold]
        fn head(line: &mut Line, clock: &mut Clock, time: Duration, rest: &Head) {
            line.head(clock, time, rest);
        }
        let mut at = Self::SPILT;
        match texts.head.short() {
            Some((head, length)) if texts.ordinary => {
                let start = clock.start_line(time);
                room[..start.len()].copy_from_slice(start);
                room[Clock::LENGTH..][..Head::SHORT].copy_from_slice(head);
                at = Clock::LENGTH + length;
            }
            _ => head(line, clock, time, &texts.head),
        }
        Self { room, at, bits: 0, line, keys: &texts.keys }
    }

    /// Writes a field with a value of at most `N` bytes, and says whether it has.
    #[inline(always)]
    fn short<const N: usize>(&mut self, key: &Key, value: impl FnOnce(&mut [u8; N]) -> usize) -> bool {
        if self.at > Self::ROOM - Key::SHORT - N {
            return false;
        }
        let (key_text, key_length) = key.short();
        let room = &mut self.room[self.at..][..Key::SHORT + N];
        room[..Key::SHORT].copy_from_slice(key_text);
        let Some(value_room) = room[key_length..].first_chunk_mut() else { return false };
        self.at += key_length + value(value_room);
        self.bits |= key.bit;
        true
    }

    /// The same for a text of sixteen bytes and more.
    #[inline(always)]
    fn long(&mut self, key: &Key, value: &str) -> bool {
        /// Out of line, and apart from where it is: then that stays in a register.
        #[inline(never)]
        fn long(room: &mut [u8], key: &Key, value: &str) -> Option<usize> {
            let (key_text, key_length) = key.short();
            *room.first_chunk_mut()? = *key_text;
            Some(key_length + escape::middling(value, room.get_mut(key_length..)?)?)
        }
        let Some(length) = self.room.get_mut(self.at..).and_then(|room| long(room, key, value)) else { return false };
        self.at += length;
        self.bits |= key.bit;
        true
    }

    /// The line as an event has it, which takes what is out of the ordinary.
    #[inline(always)]
    fn spilt(&mut self) -> Fields<'_> {
        #[cold]
        #[inline(never)]
        fn spill(line: &mut Line, room: &[u8], bits: u64) {
            line.go_on_from(room, bits);
        }
        if self.at != Self::SPILT {
            spill(self.line, &self.room[..self.at], self.bits);
            self.at = Self::SPILT;
        }
        Fields { line: self.line, keys: self.keys }
    }

    /// Adds the fields of a span, but for those whose keys are there already. After these it gets no others.
    #[inline]
    pub(crate) fn inherit(&mut self, span: &SpanFields) {
        if !self.inherit_in_room(span) {
            self.spilt().line.inherit(span);
        }
    }

    #[inline]
    fn inherit_in_room(&mut self, span: &SpanFields) -> bool {
        let Some(mut rest) = self.room.get_mut(self.at..) else { return false };
        let before = rest.len();
        let said = span.missing(self.bits, |piece| {
            let (room, behind) = std::mem::take(&mut rest).split_at_mut_checked(piece.len())?;
            room.copy_from_slice(piece);
            rest = behind;
            Some(())
        });
        if said.is_some() {
            self.at += before - rest.len();
            self.bits |= span.bits();
        }
        said.is_some()
    }

    /// Ends the line.
    #[inline]
    pub(crate) fn finish(&mut self) -> &[u8] {
        match self.room.get_mut(self.at..).and_then(|room| room.first_chunk_mut()) {
            Some(end) => {
                *end = *b"}\n";
                &self.room[..self.at + 2]
            }
            None => self.spilt().line.finish(),
        }
    }
}

impl Visit for LineFields<'_> {
    #[inline(always)]
    fn record_f64(&mut self, field: &Field, value: f64) {
        let Some(key) = self.keys.get(field.index()) else { return };
        if !ShortFloat::new(value).is_some_and(|value| self.short(key, |out| value.write(out))) {
            fields::float(self.spilt().line, key, value);
        }
    }

    #[inline(always)]
    fn record_i64(&mut self, field: &Field, value: i64) {
        match u64::try_from(value) {
            Ok(value) => self.record_u64(field, value),
            Err(_) => self.spilt().record_i64(field, value),
        }
    }

    #[inline(always)]
    fn record_u64(&mut self, field: &Field, value: u64) {
        let Some(key) = self.keys.get(field.index()) else { return };
        if !number::Short::new(value).is_some_and(|value| self.short(key, |out| value.write(out))) {
            fields::unsigned(self.spilt().line, key, value);
        }
    }

    fn record_i128(&mut self, field: &Field, value: i128) {
        self.spilt().record_i128(field, value);
    }

    fn record_u128(&mut self, field: &Field, value: u128) {
        self.spilt().record_u128(field, value);
    }

    #[inline(always)]
    fn record_bool(&mut self, field: &Field, value: bool) {
        let Some(key) = self.keys.get(field.index()) else { return };
        let (text, length) = if value { (*b"true ", 4) } else { (*b"false", 5) };
        let written = self.short(key, |out| {
            *out = text;
            length
        });
        if !written {
            self.spilt().record_bool(field, value);
        }
    }

    #[inline(always)]
    fn record_str(&mut self, field: &Field, value: &str) {
        let Some(key) = self.keys.get(field.index()) else { return };
        let done = match value.len() {
            0..8 => Tiny::new(value).is_some_and(|value| self.short(key, |out| value.write(out))),
            8..17 => Short::new(value).is_some_and(|value| self.short(key, |out| value.write(out))),
            17.. => self.long(key, value),
        };
        if !done {
            fields::string(self.spilt().line, key, value);
        }
    }

    fn record_error(&mut self, field: &Field, value: &(dyn Error + 'static)) {
        self.record_debug(field, &format_args!("{}", Chain(value)));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.spilt().record_debug(field, value);
    }
}

impl fmt::Debug for LineFields<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { room: _, at: _, bits: _, line: _, keys } = self;
        f.debug_struct("LineFields").field("fields", &keys.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use tracing::{Level, Metadata, metadata::Kind};

    use super::*;
    use crate::keys::Cache;

    // Else both ways would be the same one, and no test of what they write would tell.
    #[test]
    fn what_is_ordinary_goes_the_short_way() {
        static CALLSITE: DefaultCallsite = DefaultCallsite::new(&LINE);
        static LINE: Metadata<'static> = tracing::metadata! {
            name: "line", target: "shop", level: Level::INFO, fields: &["message", "path", "status", "took_ms", "wide"],
            callsite: &CALLSITE, kind: Kind::EVENT,
        };
        let mut room = [0; LineFields::ROOM];
        let (mut line, mut clock, mut cache) = (Line::default(), Clock::new(), Cache::default());
        let mut fields = LineFields::new(&mut room, &mut line, &mut clock, Duration::ZERO, cache.texts(&LINE));
        let mut names = LINE.fields().iter();
        let mut next = || names.next().expect("as many as there are names");
        fields.record_str(&next(), "hello");
        fields.record_str(&next(), "/a/path/of/some/length");
        fields.record_u64(&next(), 200);
        fields.record_f64(&next(), 0.125);
        assert_ne!(fields.at, LineFields::SPILT);
        fields.record_i128(&next(), -1);
        assert_eq!(fields.at, LineFields::SPILT, "rare kinds are written where an event's are");
    }
}
