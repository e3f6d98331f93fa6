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
}

impl Open {
    /// The offset of the first byte that is not frozen.
    fn start(&self) -> u64 {
        self.end - self.buffer.len() as u64
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
    allocated: usize,
    /// The memory of whole blocks that have left. The next blocks use it again: new memory costs a page fault
    /// for every 4 KiB.
    spare: Vec<BytesMut>,
}

impl Memory {
    pub(super) fn new() -> Self {
        let (blocks, arrivals) = (VecDeque::new(), VecDeque::new());
        Self { blocks, open: Vec::new(), arrivals, allocated: 0, spare: Vec::new() }
    }

    /// Bytes of memory held, used or not, without spare blocks.
    pub(super) fn allocated(&self) -> usize {
        self.allocated
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

    /// Takes in the first of these bytes, which `stream` has at offset `at`, up to the end of a block.
    /// Returns their number. None of them may be resident.
    pub(super) fn append(&mut self, stream: usize, at: u64, bytes: &[u8]) -> usize {
        let taken = bytes.len().min(room_at(at));
        let mut rest = bytes.get(..taken).unwrap_or_default();
        let index = self.open_at(stream, at);
        while !rest.is_empty() {
            let Some(open) = self.open.get_mut(index) else { break };
            let free = open.buffer.capacity() - open.buffer.len();
            if free == 0 {
                self.grow(index, rest.len());
                continue;
            }
            // The allocator may have given more than a block has room for.
            let (now, later) = rest.split_at(free.min(room_at(open.end)).min(rest.len()));
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
        self.open.push(Open { stream, end: at, filled: 0, buffer: BytesMut::new() });
        self.open.len() - 1
    }

    /// Makes room for more in an open buffer.
    fn grow(&mut self, index: usize, incoming: usize) {
        self.freeze(index);
        let Some(open) = self.open.get_mut(index) else { return };
        let room = room_at(open.end);
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
        }
    }

    fn close_buffer(&mut self, index: usize) {
        self.freeze(index);
        if let Some(open) = self.open.get_mut(index) {
            // Even without room left, the open buffer would keep the allocation of the block alive.
            open.buffer = BytesMut::new();
        }
    }

    /// The stream has stopped. Gives back the unused room of its block, and joins the segments of the block
    /// that touch, unless another stream fills it.
    pub(super) fn close(&mut self, stream: usize) {
        let Some(index) = self.open.iter().position(|open| open.stream == stream) else { return };
        self.close_buffer(index);
        let number = number_of(self.open.swap_remove(index).end);
        if is_filled(&self.open, number) {
            return;
        }
        let Some(block) = find(&self.blocks, number).ok().and_then(|at| self.blocks.get_mut(at)) else {
            return;
        };
        let len = block.segments.len();
        if block.segments.as_slice().len() > 1 || block.allocated > len + len / 8 {
            block.segments.compact();
            self.allocated -= block.allocated - len;
            block.allocated = len;
        }
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
        self.allocated > max_memory && self.arrivals.iter().any(|number| !is_filled(&self.open, *number))
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
        let mut left = self.allocated;
        let mut leaving = Vec::new();
        for number in self.arrivals.iter().copied() {
            if leaving.len() >= most || left <= max_memory && asked.len() == 0 {
                break;
            }
            let is_asked = asked.has_any(block_range(number));
            let is_excess = left > max_memory && (all || !is_filled(&self.open, number));
            let Some(block) = find(&self.blocks, number).ok().and_then(|at| self.blocks.get(at)) else {
                continue;
            };
            if is_asked || is_excess {
                left -= block.allocated;
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

    /// These blocks were read.
    pub(super) fn touch(&mut self, numbers: Range<u64>) {
        for number in numbers {
            if let Some(block) = find(&self.blocks, number).ok().and_then(|at| self.blocks.get_mut(at)) {
                block.is_read = true;
            }
        }
    }

    /// Drops all bytes of `range`.
    pub(super) fn forget(&mut self, range: &Range<u64>) {
        let mut start = range.start;
        while start < range.end {
            let end = next_boundary(start).min(range.end);
            self.forget_in_block(number_of(start), &(start..end));
            start = end;
        }
    }

    /// Drops bytes of one block.
    fn forget_in_block(&mut self, number: u64, range: &Range<u64>) {
        let Ok(at) = find(&self.blocks, number) else { return };
        for index in 0..self.open.len() {
            if self.open.get(index).is_some_and(|open| open.start() < range.end && range.start < open.end) {
                self.freeze(index);
            }
        }
        let Some(block) = self.blocks.get_mut(at) else { return };
        let last = block.segments.remove(range);
        let is_used = |open: &Open| number_of(open.start()) == number && !open.buffer.is_empty();
        if !block.segments.is_empty() || self.open.iter().any(is_used) {
            return;
        }
        self.allocated -= block.allocated;
        self.blocks.remove(at);
        if let Some(index) = self.arrivals.iter().position(|arrived| *arrived == number) {
            self.arrivals.remove(index);
        }
        for open in self.open.iter_mut().filter(|open| open.fills(number)) {
            // Its room would keep the allocation of the block alive.
            open.buffer = BytesMut::new();
        }
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

/// The number of bytes from `offset` to the end of its block.
fn room_at(offset: u64) -> usize {
    BLOCK - within(offset)
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
