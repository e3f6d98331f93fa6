//! Where each byte of the resource is. No other module knows it.
//!
//! It keeps two sets of ranges: the bytes that are loaded, and those of them that are in the store. The other
//! loaded bytes are in memory. A stream that is loaded from front to back has one range in each set.
//!
//! With a limit on the store, bytes are discarded. If they cannot be fetched again, they are discarded from
//! the front: all bytes before `start` are gone. Otherwise a block is discarded, and its bytes are missing.

use std::ops::Range;

use super::lent::Lent;
use super::limits::Discards;
use super::memory::{Leaving, Memory, Pieces, block_range, next_boundary, number_of};
use super::ranges::RangeSet;
use super::segments::Segment;
use super::slots::Slots;
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
    /// Discarded for good.
    Discarded,
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
        if start < self.layout.start {
            self.rest.start = self.rest.end.min(self.layout.start);
            return Some(Part { range: start..self.rest.start, place: Place::Discarded });
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
    /// The loaded bytes, and those before `start`: they are not needed any more.
    loaded: RangeSet,
    /// The loaded bytes that are not in memory.
    stored: RangeSet,
    slots: Slots,
    /// The first byte that was not discarded for good.
    start: u64,
    /// The places of the store whose bytes are not read any more.
    freed: Vec<Range<u64>>,
    /// The number of writes that were decided and may reuse places of the store.
    generation: u64,
    /// Bytes of failed writes, of which the store may have some. With a limit their blocks have slots.
    failed: RangeSet,
    /// The bytes that were discarded and can be fetched again. Some of them may be loaded again.
    gone: RangeSet,
}

impl Layout {
    pub(super) fn new() -> Self {
        Self {
            memory: Memory::new(),
            loaded: RangeSet::default(),
            stored: RangeSet::default(),
            slots: Slots::default(),
            start: 0,
            freed: Vec::new(),
            generation: 0,
            failed: RangeSet::default(),
            gone: RangeSet::default(),
        }
    }

    /// The parts of `range` in order, without gaps and without empty parts.
    #[inline]
    pub(super) fn split(&self, range: Range<u64>) -> Parts<'_> {
        Parts { layout: self, rest: range }
    }

    /// The number of loaded bytes.
    pub(super) fn loaded(&self) -> u64 {
        self.loaded.len() - self.start
    }

    /// The first byte that was not discarded for good.
    pub(super) fn start(&self) -> u64 {
        self.start
    }

    /// Whether all bytes before `end` have arrived, and are not to be fetched again.
    pub(super) fn is_whole(&self, end: u64) -> bool {
        self.loaded.len() == end
    }

    /// The number of bytes in the store.
    pub(super) fn stored(&self) -> u64 {
        self.stored.len()
    }

    /// The end of the last byte that was loaded, even if it is discarded now.
    pub(super) fn end(&self) -> u64 {
        self.loaded.end().max(self.gone.end())
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

    /// Whether the byte at `missing` was loaded before, and discarded.
    pub(super) fn is_gone(&self, missing: u64) -> bool {
        self.gone.look_up(missing).0
    }

    /// The first offset from `offset` on whose byte was never loaded.
    pub(super) fn first_new(&self, mut offset: u64) -> u64 {
        loop {
            offset = self.first_missing(offset);
            match self.gone.look_up(offset) {
                (true, end) => offset = end,
                (false, _) => return offset,
            }
        }
    }

    /// The bytes in memory.
    pub(super) fn resident(&self) -> impl Iterator<Item = Range<u64>> + '_ {
        // The bytes before `start` are all in the first range.
        let loaded = self.loaded.without(&self.stored);
        loaded.map(|range| range.start.max(self.start)..range.end).filter(|range| !range.is_empty())
    }

    /// The last bytes in memory before the first missing byte: at most this many.
    pub(super) fn last_resident(&self, most: u64) -> Range<u64> {
        let end = self.first_missing(self.start);
        let from = end.saturating_sub(most).max(self.start);
        let stored = self.stored.within(from..end).last();
        stored.map_or(from, |stored| stored.end)..end
    }

    /// The ranges of loaded bytes.
    pub(super) fn ranges(&self) -> Ranges {
        Ranges { resident: self.resident().collect(), spilled: self.stored.iter().collect() }
    }

    /// Bytes of memory held, used or not, without spare blocks.
    pub(super) fn allocated(&self) -> usize {
        self.memory.allocated()
    }

    /// Bytes of the spare blocks, which the next bytes use.
    pub(super) fn spare(&self) -> usize {
        self.memory.spare()
    }

    /// Frees the spare blocks.
    pub(super) fn free_spare(&mut self) {
        self.memory.free_spare();
    }

    /// Takes in as many of the bytes that `stream` has at `at` as its open block has room for. None of
    /// them may be loaded. Returns their number.
    pub(super) fn append(&mut self, stream: usize, at: u64, bytes: &[u8]) -> usize {
        let (_, loaded) = self.loaded.look_up(at);
        let taken = self.memory.append(stream, at, loaded, bytes);
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

    /// The blocks that must leave memory next: see [`Memory::leaving`].
    pub(super) fn leaving(
        &self,
        max_memory: usize,
        asked: &RangeSet,
        all: bool,
        most: usize,
    ) -> Vec<Leaving> {
        self.memory.leaving(max_memory, asked, all, most)
    }

    /// The bytes of a block that leaves memory.
    pub(super) fn segments(&mut self, number: u64) -> Vec<Segment> {
        self.memory.segments(number)
    }

    /// Where the store holds the byte at `offset`.
    #[inline]
    pub(super) fn position(&self, offset: u64) -> u64 {
        self.slots.position(offset)
    }

    /// Lends a range that the store holds in one place.
    #[inline]
    pub(super) fn lend(&self, range: Range<u64>) -> Lent {
        Lent { position: self.position(range.start), range, generation: self.generation }
    }

    /// Counts a write. Without a limit, each byte has its own place, and no place is reused.
    pub(super) fn next_generation(&mut self) -> Option<u64> {
        self.generation += u64::from(self.is_limited());
        self.is_limited().then_some(self.generation)
    }

    /// These bytes are in the store now, and leave memory.
    pub(super) fn moved(&mut self, ranges: &[Range<u64>]) {
        self.memory.forget(ranges);
        for range in ranges {
            self.stored.insert(range.clone());
        }
    }

    /// These bytes were to be written, and that failed.
    pub(super) fn write_failed(&mut self, ranges: Vec<Range<u64>>) {
        if !self.is_limited() {
            for range in ranges {
                self.failed.insert(range);
            }
        }
    }

    // ---- limits ----

    /// Limits the store: see [`Slots::set_limit`].
    pub(super) fn set_limit(&mut self, bytes: u64) -> bool {
        let blocks = |range: Range<u64>| number_of(range.start)..=number_of(range.end - 1);
        let stored = self.stored.iter().chain(self.failed.iter());
        self.slots.set_limit(bytes, stored.flat_map(blocks))
    }

    /// Whether the store holds more than its limit allows.
    pub(super) fn is_exceeded(&self) -> bool {
        self.slots.is_exceeded()
    }

    /// Whether bytes may be discarded.
    #[inline]
    pub(super) fn is_limited(&self) -> bool {
        self.slots.is_limited()
    }

    /// The bytes that the store can hold.
    pub(super) fn capacity(&self) -> u64 {
        self.slots.capacity()
    }

    /// The end of what one read may wait for: the whole range, or one block if others may be discarded
    /// meanwhile. One block is in one place of the store, too.
    #[inline]
    pub(super) fn most_at_once(&self, offset: u64) -> u64 {
        if self.is_limited() { next_boundary(offset) } else { u64::MAX }
    }

    /// A range was delivered, or is about to be. Returns whether the delivery is new for one of its blocks: then the
    /// block may be discarded, or make space for others.
    #[cold]
    pub(super) fn touch(&mut self, range: &Range<u64>, is_delivered: bool) -> bool {
        let numbers = number_of(range.start)..number_of(range.end.max(1) - 1) + 1;
        let is_news = is_delivered && self.memory.touch(numbers.clone());
        self.slots.touch(numbers, is_delivered) || is_news
    }

    /// Gives a block of memory a place in the store, if there is one.
    pub(super) fn assign(&mut self, block: &Leaving) -> bool {
        let is_assigned = self.slots.assign(block.number, !block.is_read);
        if is_assigned && !self.freed.is_empty() {
            // The place is written again.
            let place = self.slots.position(block_range(block.number).start);
            self.freed.retain(|freed| freed.start != place);
        }
        is_assigned
    }

    /// Whether the next block that must leave memory has a place in the store, or may be discarded.
    pub(super) fn has_space_for_unasked(&self, discards: &Discards, max_memory: usize) -> bool {
        if self.capacity() == 0 {
            let next = self.leaving(max_memory, &RangeSet::default(), true, 1);
            return next.iter().all(|block| discards.allows(block));
        }
        let has_read = || {
            if discards.again {
                return self.slots.has_read();
            }
            self.slots.first().is_some_and(|number| discards.are_delivered(number))
        };
        self.slots.has_free() || has_read()
    }

    /// The block of the store that is discarded next.
    pub(super) fn next_discarded(&self, discards: &Discards) -> Option<u64> {
        if discards.again {
            return self.slots.least_recent(discards.unread);
        }
        self.slots.first().filter(|number| discards.unread || discards.are_delivered(*number))
    }

    /// Discards the bytes of a block that are in the store, and all bytes before them if bytes cannot be
    /// fetched `again`.
    pub(super) fn discard(&mut self, number: u64, again: bool) {
        let block = block_range(number);
        let stored = self.stored.within(block.clone()).collect();
        self.discard_ranges(stored, again);
        self.stored.remove(block);
        self.freed.extend(self.slots.release(number));
    }

    /// Discards a block of memory, and all bytes before it if bytes cannot be fetched `again`.
    pub(super) fn discard_resident(&mut self, number: u64, again: bool) {
        let segments = self.memory.segments(number);
        let ranges = segments.iter().map(|segment| segment.start..segment.end()).collect();
        drop(segments);
        self.memory.forget(&[block_range(number)]);
        self.discard_ranges(ranges, again);
    }

    fn discard_ranges(&mut self, ranges: Vec<Range<u64>>, again: bool) {
        if !again {
            return self.discard_before(ranges.last().map_or(0, |last| last.end));
        }
        for range in ranges {
            self.loaded.remove(range.clone());
            self.gone.insert(range);
        }
    }

    /// Discards all bytes before `start` for good.
    fn discard_before(&mut self, start: u64) {
        if start > self.start {
            self.memory.forget(&[self.start..start]);
            self.stored.remove(0..start);
            self.loaded.insert(0..start);
            self.start = start;
        }
    }

    /// The places of the store whose bytes are not read any more.
    pub(super) fn take_freed(&mut self) -> Vec<Range<u64>> {
        std::mem::take(&mut self.freed)
    }

    /// Whether there are such places.
    pub(super) fn has_freed(&self) -> bool {
        !self.freed.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::memory::BLOCK;

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
    fn bytes_without_a_request_have_space_in_free_places_and_in_those_of_blocks_that_were_read() {
        // Rule 27.
        let block = BLOCK as u64;
        let discards = |again, delivered| Discards { again, unread: false, delivered };
        let (mut layout, again) = (Layout::new(), discards(true, 0));
        assert!(layout.has_space_for_unasked(&again, usize::MAX), "no limit");
        layout.set_limit(2 * block);
        for number in 0..2 {
            assert!(layout.has_space_for_unasked(&again, usize::MAX), "a place is free");
            layout.append(0, number * block, &vec![0; BLOCK]);
            assert!(layout.assign(&Leaving { number, is_excess: true, is_read: false }));
            layout.moved(&[block_range(number)]);
        }
        assert!(!layout.has_space_for_unasked(&again, usize::MAX));
        layout.touch(&(block..block + 1), false);
        assert!(!layout.has_space_for_unasked(&again, usize::MAX), "a lent slice is still to be read");
        layout.touch(&(block..block + 1), true);
        assert!(layout.has_space_for_unasked(&again, usize::MAX));
        assert_eq!(layout.next_discarded(&again), Some(1));
        // Bytes that cannot be fetched again are discarded from the front.
        for (delivered, has_space) in [(block - 1, false), (block, true)] {
            let front = discards(false, delivered);
            assert_eq!(layout.has_space_for_unasked(&front, usize::MAX), has_space);
            assert_eq!(layout.next_discarded(&front), has_space.then_some(0));
        }
        layout.discard(1, true);
        assert!(layout.has_space_for_unasked(&again, usize::MAX));
        layout.discard(0, true);
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
