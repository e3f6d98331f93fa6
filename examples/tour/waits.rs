//! How long reads waited: a histogram, since an input without an end has reads without an end.

use std::collections::BTreeMap;
use std::time::Duration;

/// Steps for each doubling. A quantile is wrong by one step at most, 1 part in 32.
const STEPS: u32 = 32;

#[derive(Clone, Default)]
pub(crate) struct Waits {
    /// How many there were, by the shortest wait of their step in nanoseconds.
    steps: BTreeMap<u64, u64>,
    count: u64,
}

impl Waits {
    pub(crate) fn note(&mut self, wait: Duration) {
        *self.steps.entry(step(wait)).or_default() += 1;
        self.count += 1;
    }

    pub(crate) fn add(&mut self, others: &Self) {
        for (&step, &count) in &others.steps {
            *self.steps.entry(step).or_default() += count;
        }
        self.count += others.count;
    }

    pub(crate) fn count(&self) -> u64 {
        self.count
    }

    /// The wait that `percent` of all reads did not exceed; `None` if there were none.
    pub(crate) fn percentile(&self, percent: u64) -> Option<Duration> {
        let mut left = (self.count * percent).div_ceil(100);
        for (&step, &count) in &self.steps {
            if count >= left {
                return Some(Duration::from_nanos(step));
            }
            left -= count;
        }
        None
    }
}

/// Clears all but the upper bits.
fn step(wait: Duration) -> u64 {
    let nanos = u64::try_from(wait.as_nanos()).unwrap_or(u64::MAX);
    let shift = (nanos / u64::from(STEPS)).checked_ilog2().map_or(0, |doublings| doublings + 1);
    nanos >> shift << shift
}
