//! How far ahead of a stream a read must be to get a stream of its own: so far that opening one is faster
//! than waiting. And how long a stream is used before another request may take it.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// The number of recent values of which the median is taken.
const RECENT: usize = 5;

/// A rate is measured over at least this many bytes, and over at least the time that an opening takes. A server
/// may send many bytes at once and then wait. In a shorter time, such a burst would look like its rate.
const SAMPLE: u64 = 64 * 1024;

/// The distance before anything was measured.
const FIRST_DISTANCE: u64 = 128 * 1024;

/// The least distance: a read that is no further ahead never gets a stream of its own.
const MIN_DISTANCE: u64 = 64 * 1024;

/// The length of a turn in jump distances. An opening takes as long as one of them, so openings take at most one
/// ninth of the time.
const TURN_DISTANCES: u32 = 8;

/// The least number of bytes of a turn.
const MIN_TURN: u64 = 512 * 1024;

/// The least time after which a turn ends, even if the stream has brought fewer bytes.
const MIN_TURN_TIME: Duration = Duration::from_secs(2);

/// What was measured of recent openings and streams.
#[derive(Default)]
pub(super) struct Pace {
    /// The times from the start of an opening to its first byte.
    first_byte: Recent<Duration>,
    /// In bytes per second.
    rates: Recent<u64>,
    /// The median of the times.
    opening: Duration,
    /// The median rate times the median time, once both are measured.
    measured: Option<u64>,
}

impl Pace {
    /// The number of bytes that a stream brings in the time that an opening takes.
    pub(super) fn distance(&self) -> u64 {
        self.measured.map_or(FIRST_DISTANCE, |distance| distance.max(MIN_DISTANCE))
    }

    /// The time that an opening takes.
    pub(super) fn opening(&self) -> Duration {
        self.opening
    }

    /// The number of new bytes after which the turn of a stream ends.
    pub(super) fn turn(&self) -> u64 {
        self.measured.map_or(0, |distance| distance.saturating_mul(TURN_DISTANCES.into())).max(MIN_TURN)
    }

    /// The time from its first byte after which the turn of a stream ends.
    pub(super) fn turn_time(&self) -> Duration {
        self.opening().saturating_mul(TURN_DISTANCES).max(MIN_TURN_TIME)
    }

    pub(super) fn opened_after(&mut self, time: Duration) {
        self.first_byte.push(time);
        self.measure();
    }

    fn streamed(&mut self, bytes: u64, time: Duration) {
        let rate = u128::from(bytes) * 1_000_000_000 / time.as_nanos().max(1);
        self.rates.push(u64::try_from(rate).unwrap_or(u64::MAX));
        self.measure();
    }

    fn measure(&mut self) {
        let (time, rate) = (self.first_byte.median(), self.rates.median());
        self.opening = time.unwrap_or_default();
        self.measured = time.zip(rate).map(|(time, rate)| {
            let bytes = u128::from(rate).saturating_mul(time.as_nanos()) / 1_000_000_000;
            u64::try_from(bytes).unwrap_or(u64::MAX)
        });
    }
}

/// What one stream has brought, and how long it took.
#[derive(Default)]
pub(super) struct Meter {
    /// Since when the buffer waits for the stream; `None` while it wants no bytes.
    since: Option<Instant>,
    /// Since when the buffer wants no bytes.
    paused: Option<Instant>,
    bytes: u64,
    time: Duration,
}

impl Meter {
    /// The buffer waits for bytes of the stream. During a long pause, bytes have gathered on their way. They do not
    /// count, because they arrive at once.
    pub(super) fn wait(&mut self, now: Instant, pace: &Pace) {
        let paused = self.paused.map_or(Duration::ZERO, |since| now.saturating_duration_since(since));
        if paused <= pace.opening() {
            self.since.get_or_insert(now);
            self.paused = None;
        }
    }

    /// The buffer wants no bytes now, so the time does not count.
    pub(super) fn pause(&mut self, now: Instant) {
        self.since = None;
        self.paused.get_or_insert(now);
    }

    /// Bytes have arrived.
    pub(super) fn received(&mut self, now: Instant, bytes: u64, pace: &mut Pace) {
        self.paused = None;
        if let Some(since) = self.since.replace(now) {
            self.bytes += bytes;
            self.time += now.saturating_duration_since(since);
        }
        if self.bytes >= SAMPLE && self.time >= pace.opening() {
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
        meter.wait(now, &pace);
        for (bytes, millis) in samples {
            now += Duration::from_millis(*millis);
            meter.received(now, *bytes, &mut pace);
        }
        pace.distance()
    }

    /// So many samples of 64 KiB in 10 ms.
    fn steady(samples: usize) -> Vec<(u64, u64)> {
        vec![(64 * KIB, 10); samples]
    }

    #[test]
    fn the_distance_is_the_median_rate_times_the_median_time_to_the_first_byte() {
        // Rule 25.
        assert_eq!(distance(&[], &[]), 128 * KIB);
        assert_eq!(distance(&[100], &[]), 128 * KIB, "no rate is known");
        assert_eq!(distance(&[], &steady(1)), 128 * KIB, "no opening is known");
        assert_eq!(distance(&[10], &steady(1)), 64 * KIB);
        assert_eq!(distance(&[100], &steady(10)), 640 * KIB);
        assert_eq!(distance(&[100], &[(32 * KIB, 5); 20]), 640 * KIB, "small chunks");
        assert_eq!(distance(&[1], &steady(1)), 64 * KIB, "never less");
        let slow_once = [steady(10), vec![(64 * KIB, 10_000)], steady(10)].concat();
        assert_eq!(distance(&[100, 9000, 100], &slow_once), 640 * KIB);
        assert_eq!(distance(&[9000, 100, 100, 100, 100, 100], &steady(10)), 640 * KIB);
        assert_eq!(distance(&[0], &[(64 * KIB, 0)]), 64 * KIB, "in less than 1 ns");
    }

    #[test]
    fn a_burst_that_is_shorter_than_an_opening_is_no_rate() {
        // Rule 25: the server sends 1 MiB at once, and then 1 MB/s.
        let burst = [(64 * KIB, 0); 16];
        assert_eq!(distance(&[5], &burst), 128 * KIB, "no rate is known");
        let then = [burst.to_vec(), vec![(100_000, 100); 3]].concat();
        assert_eq!(distance(&[5], &then), 64 * KIB);
        // The server sends 250 kB at once each 250 ms: 1 MB/s.
        let bursts: Vec<_> = [(100_000, 250), (75_000, 0), (75_000, 0)].repeat(8);
        let measured = distance(&[200], &bursts);
        assert!((150_000..300_000).contains(&measured), "{measured} of 200,000 bytes in 200 ms");
    }

    #[test]
    fn time_in_which_no_bytes_are_wanted_does_not_count() {
        // Rule 25.
        let (mut pace, mut meter, mut now) = (Pace::default(), Meter::default(), Instant::now());
        pace.opened_after(Duration::from_millis(100));
        meter.wait(now, &pace);
        for _ in 0..10 {
            now += Duration::from_millis(10);
            meter.received(now, 32 * KIB, &mut pace);
            meter.pause(now);
            now += Duration::from_millis(100);
            meter.wait(now, &pace);
        }
        assert_eq!(pace.distance(), 320 * KIB);
    }

    #[test]
    fn bytes_that_have_gathered_during_a_long_pause_do_not_count() {
        // Rule 25.
        let (mut pace, mut meter, mut now) = (Pace::default(), Meter::default(), Instant::now());
        pace.opened_after(Duration::from_millis(100));
        for _ in 0..20 {
            meter.pause(now);
            now += Duration::from_millis(101);
            meter.wait(now, &pace);
            meter.wait(now, &pace);
            meter.received(now, 1024 * KIB, &mut pace);
            now += Duration::from_millis(10);
            meter.received(now, 64 * KIB, &mut pace);
        }
        assert_eq!(pace.distance(), 640 * KIB);
    }

    #[test]
    fn a_turn_lasts_as_long_as_eight_openings() {
        // Rule 25.
        let mut pace = Pace::default();
        assert_eq!((pace.turn(), pace.turn_time()), (512 * KIB, Duration::from_secs(2)));
        pace.opened_after(Duration::from_secs(1));
        assert_eq!((pace.turn(), pace.turn_time()), (512 * KIB, Duration::from_secs(8)));
        pace.streamed(KIB, Duration::from_secs(1));
        assert_eq!(pace.turn(), 512 * KIB);
        for _ in 0..4 {
            pace.streamed(1024 * KIB, Duration::from_secs(1));
        }
        assert_eq!(pace.turn(), 8 * 1024 * KIB);
    }
}
