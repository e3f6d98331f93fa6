//! Which bytes are needed, and which stream brings them.
//!
//! A stream belongs to the readers that it serves, whether one of them waits in this instant or not. It has a *turn*:
//! until it has brought enough new bytes for its opening. During its turn, it moves only if its readers have stopped.
//! So an opening brings many bytes, and readers that share few streams take turns.

use std::cmp::Reverse;
use std::time::Instant;

use super::chunk::Chunk;
use super::memory::BLOCK;
use super::readers::Reader;
use super::{Action, Core, Token};

/// What a stream is pulled for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Need {
    Nothing,
    ReadAhead,
    /// A request waits for it.
    Request,
}

/// A stream that may be moved to another offset. The least one is moved.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Candidate {
    need: Need,
    /// How many bytes are loaded between the position of its reader and the stream.
    lead: Reverse<u64>,
    used: Option<Instant>,
    at: Reverse<u64>,
    id: usize,
}

/// How far the requests were searched for one that no stream serves.
#[derive(Default)]
pub(super) struct Searched {
    /// All requests before this one, in the order of arrival, are served.
    before: u64,
    /// How far ahead of a stream a request was served at that time.
    reach: u64,
}

impl Searched {
    /// A request that was served may not be served any more.
    pub(super) fn restart(&mut self) {
        self.before = 0;
    }
}

impl<T: Token> Core<T> {
    /// What the next missing byte of this stream is needed for: the first one at its position or after it.
    pub(super) fn need(&mut self, id: usize) -> Need {
        let Some(at) = self.feeds.at(id) else { return Need::Nothing };
        let at = self.layout.first_missing(at);
        // Bytes that were discarded are fetched again only for a request.
        let is_ahead = self.loads_all() || self.delivered.is_ahead(at, self.read_ahead);
        if self.is_waited_for(id, at) {
            Need::Request
        } else if is_ahead && !self.layout.is_gone(at) && self.has_space_ahead() {
            Need::ReadAhead
        } else {
            Need::Nothing
        }
    }

    /// Whether the buffer loads all bytes without a request.
    pub(super) fn loads_all(&self) -> bool {
        self.read_ahead == u64::MAX && !self.feeds.gave_up()
    }

    /// Whether a request waits for this stream. `at` is its next missing byte.
    fn is_waited_for(&mut self, id: usize, at: u64) -> bool {
        if self.feeds.is_one_way() {
            return self.waiters.furthest().is_some_and(|until| until > at);
        }
        // A request that starts before `at` waits for the byte at `at` if all bytes between are loaded: then the
        // stream has passed its start. Of these requests the last one has the nearest start, so if any of them
        // waits, the last one does.
        if let Some(range) = self.waiters.last_to(at)
            && range.end > at
            && self.layout.first_missing(range.start) == at
        {
            return true;
        }
        // A request that starts after `at` waits for the stream if its start is within reach.
        let Some(next) = at.checked_add(1) else { return false };
        let most = self.feeds.at(id).unwrap_or(at).saturating_add(self.feeds.reach());
        next <= most && self.waiters.has_start_in(next..=most)
    }

    /// The first missing byte of the oldest request that no stream serves.
    fn unserved(&mut self) -> Option<u64> {
        let reach = self.feeds.reach();
        if self.searched.reach != reach {
            self.searched = Searched { before: 0, reach };
        }
        while let Some((order, range)) = self.waiters.first_in_order(self.searched.before) {
            self.searched.before = order;
            let offset = self.layout.first_missing(range.start);
            if !self.is_served(offset) {
                return Some(offset);
            }
            self.searched.before = order + 1;
        }
        None
    }

    /// Whether a stream will bring the missing byte at `offset` soon enough.
    fn is_served(&self, offset: u64) -> bool {
        self.feeds.ids().any(|id| self.feeds.reaches(id, offset))
    }

    /// Whether a request waits for a stream that is not open.
    pub(super) fn needs_opening(&mut self) -> bool {
        !self.feeds.is_one_way() && (self.unserved().is_some() || self.next_unasked().is_some())
    }

    /// The missing byte for which the source is opened without a request, because all bytes are loaded.
    fn next_unasked(&self) -> Option<u64> {
        if !self.loads_all() || self.feeds.count() > 0 {
            return None;
        }
        let from = if self.layout.is_limited() { self.delivered.last() } else { 0 };
        let new = self.layout.first_new(from);
        let is_first = !self.layout.is_gone(self.feeds.start_for(new, &self.layout));
        (is_first && new < self.extent.end()).then_some(new)
    }

    /// Starts an opening of the source, if a request or a reader needs it.
    pub(super) fn next_opening(&mut self) -> Option<Action<T>> {
        self.decided_opening = self.now;
        if !self.feeds.may_open(self.now) || !self.can_take_chunk() {
            return None;
        }
        let (offset, id) = if let Some(offset) = self.unserved() {
            (offset, self.stream_for(offset)?)
        } else if let Some(offset) = self.next_unasked() {
            (offset, self.feeds.free_id())
        } else {
            let (lead, offset) = self.lowest()?;
            (offset, self.stream_for_read_ahead(lead)?)
        };
        let at = self.feeds.start_for(offset, &self.layout);
        self.stop(id);
        let at = self.feeds.open(self.now, id, at, &self.extent, &mut self.layout);
        Some(Action::OpenStream { stream: id, at })
    }

    /// The stream that is opened for a request: a new one, or one that is moved.
    fn stream_for(&mut self, offset: u64) -> Option<usize> {
        self.free_stream().or_else(|| {
            // A new reader, or one that has sought, takes a stream that only reads ahead. A reader that was served
            // before waits until the window of a slow reader is filled.
            let is_new = !self.delivered.has_reader_before(offset, |end| self.layout.first_missing(end));
            self.next_moved(|core, id, need| match need {
                _ if !core.feeds.can_jump() || core.feeds.turn_is_over(id, core.now) => true,
                Need::Request => false,
                Need::ReadAhead if !is_new && core.serves_slow_reader(id) => false,
                Need::ReadAhead | Need::Nothing => !core.feeds.expects_request(id, core.now),
            })
        })
    }

    /// The stream that is opened to continue the read-ahead of a reader with this lead: one whose reader has a
    /// greater lead.
    fn stream_for_read_ahead(&mut self, lead: u64) -> Option<usize> {
        self.free_stream().or_else(|| {
            self.next_moved(|core, id, need| {
                let is_free = need == Need::Nothing || core.feeds.turn_is_over(id, core.now);
                is_free && !core.feeds.expects_request(id, core.now) && core.lead(id) > lead
            })
        })
    }

    /// The number for one more stream, if there may be one.
    fn free_stream(&self) -> Option<usize> {
        let most = self.feeds.most().min(self.streams_that_fit());
        (self.feeds.count() < most).then(|| self.feeds.free_id())
    }

    /// The stream that is moved next, of those that `may_move` accepts.
    fn next_moved(&mut self, may_move: impl Fn(&Self, usize, Need) -> bool) -> Option<usize> {
        let mut least: Option<Candidate> = None;
        for id in self.feeds.ids() {
            let Some(at) = self.feeds.at(id) else { continue };
            let need = self.need(id);
            if !may_move(self, id, need) {
                continue;
            }
            let lead = if need == Need::ReadAhead { self.lead(id) } else { 0 };
            let at = Reverse(self.layout.first_missing(at));
            let candidate = Candidate { need, lead: Reverse(lead), used: self.feeds.used(id), at, id };
            if least.as_ref().is_none_or(|least| candidate < *least) {
                least = Some(candidate);
            }
        }
        least.map(|candidate| candidate.id)
    }

    /// Whether the reader of this stream may be slower than the stream. A faster one asks again at once, until it
    /// stops.
    fn serves_slow_reader(&self, id: usize) -> bool {
        let at = self.layout.first_missing(self.feeds.at(id).unwrap_or_default());
        self.delivered.nearest_before(at).is_some_and(|reader| reader.hurried < self.feeds.turn())
    }

    /// How many bytes are loaded between the position of the nearest reader and the stream.
    fn lead(&self, id: usize) -> u64 {
        let at = self.layout.first_missing(self.feeds.at(id).unwrap_or_default());
        self.delivered.nearest_before(at).map_or(0, |reader| at - reader.end)
    }

    /// The reader that will soon need a stream, and has none that goes on for it: how many bytes it has left, and its
    /// next missing byte. Of several readers, it is the first that has to wait.
    fn lowest(&self) -> Option<(u64, u64)> {
        let least = self.feeds.turn().min(self.read_ahead / 2);
        // A failed source is opened again only for a request.
        if !self.feeds.can_jump() || least < self.feeds.reach() || self.feeds.error().is_some() {
            return None;
        }
        let in_order = |reader: &Reader| reader.is_slow() && reader.end - reader.start >= BLOCK as u64;
        let low = self.delivered.recent(self.now).filter(in_order).filter_map(|reader| {
            let offset = self.layout.first_missing(reader.end);
            let is_new = offset < self.extent.end() && !self.layout.is_gone(offset);
            let lead = offset - reader.end;
            (lead < least && is_new && !self.is_served(offset)).then_some((lead, offset))
        });
        low.min()
    }

    /// The most streams whose open blocks fit in memory and in the store.
    fn streams_that_fit(&self) -> usize {
        let memory = 2 + self.writeback.max_memory() / BLOCK;
        let store = usize::try_from(self.layout.capacity() / BLOCK as u64).unwrap_or(usize::MAX);
        memory.saturating_add(store)
    }

    /// The stream stops here, and the rest of its chunk is dropped. The requests that it served may need
    /// another stream.
    pub(super) fn stop(&mut self, id: usize) {
        self.layout.close(id);
        if self.arriving_from == id {
            self.arriving = Chunk::default();
        }
        let passed = self.feeds.from(id).zip(self.feeds.at(id));
        if self.feeds.drop_stream(id) {
            let (from, to) = passed.unwrap_or_default();
            self.waiters.move_starts(from..to, |start| self.layout.first_missing(start));
            self.searched.restart();
        }
    }
}
