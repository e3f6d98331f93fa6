//! Requests that cannot be answered yet, ordered by the byte that they wait for.

use std::collections::BTreeMap;

use super::Token;

/// Abandoned requests are swept out only once this many are parked; below it they cost nothing worth
/// a walk.
const SWEEP_AT_LEAST: usize = 64;

pub(super) struct Waiters<W> {
    /// By (how many bytes must be there first, order of arrival).
    parked: BTreeMap<(u64, u64), W>,
    /// Order of arrival of the next one; keeps equal needs apart, first come first served.
    next: u64,
    /// The size at which the next sweep is due: twice what the last one left. That makes a sweep
    /// cost nothing per request on average, and bounds the abandoned by the living.
    sweep_at: usize,
}

impl<W: Token> Waiters<W> {
    pub(super) fn new() -> Self {
        Self { parked: BTreeMap::new(), next: 0, sweep_at: SWEEP_AT_LEAST }
    }

    /// Parks a request until `need` bytes are there.
    pub(super) fn park(&mut self, need: u64, waiter: W) {
        if self.parked.len() >= self.sweep_at {
            self.parked.retain(|_, waiter| !waiter.is_abandoned());
            self.sweep_at = SWEEP_AT_LEAST.max(self.parked.len() * 2);
        }
        self.parked.insert((need, self.next), waiter);
        self.next += 1;
    }

    /// The furthest need of a request that somebody still awaits. Forgets abandoned ones on its way.
    pub(super) fn furthest(&mut self) -> Option<u64> {
        while let Some(last) = self.parked.last_entry() {
            if last.get().is_abandoned() {
                last.remove();
            } else {
                return Some(last.key().0);
            }
        }
        None
    }

    /// Takes the first request that `there` bytes satisfy.
    pub(super) fn pop(&mut self, there: u64) -> Option<W> {
        let first = self.parked.first_entry()?;
        (first.key().0 <= there).then(|| first.remove())
    }

    /// Takes all requests that `there` bytes do not satisfy, in order.
    pub(super) fn take_beyond(&mut self, there: u64) -> impl Iterator<Item = W> + use<W> {
        self.parked.split_off(&(there, u64::MAX)).into_values()
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.parked.len()
    }
}
