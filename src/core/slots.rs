//! Slots: in which place the store holds each block.
//!
//! Without a limit, each byte is stored at its own offset. With a limit, the store holds a fixed number of
//! blocks, each in a slot, and slots are reused. [`Recency`] chooses which block gives up its slot.

use std::collections::BTreeMap;
use std::ops::Range;

use super::memory::{BLOCK, block_range};
use super::ranges::RangeSet;
use super::recency::Recency;

#[derive(Default)]
pub(super) struct Slots {
    limit: Option<Limit>,
}

struct Limit {
    /// The most blocks that the store may hold.
    most: u64,
    /// The place of each block by its number, counted in blocks from the start of the store.
    places: BTreeMap<u64, u64>,
    /// All places that are in use.
    used: RangeSet,
    recency: Recency,
}

impl Slots {
    /// Limits the store to `bytes`, in whole blocks. `stored` are the numbers of the blocks that it holds,
    /// if it had no limit before. Returns whether blocks must leave.
    pub(super) fn set_limit(&mut self, bytes: u64, stored: impl Iterator<Item = u64>) -> bool {
        if bytes == u64::MAX && self.limit.is_none() {
            return false;
        }
        let limit = self.limit.get_or_insert_with(|| {
            let (places, used) = (BTreeMap::new(), RangeSet::default());
            let mut limit = Limit { most: 0, places, used, recency: Recency::default() };
            for number in stored {
                limit.put(number, number, false);
            }
            limit
        });
        limit.most = bytes / BLOCK as u64;
        limit.is_exceeded()
    }

    /// Whether the store holds more than its limit allows.
    pub(super) fn is_exceeded(&self) -> bool {
        self.limit.as_ref().is_some_and(Limit::is_exceeded)
    }

    /// Whether the store has a limit.
    pub(super) fn is_limited(&self) -> bool {
        self.limit.is_some()
    }

    /// The bytes that the store can hold.
    pub(super) fn capacity(&self) -> u64 {
        self.limit.as_ref().map_or(u64::MAX, |limit| limit.most.saturating_mul(BLOCK as u64))
    }

    /// Where the store holds the byte at `offset`.
    pub(super) fn position(&self, offset: u64) -> u64 {
        let Some(limit) = &self.limit else { return offset };
        let (number, within) = (offset / BLOCK as u64, offset % BLOCK as u64);
        limit.places.get(&number).map_or(offset, |place| place * BLOCK as u64 + within)
    }

    /// Gives the block a slot, if one is free or it has one. `is_unread` says whether no byte of it was
    /// delivered.
    pub(super) fn assign(&mut self, number: u64, is_unread: bool) -> bool {
        let Some(limit) = &mut self.limit else { return true };
        if limit.places.contains_key(&number) {
            limit.recency.arrived(number, is_unread);
        } else if limit.has_free() {
            limit.put(number, limit.used.first_missing(0), is_unread);
        } else {
            return false;
        }
        true
    }

    /// Takes the slot of a block away. Returns where the store held the block.
    pub(super) fn release(&mut self, number: u64) -> Option<Range<u64>> {
        let limit = self.limit.as_mut()?;
        let place = limit.places.remove(&number)?;
        limit.used.remove(place..place + 1);
        limit.recency.left(number);
        Some(block_range(place))
    }

    /// These blocks were delivered, or are about to be. Returns whether the delivery is new for one of them.
    pub(super) fn touch(&mut self, numbers: Range<u64>, is_delivered: bool) -> bool {
        self.limit.as_mut().is_some_and(|limit| limit.recency.used(numbers, is_delivered))
    }

    /// The first block that has a slot.
    pub(super) fn first(&self) -> Option<u64> {
        self.limit.as_ref()?.places.keys().next().copied()
    }

    /// Whether a slot is free.
    pub(super) fn has_free(&self) -> bool {
        self.limit.as_ref().is_none_or(Limit::has_free)
    }

    /// Whether a block with a slot was read.
    pub(super) fn has_read(&self) -> bool {
        self.limit.as_ref().is_some_and(|limit| limit.recency.has_read())
    }

    /// The block that was not read for the longest time. One that was never read is taken only if `unread`
    /// is set.
    pub(super) fn least_recent(&self, unread: bool) -> Option<u64> {
        self.limit.as_ref()?.recency.least_recent(unread)
    }
}

impl Limit {
    fn is_exceeded(&self) -> bool {
        self.used.len() > self.most
    }

    fn has_free(&self) -> bool {
        self.used.len() < self.most
    }

    fn put(&mut self, number: u64, place: u64, is_unread: bool) {
        self.places.insert(number, place);
        self.used.insert(place..place + 1);
        self.recency.arrived(number, is_unread);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: u64 = BLOCK as u64;

    fn limited(blocks: u64) -> Slots {
        let mut slots = Slots::default();
        assert!(!slots.set_limit(blocks * SIZE + 5, std::iter::empty()));
        slots
    }

    #[test]
    fn without_a_limit_each_byte_is_at_its_own_offset() {
        let mut slots = Slots::default();
        assert!(!slots.is_limited() && slots.assign(1_000_000, true));
        assert_eq!(slots.position(77 * SIZE + 3), 77 * SIZE + 3);
        assert_eq!(slots.capacity(), u64::MAX);
    }

    #[test]
    fn slots_are_reused_lowest_place_first() {
        // Rule 27.
        let mut slots = limited(3);
        assert_eq!(slots.capacity(), 3 * SIZE);
        for (number, place) in [(70, 0), (5, 1), (9, 2)] {
            assert!(slots.assign(number, true));
            assert_eq!(slots.position(number * SIZE + 3), place * SIZE + 3);
        }
        assert!(slots.assign(5, true), "it has a slot");
        assert!(!slots.assign(6, true), "no slot is free");
        assert_eq!(slots.release(5), Some(SIZE..2 * SIZE));
        assert_eq!(slots.release(5), None);
        assert!(slots.assign(6, true));
        assert_eq!(slots.position(6 * SIZE), SIZE);
        assert_eq!(slots.first(), Some(6));
    }

    #[test]
    fn a_slot_is_taken_from_the_block_that_was_not_read_for_the_longest_time() {
        // Rule 27.
        let mut slots = limited(3);
        assert!(slots.has_free() && !slots.has_read());
        assert!(slots.assign(1, true) && slots.assign(2, true) && slots.assign(3, true));
        assert!(!slots.has_free());
        assert_eq!(slots.least_recent(false), None);
        slots.touch(1..3, true);
        assert!(slots.has_read());
        assert_eq!((slots.least_recent(false), slots.least_recent(true)), (Some(1), Some(3)));
        assert!(slots.assign(1, true), "more of its bytes have arrived");
        assert_eq!(slots.least_recent(false), Some(2));
        slots.release(2);
        slots.release(1);
        assert!(slots.has_free() && !slots.has_read());
        assert_eq!(slots.least_recent(true), Some(3));
        slots.release(3);
        assert_eq!(slots.least_recent(true), None, "there is no block");
    }

    #[test]
    fn without_a_limit_there_is_always_a_slot() {
        let slots = Slots::default();
        assert!(slots.has_free() && !slots.has_read());
        assert_eq!((slots.first(), slots.least_recent(true)), (None, None));
    }

    #[test]
    fn a_store_that_had_no_limit_keeps_its_places() {
        // Rule 28.
        let mut slots = Slots::default();
        assert!(slots.set_limit(2 * SIZE, [3, 7, 8].into_iter()), "three blocks of two");
        assert_eq!(slots.position(7 * SIZE + 1), 7 * SIZE + 1);
        assert_eq!(slots.release(7), Some(7 * SIZE..8 * SIZE));
        assert!(!slots.is_exceeded());
        assert!(!slots.assign(9, false));
        assert!(!slots.set_limit(3 * SIZE, std::iter::empty()));
        assert!(slots.assign(9, false));
        assert_eq!(slots.position(9 * SIZE), 0, "the first free place");
    }
}
