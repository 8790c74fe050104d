//! Reads along with HTTP/2 frames, for the two waits that hyper and h2 do not bound: the client's SETTINGS after the
//! preface, and a header block whose end never comes.

use crate::protocol::PREFACE;

const HEADERS: u8 = 0x1;
const SETTINGS: u8 = 0x4;
const CONTINUATION: u8 = 0x9;
const END_HEADERS: u8 = 0x4;

#[derive(Debug)]
pub(crate) struct FrameScan {
    /// Bytes of the preface, or of a frame's payload, that are still to come.
    skip: usize,
    header: [u8; 9],
    /// How much of `header` is there.
    have: usize,
    /// The frame whose payload is coming ends a wait.
    ends: bool,
    /// How many waits there were; the first is for SETTINGS.
    pub(crate) blocks: u64,
    /// The last of them is not over.
    pub(crate) open: bool,
}

impl FrameScan {
    pub(crate) const fn new() -> Self {
        Self { skip: PREFACE.len(), header: [0; 9], have: 0, ends: false, blocks: 1, open: true }
    }

    /// Takes in bytes as they come.
    pub(crate) fn feed(&mut self, mut bytes: &[u8]) {
        loop {
            if self.skip > 0 {
                let n = self.skip.min(bytes.len());
                self.skip -= n;
                bytes = &bytes[n..];
                if self.skip > 0 {
                    return;
                }
            }
            if self.ends {
                self.ends = false;
                self.open = false;
            }
            if bytes.is_empty() {
                return;
            }
            let n = (self.header.len() - self.have).min(bytes.len());
            self.header[self.have..self.have + n].copy_from_slice(&bytes[..n]);
            self.have += n;
            bytes = &bytes[n..];
            if self.have < self.header.len() {
                return;
            }
            self.have = 0;
            let [high, middle, low, kind, flags, ..] = self.header;
            self.skip = usize::from(high) << 16 | usize::from(middle) << 8 | usize::from(low);
            match kind {
                HEADERS => {
                    self.blocks = self.blocks.wrapping_add(1);
                    self.open = true;
                    self.ends = flags & END_HEADERS != 0;
                }
                CONTINUATION => self.ends = flags & END_HEADERS != 0,
                // Only the first one is waited for.
                SETTINGS if self.blocks == 1 => self.ends = true,
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, flags: u8, payload: usize) -> Vec<u8> {
        let [_, high, middle, low] = u32::try_from(payload).expect("small").to_be_bytes();
        let mut frame = vec![high, middle, low, kind, flags, 0, 0, 0, 1];
        frame.resize(9 + payload, b'x');
        frame
    }

    /// What is open after each of the parts, whatever pieces they come in.
    fn open_after(parts: &[Vec<u8>]) -> Vec<(u64, bool)> {
        let mut last = None;
        for piece in [1, 2, 7, 10_000] {
            let mut scan = FrameScan::new();
            let mut seen = Vec::new();
            for part in parts {
                for bytes in part.chunks(piece) {
                    scan.feed(bytes);
                }
                seen.push((scan.blocks, scan.open));
            }
            assert!(last.as_ref().is_none_or(|last| *last == seen), "pieces of {piece} make no difference");
            last = Some(seen);
        }
        last.unwrap_or_default()
    }

    #[test]
    fn settings_are_waited_for_once() {
        let parts = [PREFACE.to_vec(), frame(6, 0, 8), frame(SETTINGS, 0, 18), frame(SETTINGS, 1, 0)];
        assert_eq!(open_after(&parts), [(1, true), (1, true), (1, false), (1, false)]);
    }

    #[test]
    fn a_block_is_open_until_end_headers() {
        let start = [PREFACE.to_vec(), frame(SETTINGS, 0, 0)].concat();
        let parts = [start, frame(HEADERS, 0, 20), frame(CONTINUATION, 0, 0), frame(CONTINUATION, END_HEADERS, 5)];
        assert_eq!(open_after(&parts), [(1, false), (2, true), (2, true), (2, false)]);
    }

    #[test]
    fn a_block_is_open_while_its_frame_comes_in() {
        let mut headers = frame(HEADERS, END_HEADERS, 20);
        let rest = headers.split_off(12);
        let start = [PREFACE.to_vec(), frame(SETTINGS, 0, 0), headers].concat();
        assert_eq!(open_after(&[start, rest, frame(HEADERS, END_HEADERS, 3)]), [(2, true), (2, false), (3, false)]);
    }

    /// What is open at the end of whole frames, worked out frame by frame.
    fn slowly(frames: &[(u8, u8, usize)]) -> (u64, bool) {
        let (mut blocks, mut open) = (1, true);
        for &(kind, flags, _) in frames {
            match kind {
                HEADERS => {
                    blocks += 1;
                    open = flags & END_HEADERS == 0;
                }
                CONTINUATION if flags & END_HEADERS != 0 => open = false,
                SETTINGS if blocks == 1 => open = false,
                _ => {}
            }
        }
        (blocks, open)
    }

    #[test]
    fn on_random_frames_in_random_pieces_it_agrees_with_a_look_at_each_frame() {
        let mut random = 0x2545_f491_4f6c_dd1d_u64;
        let mut next = move |below: usize| {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            usize::try_from(random % below as u64).expect("below a usize")
        };
        for _ in 0..20_000 {
            let frames: Vec<_> = (0..next(8))
                .map(|_| {
                    let kind = [HEADERS, CONTINUATION, SETTINGS, 0, 6, 0x42][next(6)];
                    (kind, [0, END_HEADERS, 0xff, 1][next(4)], [0, 1, 9, 300][next(4)])
                })
                .collect();
            let bytes: Vec<u8> =
                PREFACE.iter().copied().chain(frames.iter().flat_map(|&(k, f, n)| frame(k, f, n))).collect();
            let mut scan = FrameScan::new();
            let mut rest = &bytes[..];
            while !rest.is_empty() {
                let (piece, more) = rest.split_at(1 + next(rest.len()));
                scan.feed(piece);
                rest = more;
            }
            assert_eq!((scan.blocks, scan.open), slowly(&frames), "{frames:?}");
        }
    }
}
