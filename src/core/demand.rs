//! Which bytes are needed, and which stream brings them.

use std::cmp::Reverse;

use super::chunk::Chunk;
use super::memory::BLOCK;
use super::{Action, Core, Token};

/// The number of new bytes that a stream brings before it is moved away from a waiting request: one block.
const MOVED_AFTER: u64 = BLOCK as u64;

/// The ends of the ranges that were delivered last, at most as many as there may be streams. Read-ahead
/// counts from them.
pub(super) struct Delivered {
    /// Most recent last.
    ends: Vec<u64>,
}

impl Delivered {
    pub(super) fn new() -> Self {
        Self { ends: Vec::with_capacity(1) }
    }

    /// A range was delivered. Only delivered bytes count, not the bytes asked for: otherwise read-ahead
    /// would run ahead of its readers. Returns whether read-ahead may now reach further. `settled` is the end of
    /// the bytes that are settled.
    #[expect(clippy::inline_always, reason = "a part of the path of a read that is answered at once")]
    #[inline(always)]
    pub(super) fn note(&mut self, start: u64, end: u64, most: usize, settled: impl FnOnce() -> u64) -> bool {
        // With one stream, the furthest delivery counts.
        let is_continued = |old: &u64| most == 1 || (start..=end).contains(old);
        // For speed only: most deliveries continue the last one.
        if let Some(last) = self.ends.last_mut().filter(|last| is_continued(last)) {
            let is_further = end > *last;
            *last = end.max(*last);
            return is_further;
        }
        if let Some(index) = self.ends.iter().rposition(is_continued) {
            let old = self.ends.remove(index);
            self.ends.push(old.max(end));
            return end > old;
        }
        if self.ends.len() >= most {
            // Nothing is missing within the read-ahead after settled bytes. So an end among them is of no use to
            // read-ahead, and the first to leave.
            let settled = settled();
            if end < settled {
                return false;
            }
            let index = self.ends.iter().position(|end| *end < settled).unwrap_or(0);
            self.ends.remove(index);
        }
        self.ends.push(end);
        true
    }

    /// The nearest end of a delivered range from `offset` on; `offset` if there is none.
    pub(super) fn nearest(&self, offset: u64) -> u64 {
        self.ends.iter().copied().filter(|end| *end >= offset).min().unwrap_or(offset)
    }

    /// The furthest end.
    pub(super) fn furthest(&self) -> u64 {
        self.ends.iter().copied().max().unwrap_or(0)
    }

    /// The end of the last delivery.
    pub(super) fn last(&self) -> u64 {
        self.ends.last().copied().unwrap_or(0)
    }

    /// Whether a missing byte at `offset` is among the `read_ahead` bytes after a delivered range.
    pub(super) fn is_ahead(&self, offset: u64, read_ahead: u64) -> bool {
        self.ends.iter().any(|end| *end <= offset && offset - end < read_ahead)
    }
}

impl<T: Token> Core<T> {
    /// Whether the next missing byte of this stream is needed: the first one at its position or after it.
    pub(super) fn needs(&mut self, id: usize) -> bool {
        let Some(at) = self.feeds.at(id) else { return false };
        let at = self.layout.first_missing(at);
        let is_ahead = self.loads_all() || self.delivered.is_ahead(at, self.limits.read_ahead);
        // Bytes that were discarded are fetched again only for a request.
        is_ahead && !self.layout.is_gone(at) || self.is_waited_for(id, at)
    }

    /// Whether the buffer loads all bytes without a request.
    pub(super) fn loads_all(&self) -> bool {
        self.limits.read_ahead == u64::MAX && !self.feeds.gave_up()
    }

    /// Whether a request waits for this stream. `at` is its next missing byte.
    fn is_waited_for(&mut self, id: usize, at: u64) -> bool {
        if self.feeds.is_one_way() {
            return self.waiters.furthest().is_some_and(|until| until > at);
        }
        // A request that starts before `at` waits for this byte if all bytes between are loaded: then the
        // stream has come past its start. Of these requests the last one has the nearest start, so if any
        // of them waits, the last one does.
        if let Some((range, _)) = self.waiters.last_to(at)
            && range.end > at
            && self.layout.first_missing(range.start) == at
        {
            return true;
        }
        // A request that starts after `at` waits for the stream if its start is within reach.
        let Some(next) = at.checked_add(1) else { return false };
        let most = self.feeds.at(id).unwrap_or(at).saturating_add(self.feeds.reach());
        next <= most && self.waiters.first_from(next..=most).is_some()
    }

    /// The first missing byte of the oldest request that no stream serves.
    fn unserved(&mut self) -> Option<u64> {
        let mut oldest: Option<(u64, u64)> = None;
        let mut from = Some(0);
        while let Some(start) = from
            && let Some((range, order)) = self.waiters.first_from(start..=u64::MAX)
        {
            let offset = self.layout.first_missing(range.start);
            let servers = self.feeds.ids().filter(|id| self.feeds.reaches(*id, offset));
            let served_from = servers.filter_map(|id| self.feeds.at(id)).max();
            if served_from.is_none() {
                oldest = Some(oldest.map_or((order, offset), |oldest| oldest.min((order, offset))));
            }
            // The same stream serves all requests that start up to there. Without one, the stream that is
            // opened for this request will serve them.
            let served_to = served_from.unwrap_or(offset).saturating_add(self.feeds.reach());
            from = served_to.max(range.start).checked_add(1);
        }
        oldest.map(|(_, offset)| offset)
    }

    /// Whether a request waits for a stream that is not open.
    pub(super) fn needs_opening(&mut self) -> bool {
        !self.feeds.is_one_way() && self.next_needed().is_some()
    }

    /// The missing byte for which the source is to be opened.
    fn next_needed(&mut self) -> Option<u64> {
        self.unserved().or_else(|| {
            let is_idle = self.loads_all() && self.feeds.count() == 0;
            let from = if self.layout.is_limited() { self.delivered.last() } else { 0 };
            let new = self.layout.first_new(from);
            let is_first = !self.layout.is_gone(self.feeds.start_for(new, &self.layout));
            (is_idle && is_first && new < self.end).then_some(new)
        })
    }

    /// Starts an opening of the source, if a request needs it.
    pub(super) fn next_opening(&mut self) -> Option<Action<T>> {
        self.decided_opening = self.now;
        if !self.feeds.may_open(self.now) || !self.can_take_chunk() {
            return None;
        }
        let needed = self.next_needed()?;
        let id = self.stream_for_opening()?;
        let at = self.feeds.start_for(needed, &self.layout);
        self.stop(id);
        let at = self.feeds.open(self.now, id, at, &self.layout);
        Some(Action::OpenStream { stream: id, at })
    }

    /// The number of the stream that is opened next: a new one, or one that is moved.
    fn stream_for_opening(&mut self) -> Option<usize> {
        if self.feeds.count() < self.feeds.most().min(self.streams_that_fit()) {
            return Some(self.feeds.free_id());
        }
        let mut candidates = Vec::new();
        for id in self.feeds.ids() {
            let Some(at) = self.feeds.at(id) else { continue };
            let at = self.layout.first_missing(at);
            let is_waited_for = self.is_waited_for(id, at);
            // A stream that a request waits for brings one block first. If the source cannot jump, its only
            // stream is already past the byte that is needed, so it moves at once.
            if is_waited_for && self.feeds.can_jump() && self.feeds.brought(id) < MOVED_AFTER {
                continue;
            }
            let is_ahead = self.delivered.is_ahead(at, self.limits.read_ahead);
            candidates.push((is_waited_for, is_ahead, self.feeds.used(id), Reverse(at), id));
        }
        candidates.into_iter().min().map(|(.., id)| id)
    }

    /// The most streams whose open blocks fit in memory, if they cannot be written.
    fn streams_that_fit(&self) -> usize {
        if self.layout.capacity() > 0 { usize::MAX } else { 2 + self.writeback.max_memory() / BLOCK }
    }

    /// The stream stops here, and the rest of its chunk is dropped. The requests that it served may need
    /// another stream.
    pub(super) fn stop(&mut self, id: usize) {
        self.layout.close(id);
        if self.arriving_from == id {
            self.arriving = Chunk::default();
        }
        if self.feeds.drop_stream(id) {
            self.waiters.move_starts(|start| self.layout.first_missing(start));
        }
    }
}
