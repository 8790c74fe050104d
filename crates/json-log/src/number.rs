//! Numbers, without the detour through `fmt` where a detour would cost more than the number.

use std::fmt::Write;

use crate::text::Text;

/// Writes a number below 10,000 and says how long it is. Of any other: `None`.
#[inline(always)]
pub(crate) fn short(number: u64, out: &mut [u8; 4]) -> Option<usize> {
    (number < 10_000).then(|| {
        let (digits, length) = up_to_four(number);
        *out = digits;
        length
    })
}

/// Writes a number from 0 up to 10,000 with up to six places and says how long it is. Of any other: `None`.
#[inline(always)]
pub(crate) fn short_float(number: f64, out: &mut [u8; 12]) -> Option<usize> {
    let millionths = whole_millionths(number).filter(|millionths| *millionths < 10_000_000_000 && number >= 0.0)?;
    let (whole, point) = up_to_four(millionths / 1_000_000);
    let (places, length) = places(millionths % 1_000_000);
    *out.first_chunk_mut()? = whole;
    *out.get_mut(point..)?.first_chunk_mut()? = places;
    Some(point + length)
}

/// The digits of a number below 10,000, and how many there are.
#[inline(always)]
fn up_to_four(number: u64) -> ([u8; 4], usize) {
    let ([a, b], [c, d]) = (pair(number / 100), pair(number));
    let zeros = usize::from(number < 1000) + usize::from(number < 100) + usize::from(number < 10);
    let digits = u32::from_le_bytes([a, b, c, d]) >> (8 * zeros);
    (digits.to_le_bytes(), 4 - zeros)
}

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
            assert_eq!(both(short, unsigned, number), number.to_string());
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
            let text = both(short_float, float, number);
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
