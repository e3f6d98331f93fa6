//! The segments of one block: frozen bytes at offsets of the resource, sorted, without overlaps.

use std::ops::Range;
use std::{mem, slice};

use bytes::{Buf, Bytes, BytesMut};

/// Bytes of the resource from `start` on; never empty.
#[derive(Clone, Debug)]
pub(super) struct Segment {
    pub(super) start: u64,
    pub(super) bytes: Bytes,
}

impl Segment {
    pub(super) fn end(&self) -> u64 {
        self.start + self.bytes.len() as u64
    }
}

/// The segments of a block. Most blocks are filled by one stream and not read meanwhile, so they have one
/// segment, and a look-up touches no other memory.
#[derive(Debug)]
pub(super) enum Segments {
    One(Segment),
    Many(Vec<Segment>),
}

impl Default for Segments {
    fn default() -> Self {
        Self::Many(Vec::new())
    }
}

impl Segments {
    pub(super) fn as_slice(&self) -> &[Segment] {
        match self {
            Self::One(segment) => slice::from_ref(segment),
            Self::Many(segments) => segments,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.as_slice().is_empty()
    }

    /// The number of bytes.
    pub(super) fn len(&self) -> usize {
        self.as_slice().iter().map(|segment| segment.bytes.len()).sum()
    }

    /// The segment that holds `offset`.
    pub(super) fn find(&self, offset: u64) -> Option<&Segment> {
        let segments = self.as_slice();
        // At the live edge it is the last one of up to 64. The processor's caches do not hold the others.
        let found = match segments.last()? {
            last if last.start <= offset => last,
            _ => segments.get(segments.partition_point(|segment| segment.end() <= offset))?,
        };
        (found.start <= offset && offset < found.end()).then_some(found)
    }

    /// Adds a segment. It must not overlap others.
    pub(super) fn insert(&mut self, start: u64, bytes: Bytes) {
        let segment = Segment { start, bytes };
        match self {
            Self::Many(segments) if segments.is_empty() => *self = Self::One(segment),
            Self::One(first) => {
                let first = mem::replace(first, segment.clone());
                let is_sorted = first.start < start;
                *self = Self::Many(if is_sorted { vec![first, segment] } else { vec![segment, first] });
            }
            Self::Many(segments) => {
                let at = match segments.last() {
                    Some(last) if last.start > start => segments.partition_point(|other| other.start < start),
                    _ => segments.len(),
                };
                segments.insert(at, segment);
            }
        }
    }

    /// Drops the bytes of `ranges`, which are sorted. Returns the last segment that was dropped, if it was dropped to
    /// its end.
    pub(super) fn remove(&mut self, ranges: &[Range<u64>]) -> Option<Bytes> {
        let (mut last, mut ranges) = (None, ranges.iter().peekable());
        let old = match mem::take(self) {
            Self::One(segment) => vec![segment],
            Self::Many(segments) => segments,
        };
        for Segment { mut start, mut bytes } in old {
            let end = start + bytes.len() as u64;
            while ranges.next_if(|range| range.end <= start).is_some() {}
            while let Some(range) = ranges.peek().filter(|range| range.start < end && start < end) {
                if start < range.start {
                    self.insert(start, bytes.slice(..distance(start, range.start)));
                }
                let to = range.end.min(end);
                if range.end >= end {
                    last = Some(mem::take(&mut bytes));
                } else {
                    bytes.advance(distance(start, to));
                    ranges.next();
                }
                start = to;
            }
            if start < end {
                self.insert(start, bytes);
            }
        }
        last
    }

    /// Copies the bytes of the segments of `range` into memory of exactly their size: one segment for each run
    /// without a gap. With `all`, the segments that touch them are copied, too. Returns the number of bytes of
    /// `range`.
    pub(super) fn compact(&mut self, range: Range<u64>, all: bool) -> usize {
        let old = self.as_slice();
        let mut first = old.partition_point(|segment| segment.end() <= range.start);
        let mut after = old.partition_point(|segment| segment.start < range.end);
        let len = old.get(first..after).unwrap_or_default().iter().map(|segment| segment.bytes.len()).sum();
        let touch = |at: usize| match (old.get(at.wrapping_sub(1)), old.get(at)) {
            (Some(left), Some(right)) => left.end() == right.start,
            _ => false,
        };
        while all && first < after && touch(first) {
            first -= 1;
        }
        while all && first < after && touch(after) {
            after += 1;
        }
        let mut joined = Vec::new();
        let mut rest = old.get(first..after).unwrap_or_default();
        while let Some(start) = rest.first().map(|first| first.start) {
            let runs =
                1 + rest.windows(2).take_while(|two| matches!(two, [a, b] if a.end() == b.start)).count();
            let (run, others) = rest.split_at(runs);
            let mut bytes = BytesMut::with_capacity(run.iter().map(|segment| segment.bytes.len()).sum());
            for segment in run {
                bytes.extend_from_slice(&segment.bytes);
            }
            joined.push(Segment { start, bytes: bytes.freeze() });
            rest = others;
        }
        let mut segments = match mem::take(self) {
            Self::One(segment) => vec![segment],
            Self::Many(segments) => segments,
        };
        segments.splice(first..after, joined);
        *self = match segments.len() {
            1 => segments.pop().map_or_else(Self::default, Self::One),
            _ => Self::Many(segments),
        };
        len
    }
}

/// The number of bytes from one offset of a block to another.
#[expect(clippy::cast_possible_truncation, reason = "both lie in one block")]
fn distance(from: u64, to: u64) -> usize {
    (to - from) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segments(list: &[(u64, &'static [u8])]) -> Segments {
        let mut segments = Segments::default();
        for (start, bytes) in list {
            segments.insert(*start, Bytes::from_static(bytes));
        }
        segments
    }

    fn list(segments: &Segments) -> Vec<(u64, String)> {
        let pair = |segment: &'_ Segment| (segment.start, String::from_utf8(segment.bytes.to_vec()).unwrap());
        segments.as_slice().iter().map(pair).collect()
    }

    #[test]
    fn segments_are_sorted_whatever_the_order_of_their_arrival() {
        let sorted = segments(&[(0, b"abc"), (3, b"de"), (9, b"xyz")]);
        let mixed = segments(&[(9, b"xyz"), (0, b"abc"), (3, b"de")]);
        assert_eq!(list(&sorted), list(&mixed));
        assert_eq!(sorted.len(), 8);
        for (offset, start) in [(0, Some(0)), (2, Some(0)), (3, Some(3)), (5, None), (8, None), (9, Some(9))]
        {
            assert_eq!(mixed.find(offset).map(|segment| segment.start), start);
        }
        assert!(mixed.find(12).is_none());
    }

    #[test]
    fn removing_a_range_keeps_the_bytes_on_both_sides() {
        for (range, expected) in [
            (0..0, vec![(0, "abc"), (3, "de"), (9, "xyz")]),
            (1..2, vec![(0, "a"), (2, "c"), (3, "de"), (9, "xyz")]),
            (2..10, vec![(0, "ab"), (10, "yz")]),
            (0..4, vec![(4, "e"), (9, "xyz")]),
            (0..12, vec![]),
        ] {
            let mut segments = segments(&[(0, b"abc"), (3, b"de"), (9, b"xyz")]);
            segments.remove(std::slice::from_ref(&range));
            let texts: Vec<_> = expected.iter().map(|(start, text)| (*start, (*text).to_owned())).collect();
            assert_eq!(list(&segments), texts, "{range:?}");
            assert_eq!(segments.is_empty(), expected.is_empty());
        }
    }

    #[test]
    fn removing_several_ranges_does_what_removing_each_of_them_does() {
        // All sets of two ranges.
        let all = || segments(&[(0, b"abc"), (3, b"de"), (9, b"xyz")]);
        for (a, b, c) in (0..14).flat_map(|a| (a..14).flat_map(move |b| (b..14).map(move |c| (a, b, c)))) {
            for d in c..14 {
                let (mut once, mut twice) = (all(), all());
                let last = once.remove(&[a..b, c..d]);
                twice.remove(&[a..b]);
                twice.remove(&[c..d]);
                assert_eq!(list(&once), list(&twice), "{a}..{b}, {c}..{d}");
                let dropped =
                    [5, 12].iter().filter(|end| (**end > a && b >= **end) || (**end > c && d >= **end));
                let is_dropped = dropped.count() > 0 || a < 3 && b >= 3 || c < 3 && d >= 3;
                assert_eq!(last.is_some(), is_dropped, "{a}..{b}, {c}..{d}");
            }
        }
    }

    #[test]
    fn compacting_a_part_copies_its_segments_and_those_that_touch_if_that_is_wanted() {
        let pieces = [(0, &b"abc"[..]), (3, b"de"), (5, b"fg"), (9, b"xyz")];
        for (range, all, len, expected) in [
            (3..5, false, 2, vec![(0, 3), (3, 5), (5, 7), (9, 12)]),
            (3..5, true, 2, vec![(0, 7), (9, 12)]),
            (0..5, false, 5, vec![(0, 5), (5, 7), (9, 12)]),
            (9..12, true, 3, vec![(0, 3), (3, 5), (5, 7), (9, 12)]),
            (7..9, true, 0, vec![(0, 3), (3, 5), (5, 7), (9, 12)]),
            (0..0, true, 0, vec![(0, 3), (3, 5), (5, 7), (9, 12)]),
        ] {
            let mut segments = segments(&pieces);
            assert_eq!(segments.compact(range.clone(), all), len, "{range:?}");
            let bounds: Vec<_> = segments.as_slice().iter().map(|one| (one.start, one.end())).collect();
            assert_eq!(bounds, expected, "{range:?}");
            let bytes: Vec<u8> = segments.as_slice().iter().flat_map(|one| one.bytes.to_vec()).collect();
            assert_eq!(bytes, b"abcdefgxyz");
        }
    }

    #[test]
    fn compacting_joins_segments_without_a_gap_between_them() {
        let mut segments = segments(&[(0, b"abc"), (3, b"de"), (9, b"xyz")]);
        assert_eq!(segments.compact(0..12, false), 8);
        assert_eq!(list(&segments), [(0, "abcde".to_owned()), (9, "xyz".to_owned())]);
        assert_eq!(segments.compact(0..5, false), 5);
        segments.remove(&[9..12]);
        assert!(matches!(&segments, Segments::One(segment) if segment.end() == 5));
    }
}
