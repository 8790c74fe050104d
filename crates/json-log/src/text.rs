//! The bytes of a line in the making.

use std::{fmt, ops::Deref};

/// Text that grows at its end, in memory that is there already.
///
/// Unlike a `Vec` it has all of its memory initialised, so that a field is written with one look at the room that there
/// is, in pieces of a length that the compiler knows: those are moves, where a copy of any other length is a call.
#[derive(Default)]
pub(crate) struct Text {
    memory: Vec<u8>,
    len: usize,
}

impl Text {
    /// The memory behind the text: at least so many bytes.
    #[inline(always)]
    pub(crate) fn room(&mut self, bytes: usize) -> &mut [u8] {
        if self.memory.len() - self.len < bytes {
            self.grow(bytes);
        }
        &mut self.memory[self.len..]
    }

    /// The memory behind the text, as much as there is.
    #[inline(always)]
    pub(crate) fn room_left(&mut self) -> &mut [u8] {
        self.memory.get_mut(self.len..).unwrap_or_default()
    }

    #[cold]
    #[inline(never)]
    fn grow(&mut self, bytes: usize) {
        const LEAST: usize = 1 << 10;
        let wanted = (self.len + bytes).next_power_of_two().max(LEAST);
        self.memory.resize(wanted, 0);
    }

    /// Takes so many bytes of the room into the text.
    #[inline(always)]
    pub(crate) fn advance(&mut self, bytes: usize) {
        self.len += bytes;
    }

    /// Appends the first `len` bytes of `bytes`.
    #[inline(always)]
    pub(crate) fn push<const N: usize>(&mut self, bytes: &[u8; N], len: usize) {
        self.room(N)[..N].copy_from_slice(bytes);
        self.advance(len.min(N));
    }

    #[inline]
    pub(crate) fn extend(&mut self, bytes: &[u8]) {
        self.room(bytes.len())[..bytes.len()].copy_from_slice(bytes);
        self.advance(bytes.len());
    }

    /// Cuts a part out.
    pub(crate) fn remove(&mut self, start: usize, end: usize) {
        self.memory.copy_within(end..self.len, start);
        self.len -= end - start;
    }

    /// Begins anew, and gives back the memory of a text that was unusually long.
    pub(crate) fn clear(&mut self) {
        const USUAL: usize = 64 << 10;
        self.len = 0;
        if self.memory.len() > USUAL {
            self.memory = Vec::new();
        }
    }
}

impl Deref for Text {
    type Target = [u8];

    #[inline(always)]
    fn deref(&self) -> &[u8] {
        &self.memory[..self.len]
    }
}

/// As it is, without escapes: for digits.
impl fmt::Write for Text {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.extend(text.as_bytes());
        Ok(())
    }
}
