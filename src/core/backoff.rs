//! Delays between attempts: they double up to a maximum, with jitter from a seed.

use std::time::Duration;

/// The delays of one series of attempts.
#[derive(Clone, Debug)]
pub(super) struct Backoff {
    first: Duration,
    max: Duration,
    /// The number of delays given since the last reset.
    attempt: u32,
    /// The state of the random number generator.
    seed: u64,
}

impl Backoff {
    pub(super) fn new(first: Duration, max: Duration, seed: u64) -> Self {
        Self { first, max, attempt: 0, seed }
    }

    /// The delay before the next attempt: `first` doubled for each attempt so far, at most `max`, less
    /// a random part of up to one half. The random part keeps many buffers from retrying in step.
    pub(super) fn next_delay(&mut self) -> Duration {
        let doubled = 2_u32.checked_pow(self.attempt).and_then(|factor| self.first.checked_mul(factor));
        let delay = doubled.unwrap_or(self.max).min(self.max);
        self.attempt = self.attempt.saturating_add(1);
        self.shortened(delay)
    }

    /// The delay before the first attempt of a series, without counting it as one.
    pub(super) fn first_delay(&mut self) -> Duration {
        self.shortened(self.first.min(self.max))
    }

    fn shortened(&mut self, delay: Duration) -> Duration {
        // 0 to 1023 of 2048: less than one half.
        delay.saturating_sub((delay / 2048) * (self.random() % 1024))
    }

    /// The number of delays given since the last reset.
    pub(super) fn attempt(&self) -> u32 {
        self.attempt
    }

    /// An attempt succeeded: the next series starts with the first delay.
    pub(super) fn reset(&mut self) {
        self.attempt = 0;
    }

    /// The upper half of the next number of a multiplicative generator (Knuth, `MMIX`).
    fn random(&mut self) -> u32 {
        self.seed = self.seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        u32::try_from(self.seed >> 32).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn delays_double_up_to_the_maximum_and_start_again_after_a_reset() {
        for seed in 0..100 {
            let mut backoff = Backoff::new(ms(100), ms(15_000), seed);
            for _ in 0..2 {
                for full in [100, 200, 400, 800, 1600, 3200, 6400, 12_800, 15_000, 15_000, 15_000] {
                    let delay = backoff.next_delay();
                    assert!(delay > ms(full / 2 - 1) && delay <= ms(full), "{delay:?} of {full} ms");
                }
                backoff.reset();
            }
        }
    }

    #[test]
    fn delays_of_different_seeds_differ() {
        let delay = |seed| Backoff::new(ms(1000), ms(1000), seed).next_delay();
        let mut delays: Vec<_> = (0..50).map(delay).collect();
        delays.sort_unstable();
        delays.dedup();
        assert!(delays.len() > 40, "{} of 50", delays.len());
    }

    #[test]
    fn a_long_series_does_not_overflow() {
        let mut backoff = Backoff::new(Duration::MAX, Duration::MAX, 1);
        for _ in 0..100 {
            assert!(backoff.next_delay() > Duration::MAX / 3);
        }
    }
}
