//! Numbers, without the detour through `fmt` where a detour would cost more than the number.

use std::fmt::Write;

use crate::text::Text;

/// A number of at most eight digits.
///
/// They are worked out before there is a place to write them to, as with [`Tiny`](crate::escape::Tiny).
pub(crate) struct Short {
    digits: u64,
    length: usize,
}

impl Short {
    /// `None` if it has more digits.
    #[inline(always)]
    pub(crate) fn new(number: u64) -> Option<Self> {
        // A status, most counts.
        if let Ok(small) = usize::try_from(number)
            && let Some([digits @ .., length]) = UP_TO_THREE_DIGITS.get(small)
        {
            let [a, b, c] = *digits;
            let digits = u32::from_le_bytes([a, b, c, 0]);
            return Some(Self { digits: digits.into(), length: usize::from(*length) });
        }
        (number < EIGHT_DIGITS).then(|| {
            let digits = eight_digits(number);
            let zeros = zeros_before(digits);
            Self { digits: digits >> (8 * zeros), length: 8 - zeros }
        })
    }

    /// Writes it and says how long that is.
    #[inline(always)]
    pub(crate) fn write(self, out: &mut [u8; 8]) -> usize {
        *out = self.digits.to_le_bytes();
        self.length
    }
}

/// A number from 0 up to 100,000 with up to three places, as milliseconds are.
pub(crate) struct ShortFloat {
    /// Of the thousandths.
    digits: u64,
}

impl ShortFloat {
    /// `None` if it is another one.
    #[inline(always)]
    pub(crate) fn new(number: f64) -> Option<Self> {
        whole_thousandths(number).map(|thousandths| Self { digits: eight_digits(thousandths) })
    }

    /// Writes it and says how long that is.
    #[inline(always)]
    pub(crate) fn write(self, out: &mut [u8; 13]) -> usize {
        let digits = self.digits;
        // One digit before the point and one behind it stay, whatever they are.
        let zeros = zeros_before(digits).min(4);
        let zeros_behind = ((digits ^ ZEROS) | 1 << 40).leading_zeros() as usize / 8;
        out[..8].copy_from_slice(&(digits >> (8 * zeros)).to_le_bytes());
        let point_and_places = (digits >> 40 << 8) | u64::from(b'.');
        out[5 - zeros..13 - zeros].copy_from_slice(&point_and_places.to_le_bytes());
        9 - zeros - zeros_behind
    }
}

/// One more than the largest number of [`eight_digits`].
const EIGHT_DIGITS: u64 = 100_000_000;

/// The digits of a number below 100,000,000, the first of them in the lowest byte.
///
/// All are worked out at once, side by side in one word: two numbers of four digits become four of two, then eight of
/// one. A division by 100 or by 10 is a multiplication there and a shift, exact for numbers as small as these.
#[inline(always)]
pub(crate) const fn eight_digits(number: u64) -> u64 {
    let fours = (number / 10_000) | ((number % 10_000) << 32);
    let hundreds = ((fours * 10_486) >> 20) & 0x0000_007f_0000_007f;
    let twos = hundreds | ((fours - 100 * hundreds) << 16);
    let tens = ((twos * 103) >> 10) & 0x000f_000f_000f_000f;
    tens | ((twos - 10 * tens) << 8) | ZEROS
}

/// How many zeros stand before the first digit that is none; seven, if all are zeros.
#[inline(always)]
const fn zeros_before(digits: u64) -> usize {
    ((digits ^ ZEROS) | 1 << 56).trailing_zeros() as usize / 8
}

const ZEROS: u64 = u64::from_le_bytes(*b"00000000");

/// Appends a number that is not negative.
pub(crate) fn unsigned(mut number: u64, out: &mut Text) {
    let mut digits = [0; 20]; // u64::MAX has 20
    let mut at = digits.len();
    while number >= 100 {
        at -= 2;
        digits[at..at + 2].copy_from_slice(&pair(number));
        number /= 100;
    }
    let [tens, ones] = pair(number);
    at -= 1;
    digits[at] = ones;
    if number >= 10 {
        at -= 1;
        digits[at] = tens;
    }
    out.extend(&digits[at..]);
}

/// Appends a number.
pub(crate) fn signed(number: i64, out: &mut Text) {
    if number < 0 {
        out.push(b"-", 1);
    }
    unsigned(number.unsigned_abs(), out);
}

/// Appends the shortest decimal that reads back as the same number; `null` where JSON has no number for it.
pub(crate) fn float(number: f64, out: &mut Text) {
    if let Some(millionths) = whole_millionths(number) {
        if number < 0.0 {
            out.push(b"-", 1);
        }
        unsigned(millionths / 1_000_000, out);
        let (places, length) = places(millionths % 1_000_000);
        out.push(&places, length);
    } else if number.is_finite() {
        // `Debug` is the shortest form and has an exponent where that is shorter, as in `1e300`: all of it JSON.
        // Writing into memory does not fail.
        let _ = write!(out, "{number:?}");
    } else {
        out.push(b"null", 4);
    }
}

/// The last two digits of a number, for times of day and the like.
#[inline(always)]
pub(crate) const fn pair(number: u64) -> [u8; 2] {
    PAIRS[(number % 100) as usize]
}

/// The number in thousandths, below [`EIGHT_DIGITS`], if it is a decimal of at most three places and not negative.
///
/// A number below 2^52 and that added is 2^52 and the number rounded, which then stands in the low bits of the sum as it
/// is. For why it is the shortest decimal see [`whole_millionths`].
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "what does not fit is not taken")]
fn whole_thousandths(number: f64) -> Option<u64> {
    const TWO_TO_52: f64 = 4_503_599_627_370_496.0;
    // Of whatever is negative, too large or no number this is something larger.
    let thousandths = (number * 1e3 + TWO_TO_52).to_bits().wrapping_sub(TWO_TO_52.to_bits());
    let fits = thousandths < EIGHT_DIGITS && (f64::from(thousandths as u32) / 1e3).to_bits() == number.to_bits();
    fits.then_some(thousandths)
}

/// The number in millionths if it is a decimal of at most six places, as most of what is logged is: durations in
/// milliseconds, ratios.
///
/// Both `n` and 1e6 are exact, and IEEE 754 division rounds correctly; so `n / 1e6 == number` says that the decimal with
/// six places reads back as `number`. It has at most 15 digits, and of those no two share one `f64`: it is the shortest.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0 and 1e15")]
fn whole_millionths(number: f64) -> Option<u64> {
    // Of NaN and of what is too large this is 0 or `i64::MAX`, which the comparisons below tell from the number.
    let millionths = (number.abs() * 1e6 + 0.5) as i64;
    let fits = millionths < 1_000_000_000_000_000 && millionths as f64 / 1e6 == number.abs();
    // Minus zero keeps its sign the long way.
    (fits && number.to_bits() != (-0.0_f64).to_bits()).then_some(millionths as u64)
}

/// The point and what stands behind it, and how long that is without the zeros at the end but for one: `.0`, `.25`.
#[inline(always)]
fn places(millionths: u64) -> ([u8; 8], usize) {
    let [[a, b], [c, d], [e, f]] = [pair(millionths / 10_000), pair(millionths / 100), pair(millionths)];
    let places = [b'.', a, b, c, d, e, f, b'0'];
    // The first digit stays, whatever it is.
    const ZEROS: u64 = u64::from_le_bytes(*b"  000000");
    let length = 8 - (u64::from_le_bytes(places) ^ ZEROS).leading_zeros() as usize / 8;
    (places, length)
}

/// `0` to `999`, and how long each is.
static UP_TO_THREE_DIGITS: [[u8; 4]; 1000] = {
    let mut all = [[0; 4]; 1000];
    let mut number = 0;
    while number < all.len() {
        let [[_, hundreds], [tens, ones]] = [pair(number as u64 / 100), pair(number as u64)];
        all[number] = match number {
            0..10 => [ones, 0, 0, 1],
            10..100 => [tens, ones, 0, 2],
            _ => [hundreds, tens, ones, 3],
        };
        number += 1;
    }
    all
};

/// `00` to `99`.
const PAIRS: [[u8; 2]; 100] = {
    let mut pairs = [[b'0'; 2]; 100];
    let mut number = 0u8;
    while number < 100 {
        pairs[number as usize] = [b'0' + number / 10, b'0' + number % 10];
        number += 1;
    }
    pairs
};

#[cfg(test)]
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "of random numbers any part will do")]
mod tests {
    use super::*;
    use crate::testing::Random;

    /// By the short way, where it is one, and by the long one.
    fn both<T: Copy, const N: usize>(
        short: impl Fn(T, &mut [u8; N]) -> Option<usize>,
        long: impl Fn(T, &mut Text),
        number: T,
    ) -> String {
        let text = written(long, number);
        let mut out = [0; N];
        if let Some(length) = short(number, &mut out) {
            assert_eq!(&out[..length], text.as_bytes(), "both ways write the same");
        }
        text
    }

    fn written<T>(write: impl Fn(T, &mut Text), number: T) -> String {
        let mut out = Text::default();
        write(number, &mut out);
        String::from_utf8(out.to_vec()).unwrap()
    }

    #[test]
    fn whole_numbers() {
        let mut random = Random::new(1);
        let powers = (0..20).map(|exponent| 10u64.pow(exponent)).flat_map(|power| [power - 1, power, power + 1]);
        let some = (0..10_000).map(|_| random.next() >> (random.next() % 64));
        for number in powers.chain([u64::MAX, i64::MAX as u64, i64::MIN as u64]).chain(some.collect::<Vec<_>>()) {
            assert_eq!(both(|number, out| Some(Short::new(number)?.write(out)), unsigned, number), number.to_string());
            assert_eq!(written(signed, number as i64), (number as i64).to_string());
        }
    }

    #[test]
    fn floats_read_back_and_are_the_shortest() {
        let mut random = Random::new(2);
        let some = (0..100_000).map(|step| match step % 4 {
            0 => f64::from_bits(random.next()),
            1 => (random.next() as i32 >> (random.next() % 32)) as f64 / 1000.0,
            2 => (random.next() >> 10) as f64 / 1e6,
            _ => random.next() as i16 as f64 / 7.0,
        });
        let odd =
            [0.0, -0.0, 1.0, -1.5, 0.1, 0.3, 1e-6, 1e-7, 1e9 - 1e-6, 1e15, 1e16, 1e300, f64::MIN, f64::MIN_POSITIVE];
        for number in odd.into_iter().chain(some.filter(|number| number.is_finite()).collect::<Vec<_>>()) {
            let text = both(|number, out| Some(ShortFloat::new(number)?.write(out)), float, number);
            let read: f64 = serde_json::from_str(&text).expect(&text);
            let strict: f64 = text.parse().unwrap();
            assert_eq!(
                strict.to_bits(),
                number.to_bits(),
                "{text} reads back as the same number, sign of zero included"
            );
            assert!((read - number).abs() <= number.abs() * 1e-15, "{text} is a number to serde_json as well");
            assert!(text.contains(['.', 'e']), "{text} stays a float to a reader that tells them apart");
            let digits = |text: &str| text.bytes().filter(u8::is_ascii_digit).collect::<Vec<_>>();
            if text.contains('.') && !text.contains('e') {
                let shortest = format!("{number}");
                let shortest = if shortest.contains('.') { shortest } else { shortest + ".0" };
                assert_eq!(digits(&text), digits(&shortest), "the shortest of the decimals that read back");
            }
        }
    }

    #[test]
    fn what_json_has_no_number_for_is_null() {
        for number in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            assert_eq!(written(float, number), "null");
        }
    }
}
