//! The readers of a buffer, as far as the delivered ranges show them. The core knows no reader by name: ranges that
//! continue each other belong to one.

use std::time::{Duration, Instant};

/// The read-ahead of a reader is continued by an opening only if the reader has got bytes within this time.
const RECENT: Duration = Duration::from_secs(2);

/// The most readers whose positions are kept, if they may be far apart.
pub(super) const READERS_MOST: usize = 64;

/// A reader, as far as its deliveries show: ranges that continue each other.
#[derive(Clone, Copy)]
pub(super) struct Reader {
    /// Where it started.
    pub(super) start: u64,
    /// Its position: the end of the last delivery.
    pub(super) end: u64,
    /// The number of bytes that it got in a row without a lead of the jump distance. A reader that is faster than its
    /// stream never has one.
    pub(super) hurried: u64,
    /// When it got bytes last.
    at: Instant,
}

impl Reader {
    /// Whether it has had a lead of the jump distance, so that it is slower than its stream.
    pub(super) fn is_slow(self) -> bool {
        self.hurried < self.end - self.start
    }
}

/// The ranges that were delivered last. Read-ahead counts from their ends.
pub(super) struct Delivered {
    /// Most recent last.
    readers: Vec<Reader>,
}

impl Delivered {
    pub(super) fn new() -> Self {
        Self { readers: Vec::with_capacity(1) }
    }

    /// A range was delivered. Only delivered bytes count, not the bytes asked for: otherwise read-ahead
    /// would run ahead of its readers. Returns whether read-ahead may now reach further. `most` is how many
    /// readers are kept. `is_served` says whether nothing is missing within the read-ahead of a reader that ends here.
    #[expect(clippy::inline_always, reason = "a part of the path of a read that is answered at once")]
    #[inline(always)]
    pub(super) fn note(
        &mut self,
        now: Instant,
        (start, end): (u64, u64),
        most: usize,
        is_served: impl Fn(u64) -> bool,
    ) -> bool {
        // With one reader, the furthest delivery counts.
        let is_continued = |reader: &Reader| most == 1 || (start..=end).contains(&reader.end);
        // For speed only: most deliveries continue the last one.
        if let Some(last) = self.readers.last_mut().filter(|last| is_continued(last)) {
            let is_further = end > last.end;
            last.end = end.max(last.end);
            return is_further;
        }
        if let Some(index) = self.readers.iter().rposition(is_continued) {
            let old = self.readers.remove(index);
            self.readers.push(Reader { end: old.end.max(end), ..old });
            return end > old.end;
        }
        if self.readers.len() >= most {
            // A reader that needs no read-ahead is the first to leave.
            if is_served(end) {
                return false;
            }
            let index = self.readers.iter().position(|reader| is_served(reader.end)).unwrap_or(0);
            self.readers.remove(index);
        }
        self.readers.push(Reader { start, end, hurried: 0, at: now });
        true
    }

    /// Notes when the last delivery was, how many bytes it had, and how many bytes are loaded after its end.
    pub(super) fn note_lead(&mut self, now: Instant, bytes: u64, reach: u64, lead: impl FnOnce(u64) -> u64) {
        if let Some(last) = self.readers.last_mut() {
            last.hurried = if lead(last.end) < reach { last.hurried.saturating_add(bytes) } else { 0 };
            last.at = now;
        }
    }

    /// The readers that have got bytes recently, and may soon ask again.
    pub(super) fn recent(&self, now: Instant) -> impl Iterator<Item = Reader> {
        let is_recent = move |reader: &Reader| now.saturating_duration_since(reader.at) <= RECENT;
        self.readers.iter().rev().copied().take_while(is_recent)
    }

    fn ends(&self) -> impl Iterator<Item = u64> {
        self.readers.iter().map(|reader| reader.end)
    }

    /// The nearest end of a delivered range from `offset` on; `offset` if there is none.
    pub(super) fn nearest(&self, offset: u64) -> u64 {
        self.ends().filter(|end| *end >= offset).min().unwrap_or(offset)
    }

    /// The nearest reader up to `offset`.
    pub(super) fn nearest_before(&self, offset: u64) -> Option<Reader> {
        let before = self.readers.iter().filter(|reader| reader.end <= offset);
        before.max_by_key(|reader| reader.end).copied()
    }

    /// Whether a reader needs the missing byte at `offset` next.
    pub(super) fn has_reader_before(&self, offset: u64, first_missing: impl Fn(u64) -> u64) -> bool {
        self.ends().any(|end| end <= offset && first_missing(end) == offset)
    }

    /// The furthest end.
    pub(super) fn furthest(&self) -> u64 {
        self.ends().max().unwrap_or(0)
    }

    /// The end of the last delivery.
    pub(super) fn last(&self) -> u64 {
        self.readers.last().map_or(0, |reader| reader.end)
    }

    /// Whether a missing byte at `offset` is among the `read_ahead` bytes after a delivered range.
    pub(super) fn is_ahead(&self, offset: u64, read_ahead: u64) -> bool {
        self.ends().any(|end| end <= offset && offset - end < read_ahead)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_that_needs_no_read_ahead_leaves_before_others() {
        // Rule 26: a reader that misses nothing takes no read-ahead from another reader.
        let mut delivered = Delivered::new();
        let now = Instant::now();
        // Readers that end before `served` miss nothing.
        let note = |delivered: &mut Delivered, start, served| {
            delivered.note(now, (start, start + 10), 2, |end| end < served)
        };
        assert!(note(&mut delivered, 5000, 0));
        assert!(note(&mut delivered, 0, 0));
        assert!(note(&mut delivered, 1000, 1000));
        assert!(delivered.is_ahead(5010, 1) && delivered.is_ahead(1010, 1) && !delivered.is_ahead(10, 1));
        // A new one takes no place at all.
        assert!(!note(&mut delivered, 500, 1000));
        assert!(delivered.is_ahead(5010, 1) && delivered.is_ahead(1010, 1) && !delivered.is_ahead(510, 1));
        // Otherwise the oldest one leaves.
        assert!(note(&mut delivered, 3000, 1000));
        assert!(delivered.is_ahead(3010, 1) && delivered.is_ahead(1010, 1) && !delivered.is_ahead(5010, 1));
    }
}
