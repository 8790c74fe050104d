//! The time of a line.

use std::time::{Duration, SystemTime};

use crate::{
    line::HEAD,
    number::{eight_digits, pair},
};

/// The time since 1970, and zero for a clock that stands before it.
pub(crate) fn now() -> Duration {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
}

/// Begins lines; keeps what the line before began with, of which as a rule only the microseconds change.
pub(crate) struct Clock {
    second: u64,
    start: [u8; 48],
}

/// A line up to and with its time.
const START: &[u8; 41] = b"{\"timestamp\":\"1970-01-01T00:00:00.000000Z";
/// Where the microseconds stand in it.
const MICROS: usize = START.len() - 7;

impl Clock {
    pub(crate) const LENGTH: usize = START.len();

    pub(crate) const fn new() -> Self {
        let mut start = [0; 48];
        let mut at = 0;
        while at < START.len() {
            start[at] = START[at];
            at += 1;
        }
        Self { second: 0, start }
    }

    /// [`HEAD`] and `2006-01-02T15:04:05.123456Z` (RFC 3339, UTC): so many bytes as [`LENGTH`](Self::LENGTH) says.
    #[inline]
    pub(crate) fn start_line(&mut self, since_1970: Duration) -> &[u8; 48] {
        let second = since_1970.as_secs().min(END_OF_9999);
        if second != self.second {
            self.set(second);
        }
        // Of eight digits the first two are zeros.
        let micros = eight_digits(u64::from(since_1970.subsec_micros())) >> 16 | u64::from(b'Z') << 48;
        self.start[MICROS..MICROS + 8].copy_from_slice(&micros.to_le_bytes());
        &self.start
    }

    #[cold]
    fn set(&mut self, second: u64) {
        self.start[HEAD.len()..MICROS].copy_from_slice(&text(second));
        self.second = second;
    }
}

/// 9999-12-31T23:59:59Z, the last second that RFC 3339 can say.
const END_OF_9999: u64 = 253_402_300_799;

fn text(second: u64) -> [u8; 20] {
    let (year, month, day) = date(second / 86_400);
    let mut text = *b"0000-00-00T00:00:00.";
    let parts = [year / 100, year, month, day, second / 3600 % 24, second / 60 % 60, second % 60];
    for (at, part) in [0, 2, 5, 8, 11, 14, 17].into_iter().zip(parts) {
        text[at..at + 2].copy_from_slice(&pair(part));
    }
    text
}

/// Year, month and day of a day since 1970-01-01, in the Gregorian calendar.
///
/// Counts from the first of March of the year 0, so that a leap day is the last of its year, in cycles of 400 years.
const fn date(day: u64) -> (u64, u64, u64) {
    const DAYS_IN_400_YEARS: u64 = 146_097;
    const DAYS_TO_1970: u64 = 719_468;
    let day = day + DAYS_TO_1970;
    let (cycle, day) = (day / DAYS_IN_400_YEARS, day % DAYS_IN_400_YEARS);
    // Take out the leap days: one in 4 years, none in 100, one in 400.
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    // From March on the lengths of the months repeat: 153 days in five.
    let month = (5 * day + 2) / 153;
    let day_of_month = day - (153 * month + 2) / 5 + 1;
    let year = cycle * 400 + year;
    if month < 10 { (year, month + 3, day_of_month) } else { (year + 1, month - 9, day_of_month) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(clock: &mut Clock, time: Duration) -> String {
        let line = String::from_utf8(clock.start_line(time)[..Clock::LENGTH].to_vec()).unwrap();
        line.strip_prefix(str::from_utf8(HEAD).unwrap()).expect(&line).into()
    }

    #[test]
    fn known_times() {
        let mut clock = Clock::new();
        for (time, expected) in [
            (Duration::ZERO, "1970-01-01T00:00:00.000000Z"),
            (Duration::new(951_827_696, 789_012_999), "2000-02-29T12:34:56.789012Z"),
            (Duration::new(951_827_696, 1_000), "2000-02-29T12:34:56.000001Z"),
            (Duration::new(1_709_251_199, 999_999_999), "2024-02-29T23:59:59.999999Z"),
            (Duration::new(1_709_251_200, 0), "2024-03-01T00:00:00.000000Z"),
            (Duration::from_secs(END_OF_9999), "9999-12-31T23:59:59.000000Z"),
            (Duration::MAX, "9999-12-31T23:59:59.999999Z"),
        ] {
            assert_eq!(written(&mut clock, time), expected);
        }
    }

    #[test]
    fn every_day_follows_the_day_before() {
        let leap = |year: u64| year.is_multiple_of(4) && !year.is_multiple_of(100) || year.is_multiple_of(400);
        let (mut year, mut month, mut day) = (1970, 1, 1);
        for since in 0..END_OF_9999 / 86_400 + 1 {
            assert_eq!(date(since), (year, month as u64, day));
            let days = [31, if leap(year) { 29 } else { 28 }, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
            day += 1;
            if day > days[month - 1] {
                (month, day) = (month + 1, 1);
            }
            if month > 12 {
                (year, month) = (year + 1, 1);
            }
        }
        assert_eq!((year, month, day), (10_000, 1, 1));
    }
}
