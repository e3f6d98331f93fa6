//! Which resident bytes are written to the store, and when: the blocks that arrived first, one write at a
//! time.

use std::collections::VecDeque;
use std::mem;
use std::ops::Range;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::Token;
use super::backoff::Backoff;
use super::layout::Layout;
use super::limits::Discards;
use super::memory::{BLOCK, block_range};
use super::ranges::RangeSet;
use crate::error::Error;

/// How far memory may exceed its limit while the store takes in the rest. Four blocks: those that streams are
/// filling, and those that fill up while a write is running.
const SLACK: usize = 1024 * 1024;

/// The most blocks of one write: half of the slack, so that the other half fills meanwhile.
const WRITE_MOST: usize = 512 * 1024 / BLOCK;

/// The delays before a failed write is retried in the background.
const FIRST_DELAY: Duration = Duration::from_millis(100);
const MAX_DELAY: Duration = Duration::from_secs(15);

/// A write to the store.
#[derive(Default)]
pub(crate) struct Write {
    /// The offset of its first byte in the resource; of the first byte that is kept if it only discards.
    pub(crate) offset: u64,
    /// The places of the store whose bytes are not read any more, unless they are written here.
    pub(crate) discarded: Vec<Range<u64>>,
    /// Bytes and their places.
    pub(crate) bytes: Vec<(u64, Bytes)>,
    /// The number of this write among those that may reuse places; `None` if none is ever reused. Slices
    /// that were lent with a lower number are not valid any more once the write starts.
    pub(crate) generation: Option<u64>,
}

impl Write {
    /// The places of the store whose bytes it changes.
    pub(crate) fn places(&self) -> impl Iterator<Item = Range<u64>> {
        let written = self.bytes.iter().map(|(start, bytes)| *start..*start + bytes.len() as u64);
        written.chain(self.discarded.iter().cloned())
    }
}

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
    /// Requests that wait until a new limit is met.
    adjusting: Vec<T>,
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
            adjusting: Vec::new(),
        }
    }

    /// The memory to stay within.
    pub(super) fn max_memory(&self) -> usize {
        self.max_memory
    }

    /// A caller has changed a limit.
    pub(super) fn adjust(&mut self, max_memory: Option<usize>, token: T) {
        self.retry_at = None;
        self.max_memory = max_memory.unwrap_or(self.max_memory);
        self.adjusting.push(token);
    }

    pub(super) fn is_writing(&self) -> bool {
        self.writing.is_some()
    }

    /// Whether such a request waits.
    pub(super) fn is_adjusting(&self) -> bool {
        !self.adjusting.is_empty()
    }

    /// The next of these requests, if the limits are met.
    pub(super) fn next_adjusted(&mut self, layout: &Layout) -> Option<T> {
        let is_met = self.writing.is_none() && !layout.has_freed() && !layout.has_excess(self.max_memory);
        if is_met { self.adjusting.pop() } else { None }
    }

    /// A caller asks that all bytes that are resident now are spilled.
    pub(super) fn spill(&mut self, layout: &Layout, token: T) {
        self.retry_at = None;
        self.asked = layout.resident().collect();
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

    /// The next write.
    pub(super) fn next_write(&mut self, layout: &mut Layout, discards: &Discards) -> Option<Write> {
        if self.writing.is_some() || self.has_failed() {
            return None;
        }
        // Without room for one more block, the blocks that streams fill must leave too. Without a store, their bytes
        // are discarded, so the other blocks leave before.
        let all = !self.has_room(layout) && (layout.capacity() > 0 || !layout.has_excess(self.max_memory));
        let mut write = Write::default();
        let (mut ranges, mut chosen) = (Vec::new(), Vec::new());
        let mut has_places = true;
        for block in layout.leaving(self.max_memory, &self.asked, all, WRITE_MOST) {
            let mut has_place = layout.assign(&block);
            if block.is_excess && !has_place && layout.capacity() == 0 && discards.allows(&block) {
                layout.discard_resident(block.number, discards.again);
                self.leave(&block_range(block.number));
                continue;
            }
            while block.is_excess
                && !has_place
                && let Some(oldest) = layout.next_discarded(discards)
                // A block of this write is not in the store yet.
                && !chosen.contains(&oldest)
            {
                layout.discard(oldest, discards.again);
                has_place = layout.assign(&block);
            }
            has_places &= has_place;
            if has_place {
                chosen.push(block.number);
                for segment in layout.segments(block.number) {
                    ranges.push(segment.start..segment.end());
                    write.bytes.push((layout.position(segment.start), segment.bytes));
                }
            }
        }
        if !has_places && chosen.is_empty() {
            // No place is free. A `spill` moves as much as fits, so it is done.
            self.all_asked().for_each(|asked| *asked = RangeSet::default());
        }
        self.leave(&(0..layout.start()));
        write.discarded = layout.take_freed();
        if write.bytes.is_empty() && write.discarded.is_empty() {
            return None;
        }
        write.offset = ranges.first().map_or(layout.start(), |first| first.start);
        write.generation = layout.next_generation();
        self.writing = Some(ranges);
        Some(write)
    }

    /// The running write is done.
    pub(super) fn written(&mut self, layout: &mut Layout) {
        self.error = None;
        self.backoff.reset();
        let ranges = self.writing.take().unwrap_or_default();
        layout.moved(&ranges);
        for range in &ranges {
            self.leave(range);
        }
    }

    /// These bytes are not in memory any more. No `spill` waits for them.
    fn leave(&mut self, range: &Range<u64>) {
        self.all_asked().for_each(|asked| asked.remove(range.clone()));
    }

    /// The bytes that are to be spilled, and those that each `spill` waits for.
    fn all_asked(&mut self) -> impl Iterator<Item = &mut RangeSet> {
        self.spills.iter_mut().map(|spill| &mut spill.ranges).chain([&mut self.asked])
    }

    /// The running write failed. Returns the requests that fail with it: `spill` and changes of limits.
    pub(super) fn write_failed(
        &mut self,
        now: Instant,
        layout: &mut Layout,
        error: Error,
    ) -> impl Iterator<Item = T> + use<T> {
        layout.write_failed(self.writing.take().unwrap_or_default());
        self.error = Some(error);
        // If only a `spill` asked for the write, memory is within its limit and reading goes on.
        let exceeds = layout.has_excess(self.max_memory) || !self.fits(layout);
        self.retry_at = exceeds.then(|| now + self.backoff.next_delay());
        self.asked = RangeSet::default();
        let spills = mem::take(&mut self.spills).into_iter().flat_map(|spill| spill.tokens);
        spills.chain(mem::take(&mut self.adjusting))
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
}
