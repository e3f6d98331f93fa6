//! A histogram of the waits of reads. An endless input has an unlimited number of reads, so they are not
//! listed.

use std::collections::BTreeMap;
use std::time::Duration;

/// Steps per doubling of the wait. A percentile is wrong by at most one step, or 1/32.
const STEPS: u32 = 32;

#[derive(Clone, Default)]
pub(crate) struct Waits {
    /// The number of waits in each step. The key is the shortest wait of the step in nanoseconds.
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

    /// The wait that `percent` of all reads did not exceed. `None` if there are no reads.
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

/// The step of a wait: its upper bits.
fn step(wait: Duration) -> u64 {
    let nanos = u64::try_from(wait.as_nanos()).unwrap_or(u64::MAX);
    let shift = (nanos / u64::from(STEPS)).checked_ilog2().map_or(0, |doublings| doublings + 1);
    nanos >> shift << shift
}
