//! Where each byte of the stream is. No other module knows it.
//!
//! Two watermarks are enough for one stream that only goes forward: `[0, stored)` is in the store,
//! `[stored, loaded)` is in memory, and what follows is missing.

use std::ops::Range;

use bytes::Bytes;

use super::memory::{Memory, Pieces};

/// Where the bytes of a [`Part`] are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// In memory.
    Resident,
    /// In the store only.
    Stored,
    /// Not loaded yet.
    Missing,
}

/// A part of a range whose bytes are all in one place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) range: Range<u64>,
    pub(super) place: Place,
}

/// The parts of a range; made by [`Layout::split`].
pub(super) struct Parts {
    rest: Range<u64>,
    stored: u64,
    loaded: u64,
}

impl Iterator for Parts {
    type Item = Part;

    #[inline]
    fn next(&mut self) -> Option<Part> {
        let start = self.rest.start;
        if start >= self.rest.end {
            return None;
        }
        let (place, border) = if start < self.stored {
            (Place::Stored, self.stored)
        } else if start < self.loaded {
            (Place::Resident, self.loaded)
        } else {
            (Place::Missing, u64::MAX)
        };
        self.rest.start = self.rest.end.min(border);
        Some(Part { range: start..self.rest.start, place })
    }
}

pub(super) struct Layout {
    memory: Memory,
}

impl Layout {
    pub(super) fn new() -> Self {
        Self { memory: Memory::new() }
    }

    /// The parts of `range` in order, without gaps and without empty parts.
    pub(super) fn split(&self, range: Range<u64>) -> Parts {
        Parts { rest: range, stored: self.stored(), loaded: self.loaded() }
    }

    /// The offset of the first byte that is not loaded.
    pub(super) fn loaded(&self) -> u64 {
        self.memory.end()
    }

    /// The offset of the first byte that is not in the store.
    pub(super) fn stored(&self) -> u64 {
        self.memory.start()
    }

    /// Bytes of memory held, used or not.
    pub(super) fn allocated(&self) -> usize {
        self.memory.allocated()
    }

    /// Takes in as many of the next bytes of the stream as the open block has room for. Returns their
    /// number.
    pub(super) fn append(&mut self, bytes: &[u8]) -> usize {
        self.memory.append(bytes)
    }

    /// The stream has ended: gives back the unused room of the last block.
    pub(super) fn finish(&mut self) {
        self.memory.finish();
    }

    /// The first piece of a resident range, and the pieces that follow it up to `more_to`.
    pub(super) fn slice(&mut self, range: Range<u64>, more_to: u64) -> Pieces {
        self.memory.slice(range.start, range.end, more_to)
    }

    /// The end of the oldest full blocks that must leave memory to bring it down to `max_memory`, or
    /// as near to it as full blocks can.
    pub(super) fn excess(&self, max_memory: usize) -> u64 {
        self.memory.excess(max_memory)
    }

    /// The oldest resident bytes, up to `to` and about `most` of them: their offset and where they lie
    /// in memory.
    pub(super) fn oldest_resident(&mut self, to: u64, most: usize) -> Option<(u64, Vec<Bytes>)> {
        let start = self.memory.start();
        (start < to).then(|| (start, self.memory.oldest(to, most)))
    }

    /// The bytes before `to` are in the store now, and leave memory.
    pub(super) fn spilled(&mut self, to: u64) {
        self.memory.forget(to);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(layout: &Layout, range: Range<u64>) -> Vec<(u64, u64, Place)> {
        layout.split(range).map(|part| (part.range.start, part.range.end, part.place)).collect()
    }

    #[test]
    fn a_range_is_split_where_its_bytes_change_their_place() {
        use Place::{Missing, Resident, Stored};
        let mut layout = Layout::new();
        assert_eq!(parts(&layout, 5..9), [(5, 9, Missing)]);
        assert_eq!(layout.append(&[0; 100]), 100);
        layout.spilled(40);
        assert_eq!(parts(&layout, 0..40), [(0, 40, Stored)]);
        assert_eq!(parts(&layout, 40..100), [(40, 100, Resident)]);
        assert_eq!(parts(&layout, 39..41), [(39, 40, Stored), (40, 41, Resident)]);
        assert_eq!(parts(&layout, 10..200), [(10, 40, Stored), (40, 100, Resident), (100, 200, Missing)]);
        assert_eq!(parts(&layout, 100..u64::MAX), [(100, u64::MAX, Missing)]);
        assert_eq!(parts(&layout, 50..50), []);
    }
}
