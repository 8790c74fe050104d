//! What the unit tests share.

/// A small generator of its own (xorshift64*): the same numbers on every machine.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// A text of fewer than `max` characters of all kinds.
    pub(crate) fn text(&mut self, max: u64) -> String {
        let length = self.next() % max;
        (0..length).map(|_| self.character()).collect()
    }

    #[expect(clippy::cast_possible_truncation, reason = "of random numbers any part will do")]
    fn character(&mut self) -> char {
        let roll = self.next();
        let within = |bound: u32| char::from_u32((roll >> 8) as u32 % bound);
        match roll % 16 {
            0 => within(0x20),
            1 => ['"', '\\', '/', '\u{7f}', '\u{85}', '\u{2028}', '\u{2029}', '\u{feff}']
                .get(roll as usize >> 8 & 7)
                .copied(),
            2 => within(0x100),
            3 => within(0x11_0000),
            _ => within(0x7f),
        }
        .unwrap_or('\u{fffd}')
    }
}
