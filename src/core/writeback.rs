//! Which resident bytes are written to the store, and when: oldest first, one write at a time.

use std::time::{Duration, Instant};

use bytes::Bytes;

use super::Token;
use super::backoff::Backoff;
use super::layout::Layout;
use super::memory::BLOCK;
use super::waiters::Waiters;
use crate::error::Error;

/// How far memory may exceed its limit while the store takes in the rest. Four blocks: one that is
/// open, and others that fill while a write is running.
const SLACK: usize = 1024 * 1024;

/// The most bytes of one write: half of the slack, so that the other half fills meanwhile.
const WRITE_MOST: usize = 512 * 1024;

/// The delays before a failed write is retried in the background.
const FIRST_DELAY: Duration = Duration::from_millis(100);
const MAX_DELAY: Duration = Duration::from_secs(15);

pub(super) struct Writeback<T> {
    /// Bytes of memory to stay within.
    max_memory: usize,
    /// Where the running write ends.
    writing: Option<u64>,
    /// When a failed write is retried, if it failed while memory exceeded its limit. Pulling stops
    /// until then, or until a read that needs more bytes has the write retried.
    retry_at: Option<Instant>,
    backoff: Backoff,
    /// Why the last write failed; `None` after a write has succeeded.
    error: Option<Error>,
    /// Bytes before this offset are to be spilled, even if no caller waits for it any more.
    spill_to: u64,
    /// `spill` requests, by the offset that must be stored first.
    spills: Waiters<T>,
}

impl<T: Token> Writeback<T> {
    pub(super) fn new(max_memory: usize, seed: u64) -> Self {
        Self {
            max_memory,
            writing: None,
            retry_at: None,
            backoff: Backoff::new(FIRST_DELAY, MAX_DELAY, seed),
            error: None,
            spill_to: 0,
            spills: Waiters::new(),
        }
    }

    /// A caller asks that all bytes before `to` are spilled.
    pub(super) fn spill(&mut self, to: u64, token: T) {
        self.retry_at = None;
        self.spill_to = to;
        self.spills.park(to, token);
    }

    /// The next `spill` request that is done.
    pub(super) fn next_spilled(&mut self, layout: &Layout) -> Option<T> {
        self.spills.pop(layout.stored())
    }

    /// The next write: its offset and its bytes.
    pub(super) fn next_write(&mut self, layout: &mut Layout) -> Option<(u64, Vec<Bytes>)> {
        if self.writing.is_some() || self.has_failed() {
            return None;
        }
        let to = layout.excess(self.max_memory).max(self.spill_to);
        let (start, blocks) = layout.oldest_resident(to, WRITE_MOST)?;
        self.writing = Some(start + blocks.iter().map(|block| block.len() as u64).sum::<u64>());
        Some((start, blocks))
    }

    /// The running write is done.
    pub(super) fn written(&mut self, layout: &mut Layout) {
        self.error = None;
        self.backoff.reset();
        if let Some(to) = self.writing.take() {
            layout.spilled(to);
        }
    }

    /// The running write failed. Returns the `spill` requests that fail with it.
    pub(super) fn write_failed(
        &mut self,
        now: Instant,
        layout: &Layout,
        error: Error,
    ) -> impl Iterator<Item = T> + use<T> {
        self.writing = None;
        self.error = Some(error);
        // If only a `spill` asked for the write, memory is within its limit and reading goes on.
        let exceeds = layout.excess(self.max_memory) > layout.stored();
        self.retry_at = exceeds.then(|| now + self.backoff.next_delay());
        self.spill_to = 0;
        self.spills.take_beyond(layout.stored())
    }

    /// Whether writes and pulling have stopped because of a failed write.
    pub(super) fn has_failed(&self) -> bool {
        self.retry_at.is_some()
    }

    /// When the failed write is to be retried.
    pub(super) fn retry_at(&self) -> Option<Instant> {
        self.retry_at
    }

    /// Why the last write failed.
    pub(super) fn error(&self) -> Option<&Error> {
        self.error.as_ref()
    }

    /// Has the failed write retried now.
    pub(super) fn retry(&mut self) {
        self.retry_at = None;
    }

    /// Whether memory has room for one more block.
    pub(super) fn has_room(&self, layout: &Layout) -> bool {
        !self.has_failed()
            && layout.allocated().saturating_add(BLOCK) <= self.max_memory.saturating_add(SLACK)
    }

    /// Whether memory is within its limit and stays there while nothing new arrives.
    pub(super) fn is_within_limit(&self, layout: &Layout) -> bool {
        self.writing.is_none() && !self.has_failed() && layout.allocated() <= self.max_memory
    }

    #[cfg(test)]
    pub(super) fn waiting(&self) -> usize {
        self.spills.len()
    }
}
