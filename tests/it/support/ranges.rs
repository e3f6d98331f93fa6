//! A set of bytes.

use std::ops::Range;

/// Sorted ranges that neither overlap nor touch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ranges(Vec<Range<u64>>);

impl Ranges {
    /// Adds these bytes. An empty range adds nothing.
    pub fn add(&mut self, added: Range<u64>) {
        if added.is_empty() {
            return;
        }
        let touches = |range: &Range<u64>| range.start <= added.end && added.start <= range.end;
        let merged = self
            .0
            .iter()
            .filter(|range| touches(range))
            .fold(added.clone(), |all, range| all.start.min(range.start)..all.end.max(range.end));
        self.0.retain(|range| !touches(range));
        let at = self.0.partition_point(|range| range.start < merged.start);
        self.0.insert(at, merged);
    }

    /// Adds all of these.
    pub fn add_all(&mut self, added: &[Range<u64>]) {
        for range in added {
            self.add(range.clone());
        }
    }

    /// Removes these bytes. Not all of them need be in it.
    pub fn remove(&mut self, removed: &Range<u64>) {
        if removed.is_empty() {
            return;
        }
        let rests = |range: &Range<u64>| {
            [range.start..range.end.min(removed.start), range.start.max(removed.end)..range.end]
        };
        self.0 = self.0.iter().flat_map(rests).filter(|range| !range.is_empty()).collect();
    }

    /// Whether all bytes of this range are in it.
    pub fn holds(&self, range: &Range<u64>) -> bool {
        range.is_empty() || self.first_missing(range.start) >= range.end
    }

    /// Whether any byte of this range is in it.
    pub fn touches(&self, range: &Range<u64>) -> bool {
        self.0.iter().any(|held| held.start < range.end && range.start < held.end)
    }

    /// The offset after the last byte in it.
    pub fn end(&self) -> u64 {
        self.0.last().map_or(0, |range| range.end)
    }

    pub fn iter(&self) -> impl Iterator<Item = &Range<u64>> {
        self.0.iter()
    }

    /// How many bytes are in it.
    pub fn len(&self) -> u64 {
        self.0.iter().map(|range| range.end - range.start).sum()
    }

    /// The first byte from `offset` on that is not in it.
    pub fn first_missing(&self, offset: u64) -> u64 {
        let holds = |range: &&Range<u64>| range.contains(&offset);
        self.0.iter().find(holds).map_or(offset, |range| range.end)
    }
}

#[test]
fn ranges_that_touch_are_one() {
    let mut ranges = Ranges::default();
    ranges.add(10..20);
    ranges.add(30..40);
    ranges.add(5..5);
    assert_eq!((ranges.len(), ranges.first_missing(10), ranges.first_missing(25)), (20, 20, 25));
    ranges.add(20..30);
    assert_eq!((ranges.0.len(), ranges.len(), ranges.first_missing(10)), (1, 30, 40));
    ranges.add(0..5);
    ranges.add(3..12);
    assert_eq!((ranges.0.len(), ranges.len(), ranges.first_missing(0)), (1, 40, 40));
}

#[test]
fn removed_bytes_leave_the_others() {
    let mut ranges = Ranges::default();
    ranges.add(10..20);
    ranges.add(30..40);
    ranges.remove(&(15..15));
    assert_eq!(ranges.0, [10..20, 30..40]);
    ranges.remove(&(12..14));
    ranges.remove(&(18..31));
    ranges.remove(&(0..11));
    ranges.remove(&(39..90));
    assert_eq!(ranges.0, [11..12, 14..18, 31..39]);
}
