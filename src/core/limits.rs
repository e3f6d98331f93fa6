//! Limits on disk: what is discarded to stay within them.

use super::memory::{Leaving, block_range};
use super::{Core, Token};

/// Which bytes may be discarded to make space.
pub(super) struct Discards {
    /// Whether bytes can be fetched again.
    pub(super) again: bool,
    /// Whether bytes that were never delivered may be discarded, because a request needs the space.
    pub(super) unread: bool,
    /// The end of the furthest delivery. It decides for bytes that cannot be fetched again.
    pub(super) delivered: u64,
}

/// What was kept before bytes were discarded.
pub(super) struct Kept {
    /// The first byte that was not discarded for good.
    start: u64,
    /// The number of loaded bytes.
    loaded: u64,
}

impl Discards {
    /// Whether this block of memory may be discarded.
    pub(super) fn allows(&self, block: &Leaving) -> bool {
        let is_read = if self.again { block.is_read } else { self.are_delivered(block.number) };
        self.unread || is_read
    }

    /// Whether the block is read, as far as that is known from the furthest delivery.
    pub(super) fn are_delivered(&self, number: u64) -> bool {
        block_range(number).end <= self.delivered
    }
}

impl<T: Token> Core<T> {
    /// A caller changes limits.
    pub(super) fn set_limits(&mut self, max_memory: Option<usize>, max_disk: Option<u64>, token: T) {
        self.writeback.adjust(max_memory, token);
        self.new_max_disk = max_disk.or(self.new_max_disk);
    }

    /// Limits the store, as a caller has asked. Bytes that do not fit are discarded, whether they were read
    /// or not. A running write must end first, because its blocks have no slots yet. Returns whether requests
    /// are to be decided anew.
    pub(super) fn apply_limits(&mut self) -> bool {
        let Some(bytes) = self.new_max_disk.take_if(|_| !self.writeback.is_writing()) else { return false };
        let (kept, was_limited) = (self.kept(), self.layout.is_limited());
        self.layout.set_limit(bytes);
        // Also if no caller waits for that any more.
        let discards = Discards { unread: true, ..self.discards() };
        while self.layout.is_exceeded()
            && let Some(number) = self.layout.next_discarded(&discards)
        {
            self.layout.discard(number, discards.again);
        }
        if self.may_fetch_again() {
            self.extent.resume();
        }
        self.note_discards(&kept);
        let is_first = self.layout.is_limited() && !was_limited;
        if is_first {
            // From now on a request waits for one block at a time.
            self.waiters.wake_if(|_| true);
        }
        is_first
    }

    /// Whether bytes may be discarded that can be fetched again. Then the source is never done with.
    pub(super) fn may_fetch_again(&self) -> bool {
        self.layout.is_limited() && self.feeds.can_jump()
    }

    /// What is kept now, for [`note_discards`](Self::note_discards).
    pub(super) fn kept(&self) -> Kept {
        Kept { start: self.layout.start(), loaded: self.layout.loaded() }
    }

    /// Bytes may have been discarded since `before` was kept. Requests for bytes that are gone for good fail.
    pub(super) fn note_discards(&mut self, before: &Kept) {
        let Kept { start, loaded } = self.kept();
        if loaded < before.loaded {
            // Requests for the end wait for the bytes after the last one that was loaded. Otherwise they would wait for
            // discarded bytes, which were still missing when the requests were parked.
            self.waiters.wake_endless(|_| true);
        }
        if start == before.start {
            return;
        }
        self.waiters.wake_if(|asked| asked.question.offset().is_some_and(|offset| offset < start));
        self.stop_if_whole();
    }

    /// Which bytes may be discarded to make space.
    pub(super) fn discards(&mut self) -> Discards {
        if !self.layout.is_limited() {
            return Discards { again: false, unread: false, delivered: 0 };
        }
        // Bytes that were never delivered make space only for a request, and only if its bytes have none.
        let is_full = !self.writeback.has_room(&self.layout);
        let is_asked = is_full && self.extent.ending().is_none() && self.waiters.furthest().is_some();
        Discards { unread: is_asked || self.writeback.is_adjusting(), ..self.discards_read() }
    }

    /// Which bytes may be discarded to make space for others that no request waits for: those that were delivered.
    fn discards_read(&self) -> Discards {
        Discards { again: self.feeds.can_jump(), unread: false, delivered: self.delivered.furthest() }
    }

    /// Whether there is space for bytes that no request waits for.
    pub(super) fn has_space_ahead(&self) -> bool {
        if !self.layout.is_limited() {
            return true;
        }
        let max_memory = self.writeback.max_memory();
        let fits_in_memory = self.layout.allocated() <= max_memory;
        fits_in_memory || self.layout.has_space_for_unasked(&self.discards_read(), max_memory)
    }
}
