//! A set of offsets, as sorted ranges that neither overlap nor touch.
//!
//! A stream that is loaded from front to back is one range. So the common cases, a look-up in one range and
//! an insertion at the end of the last range, take a few instructions. With many ranges, the cost of each call grows
//! with the logarithm of their number.

use std::collections::BTreeMap;
use std::iter;
use std::mem;
use std::ops::Range;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct RangeSet {
    /// The last range; `0..0` if the set is empty. Most sets have one range, and so no other memory.
    last: Range<u64>,
    /// The ranges before it: the end of each by its start.
    earlier: BTreeMap<u64, u64>,
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
        self.last.end
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = Range<u64>> + '_ {
        let earlier = self.earlier.iter().map(|(start, end)| *start..*end);
        earlier.chain((!self.last.is_empty()).then(|| self.last.clone()))
    }

    /// Whether `offset` is in the set, and the next offset for which this is different; `u64::MAX` if there
    /// is none.
    #[inline]
    pub(super) fn look_up(&self, offset: u64) -> (bool, u64) {
        match offset {
            _ if offset >= self.last.end => (false, u64::MAX),
            _ if offset >= self.last.start => (true, self.last.end),
            _ => self.look_up_earlier(offset),
        }
    }

    /// As [`look_up`](Self::look_up), for an offset before the last range.
    fn look_up_earlier(&self, offset: u64) -> (bool, u64) {
        match self.earlier.range(..=offset).next_back() {
            Some((_, end)) if offset < *end => (true, *end),
            _ => (false, self.earlier.range(offset..).next().map_or(self.last.start, |(start, _)| *start)),
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

    /// The ranges of the offsets that are in the set and in `range`.
    pub(super) fn within(&self, range: Range<u64>) -> impl Iterator<Item = Range<u64>> + '_ {
        let mut at = range.start;
        iter::from_fn(move || {
            let (is_in, border) = self.look_up(at);
            let start = if is_in { at } else { border };
            at = self.first_missing(start).min(range.end);
            (start < at).then_some(start..at)
        })
    }

    /// The ranges of the offsets that are in the set and not in `other`. Takes one step for each range of both.
    pub(super) fn without<'a>(&'a self, other: &'a Self) -> impl Iterator<Item = Range<u64>> + 'a {
        let (mut own, mut others, mut rest) = (self.iter(), other.iter().peekable(), 0..0);
        iter::from_fn(move || {
            loop {
                if rest.is_empty() {
                    rest = own.next()?;
                }
                while others.next_if(|other| other.end <= rest.start).is_some() {}
                let part = match others.peek() {
                    Some(other) if other.start < rest.end => {
                        let part = rest.start..other.start;
                        rest.start = other.end;
                        part
                    }
                    _ => mem::take(&mut rest),
                };
                if !part.is_empty() {
                    return Some(part);
                }
            }
        })
    }

    /// Adds a range. It may overlap or touch others.
    pub(super) fn insert(&mut self, mut range: Range<u64>) {
        if range.is_empty() {
            return;
        }
        if self.last.end == range.start {
            self.last.end = range.end;
            self.len += range.end - range.start;
            return;
        }
        // All ranges that overlap or touch the new one become part of it.
        while let Some(old) = self.take(range.end, range.start) {
            range = range.start.min(old.start)..range.end.max(old.end);
        }
        self.put(range);
    }

    /// Removes a range. Not all of it need be in the set.
    pub(super) fn remove(&mut self, range: Range<u64>) {
        if range.is_empty() {
            return;
        }
        while let Some(old) = self.take(range.end - 1, range.start + 1) {
            self.put(old.start..range.start);
            self.put(range.end..old.end);
        }
    }

    /// Takes out the last range that starts at `start` or before, if it ends at `end` or after.
    fn take(&mut self, start: u64, end: u64) -> Option<Range<u64>> {
        let taken = if self.last.start <= start {
            let ends_after = self.last.end >= end && !self.last.is_empty();
            ends_after.then(|| {
                let (start, end) = self.earlier.pop_last().unwrap_or_default();
                mem::replace(&mut self.last, start..end)
            })
        } else {
            let (found, until) = self.earlier.range(..=start).next_back()?;
            let found = *found..*until;
            (found.end >= end).then(|| {
                self.earlier.remove(&found.start);
                found
            })
        }?;
        self.len -= taken.end - taken.start;
        Some(taken)
    }

    /// Adds a range that neither overlaps nor touches others. It may be empty.
    fn put(&mut self, range: Range<u64>) {
        if range.is_empty() {
            return;
        }
        self.len += range.end - range.start;
        let earlier = if range.start >= self.last.end { mem::replace(&mut self.last, range) } else { range };
        if !earlier.is_empty() {
            self.earlier.insert(earlier.start, earlier.end);
        }
    }
}

impl FromIterator<Range<u64>> for RangeSet {
    fn from_iter<I: IntoIterator<Item = Range<u64>>>(ranges: I) -> Self {
        let mut set = Self::default();
        ranges.into_iter().for_each(|range| set.insert(range));
        set
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
            let mut others = RangeSet::default();
            for _ in 0..40 {
                let at = random(64);
                others.insert(at..at + random(4));
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
                    let window = offset as u64..offset as u64 + 10;
                    let mut later = flags[offset..].iter().take(10);
                    assert_eq!(set.has_any(window.clone()), later.any(|flag| *flag));
                    let within: Vec<u64> = set.within(window.clone()).flatten().collect();
                    assert_eq!(
                        within,
                        set.iter().flatten().filter(|at| window.contains(at)).collect::<Vec<_>>()
                    );
                }
                let without = |other: &RangeSet| set.without(other).collect::<Vec<_>>();
                let left = set.iter().flatten().filter(|at| !others.look_up(*at).0);
                assert_eq!(
                    without(&others).into_iter().flatten().collect::<Vec<_>>(),
                    left.collect::<Vec<_>>()
                );
                assert!(without(&others).iter().all(|range| !range.is_empty()));
                assert_eq!(without(&RangeSet::default()), set.iter().collect::<Vec<_>>());
                assert_eq!(without(&set), []);
                assert!(set.iter().zip(set.iter().skip(1)).all(|(a, b)| a.end < b.start), "ranges touch");
            }
        }
    }
}
