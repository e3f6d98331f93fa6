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

/// The key of a parked request in a map that is sorted by offsets.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    offset: u64,
    /// The order of arrival. It keeps requests with equal offsets apart: first come, first served.
    order: u64,
}

impl Key {
    /// Before all requests with this offset.
    fn before(offset: u64) -> Self {
        Self { offset, order: 0 }
    }

    /// After all requests with this offset.
    fn after(offset: u64) -> Self {
        Self { offset, order: u64::MAX }
    }
}

/// The parked requests by the start of their range, and by their order of arrival.
#[derive(Default)]
struct Index {
    /// By start: the end.
    starts: BTreeMap<Key, u64>,
    /// By order: the start and the end.
    orders: BTreeMap<u64, Range<u64>>,
}

impl Index {
    fn insert(&mut self, range: Range<u64>, order: u64) {
        self.starts.insert(Key { offset: range.start, order }, range.end);
        self.orders.insert(order, range);
    }

    fn remove(&mut self, start: u64, order: u64) {
        self.starts.remove(&Key { offset: start, order });
        self.orders.remove(&order);
    }
}

/// Parked requests. Each is parked with a range in which no byte is loaded, and is woken when the last byte
/// of the range arrives.
pub(super) struct Waiters<W> {
    /// By the end of the range.
    parked: BTreeMap<Key, Parked<W>>,
    /// Only for sources that can be opened: a one-way stream has one position, which passes all starts.
    index: Option<Index>,
    /// Requests that were woken, first in, first out.
    woken: VecDeque<W>,
    /// The order of arrival of the next request.
    next: u64,
    /// The number of parked requests at which the next sweep is due: twice the number that the last
    /// sweep left. So a sweep costs little per request, and at most half of the requests are abandoned.
    sweep_at: usize,
}

impl<W: Token> Waiters<W> {
    /// `by_start` allows the calls that look for requests by their start or their order.
    pub(super) fn new(by_start: bool) -> Self {
        Self {
            parked: BTreeMap::new(),
            index: by_start.then(Index::default),
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
        self.parked
            .insert(Key { offset: range.end, order: self.next }, Parked { start: range.start, waiter });
        if let Some(index) = &mut self.index {
            index.insert(range, self.next);
        }
        self.next += 1;
    }

    fn sweep(&mut self) {
        let index = &mut self.index;
        self.parked.retain(|key, parked| {
            let is_kept = !parked.waiter.is_abandoned();
            if let Some(index) = index.as_mut().filter(|_| !is_kept) {
                index.remove(parked.start, key.order);
            }
            is_kept
        });
        self.sweep_at = SWEEP_AT_LEAST.max(self.parked.len() * 2);
    }

    fn remove(&mut self, key: Key) -> Option<W> {
        let Parked { start, waiter } = self.parked.remove(&key)?;
        if let Some(index) = &mut self.index {
            index.remove(start, key.order);
        }
        Some(waiter)
    }

    // ---- waking ----

    /// These bytes have arrived: wakes the requests that wait for one of them as their last byte. Returns whether
    /// there are any.
    pub(super) fn wake(&mut self, arrived: Range<u64>) -> bool {
        let before = self.woken.len();
        if arrived.is_empty() {
            return false;
        }
        while let Some(first) = self.parked.first_entry() {
            let mut key = *first.key();
            if key.offset <= arrived.start {
                // The first request waits for an earlier byte, which another stream brings. Look for the
                // first request that waits for these bytes.
                let later = Key::before(arrived.start + 1)..=Key::after(arrived.end);
                let Some((found, _)) = self.parked.range(later).next() else { break };
                key = *found;
            }
            if key.offset > arrived.end {
                break;
            }
            let woken = self.remove(key);
            self.woken.extend(woken);
        }
        self.woken.len() > before
    }

    /// A request that waits for no byte, but for its turn.
    pub(super) fn answer_later(&mut self, waiter: W) {
        self.woken.push_back(waiter);
    }

    /// Wakes all requests that `wakes` accepts.
    pub(super) fn wake_if(&mut self, wakes: impl Fn(&W) -> bool) {
        self.wake_from(0, wakes);
    }

    /// Wakes the requests that wait for the end of the resource while the end is unknown, if `wakes` accepts them.
    pub(super) fn wake_endless(&mut self, wakes: impl Fn(&W) -> bool) {
        self.wake_from(u64::MAX, wakes);
    }

    /// Wakes the requests that wait for the byte before `end` or a later one, if `wakes` accepts them.
    fn wake_from(&mut self, end: u64, wakes: impl Fn(&W) -> bool) {
        let candidates = self.parked.range(Key::before(end)..);
        let accepted = candidates.filter(|(_, parked)| wakes(&parked.waiter));
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
        self.index = self.index.take().map(|_| Index::default());
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
                return Some(key.offset);
            }
            self.remove(key);
        }
        None
    }

    /// Whether a request waits for bytes that start in `starts`.
    pub(super) fn has_start_in(&mut self, starts: RangeInclusive<u64>) -> bool {
        let keys = Key::before(*starts.start())..=Key::after(*starts.end());
        self.find(|index| index.starts.range(keys.clone()).next().map(|(key, end)| (*key, *end))).is_some()
    }

    /// The last range that starts at `most` or before.
    pub(super) fn last_to(&mut self, most: u64) -> Option<Range<u64>> {
        let find = |index: &Index| {
            let (key, end) = index.starts.range(..=Key::after(most)).next_back()?;
            Some((*key, *end))
        };
        Some(self.find(find)?.1)
    }

    /// The first request in the order of arrival that is not before `order`: its order, and its range.
    pub(super) fn first_in_order(&mut self, order: u64) -> Option<(u64, Range<u64>)> {
        let find = |index: &Index| {
            let (order, range) = index.orders.range(order..).next()?;
            Some((Key { offset: range.start, order: *order }, range.end))
        };
        self.find(find)
    }

    /// The order and the range of the request whose start and end `find` finds. Removes abandoned requests on its
    /// way.
    fn find(&mut self, find: impl Fn(&Index) -> Option<(Key, u64)>) -> Option<(u64, Range<u64>)> {
        loop {
            let (start, end) = find(self.index.as_ref()?)?;
            let key = Key { offset: end, order: start.order };
            if !self.parked.get(&key)?.waiter.is_abandoned() {
                return Some((start.order, start.offset..end));
            }
            self.remove(key);
        }
    }

    /// A stream that has passed these offsets has stopped. Requests that started among them may have fewer missing
    /// bytes now, so their starts are computed again.
    pub(super) fn move_starts(&mut self, passed: Range<u64>, first_missing: impl Fn(u64) -> u64) {
        let Some(index) = &mut self.index else { return };
        if passed.is_empty() {
            return;
        }
        let starts = index.starts.range(Key::before(passed.start)..Key::before(passed.end));
        let moved: Vec<_> = starts.map(|(start, end)| (*start, *end)).collect();
        for (start, end) in moved {
            let Some(parked) = self.parked.get_mut(&Key { offset: end, order: start.order }) else {
                continue;
            };
            parked.start = first_missing(start.offset);
            index.remove(start.offset, start.order);
            index.insert(parked.start..end, start.order);
        }
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
