//! Reads that cannot be answered yet, ordered by the byte that they wait for.

use std::collections::BTreeMap;

use super::{Read, Token};

/// Abandoned reads are swept out only once this many are parked; below it they cost nothing worth
/// a walk.
const SWEEP_AT_LEAST: usize = 64;

pub(super) struct Waiters<T> {
    /// By (how many bytes must be loaded first, order of arrival).
    parked: BTreeMap<(u64, u64), (Read, T)>,
    /// Order of arrival of the next one; keeps equal needs apart, first come first served.
    next: u64,
    /// The size at which the next sweep is due: twice what the last one left. That makes a sweep
    /// cost nothing per read on average, and bounds the abandoned by the living.
    sweep_at: usize,
}

impl<T: Token> Waiters<T> {
    pub(super) fn new() -> Self {
        Self { parked: BTreeMap::new(), next: 0, sweep_at: SWEEP_AT_LEAST }
    }

    /// Parks a read until `need` bytes are loaded.
    pub(super) fn park(&mut self, need: u64, read: Read, token: T) {
        if self.parked.len() >= self.sweep_at {
            self.parked.retain(|_, (_, token)| !token.is_abandoned());
            self.sweep_at = SWEEP_AT_LEAST.max(self.parked.len() * 2);
        }
        self.parked.insert((need, self.next), (read, token));
        self.next += 1;
    }

    /// The furthest need of a read that somebody still awaits. Forgets abandoned ones on its way.
    pub(super) fn furthest(&mut self) -> Option<u64> {
        while let Some(last) = self.parked.last_entry() {
            if last.get().1.is_abandoned() {
                last.remove();
            } else {
                return Some(last.key().0);
            }
        }
        None
    }

    /// Takes the first read that `loaded` bytes satisfy.
    pub(super) fn pop(&mut self, loaded: u64) -> Option<(Read, T)> {
        let first = self.parked.first_entry()?;
        (first.key().0 <= loaded).then(|| first.remove())
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.parked.len()
    }
}
