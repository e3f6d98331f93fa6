//! What a source may be pulled and opened for: rules 6, 7, 21 and 26. It knows less than the buffer, so it
//! allows some more.

use std::ops::RangeInclusive;

/// What the callers need.
#[derive(Debug, Default)]
pub struct Need {
    pub read_ahead: u64,
    /// Each caller that waits: the offset that it waits for, and the end of what it may be delivered then.
    pub callers: Vec<(u64, u64)>,
    /// Where a delivered range may have ended: between these two.
    delivered: Vec<(u64, u64)>,
    /// The offsets that callers waited for who have left since the actor looked last.
    left: Vec<u64>,
    /// A caller has left since the actor looked last, so one more chunk may be pulled (rule 7).
    excuse: bool,
    /// The buffer waits for that chunk.
    is_awaited: bool,
}

impl Need {
    pub fn new(read_ahead: u64) -> Self {
        Self { read_ahead, ..Self::default() }
    }

    /// A range was delivered that ended between these offsets.
    pub fn deliver(&mut self, first: u64, last: u64) {
        if last > 0 && !self.delivered.contains(&(first, last)) {
            self.delivered.push((first, last));
        }
    }

    /// A caller has left that waited for this offset.
    pub fn leave(&mut self, waited_for: Option<u64>) {
        self.left.extend(waited_for);
        self.excuse = true;
    }

    /// The actor was polled: it knows of all callers that have left. A chunk that it waits for by now may
    /// still come.
    pub fn looked(&mut self) {
        self.left.clear();
        self.excuse = std::mem::take(&mut self.is_awaited);
    }

    /// Whether a request may wait for a byte at `offset` or after it.
    pub fn is_asked_beyond(&self, offset: u64) -> bool {
        let waiting = self.callers.iter().map(|(until, _)| until).chain(&self.left);
        waiting.into_iter().any(|until| *until > offset || *until == u64::MAX)
    }

    /// The same, and unlimited read-ahead counts as a request.
    pub fn waits_beyond(&self, offset: u64) -> bool {
        self.read_ahead == u64::MAX || self.is_asked_beyond(offset)
    }

    /// Whether the source may be opened at this missing byte to continue the read-ahead of a reader.
    pub fn may_continue(&self, offset: u64) -> bool {
        // A caller whose offset is reached may have been answered already, up to the end of what it may get.
        let mut ends = self.delivered.iter().chain(&self.callers).map(|(_, last)| *last);
        ends.any(|last| offset.saturating_sub(last) < self.read_ahead / 2)
    }

    /// Whether a stream may be pulled whose next missing byte is in `offsets`, for a request.
    pub fn is_asked(&self, offsets: &RangeInclusive<u64>) -> bool {
        self.callers.iter().any(|(until, _)| until > offsets.start())
    }

    /// The same for a request or for read-ahead.
    pub fn is_needed(&self, offsets: &RangeInclusive<u64>) -> bool {
        // A caller whose offset is reached may have been answered already.
        let delivered = self.delivered.iter().chain(&self.callers);
        let is_ahead = |(first, last): &(u64, u64)| {
            let next = *offsets.start().max(first);
            offsets.contains(&next) && next - (*last).min(next) < self.read_ahead
        };
        self.read_ahead == u64::MAX || self.is_asked(offsets) || delivered.into_iter().any(is_ahead)
    }

    /// A stream is polled. Returns whether that is allowed.
    pub fn polled(&mut self, is_needed: bool, is_ready: bool) -> bool {
        let is_allowed = is_needed || self.excuse;
        self.is_awaited |= !is_needed && !is_ready;
        self.excuse &= is_needed || !is_ready;
        is_allowed
    }
}
