//! The resident bytes: blocks of bytes by offset.
//!
//! Chunks of the source are copied once into blocks. This bounds the memory of each resident byte (a
//! one-byte `Bytes` may keep 64 KiB of its producer's buffer alive), makes writes to the store large,
//! makes look-up a division, and lets most reads be one slice of one block.
//!
//! A stream fills a block from front to back. A read of its filled part must be zero-copy while the rest
//! is still open. So a block is a list of frozen segments, and each stream has an open buffer, from which
//! it fills the block at its position. A read from an open buffer freezes its bytes as one more segment,
//! which goes on sharing the allocation. A stream can start anywhere, so a block may have gaps.

use std::collections::VecDeque;
use std::ops::Range;
use std::slice;

use bytes::{Bytes, BytesMut};

pub(crate) use super::pieces::Pieces;
use super::ranges::RangeSet;
use super::segments::{Segment, Segments};

/// The number of bytes of the resource that a block covers: `[n * BLOCK, (n + 1) * BLOCK)`.
pub(crate) const BLOCK: usize = 256 * 1024;

/// A read of less than this copies from the open buffer and does not freeze a segment. This bounds
/// the segments of a block, and such a copy costs less than sharing.
const MIN_SEGMENT: usize = 4 * 1024;

/// The longest slice that is copied, unless it is a large part of its block. A shared slice keeps a
/// block of 256 KiB alive for as long as its caller holds it. Up to 1 KiB a copy costs little more than
/// a shared slice (`cargo bench --bench parts -- short`).
const COPY_MOST: usize = 1024;

/// The most blocks without bytes that are kept for the next bytes: those of one write.
const SPARE_MOST: usize = 2;

/// The smallest allocation for the first block of a stream.
const MIN_GROWTH: usize = 1024;

/// What a segment costs besides its bytes: its place in the lists, a block of its own if it is alone there, and the
/// header of its allocation (`tests/footprint.rs` measures it). It counts only where segments are short: one for
/// each [`MIN_SEGMENT`] of memory is free, so that blocks full of bytes count as much as their bytes.
pub(super) const SEGMENT: usize = 128;

struct Block {
    /// It covers the offsets from `number * BLOCK` on.
    number: u64,
    segments: Segments,
    /// Bytes of memory held, used or not.
    allocated: usize,
    /// Whether a byte of it was delivered. Only kept if bytes may be discarded.
    is_read: bool,
}

/// The buffer that a stream fills.
struct Open {
    stream: usize,
    /// The offset of the next byte.
    end: u64,
    /// The number of bytes that the stream has filled in since this buffer was opened.
    filled: u64,
    /// The last bytes before `end`, which are not frozen yet, and room for more.
    buffer: BytesMut,
    /// The offset at which the allocation of the buffer starts, and its size. Frozen bytes before the buffer share it.
    allocated: (u64, usize),
}

impl Open {
    /// The offset of the first byte that is not frozen.
    fn start(&self) -> u64 {
        self.end - self.buffer.len() as u64
    }

    fn new(stream: usize, at: u64) -> Self {
        Self { stream, end: at, filled: 0, buffer: BytesMut::new(), allocated: (at, 0) }
    }

    /// Drops the buffer. Even without room left, it would keep the allocation alive.
    fn drop_buffer(&mut self) {
        (self.buffer, self.allocated) = (BytesMut::new(), (self.end, 0));
    }

    /// Whether the stream is inside this block. At the start of a block it has filled nothing in yet.
    fn fills(&self, number: u64) -> bool {
        within(self.end) != 0 && number_of(self.end) == number
    }
}

/// A block that must leave memory.
pub(super) struct Leaving {
    pub(super) number: u64,
    /// Whether memory exceeds its limit. If not, the block was only asked for.
    pub(super) is_excess: bool,
    /// Whether a byte of it was delivered.
    pub(super) is_read: bool,
}

/// The resident bytes.
pub(super) struct Memory {
    /// Sorted by number. Without gaps in most cases.
    blocks: VecDeque<Block>,
    open: Vec<Open>,
    /// The numbers of all blocks in the order of their arrival, oldest first.
    arrivals: VecDeque<u64>,
    /// Bytes of memory held, used or not.
    allocated: usize,
    /// The number of segments of all blocks.
    segments: usize,
    /// The memory of whole blocks that have left. The next blocks use it again: new memory costs a page fault
    /// for every 4 KiB.
    spare: Vec<BytesMut>,
}

impl Memory {
    pub(super) fn new() -> Self {
        let (blocks, arrivals) = (VecDeque::new(), VecDeque::new());
        Self { blocks, open: Vec::new(), arrivals, allocated: 0, segments: 0, spare: Vec::new() }
    }

    /// Bytes of memory held, used or not, and what their segments cost. Without spare blocks.
    pub(super) fn allocated(&self) -> usize {
        with_segments(self.allocated, self.segments)
    }

    /// Bytes of the spare blocks.
    pub(super) fn spare(&self) -> usize {
        self.spare.iter().map(BytesMut::capacity).sum()
    }

    /// Frees the spare blocks.
    pub(super) fn free_spare(&mut self) {
        self.spare = Vec::new();
    }

    // ---- filling ----

    /// Takes in the first of these bytes, which `stream` has at offset `at`, up to `to` or the end of a block.
    /// Returns their number. None of the bytes before `to` may be resident.
    pub(super) fn append(&mut self, stream: usize, at: u64, to: u64, bytes: &[u8]) -> usize {
        let room = |at| span(at, next_boundary(at).min(to));
        let taken = bytes.len().min(room(at));
        let mut rest = bytes.get(..taken).unwrap_or_default();
        let index = self.open_at(stream, at);
        while !rest.is_empty() {
            let Some(open) = self.open.get_mut(index) else { break };
            let free = open.buffer.capacity() - open.buffer.len();
            if free == 0 {
                let end = open.end;
                self.grow(index, rest.len(), room(end));
                continue;
            }
            // The allocator may have given more than a block has room for.
            let (now, later) = rest.split_at(free.min(rest.len()));
            open.buffer.extend_from_slice(now);
            open.end += now.len() as u64;
            open.filled += now.len() as u64;
            rest = later;
        }
        if self.open.get(index).is_some_and(|open| within(open.end) == 0) {
            self.close_buffer(index);
        }
        taken
    }

    /// The index of the stream's open buffer, which ends at `at`.
    fn open_at(&mut self, stream: usize, at: u64) -> usize {
        match self.open.iter().position(|open| open.stream == stream) {
            Some(index) if self.open.get(index).is_some_and(|open| open.end == at) => return index,
            // The stream has skipped bytes, or is another one.
            Some(_) => self.close(stream),
            None => {}
        }
        self.open.push(Open::new(stream, at));
        self.open.len() - 1
    }

    /// Makes room for more in an open buffer: `room` bytes at most.
    fn grow(&mut self, index: usize, incoming: usize, room: usize) {
        self.freeze(index);
        let Some(open) = self.open.get_mut(index) else { return };
        // The first block of a stream doubles, so that a small stream costs little more than its size.
        let size = match usize::try_from(open.filled) {
            Ok(filled) if filled < BLOCK => incoming.max(filled).max(MIN_GROWTH).min(room),
            _ => room,
        };
        let spare = if size == BLOCK { self.spare.pop() } else { None };
        open.buffer = spare.unwrap_or_else(|| {
            // So that memory together with spare blocks never grows beyond its bound.
            self.spare.clear();
            BytesMut::with_capacity(size)
        });
        // The allocator may have given more than asked for. It is used, so it counts.
        let size = open.buffer.capacity();
        open.allocated = (open.end, size);
        let number = number_of(open.end);
        self.allocated += size;
        if let Some(block) = self.block_or_new(number) {
            block.allocated += size;
        }
    }

    /// Turns the bytes of an open buffer into a segment. The room after them stays open.
    fn freeze(&mut self, index: usize) {
        let Some(open) = self.open.get_mut(index).filter(|open| !open.buffer.is_empty()) else { return };
        let start = open.start();
        let bytes = open.buffer.split().freeze();
        if let Some(block) = self.block_or_new(number_of(start)) {
            block.segments.insert(start, bytes);
            self.segments += 1;
        }
    }

    fn close_buffer(&mut self, index: usize) {
        self.freeze(index);
        if let Some(open) = self.open.get_mut(index) {
            open.drop_buffer();
        }
    }

    /// The stream has stopped. Gives back the unused room of its allocation, also if another stream fills the same
    /// block. If none does, the segments that touch its bytes are joined with them.
    pub(super) fn close(&mut self, stream: usize) {
        let Some(index) = self.open.iter().position(|open| open.stream == stream) else { return };
        self.freeze(index);
        let Open { end, allocated: (start, size), .. } = self.open.swap_remove(index);
        let number = number_of(end);
        let is_filled = is_filled(&self.open, number);
        let Some(block) = find(&self.blocks, number).ok().and_then(|at| self.blocks.get_mut(at)) else {
            return;
        };
        let before = (block.allocated, block.segments.as_slice().len());
        if size > 0 {
            block.allocated -= size;
            block.allocated += block.segments.compact(start..end, !is_filled);
        }
        let len = block.segments.len();
        if !is_filled && block.allocated > len + len / 8 {
            // Some of its bytes were written before, so their part of the allocation is not used.
            block.allocated = block.segments.compact(block_range(number), false);
        }
        self.allocated = self.allocated - before.0 + block.allocated;
        self.segments = self.segments - before.1 + block.segments.as_slice().len();
    }

    /// All streams have stopped.
    pub(super) fn close_all(&mut self) {
        while let Some(open) = self.open.first() {
            self.close(open.stream);
        }
    }

    // ---- blocks ----

    /// The block with this number; a new one if there is none.
    fn block_or_new(&mut self, number: u64) -> Option<&mut Block> {
        let found = find(&self.blocks, number);
        if let Err(index) = found {
            self.blocks
                .insert(index, Block { number, segments: Segments::default(), allocated: 0, is_read: false });
            self.arrivals.push_back(number);
        }
        let (Ok(index) | Err(index)) = found;
        self.blocks.get_mut(index)
    }

    // ---- reading ----

    /// The first piece of `[from, to)`, which must be resident, and the pieces that follow it up to
    /// `more_to`.
    #[inline]
    pub(super) fn slice(&mut self, from: u64, to: u64, more_to: u64) -> Pieces {
        debug_assert!(from < to && more_to <= to);
        let first = self.piece(from, to).unwrap_or_default();
        let mut at = from + first.len() as u64;
        let mut pieces = Pieces::One(first);
        while at < more_to {
            let Some(piece) = self.piece(at, more_to) else { break };
            at += piece.len() as u64;
            pieces.push(piece);
        }
        pieces
    }

    /// The longest slice that starts at `at` and ends at `to` or before. A short one is a copy.
    fn piece(&mut self, at: u64, to: u64) -> Option<Bytes> {
        for (index, open) in self.open.iter().enumerate() {
            let start = open.start();
            if start <= at && at < open.end {
                let to = to.min(open.end);
                if open.buffer.len() < MIN_SEGMENT || span(at, to) <= COPY_MOST {
                    let (from, to) = (span(start, at), span(start, to));
                    return open.buffer.get(from..to).map(Bytes::copy_from_slice);
                }
                self.freeze(index);
                break;
            }
        }
        let block = self.blocks.get(find(&self.blocks, number_of(at)).ok()?)?;
        let segment = block.segments.find(at)?;
        let range = span(segment.start, at)..span(segment.start, to.min(segment.end()));
        if range.len() <= COPY_MOST && block.allocated > 4 * range.len() {
            segment.bytes.get(range).map(Bytes::copy_from_slice)
        } else {
            Some(segment.bytes.slice(range))
        }
    }

    // ---- leaving ----

    /// Whether memory exceeds `max_memory`, and holds a block that can leave.
    pub(super) fn has_excess(&self, max_memory: usize) -> bool {
        self.allocated() > max_memory && self.arrivals.iter().any(|number| !is_filled(&self.open, *number))
    }

    /// The numbers of the oldest blocks that must leave to bring memory down to `max_memory`, and of those
    /// with bytes of `asked`: `most` blocks at most. A block that a stream fills leaves only because it was
    /// asked for, or if `all` is set.
    pub(super) fn leaving(
        &self,
        max_memory: usize,
        asked: &RangeSet,
        all: bool,
        most: usize,
    ) -> Vec<Leaving> {
        let (mut left, mut segments) = (self.allocated, self.segments);
        let mut leaving = Vec::new();
        for number in self.arrivals.iter().copied() {
            let exceeds = with_segments(left, segments) > max_memory;
            if leaving.len() >= most || !exceeds && asked.len() == 0 {
                break;
            }
            let is_asked = asked.has_any(block_range(number));
            let is_excess = exceeds && (all || !is_filled(&self.open, number));
            let Some(block) = find(&self.blocks, number).ok().and_then(|at| self.blocks.get(at)) else {
                continue;
            };
            if is_asked || is_excess {
                left -= block.allocated;
                segments -= block.segments.as_slice().len();
                leaving.push(Leaving { number, is_excess, is_read: block.is_read });
            }
        }
        leaving
    }

    /// All bytes of a block.
    pub(super) fn segments(&mut self, number: u64) -> Vec<Segment> {
        for index in 0..self.open.len() {
            if self.open.get(index).is_some_and(|open| number_of(open.start()) == number) {
                self.freeze(index);
            }
        }
        let block = find(&self.blocks, number).ok().and_then(|at| self.blocks.get(at));
        block.map(|block| block.segments.as_slice().to_vec()).unwrap_or_default()
    }

    /// These blocks were read. Returns whether that is new for one of them.
    pub(super) fn touch(&mut self, numbers: Range<u64>) -> bool {
        let mut is_news = false;
        for number in numbers {
            if let Some(block) = find(&self.blocks, number).ok().and_then(|at| self.blocks.get_mut(at)) {
                is_news |= !block.is_read;
                block.is_read = true;
            }
        }
        is_news
    }

    /// Drops all bytes of `ranges`. Those that start in one block are together, and sorted.
    pub(super) fn forget(&mut self, ranges: &[Range<u64>]) {
        for within in ranges.chunk_by(|one, next| number_of(one.start) == number_of(next.start)) {
            let (Some(first), Some(last)) = (within.first(), within.last()) else { continue };
            self.forget_in_block(number_of(first.start), within);
            // The last one may reach into the next blocks.
            for number in number_of(first.start) + 1..=number_of(last.end.max(1) - 1) {
                self.forget_in_block(number, slice::from_ref(last));
            }
        }
    }

    /// Drops the bytes of one block that are in `ranges`.
    fn forget_in_block(&mut self, number: u64, ranges: &[Range<u64>]) {
        let Ok(at) = find(&self.blocks, number) else { return };
        for index in 0..self.open.len() {
            let is_in = |range: &Range<u64>, open: &Open| open.start() < range.end && range.start < open.end;
            if self.open.get(index).is_some_and(|open| ranges.iter().any(|range| is_in(range, open))) {
                self.freeze(index);
            }
        }
        let Some(block) = self.blocks.get_mut(at) else { return };
        let before = block.segments.as_slice().len();
        let last = block.segments.remove(ranges);
        self.segments = self.segments - before + block.segments.as_slice().len();
        let is_used = |open: &Open| number_of(open.start()) == number && !open.buffer.is_empty();
        if !block.segments.is_empty() || self.open.iter().any(is_used) {
            return;
        }
        self.allocated -= block.allocated;
        self.blocks.remove(at);
        if let Some(index) = self.arrivals.iter().position(|arrived| *arrived == number) {
            self.arrivals.remove(index);
        }
        // The room of a buffer would keep the allocation of the block alive.
        self.open.iter_mut().filter(|open| open.fills(number)).for_each(Open::drop_buffer);
        if let Some(last) = last {
            self.keep_spare(last);
        }
    }

    /// Keeps the memory of a block that has left, if it has the size of a block and nothing else uses it. `last`
    /// was the last of its segments.
    fn keep_spare(&mut self, last: Bytes) {
        if self.spare.len() < SPARE_MOST
            && let Ok(mut memory) = last.try_into_mut()
        {
            memory.clear();
            if memory.try_reclaim(BLOCK) {
                self.spare.push(memory);
            }
        }
    }
}

/// What this many bytes of memory count, with this many segments.
fn with_segments(allocated: usize, segments: usize) -> usize {
    allocated + segments.saturating_sub(allocated / MIN_SEGMENT + 1) * SEGMENT
}

/// Whether a stream is filling this block.
fn is_filled(open: &[Open], number: u64) -> bool {
    open.iter().any(|open| open.fills(number))
}

/// The index of the block with this number, or the index at which it would be.
#[inline]
fn find(blocks: &VecDeque<Block>, number: u64) -> Result<usize, usize> {
    let first = blocks.front().map_or(0, |block| block.number);
    let guess = number.checked_sub(first).and_then(|index| usize::try_from(index).ok());
    match guess.and_then(|index| Some((index, blocks.get(index)?))) {
        Some((index, block)) if block.number == number => Ok(index),
        _ => blocks.binary_search_by_key(&number, |block| block.number),
    }
}

/// The offsets of a block.
pub(super) fn block_range(number: u64) -> Range<u64> {
    number * BLOCK as u64..(number + 1).saturating_mul(BLOCK as u64)
}

/// The number of the block that holds `offset`.
pub(crate) fn number_of(offset: u64) -> u64 {
    offset / BLOCK as u64
}

/// The position of `offset` in its block.
fn within(offset: u64) -> usize {
    span(offset - offset % BLOCK as u64, offset)
}

/// The end of the block that holds `offset`.
pub(super) fn next_boundary(offset: u64) -> u64 {
    (number_of(offset) + 1).saturating_mul(BLOCK as u64)
}

/// The number of bytes from `from` to `to`, two offsets in memory: their distance fits a `usize`.
#[expect(clippy::cast_possible_truncation, reason = "both lie in memory")]
fn span(from: u64, to: u64) -> usize {
    (to - from) as usize
}
