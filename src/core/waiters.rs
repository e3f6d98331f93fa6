//! Requests that cannot be answered yet, ordered by the byte that they wait for.

use std::collections::BTreeMap;

use super::Token;

/// The fewest parked requests at which abandoned ones are swept out. Fewer cost too little to be
/// worth a walk.
const SWEEP_AT_LEAST: usize = 64;

/// Parked requests.
pub(super) struct Waiters<W> {
    /// By (offset that must be reached first, order of arrival).
    parked: BTreeMap<(u64, u64), W>,
    /// The order of arrival of the next request. It keeps requests with equal offsets apart: first
    /// come, first served.
    next: u64,
    /// The number of parked requests at which the next sweep is due: twice the number that the last
    /// sweep left. So a sweep costs little per request, and at most half of the requests are abandoned.
    sweep_at: usize,
}

impl<W: Token> Waiters<W> {
    pub(super) fn new() -> Self {
        Self { parked: BTreeMap::new(), next: 0, sweep_at: SWEEP_AT_LEAST }
    }

    /// Parks a request until the offset `until` is reached.
    pub(super) fn park(&mut self, until: u64, waiter: W) {
        if self.parked.len() >= self.sweep_at {
            self.parked.retain(|_, waiter| !waiter.is_abandoned());
            self.sweep_at = SWEEP_AT_LEAST.max(self.parked.len() * 2);
        }
        self.parked.insert((until, self.next), waiter);
        self.next += 1;
    }

    /// The furthest offset that a request waits for. Removes abandoned requests on its way.
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

    /// Removes the first request that waits for `reached` or less.
    pub(super) fn pop(&mut self, reached: u64) -> Option<W> {
        let first = self.parked.first_entry()?;
        (first.key().0 <= reached).then(|| first.remove())
    }

    /// Removes all requests that wait for more than `reached`, in order.
    pub(super) fn take_beyond(&mut self, reached: u64) -> impl Iterator<Item = W> + use<W> {
        self.parked.split_off(&(reached, u64::MAX)).into_values()
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.parked.len()
    }
}
