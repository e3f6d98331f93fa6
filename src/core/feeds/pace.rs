//! How far ahead of a stream a read must be to get a stream of its own: so far that opening one is faster
//! than waiting.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// The number of recent values of which the median is taken.
const RECENT: usize = 5;

/// A rate is measured over at least this many bytes.
const SAMPLE: u64 = 64 * 1024;

/// The distance before anything was measured.
const FIRST_DISTANCE: u64 = 128 * 1024;

/// The least distance: a read that is no further ahead never gets a stream of its own.
const MIN_DISTANCE: u64 = 64 * 1024;

/// What was measured of recent openings and streams.
#[derive(Default)]
pub(super) struct Pace {
    /// The times from the start of an opening to its first byte.
    first_byte: Recent<Duration>,
    /// In bytes per second.
    rates: Recent<u64>,
}

impl Pace {
    /// The number of bytes that a stream brings in the time that an opening takes.
    pub(super) fn distance(&self) -> u64 {
        let (Some(time), Some(rate)) = (self.first_byte.median(), self.rates.median()) else {
            return FIRST_DISTANCE;
        };
        let bytes = u128::from(rate).saturating_mul(time.as_nanos()) / 1_000_000_000;
        u64::try_from(bytes).unwrap_or(u64::MAX).max(MIN_DISTANCE)
    }

    pub(super) fn opened_after(&mut self, time: Duration) {
        self.first_byte.push(time);
    }

    fn streamed(&mut self, bytes: u64, time: Duration) {
        let rate = u128::from(bytes) * 1_000_000_000 / time.as_nanos().max(1);
        self.rates.push(u64::try_from(rate).unwrap_or(u64::MAX));
    }
}

/// What one stream has brought, and how long it took.
#[derive(Default)]
pub(super) struct Meter {
    /// Since when the buffer waits for the stream; `None` while it wants no bytes.
    since: Option<Instant>,
    bytes: u64,
    time: Duration,
}

impl Meter {
    /// The buffer waits for bytes of the stream.
    pub(super) fn wait(&mut self, now: Instant) {
        self.since.get_or_insert(now);
    }

    /// The buffer wants no bytes now, so the time does not count.
    pub(super) fn pause(&mut self) {
        self.since = None;
    }

    /// Bytes have arrived.
    pub(super) fn received(&mut self, now: Instant, bytes: u64, pace: &mut Pace) {
        if let Some(since) = self.since.replace(now) {
            self.bytes += bytes;
            self.time += now.saturating_duration_since(since);
        }
        if self.bytes >= SAMPLE {
            pace.streamed(self.bytes, self.time);
            (self.bytes, self.time) = (0, Duration::ZERO);
        }
    }
}

struct Recent<V>(VecDeque<V>);

impl<V> Default for Recent<V> {
    fn default() -> Self {
        Self(VecDeque::new())
    }
}

impl<V: Copy + Ord> Recent<V> {
    fn push(&mut self, value: V) {
        if self.0.len() == RECENT {
            self.0.pop_front();
        }
        self.0.push_back(value);
    }

    fn median(&self) -> Option<V> {
        let mut sorted: Vec<V> = self.0.iter().copied().collect();
        sorted.sort_unstable();
        sorted.get(sorted.len() / 2).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KIB: u64 = 1024;

    /// The distance after openings and samples of these times.
    fn distance(openings: &[u64], samples: &[(u64, u64)]) -> u64 {
        let mut pace = Pace::default();
        for millis in openings {
            pace.opened_after(Duration::from_millis(*millis));
        }
        let (mut meter, mut now) = (Meter::default(), Instant::now());
        meter.wait(now);
        for (bytes, millis) in samples {
            now += Duration::from_millis(*millis);
            meter.received(now, *bytes, &mut pace);
        }
        pace.distance()
    }

    #[test]
    fn the_distance_is_the_median_rate_times_the_median_time_to_the_first_byte() {
        // Rule 25.
        assert_eq!(distance(&[], &[]), 128 * KIB);
        assert_eq!(distance(&[100], &[]), 128 * KIB, "no rate is known");
        assert_eq!(distance(&[], &[(64 * KIB, 10)]), 128 * KIB, "no opening is known");
        assert_eq!(distance(&[100], &[(64 * KIB, 10)]), 640 * KIB);
        assert_eq!(distance(&[100], &[(32 * KIB, 5), (32 * KIB, 5)]), 640 * KIB, "small chunks");
        assert_eq!(distance(&[1], &[(64 * KIB, 10)]), 64 * KIB, "never less");
        let slow_once = [(64 * KIB, 10), (64 * KIB, 10_000), (64 * KIB, 10)];
        assert_eq!(distance(&[100, 9000, 100], &slow_once), 640 * KIB);
        assert_eq!(distance(&[9000, 100, 100, 100, 100, 100], &[(64 * KIB, 10)]), 640 * KIB);
        assert_eq!(distance(&[1000], &[(64 * KIB, 0)]), 64 * KIB * 1_000_000_000, "in less than 1 ns");
    }

    #[test]
    fn time_in_which_no_bytes_are_wanted_does_not_count() {
        // Rule 25.
        let (mut pace, mut meter, mut now) = (Pace::default(), Meter::default(), Instant::now());
        pace.opened_after(Duration::from_millis(100));
        meter.wait(now);
        for _ in 0..2 {
            now += Duration::from_millis(10);
            meter.received(now, 32 * KIB, &mut pace);
            meter.pause();
            now += Duration::from_secs(60);
            meter.wait(now);
        }
        assert_eq!(pace.distance(), 320 * KIB);
    }
}
