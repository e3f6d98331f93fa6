//! Slots: where the store holds each block, and which block gives up its slot.
//!
//! Without a limit, each byte is stored at its own offset. With a limit, the store holds a fixed number of
//! blocks, each in a slot, and slots are reused. Sources whose bytes can be fetched again give up the block
//! that was not read for the longest time, approximately: the CLOCK algorithm (Corbató, 1968). Its hand
//! goes around all blocks. It passes a block that was read since it came by last, and takes the next one.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::{Bound, Range};

use super::memory::{BLOCK, block_range};

#[derive(Default)]
pub(super) struct Slots {
    limit: Option<Limit>,
}

struct Limit {
    /// The most blocks that the store may hold.
    most: u64,
    /// By number of the block.
    slots: BTreeMap<u64, Slot>,
    /// The places of all slots that are in use, counted in blocks from the start of the store.
    used: BTreeSet<u64>,
    /// The number of the block after which the hand goes on.
    hand: u64,
}

struct Slot {
    place: u64,
    /// Whether the block was read, or has arrived, since the hand came by.
    is_recent: bool,
    /// Whether no byte of the block was delivered yet.
    is_unread: bool,
}

impl Slots {
    /// Limits the store to `bytes`, in whole blocks. `stored` are the numbers of the blocks that it holds,
    /// if it had no limit before. Returns whether blocks must leave.
    pub(super) fn set_limit(&mut self, bytes: u64, stored: impl Iterator<Item = u64>) -> bool {
        if bytes == u64::MAX && self.limit.is_none() {
            return false;
        }
        let limit = self.limit.get_or_insert_with(|| {
            let slot = |number| (number, Slot { place: number, is_recent: true, is_unread: false });
            let slots: BTreeMap<u64, Slot> = stored.map(slot).collect();
            Limit { most: 0, used: slots.keys().copied().collect(), slots, hand: 0 }
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
        limit.slots.get(&number).map_or(offset, |slot| slot.place * BLOCK as u64 + within)
    }

    /// Gives the block a slot, if one is free or it has one. `is_unread` says whether no byte of it was
    /// delivered.
    pub(super) fn assign(&mut self, number: u64, is_unread: bool) -> bool {
        let Some(limit) = &mut self.limit else { return true };
        if let Some(slot) = limit.slots.get_mut(&number) {
            slot.is_recent = true;
            return true;
        }
        if limit.used.len() as u64 >= limit.most {
            return false;
        }
        let place = limit.first_free();
        limit.used.insert(place);
        limit.slots.insert(number, Slot { place, is_recent: true, is_unread });
        true
    }

    /// Takes the slot of a block away. Returns where the store held the block.
    pub(super) fn release(&mut self, number: u64) -> Option<Range<u64>> {
        let limit = self.limit.as_mut()?;
        let place = limit.slots.remove(&number)?.place;
        limit.used.remove(&place);
        Some(block_range(place))
    }

    /// These blocks were delivered, or are about to be.
    pub(super) fn touch(&mut self, numbers: Range<u64>, is_delivered: bool) {
        let Some(limit) = &mut self.limit else { return };
        for (_, slot) in limit.slots.range_mut(numbers) {
            slot.is_recent = true;
            slot.is_unread &= !is_delivered;
        }
    }

    /// The first block that has a slot.
    pub(super) fn first(&self) -> Option<u64> {
        self.limit.as_ref()?.slots.keys().next().copied()
    }

    /// Whether a slot is free.
    pub(super) fn has_free(&self) -> bool {
        self.limit.as_ref().is_none_or(|limit| (limit.used.len() as u64) < limit.most)
    }

    /// Whether a block with a slot was read.
    pub(super) fn has_read(&self) -> bool {
        self.limit.as_ref().is_some_and(|limit| limit.slots.values().any(|slot| !slot.is_unread))
    }

    /// The block that was not read for the longest time. One that was never read is taken only if `unread`
    /// is set.
    pub(super) fn least_recent(&mut self, unread: bool) -> Option<u64> {
        let limit = self.limit.as_mut()?;
        // The hand passes each block once at most, and takes it when it comes by again.
        for _ in 0..=limit.slots.len() {
            let mut after = (Bound::Excluded(limit.hand), Bound::Unbounded);
            for _ in 0..2 {
                for (number, slot) in limit.slots.range_mut(after) {
                    limit.hand = *number;
                    if slot.is_unread && !unread {
                        continue;
                    }
                    if !std::mem::take(&mut slot.is_recent) {
                        return Some(*number);
                    }
                }
                after = (Bound::Unbounded, Bound::Unbounded);
            }
        }
        None
    }
}

impl Limit {
    fn is_exceeded(&self) -> bool {
        self.used.len() as u64 > self.most
    }

    /// The first place that no slot uses.
    fn first_free(&self) -> u64 {
        let gap = (0..).zip(&self.used).find(|(place, used)| place != *used);
        gap.map_or(self.used.len() as u64, |(place, _)| place)
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
    fn the_block_that_was_not_read_for_the_longest_time_is_taken() {
        // Rule 27.
        let mut slots = limited(4);
        for number in 1..=4 {
            slots.assign(number, false);
        }
        // All have just arrived: the first one after one round.
        assert_eq!(slots.least_recent(false), Some(1));
        slots.release(1);
        slots.touch(2..3, true);
        assert_eq!(slots.least_recent(false), Some(3), "block 2 was read");
        slots.release(3);
        slots.assign(5, false);
        assert_eq!(slots.least_recent(false), Some(4));
        slots.release(4);
        assert_eq!(slots.least_recent(false), Some(2), "block 5 has just arrived");
    }

    #[test]
    fn a_block_that_was_never_read_is_taken_only_if_that_is_allowed() {
        // Rule 27.
        let mut slots = limited(2);
        slots.assign(1, true);
        slots.assign(2, true);
        assert_eq!(slots.least_recent(false), None);
        slots.touch(2..3, false);
        assert_eq!(slots.least_recent(false), None, "its bytes are still to be read");
        slots.touch(2..3, true);
        assert_eq!(slots.least_recent(false), Some(2));
        slots.release(2);
        assert_eq!(slots.least_recent(true), Some(1));
        assert_eq!(limited(2).least_recent(true), None, "there is no block");
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
