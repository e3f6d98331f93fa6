//! A set of offsets, as sorted ranges that neither overlap nor touch.
//!
//! A stream that is loaded from front to back is one range. So the common cases, a look-up in one range and
//! an insertion at the end of the last range, take a few instructions.

use std::ops::Range;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct RangeSet {
    ranges: Vec<Range<u64>>,
    /// The number of offsets in the set.
    len: u64,
}

impl RangeSet {
    /// The number of offsets in the set.
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// The end of the last range; 0 without one.
    pub(super) fn end(&self) -> u64 {
        self.ranges.last().map_or(0, |last| last.end)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = Range<u64>> + '_ {
        self.ranges.iter().cloned()
    }

    /// The number of ranges that end at or before `offset`.
    #[inline]
    fn before(&self, offset: u64) -> usize {
        self.ranges.partition_point(|range| range.end <= offset)
    }

    /// Whether `offset` is in the set, and the next offset for which this is different; `u64::MAX` if there
    /// is none.
    #[inline]
    pub(super) fn look_up(&self, offset: u64) -> (bool, u64) {
        match self.ranges.get(self.before(offset)) {
            Some(range) if range.start <= offset => (true, range.end),
            Some(next) => (false, next.start),
            None => (false, u64::MAX),
        }
    }

    /// The first offset from `offset` on that is not in the set.
    pub(super) fn first_missing(&self, offset: u64) -> u64 {
        match self.look_up(offset) {
            (true, end) => end,
            (false, _) => offset,
        }
    }

    /// Whether any offset of `range` is in the set.
    pub(super) fn has_any(&self, range: Range<u64>) -> bool {
        let (is_in, border) = self.look_up(range.start);
        is_in || border < range.end
    }

    /// Adds a range. It may overlap or touch others.
    pub(super) fn insert(&mut self, range: Range<u64>) {
        if range.is_empty() {
            return;
        }
        if let Some(last) = self.ranges.last_mut()
            && last.end == range.start
        {
            last.end = range.end;
            self.len += range.end - range.start;
            return;
        }
        if self.ranges.is_empty() {
            // Most sets have one range.
            self.ranges.reserve_exact(1);
        }
        // All ranges that overlap or touch the new one become part of it.
        let first = self.ranges.partition_point(|old| old.end < range.start);
        let after = self.ranges.partition_point(|old| old.start <= range.end);
        let joined = self.ranges.get(first..after).unwrap_or_default();
        let start = joined.first().map_or(range.start, |old| old.start.min(range.start));
        let end = joined.last().map_or(range.end, |old| old.end.max(range.end));
        self.len -= joined.iter().map(|old| old.end - old.start).sum::<u64>();
        self.len += end - start;
        self.ranges.splice(first..after, [start..end]);
    }

    /// Removes a range. Not all of it need be in the set.
    pub(super) fn remove(&mut self, range: Range<u64>) {
        let first = self.before(range.start);
        let after = self.ranges.partition_point(|old| old.start < range.end);
        let Some(cut) = self.ranges.get(first..after).filter(|cut| !cut.is_empty() && !range.is_empty())
        else {
            return;
        };
        let head = cut.first().map_or(0..0, |old| old.start..range.start);
        let tail = cut.last().map_or(0..0, |old| range.end..old.end);
        self.len -= cut.iter().map(|old| old.end - old.start).sum::<u64>();
        let kept = [head, tail].into_iter().filter(|range| !range.is_empty());
        self.len += kept.clone().map(|range| range.end - range.start).sum::<u64>();
        self.ranges.splice(first..after, kept);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(ranges: &[Range<u64>]) -> RangeSet {
        let mut set = RangeSet::default();
        for range in ranges {
            set.insert(range.clone());
        }
        set
    }

    #[test]
    fn ranges_that_overlap_or_touch_become_one() {
        for (inserted, expected) in [
            (vec![0..3, 3..5], vec![0..5]),
            (vec![5..9, 0..3], vec![0..3, 5..9]),
            (vec![5..9, 0..3, 3..5], vec![0..9]),
            (vec![0..2, 4..6, 8..10, 1..9], vec![0..10]),
            (vec![0..9, 3..4], vec![0..9]),
            (vec![4..4], vec![]),
        ] {
            assert_eq!(set(&inserted).iter().collect::<Vec<_>>(), expected, "{inserted:?}");
        }
    }

    #[test]
    fn removing_a_range_may_split_shorten_or_drop_others() {
        for (removed, expected) in [
            (12..18, vec![0..5, 10..12, 18..20, 30..40]),
            (0..5, vec![10..20, 30..40]),
            (3..35, vec![0..3, 35..40]),
            (5..10, vec![0..5, 10..20, 30..40]),
            (40..90, vec![0..5, 10..20, 30..40]),
            (7..7, vec![0..5, 10..20, 30..40]),
            (0..90, vec![]),
        ] {
            let mut set = set(&[0..5, 10..20, 30..40]);
            set.remove(removed.clone());
            assert_eq!(set.iter().collect::<Vec<_>>(), expected, "{removed:?}");
        }
    }

    #[test]
    fn any_order_of_insertions_and_removals_does_what_a_list_of_flags_does() {
        let mut seed = 1_u64;
        let mut random = |limit: u64| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (seed >> 33) % limit
        };
        for _ in 0..200 {
            let (mut set, mut flags) = (RangeSet::default(), [false; 64]);
            for _ in 0..40 {
                let (a, b, add) = (random(64), random(64), random(3) > 0);
                let range = a.min(b)..a.max(b);
                for offset in range.clone() {
                    flags[usize::try_from(offset).unwrap()] = add;
                }
                if add {
                    set.insert(range);
                } else {
                    set.remove(range);
                }
                assert_eq!(set.len(), flags.iter().filter(|flag| **flag).count() as u64);
                assert_eq!(set.end(), flags.iter().rposition(|flag| *flag).map_or(0, |last| last as u64 + 1));
                for (offset, flag) in (0..).zip(flags) {
                    let rest = flags.iter().skip(offset).position(|other| *other != flag);
                    let border = rest.map_or(if flag { 64 } else { u64::MAX }, |by| (offset + by) as u64);
                    assert_eq!(set.look_up(offset as u64), (flag, border));
                    let missing = if flag { border } else { offset as u64 };
                    assert_eq!(set.first_missing(offset as u64), missing);
                    let mut later = flags[offset..].iter().take(10);
                    assert_eq!(set.has_any(offset as u64..offset as u64 + 10), later.any(|flag| *flag));
                }
                assert!(set.iter().zip(set.iter().skip(1)).all(|(a, b)| a.end < b.start), "ranges touch");
            }
        }
    }
}
