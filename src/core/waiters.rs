//! Requests that cannot be answered yet, by the missing ranges that they wait for.

use std::collections::{BTreeMap, VecDeque};
use std::mem;
use std::ops::{Range, RangeInclusive};

use super::Token;

/// The fewest parked requests at which abandoned ones are swept out. Fewer cost too little to be
/// worth a walk.
const SWEEP_AT_LEAST: usize = 64;

/// A parked request. It waits for missing bytes from `start` on.
struct Parked<W> {
    start: u64,
    waiter: W,
}

/// Parked requests. Each is parked with a range in which no byte is loaded, and is woken when the last byte
/// of the range arrives.
pub(super) struct Waiters<W> {
    /// By (end of the range, order of arrival).
    parked: BTreeMap<(u64, u64), Parked<W>>,
    /// By (start of the range, order of arrival): the end of the range. Only for sources that can be
    /// opened: a one-way stream has one position, which passes all starts.
    starts: Option<BTreeMap<(u64, u64), u64>>,
    /// Requests that were woken, first in, first out.
    woken: VecDeque<W>,
    /// The order of arrival of the next request. It keeps requests with equal offsets apart: first
    /// come, first served.
    next: u64,
    /// The number of parked requests at which the next sweep is due: twice the number that the last
    /// sweep left. So a sweep costs little per request, and at most half of the requests are abandoned.
    sweep_at: usize,
}

impl<W: Token> Waiters<W> {
    /// `by_start` allows the calls that look for requests by their start.
    pub(super) fn new(by_start: bool) -> Self {
        Self {
            parked: BTreeMap::new(),
            starts: by_start.then(BTreeMap::new),
            woken: VecDeque::new(),
            next: 0,
            sweep_at: SWEEP_AT_LEAST,
        }
    }

    /// Parks a request until the last byte of `range` has arrived.
    pub(super) fn park(&mut self, range: Range<u64>, waiter: W) {
        if self.parked.len() >= self.sweep_at {
            self.sweep();
        }
        let Range { start, end } = range;
        self.parked.insert((end, self.next), Parked { start, waiter });
        if let Some(starts) = &mut self.starts {
            starts.insert((start, self.next), end);
        }
        self.next += 1;
    }

    fn sweep(&mut self) {
        self.parked.retain(|_, parked| !parked.waiter.is_abandoned());
        if let Some(starts) = &mut self.starts {
            starts.retain(|(_, order), end| self.parked.contains_key(&(*end, *order)));
        }
        self.sweep_at = SWEEP_AT_LEAST.max(self.parked.len() * 2);
    }

    fn remove(&mut self, key: (u64, u64)) -> Option<W> {
        let Parked { start, waiter } = self.parked.remove(&key)?;
        if let Some(starts) = &mut self.starts {
            starts.remove(&(start, key.1));
        }
        Some(waiter)
    }

    // ---- waking ----

    /// These bytes have arrived: wakes the requests that wait for one of them as their last byte.
    pub(super) fn wake(&mut self, arrived: Range<u64>) {
        if arrived.is_empty() {
            return;
        }
        while let Some(first) = self.parked.first_entry() {
            let mut key = *first.key();
            if key.0 <= arrived.start {
                // The first request waits for an earlier byte, which another stream brings. Look for the
                // first request that waits for these bytes.
                let later = (arrived.start + 1, 0)..=(arrived.end, u64::MAX);
                let Some((found, _)) = self.parked.range(later).next() else { return };
                key = *found;
            }
            if key.0 > arrived.end {
                return;
            }
            let woken = self.remove(key);
            self.woken.extend(woken);
        }
    }

    /// Wakes all requests that `wakes` accepts.
    pub(super) fn wake_if(&mut self, wakes: impl Fn(&W) -> bool) {
        let accepted = self.parked.iter().filter(|(_, parked)| wakes(&parked.waiter));
        let keys: Vec<_> = accepted.map(|(key, _)| *key).collect();
        for key in keys {
            let woken = self.remove(key);
            self.woken.extend(woken);
        }
    }

    /// Wakes all requests. No more will be parked, so their memory is given back.
    pub(super) fn wake_all(&mut self) {
        let parked = self.take_parked();
        self.woken.extend(parked);
    }

    /// The next request that was woken.
    pub(super) fn pop(&mut self) -> Option<W> {
        self.woken.pop_front()
    }

    /// Removes all requests that still wait, in the order of the bytes that they wait for.
    pub(super) fn take_parked(&mut self) -> impl Iterator<Item = W> + use<W> {
        self.starts = self.starts.take().map(|_| BTreeMap::new());
        mem::take(&mut self.parked).into_values().map(|parked| parked.waiter)
    }

    /// Removes the requests of whose start `picks` says so, in the order of the bytes that they wait for.
    pub(super) fn take_parked_if(&mut self, picks: impl Fn(u64) -> bool) -> Vec<W> {
        let picked = self.parked.iter().filter(|(_, parked)| picks(parked.start));
        let keys: Vec<_> = picked.map(|(key, _)| *key).collect();
        keys.into_iter().filter_map(|key| self.remove(key)).collect()
    }

    // ---- demand ----

    /// The furthest offset that a request waits for. Removes abandoned requests on its way.
    pub(super) fn furthest(&mut self) -> Option<u64> {
        while let Some((key, last)) = self.parked.last_key_value() {
            let key = *key;
            if !last.waiter.is_abandoned() {
                return Some(key.0);
            }
            self.remove(key);
        }
        None
    }

    /// The start and the end of the first range that starts in `starts`, and the order of its request.
    pub(super) fn first_from(&mut self, starts: RangeInclusive<u64>) -> Option<(Range<u64>, u64)> {
        let keys = (*starts.start(), 0)..=(*starts.end(), u64::MAX);
        self.find(|starts| starts.range(keys.clone()).next())
    }

    /// As [`first_from`](Self::first_from), but the last range that starts at `most` or before.
    pub(super) fn last_to(&mut self, most: u64) -> Option<(Range<u64>, u64)> {
        self.find(|starts| starts.range(..=(most, u64::MAX)).next_back())
    }

    /// The range that `find` finds. Removes abandoned requests on its way.
    fn find(
        &mut self,
        find: impl for<'a> Fn(&'a BTreeMap<(u64, u64), u64>) -> Option<(&'a (u64, u64), &'a u64)>,
    ) -> Option<(Range<u64>, u64)> {
        loop {
            let ((start, order), end) = find(self.starts.as_ref()?)?;
            let (start, key) = (*start, (*end, *order));
            if !self.parked.get(&key)?.waiter.is_abandoned() {
                return Some((start..key.0, key.1));
            }
            self.remove(key);
        }
    }

    /// A stream has stopped. The starts of the requests that it served may be loaded now, so all starts are
    /// computed again.
    pub(super) fn move_starts(&mut self, first_missing: impl Fn(u64) -> u64) {
        let Some(starts) = &mut self.starts else { return };
        starts.clear();
        for ((end, order), parked) in &mut self.parked {
            parked.start = first_missing(parked.start);
            starts.insert((parked.start, *order), *end);
        }
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.parked.len() + self.woken.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Token for &str {
        fn is_abandoned(&self) -> bool {
            false
        }
    }

    /// Wakes requests that wait for these ranges, by what has arrived. Returns their indices.
    fn woken(waiting: &[(u64, u64)], arrived: Range<u64>) -> Vec<&'static str> {
        let mut waiters = Waiters::new(true);
        for ((start, end), name) in waiting.iter().zip(["first", "second", "third"]) {
            waiters.park(*start..*end, name);
        }
        waiters.wake(arrived);
        std::iter::from_fn(|| waiters.pop()).collect()
    }

    #[test]
    fn a_request_is_woken_by_its_last_byte_at_any_offset() {
        let last = u64::MAX;
        assert_eq!(woken(&[(0, 10), (5, 20), (15, 16)], 0..9), [""; 0]);
        assert_eq!(woken(&[(0, 10), (5, 20), (15, 16)], 9..16), ["first", "third"]);
        assert_eq!(woken(&[(0, 10), (5, 20)], 10..20), ["second"], "the first waits for bytes before");
        assert_eq!(woken(&[(0, 10), (9, last)], last - 1..last), ["second"]);
        assert_eq!(woken(&[(0, 10), (9, last)], last..last), [""; 0]);
    }
}
