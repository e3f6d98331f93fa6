//! Which stored block is discarded next: the one that was not read for the longest time.

use std::collections::BTreeMap;
use std::ops::Range;

/// The blocks of the store, in the order of their last use: when they arrived, or were read last.
#[derive(Default)]
pub(super) struct Recency {
    /// By number of the block.
    uses: BTreeMap<u64, Use>,
    /// The blocks of which a byte was delivered, by the order of their last use.
    read: BTreeMap<u64, u64>,
    /// The other blocks, in the same way. A choice among the blocks that were read does not pass them.
    unread: BTreeMap<u64, u64>,
    /// The order of the next use.
    next: u64,
}

/// The last use of a block.
struct Use {
    order: u64,
    /// Whether no byte of the block was delivered yet.
    is_unread: bool,
}

impl Recency {
    /// The block has arrived. If it is there already, more of its bytes have, and `is_unread` changes nothing.
    pub(super) fn arrived(&mut self, number: u64, is_unread: bool) {
        self.uses.entry(number).or_insert(Use { order: self.next, is_unread });
        self.used(number..number + 1, false);
    }

    /// These blocks are read now, and if `is_delivered` is set, bytes of them were delivered. Returns whether these are
    /// the first delivered bytes of a block.
    pub(super) fn used(&mut self, numbers: Range<u64>, is_delivered: bool) -> bool {
        let mut is_news = false;
        for (number, last) in self.uses.range_mut(numbers) {
            let before = if last.is_unread { &mut self.unread } else { &mut self.read };
            before.remove(&last.order);
            last.order = self.next;
            is_news |= last.is_unread && is_delivered;
            last.is_unread &= !is_delivered;
            let after = if last.is_unread { &mut self.unread } else { &mut self.read };
            after.insert(self.next, *number);
            self.next += 1;
        }
        is_news
    }

    /// The block has left.
    pub(super) fn left(&mut self, number: u64) {
        if let Some(last) = self.uses.remove(&number) {
            let order = if last.is_unread { &mut self.unread } else { &mut self.read };
            order.remove(&last.order);
        }
    }

    /// Whether there is a block of which a byte was delivered.
    pub(super) fn has_read(&self) -> bool {
        !self.read.is_empty()
    }

    /// The block that was not used for the longest time. One that was never read is chosen only if `unread`
    /// is set.
    pub(super) fn least_recent(&self, unread: bool) -> Option<u64> {
        let read = self.read.first_key_value();
        let unread = self.unread.first_key_value().filter(|_| unread);
        read.into_iter().chain(unread).min().map(|(_, number)| *number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_block_that_was_not_read_for_the_longest_time_is_chosen() {
        // Rule 27.
        let mut blocks = Recency::default();
        for number in 1..=4 {
            blocks.arrived(number, false);
        }
        assert_eq!(blocks.least_recent(false), Some(1), "it arrived first");
        blocks.left(1);
        blocks.used(2..3, true);
        assert_eq!(blocks.least_recent(false), Some(3), "block 2 was read");
        blocks.left(3);
        blocks.arrived(5, false);
        blocks.used(0..2, true);
        assert_eq!(blocks.least_recent(false), Some(4), "other blocks were read");
        blocks.arrived(4, false);
        assert_eq!(blocks.least_recent(false), Some(2), "more bytes of block 4 have arrived");
        blocks.left(2);
        assert_eq!(blocks.least_recent(true), Some(5));
    }

    #[test]
    fn a_block_that_was_never_read_is_chosen_only_if_that_is_allowed() {
        // Rule 27.
        let mut blocks = Recency::default();
        assert_eq!((blocks.least_recent(true), blocks.has_read()), (None, false));
        blocks.arrived(1, true);
        blocks.arrived(2, true);
        assert_eq!((blocks.least_recent(false), blocks.has_read()), (None, false));
        blocks.used(2..3, false);
        assert_eq!(blocks.least_recent(false), None, "its bytes are still to be read");
        blocks.used(2..3, true);
        assert_eq!((blocks.least_recent(false), blocks.has_read()), (Some(2), true));
        blocks.arrived(2, true);
        assert_eq!(blocks.least_recent(false), Some(2), "it was read before");
        assert_eq!(blocks.least_recent(true), Some(1));
        blocks.left(2);
        blocks.left(2);
        assert_eq!((blocks.least_recent(false), blocks.has_read()), (None, false));
    }

    #[test]
    fn any_order_of_uses_does_what_a_list_does() {
        // Rule 27.
        let mut seed = 1_u64;
        let mut random = |limit: u64| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (seed >> 33) % limit
        };
        // The blocks, least recent first, and whether each is unread.
        let (mut blocks, mut list) = (Recency::default(), Vec::<(u64, bool)>::new());
        for _ in 0..5000 {
            let (number, flag) = (random(8), random(2) > 0);
            let old = list.iter().position(|(old, _)| *old == number).map(|at| list.remove(at));
            match (random(3), old) {
                (0, old) => {
                    blocks.arrived(number, flag);
                    list.push(old.unwrap_or((number, flag)));
                }
                (1, old) => {
                    blocks.used(number..number + 1, flag);
                    list.extend(old.map(|(_, is_unread)| (number, is_unread && !flag)));
                }
                _ => blocks.left(number),
            }
            let read = list.iter().find(|(_, is_unread)| !is_unread).map(|(number, _)| *number);
            assert_eq!((blocks.least_recent(false), blocks.has_read()), (read, read.is_some()));
            assert_eq!(blocks.least_recent(true), list.first().map(|(number, _)| *number));
        }
    }
}
