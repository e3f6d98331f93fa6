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

    /// Drops the bytes of `range`. Returns the last segment that was dropped, if it was dropped to
    /// its end.
    pub(super) fn remove(&mut self, range: &Range<u64>) -> Option<Bytes> {
        let mut last = None;
        let old = match mem::take(self) {
            Self::One(segment) => vec![segment],
            Self::Many(segments) => segments,
        };
        for Segment { start, mut bytes } in old {
            let end = start + bytes.len() as u64;
            if end <= range.start || range.end <= start {
                self.insert(start, bytes);
                continue;
            }
            if start < range.start {
                self.insert(start, bytes.slice(..distance(start, range.start)));
            }
            if range.end < end {
                bytes.advance(distance(start, range.end));
                self.insert(range.end, bytes);
            } else {
                last = Some(bytes);
            }
        }
        last
    }

    /// Copies all bytes into memory of exactly their size: one segment for each run without a gap.
    pub(super) fn compact(&mut self) {
        let old = mem::take(self);
        let mut rest = old.as_slice();
        while let Some(first) = rest.first() {
            let mut end = first.start;
            let is_next = |segment: &&Segment| {
                let touches = segment.start == end;
                end = segment.end();
                touches
            };
            let (run, others) = rest.split_at(rest.iter().take_while(is_next).count().max(1));
            let mut joined = BytesMut::with_capacity(run.iter().map(|segment| segment.bytes.len()).sum());
            for segment in run {
                joined.extend_from_slice(&segment.bytes);
            }
            self.insert(first.start, joined.freeze());
            rest = others;
        }
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
            segments.remove(&range);
            let texts: Vec<_> = expected.iter().map(|(start, text)| (*start, (*text).to_owned())).collect();
            assert_eq!(list(&segments), texts, "{range:?}");
            assert_eq!(segments.is_empty(), expected.is_empty());
        }
    }

    #[test]
    fn compacting_joins_segments_without_a_gap_between_them() {
        let mut segments = segments(&[(0, b"abc"), (3, b"de"), (9, b"xyz")]);
        segments.compact();
        assert_eq!(list(&segments), [(0, "abcde".to_owned()), (9, "xyz".to_owned())]);
    }
}
