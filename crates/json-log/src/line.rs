//! One line in the making: fields are written once, and every key stands in it once.

use std::time::Duration;

use crate::{
    keys::{Head, Key, Name},
    number,
    text::Text,
    time::Clock,
};

/// The text of a line and where its fields stand in it.
///
/// It also renders the fields of a span, which then has no head.
#[derive(Default)]
pub(crate) struct Line {
    text: Text,
    /// Of those fields that are [placed](Key::placed). The first `count` are in use; all of it is initialised, for the
    /// reason that [`Text`] has.
    places: Vec<Place>,
    count: usize,
    /// Those of the names that are there.
    bits: u64,
}

impl Line {
    /// Begins anew.
    pub(crate) fn clear(&mut self) {
        self.text.clear();
        self.count = 0;
        self.bits = 0;
    }

    /// Writes what every line begins with.
    #[inline]
    pub(crate) fn head(&mut self, clock: &mut Clock, time: Duration, rest: &Head) {
        self.text.push(clock.start_line(time), Clock::LENGTH);
        rest.write(&mut self.text);
    }

    /// Adds the fields of a span, but for those whose keys are there already. After these it gets no others.
    pub(crate) fn inherit(&mut self, span: &SpanFields) {
        let text = &mut self.text;
        let extended = span.missing(self.bits, |piece| {
            text.extend(piece);
            Some(())
        });
        if extended.is_none() {
            let (text, places) = (span.text(), span.places());
            for (at, place) in places.iter().enumerate() {
                if !self.has(place) {
                    self.text.extend(field(text, places, at));
                }
            }
        }
        self.bits |= span.bits;
        if span.bits & Name::SHARED_BIT != 0 {
            // Where they stand no longer matters, and of the other names the bit says it all.
            for place in span.places().iter().filter(|place| !place.name.has_a_bit()) {
                self.push(*place);
            }
        }
    }

    /// Goes on from a text that was made elsewhere, with fields that are not placed.
    #[cold]
    pub(crate) fn go_on_from(&mut self, text: &[u8], bits: u64) {
        self.clear();
        self.text.extend(text);
        self.bits = bits;
    }

    /// Ends the line.
    #[inline]
    pub(crate) fn finish(&mut self) -> &[u8] {
        self.text.push(b"}\n", 2);
        &self.text
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Writes a field with a value of at most `N` bytes, and says whether it has. Whatever is out of the ordinary it
    /// leaves to [`field`](Self::field): so it calls nothing, and costs a third.
    #[inline(always)]
    pub(crate) fn short_field<const N: usize>(
        &mut self,
        key: &Key,
        value: impl FnOnce(&mut [u8; N]) -> Option<usize>,
    ) -> bool {
        let Some((key_text, key_length)) = key.plain() else { return false };
        let start = self.text.len();
        let Some(room) = self.text.room_left().get_mut(..Key::SHORT + N) else { return false };
        room[..Key::SHORT].copy_from_slice(key_text);
        let Some(value_room) = room[key_length..].first_chunk_mut() else { return false };
        let Some(value_length) = value(value_room) else { return false };
        if key.placed {
            let Some(place) = self.places.get_mut(self.count) else { return false };
            *place = Place { start, name: key.name };
            self.count += 1;
        }
        self.bits |= key.bit;
        self.text.advance(key_length + value_length);
        true
    }

    /// Writes a field. A key that is there already makes room: what was recorded last counts.
    pub(crate) fn field(&mut self, key: &Key, value: impl FnOnce(&mut Text)) {
        let start = self.text.len();
        self.text.extend(key.text());
        value(&mut self.text);
        self.bits |= key.bit;
        if key.placed {
            self.push(Place { start, name: key.name });
        }
        if key.again {
            let earlier = self.places().iter().position(|place| place.name == key.name);
            if let Some(earlier) = earlier.filter(|earlier| earlier + 1 < self.count) {
                self.remove(earlier);
            }
        }
    }

    fn places(&self) -> &[Place] {
        &self.places[..self.count]
    }

    fn push(&mut self, place: Place) {
        if self.count == self.places.len() {
            const LEAST: usize = 32;
            self.places.resize((2 * self.count).max(LEAST), Place::default());
        }
        self.places[self.count] = place;
        self.count += 1;
    }

    #[inline]
    fn has(&self, other: &Place) -> bool {
        self.bits & other.name.bit() != 0
            && (other.name.has_a_bit() || self.places().iter().any(|place| place.name == other.name))
    }

    /// Cuts a field out.
    #[cold]
    fn remove(&mut self, index: usize) {
        let (start, end) = (self.places[index].start, end(self.places(), index, &self.text));
        self.text.remove(start, end);
        self.places.copy_within(index + 1..self.count, index);
        self.count -= 1;
        for later in &mut self.places[index..self.count] {
            later.start -= end - start;
        }
    }
}

/// What every line begins with; a torn line at the end of a file is known by it.
pub(crate) const HEAD: &[u8; 14] = b"{\"timestamp\":\"";

/// The line that the crate itself writes when lines were lost.
pub(crate) fn loss(time: Duration, dropped: u64, out: &mut Vec<u8>) {
    const TEXT: &[u8] =
        b"\",\"level\":\"WARN\",\"target\":\"graceful_json_log\",\"message\":\"log lines dropped\",\"dropped\":";
    let mut line = Text::default();
    line.push(Clock::new().start_line(time), Clock::LENGTH);
    line.extend(TEXT);
    number::unsigned(dropped, &mut line);
    line.extend(b"}\n");
    out.extend_from_slice(&line);
}

/// The fields of a span as they will stand in a line.
///
/// In place for the spans of most requests: the box of the extension is the only allocation, or there is none.
pub(crate) struct SpanFields {
    text: [u8; Self::SHORT],
    places: [Place; Self::FEW],
    len: usize,
    count: usize,
    bits: u64,
    /// Instead of those that are in place, if they do not fit.
    many: Option<Box<Many>>,
}

struct Many {
    text: Vec<u8>,
    places: Vec<Place>,
}

impl SpanFields {
    const SHORT: usize = 256;
    const FEW: usize = 8;

    pub(crate) fn of(line: &Line) -> Self {
        let mut fields = Self::default();
        fields.set(line);
        fields
    }

    /// Begins with the fields of `line`.
    #[inline]
    pub(crate) fn set(&mut self, line: &Line) {
        let (text, places) = (&*line.text, line.places());
        self.many = None;
        if text.len() <= Self::SHORT && places.len() <= Self::FEW {
            self.text[..text.len()].copy_from_slice(text);
            self.places[..places.len()].copy_from_slice(places);
            (self.len, self.count) = (text.len(), places.len());
        } else {
            self.many = Some(Box::new(Many { text: text.into(), places: places.into() }));
        }
        self.bits = line.bits;
    }

    /// Gives back what memory it has.
    pub(crate) fn clear(&mut self) {
        self.many = None;
    }

    /// Whether it has no memory to give back.
    pub(crate) const fn is_in_place(&self) -> bool {
        self.many.is_none()
    }

    /// Takes in what was recorded later, which counts more than what was there.
    pub(crate) fn update(&mut self, recorded: &Line) {
        let before = std::mem::take(self);
        let (text, places) = (before.text(), before.places());
        for (at, place) in places.iter().enumerate() {
            if !recorded.has(place) {
                self.push(place.name, field(text, places, at));
            }
        }
        let (text, places) = (&recorded.text, recorded.places());
        for (at, place) in places.iter().enumerate() {
            self.push(place.name, field(text, places, at));
        }
    }

    fn push(&mut self, name: Name, field: &[u8]) {
        let place = Place { start: self.text().len(), name };
        self.bits |= name.bit();
        if self.many.is_none() {
            let room = self.text.get_mut(self.len..).and_then(|room| room.get_mut(..field.len()));
            if let (Some(room), Some(free)) = (room, self.places.get_mut(self.count)) {
                room.copy_from_slice(field);
                *free = place;
                (self.len, self.count) = (self.len + field.len(), self.count + 1);
                return;
            }
        }
        let mut many = self
            .many
            .take()
            .unwrap_or_else(|| Box::new(Many { text: self.text().into(), places: self.places().into() }));
        many.text.extend_from_slice(field);
        many.places.push(place);
        self.many = Some(many);
    }

    /// What a line has not that has the keys of `bits`, in as few pieces as can be, as long as `each` takes them. `None` if it
    /// did not, or if the bits do not say it all.
    #[inline]
    pub(crate) fn missing(&self, bits: u64, mut each: impl FnMut(&[u8]) -> Option<()>) -> Option<()> {
        if (self.bits | bits) & Name::SHARED_BIT != 0 {
            return None;
        }
        let (text, places) = (self.text(), self.places());
        if self.bits & bits == 0 {
            return each(text);
        }
        let mut start = 0;
        for (at, place) in places.iter().enumerate() {
            if bits & place.name.bit() != 0 {
                if start < place.start {
                    each(text.get(start..place.start)?)?;
                }
                start = end(places, at, text);
            }
        }
        each(text.get(start..)?)
    }

    pub(crate) const fn bits(&self) -> u64 {
        self.bits
    }

    #[inline]
    fn text(&self) -> &[u8] {
        self.many.as_ref().map_or_else(|| &self.text[..self.len], |many| &many.text)
    }

    #[inline]
    fn places(&self) -> &[Place] {
        self.many.as_ref().map_or_else(|| &self.places[..self.count], |many| &many.places)
    }
}

impl Default for SpanFields {
    fn default() -> Self {
        Self { text: [0; Self::SHORT], places: [Place::default(); Self::FEW], len: 0, count: 0, bits: 0, many: None }
    }
}

/// Where `,"key":value` stands in a text, which ends where the next one begins.
#[derive(Clone, Copy, Default)]
struct Place {
    start: usize,
    name: Name,
}

fn end(places: &[Place], index: usize, text: &[u8]) -> usize {
    places.get(index + 1).map_or(text.len(), |next| next.start)
}

/// The field with this index.
fn field<'a>(text: &'a [u8], places: &[Place], index: usize) -> &'a [u8] {
    &text[places[index].start..end(places, index, text)]
}
