//! Where each byte of the resource is. No other module knows it.
//!
//! It keeps two sets of ranges: the bytes that are loaded, and those of them that are in the store. The other
//! loaded bytes are in memory. A stream that is loaded from front to back has one range in each set.

use std::ops::Range;

use super::memory::{Memory, Pieces};
use super::ranges::RangeSet;
use super::segments::Segment;
use crate::progress::Ranges;

/// Where the bytes of a [`Part`] are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// In memory.
    Resident,
    /// In the store only.
    Stored,
    /// Not loaded.
    Missing,
}

/// A part of a range whose bytes are all in one place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) range: Range<u64>,
    pub(super) place: Place,
}

/// The parts of a range; made by [`Layout::split`].
pub(super) struct Parts<'a> {
    layout: &'a Layout,
    rest: Range<u64>,
}

impl Iterator for Parts<'_> {
    type Item = Part;

    #[inline]
    fn next(&mut self) -> Option<Part> {
        let start = self.rest.start;
        if start >= self.rest.end {
            return None;
        }
        let (place, border) = match (self.layout.loaded.look_up(start), self.layout.stored.look_up(start)) {
            ((false, border), _) => (Place::Missing, border),
            (_, (true, border)) => (Place::Stored, border),
            ((true, border), (false, stored)) => (Place::Resident, border.min(stored)),
        };
        self.rest.start = self.rest.end.min(border);
        Some(Part { range: start..self.rest.start, place })
    }
}

pub(super) struct Layout {
    memory: Memory,
    loaded: RangeSet,
    /// The loaded bytes that are not in memory.
    stored: RangeSet,
}

impl Layout {
    pub(super) fn new() -> Self {
        Self { memory: Memory::new(), loaded: RangeSet::default(), stored: RangeSet::default() }
    }

    /// The parts of `range` in order, without gaps and without empty parts.
    #[inline]
    pub(super) fn split(&self, range: Range<u64>) -> Parts<'_> {
        Parts { layout: self, rest: range }
    }

    /// The number of loaded bytes.
    pub(super) fn loaded(&self) -> u64 {
        self.loaded.len()
    }

    /// The number of bytes in the store.
    pub(super) fn stored(&self) -> u64 {
        self.stored.len()
    }

    /// The end of the last loaded byte.
    pub(super) fn end(&self) -> u64 {
        self.loaded.end()
    }

    /// Whether the byte at `offset` is loaded, and the next offset for which this is different.
    #[inline]
    pub(super) fn look_up(&self, offset: u64) -> (bool, u64) {
        self.loaded.look_up(offset)
    }

    /// The first offset from `offset` on whose byte is not loaded.
    pub(super) fn first_missing(&self, offset: u64) -> u64 {
        self.loaded.first_missing(offset)
    }

    /// The bytes in memory.
    pub(super) fn resident(&self) -> RangeSet {
        let mut resident = self.loaded.clone();
        for stored in self.stored.iter() {
            resident.remove(stored);
        }
        resident
    }

    /// The ranges of loaded bytes.
    pub(super) fn ranges(&self) -> Ranges {
        Ranges { resident: self.resident().iter().collect(), spilled: self.stored.iter().collect() }
    }

    /// Bytes of memory held, used or not.
    pub(super) fn allocated(&self) -> usize {
        self.memory.allocated()
    }

    /// Takes in as many of the bytes that `stream` has at `at` as its open block has room for. None of
    /// them may be loaded. Returns their number.
    pub(super) fn append(&mut self, stream: usize, at: u64, bytes: &[u8]) -> usize {
        let taken = self.memory.append(stream, at, bytes);
        self.loaded.insert(at..at + taken as u64);
        taken
    }

    /// The stream has stopped: gives back the unused room of its block.
    pub(super) fn close(&mut self, stream: usize) {
        self.memory.close(stream);
    }

    /// All streams have stopped.
    pub(super) fn close_all(&mut self) {
        self.memory.close_all();
    }

    /// The first piece of a resident range, and the pieces that follow it up to `more_to`.
    #[inline]
    pub(super) fn slice(&mut self, range: Range<u64>, more_to: u64) -> Pieces {
        self.memory.slice(range.start, range.end, more_to)
    }

    // ---- moving to the store ----

    /// Whether memory exceeds `max_memory`, and holds a block that can leave.
    pub(super) fn has_excess(&self, max_memory: usize) -> bool {
        self.memory.has_excess(max_memory)
    }

    /// What must leave memory next: see [`Memory::leaving`].
    pub(super) fn leaving(
        &mut self,
        max_memory: usize,
        asked: &RangeSet,
        all: bool,
        most: usize,
    ) -> Vec<Segment> {
        self.memory.leaving(max_memory, asked, all, most)
    }

    /// These bytes are in the store now, and leave memory.
    pub(super) fn moved(&mut self, ranges: &[Range<u64>]) {
        for range in ranges {
            self.memory.forget(range);
            self.stored.insert(range.clone());
        }
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
        assert_eq!(layout.append(0, 0, &[0; 100]), 100);
        layout.moved(&[0..40]);
        assert_eq!(parts(&layout, 0..40), [(0, 40, Stored)]);
        assert_eq!(parts(&layout, 40..100), [(40, 100, Resident)]);
        assert_eq!(parts(&layout, 39..41), [(39, 40, Stored), (40, 41, Resident)]);
        assert_eq!(parts(&layout, 10..200), [(10, 40, Stored), (40, 100, Resident), (100, 200, Missing)]);
        assert_eq!(parts(&layout, 100..u64::MAX), [(100, u64::MAX, Missing)]);
        assert_eq!(parts(&layout, 50..50), []);
    }

    #[test]
    fn a_layout_with_holes_has_parts_on_both_sides_of_each() {
        use Place::{Missing, Resident, Stored};
        let mut layout = Layout::new();
        layout.append(0, 1000, &[1; 100]);
        layout.append(1, 1200, &[2; 100]);
        layout.moved(&[1200..1210]);
        let all = [
            (0, 1000, Missing),
            (1000, 1100, Resident),
            (1100, 1200, Missing),
            (1200, 1210, Stored),
            (1210, 1300, Resident),
            (1300, 2000, Missing),
        ];
        assert_eq!(parts(&layout, 0..2000), all);
        assert_eq!((layout.loaded(), layout.stored(), layout.end()), (200, 10, 1300));
        assert_eq!((layout.first_missing(0), layout.first_missing(1000)), (0, 1100));
        let Ranges { resident, spilled } = layout.ranges();
        assert_eq!((resident, spilled), (vec![1000..1100, 1210..1300], vec![1200..1210]));
    }
}
