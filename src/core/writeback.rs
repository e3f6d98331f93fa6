//! Which resident bytes are written to the store, and when: the blocks that arrived first, one write at a
//! time.

use std::collections::VecDeque;
use std::mem;
use std::ops::Range;
use std::time::{Duration, Instant};

use super::Token;
use super::backoff::Backoff;
use super::layout::Layout;
use super::memory::BLOCK;
use super::ranges::RangeSet;
use super::segments::Segment;
use crate::error::Error;

/// How far memory may exceed its limit while the store takes in the rest. Four blocks: those that streams are
/// filling, and those that fill up while a write is running.
const SLACK: usize = 1024 * 1024;

/// The most bytes of one write: half of the slack, so that the other half fills meanwhile.
const WRITE_MOST: usize = 512 * 1024;

/// The delays before a failed write is retried in the background.
const FIRST_DELAY: Duration = Duration::from_millis(100);
const MAX_DELAY: Duration = Duration::from_secs(15);

pub(super) struct Writeback<T> {
    /// Bytes of memory to stay within.
    max_memory: usize,
    /// The ranges of the running write.
    writing: Option<Vec<Range<u64>>>,
    /// When a failed write is retried, if it failed while memory exceeded its limit. Pulling stops
    /// until then, or until a read that needs more bytes has the write retried.
    retry_at: Option<Instant>,
    backoff: Backoff,
    /// Why the last write failed; `None` after a write has succeeded.
    error: Option<Error>,
    /// The resident bytes that are to be spilled, even if no caller waits for it any more.
    asked: RangeSet,
    /// `spill` requests, oldest first.
    spills: VecDeque<Spill<T>>,
}

/// Callers that ask that the same bytes are spilled.
struct Spill<T> {
    /// Those of the bytes that are still resident.
    ranges: RangeSet,
    tokens: VecDeque<T>,
}

impl<T: Token> Writeback<T> {
    pub(super) fn new(max_memory: usize, seed: u64) -> Self {
        Self {
            max_memory,
            writing: None,
            retry_at: None,
            backoff: Backoff::new(FIRST_DELAY, MAX_DELAY, seed),
            error: None,
            asked: RangeSet::default(),
            spills: VecDeque::new(),
        }
    }

    /// A caller asks that all bytes that are resident now are spilled.
    pub(super) fn spill(&mut self, layout: &Layout, token: T) {
        self.retry_at = None;
        self.asked = layout.resident();
        match self.spills.back_mut() {
            Some(last) if last.ranges == self.asked => {
                // Rarely, because each sweep walks over all requests.
                if last.tokens.len().is_power_of_two() {
                    last.tokens.retain(|token| !token.is_abandoned());
                }
                last.tokens.push_back(token);
            }
            _ => {
                self.spills.retain(|spill| spill.tokens.iter().any(|token| !token.is_abandoned()));
                self.spills.push_back(Spill { ranges: self.asked.clone(), tokens: VecDeque::from([token]) });
            }
        }
    }

    /// The next `spill` request that is done.
    pub(super) fn next_spilled(&mut self) -> Option<T> {
        let first = self.spills.front_mut().filter(|spill| spill.ranges.len() == 0)?;
        let token = first.tokens.pop_front();
        if first.tokens.is_empty() {
            self.spills.pop_front();
        }
        token
    }

    /// The segments of the next write.
    pub(super) fn next_write(&mut self, layout: &mut Layout) -> Option<Vec<Segment>> {
        if self.writing.is_some() || self.has_failed() {
            return None;
        }
        // Without room for one more block, the blocks that streams are filling must leave too. Otherwise
        // memory full of partly filled blocks would never have room again.
        let all = !self.has_room(layout);
        let segments = layout.leaving(self.max_memory, &self.asked, all, WRITE_MOST);
        if segments.is_empty() {
            return None;
        }
        self.writing = Some(segments.iter().map(|segment| segment.start..segment.end()).collect());
        Some(segments)
    }

    /// The running write is done.
    pub(super) fn written(&mut self, layout: &mut Layout) {
        self.error = None;
        self.backoff.reset();
        let ranges = self.writing.take().unwrap_or_default();
        layout.moved(&ranges);
        let spills = self.spills.iter_mut().map(|spill| &mut spill.ranges);
        for asked in spills.chain([&mut self.asked]) {
            for range in &ranges {
                asked.remove(range.clone());
            }
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
        let exceeds = layout.has_excess(self.max_memory) || !self.fits(layout);
        self.retry_at = exceeds.then(|| now + self.backoff.next_delay());
        self.asked = RangeSet::default();
        mem::take(&mut self.spills).into_iter().flat_map(|spill| spill.tokens)
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
        !self.has_failed() && self.fits(layout)
    }

    /// Whether one more block fits in memory.
    fn fits(&self, layout: &Layout) -> bool {
        layout.allocated().saturating_add(BLOCK) <= self.max_memory.saturating_add(SLACK)
    }

    /// Whether memory is within its limit and stays there while nothing new arrives.
    pub(super) fn is_within_limit(&self, layout: &Layout) -> bool {
        self.writing.is_none() && !self.has_failed() && layout.allocated() <= self.max_memory
    }

    #[cfg(test)]
    pub(super) fn waiting(&self) -> usize {
        self.spills.iter().map(|spill| spill.tokens.len()).sum()
    }
}
