//! The resident part of the stream: blocks of bytes by offset.
//!
//! Source chunks are copied once into blocks. That bounds what each resident byte costs (a one-byte
//! `Bytes` may pin 64 KiB of its producer's buffer), makes disk writes large, turns look-up into a
//! division, and lets most reads be one slice of one block.
//!
//! A block is filled from front to back, and a read of its filled part must be zero-copy while the
//! rest is still open. So a block is a short list of frozen segments, and the last block ends in the
//! open buffer: reading from that freezes what it holds as one more segment, which goes on sharing
//! the block's allocation.

use std::collections::{VecDeque, vec_deque};
use std::{iter, slice};

use bytes::{Buf, Bytes, BytesMut};

/// How many bytes of the stream a block covers: `[n * BLOCK, (n + 1) * BLOCK)`.
pub(crate) const BLOCK: usize = 256 * 1024;

/// A read copies from the open buffer rather than freeze a segment smaller than this: it bounds the
/// segments of a block to 64, and copying so little costs less than sharing it.
const MIN_SEGMENT: usize = 4 * 1024;

/// The smallest buffer that the first block grows by.
const MIN_GROWTH: usize = 1024;

/// Bytes of a range in order: slices of blocks, not yet joined. Nearly always one.
pub(crate) enum Pieces {
    One(Bytes),
    Many(Vec<Bytes>),
}

impl Default for Pieces {
    fn default() -> Self {
        Self::One(Bytes::new())
    }
}

impl Pieces {
    pub(crate) fn push(&mut self, piece: Bytes) {
        match self {
            Self::One(first) if first.is_empty() => *first = piece,
            Self::One(first) => *self = Self::Many(vec![std::mem::take(first), piece]),
            Self::Many(pieces) => pieces.push(piece),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.as_slice().iter().map(Bytes::len).sum()
    }

    pub(crate) fn as_slice(&self) -> &[Bytes] {
        match self {
            Self::One(piece) => slice::from_ref(piece),
            Self::Many(pieces) => pieces,
        }
    }

    /// The bytes in one: the piece itself where there is only one, else a copy.
    pub(crate) fn join(self) -> Bytes {
        match self {
            Self::One(piece) => piece,
            many @ Self::Many(_) => many.copy(),
        }
    }

    /// The bytes in one, in memory of their own size.
    fn copy(&self) -> Bytes {
        let mut joined = BytesMut::with_capacity(self.len());
        for piece in self.as_slice() {
            joined.extend_from_slice(piece);
        }
        joined.freeze()
    }

    /// The first of them, and those that follow.
    pub(crate) fn split_first(self) -> (Bytes, VecDeque<Bytes>) {
        match self {
            Self::One(piece) => (piece, VecDeque::new()),
            Self::Many(pieces) => {
                let mut rest = VecDeque::from(pieces);
                (rest.pop_front().unwrap_or_default(), rest)
            }
        }
    }

    /// Appends what `other` holds.
    pub(crate) fn extend(&mut self, other: Pieces) {
        other.into_iter().filter(|piece| !piece.is_empty()).for_each(|piece| self.push(piece));
    }
}

impl IntoIterator for Pieces {
    type Item = Bytes;
    type IntoIter = iter::Chain<iter::Once<Bytes>, vec_deque::IntoIter<Bytes>>;

    fn into_iter(self) -> Self::IntoIter {
        let (first, rest) = self.split_first();
        iter::once(first).chain(rest)
    }
}

struct Block {
    start: u64,
    /// One where nobody read while it was filled; to find that touches nothing but the block.
    segments: Pieces,
    /// Bytes of memory that it holds, used or not.
    allocated: usize,
}

/// The resident bytes, `[start, end)` of the stream, without a gap.
pub(super) struct Memory {
    /// Consecutive: each one covers the next aligned stretch of `BLOCK` bytes.
    blocks: VecDeque<Block>,
    /// The end of the last block that is not frozen yet, with room for more.
    open: BytesMut,
    start: u64,
    end: u64,
    allocated: usize,
    /// No more will come, so the last block is as full as it gets.
    finished: bool,
}

impl Memory {
    pub(super) fn new() -> Self {
        Self {
            blocks: VecDeque::new(),
            open: BytesMut::new(),
            start: 0,
            end: 0,
            allocated: 0,
            finished: false,
        }
    }

    pub(super) fn start(&self) -> u64 {
        self.start
    }

    pub(super) fn end(&self) -> u64 {
        self.end
    }

    /// Bytes of memory held, used or not.
    pub(super) fn allocated(&self) -> usize {
        self.allocated
    }

    /// How many bytes the current block has room for; a whole block where the next one is due.
    pub(super) fn room(&self) -> usize {
        BLOCK - within(self.end)
    }

    /// Appends at the end. `bytes` must fit into [`room`](Self::room).
    pub(super) fn append(&mut self, mut bytes: &[u8]) {
        debug_assert!(bytes.len() <= self.room());
        while !bytes.is_empty() {
            if self.open.len() == self.open.capacity() {
                self.grow(bytes.len());
            }
            // Whatever the allocator gave, a block ends at its boundary.
            let room = (self.open.capacity() - self.open.len()).min(self.room());
            let (now, later) = bytes.split_at(room.min(bytes.len()));
            self.open.extend_from_slice(now);
            self.end += now.len() as u64;
            bytes = later;
            if within(self.end) == 0 {
                self.close_block();
            }
        }
    }

    /// Makes room for more at the end of the last block, or begins the next one.
    fn grow(&mut self, incoming: usize) {
        self.freeze();
        let (filled, room) = (within(self.end), self.room());
        // The stream's first block doubles, so that a small stream costs little more than its size.
        let size =
            if self.end < BLOCK as u64 { incoming.max(filled).max(MIN_GROWTH).min(room) } else { room };
        self.open = BytesMut::with_capacity(size);
        // The allocator may have given more than asked for; it is used, so it counts.
        let size = self.open.capacity();
        self.allocated += size;
        match self.blocks.back_mut() {
            Some(block) if self.end < next_boundary(block.start) => block.allocated += size,
            _ => {
                self.blocks.push_back(Block {
                    start: self.end,
                    segments: Pieces::default(),
                    allocated: size,
                });
            }
        }
    }

    /// Turns what the open buffer holds into a segment; the room behind it stays open.
    fn freeze(&mut self) {
        if let (false, Some(block)) = (self.open.is_empty(), self.blocks.back_mut()) {
            block.segments.push(self.open.split().freeze());
        }
    }

    fn close_block(&mut self) {
        self.freeze();
        // Even with no room left, the open buffer would keep the block's allocation alive.
        self.open = BytesMut::new();
    }

    /// No more will come: gives back the room of the last block, and makes it one slice.
    pub(super) fn finish(&mut self) {
        self.finished = true;
        self.close_block();
        let Some(block) = self.blocks.back_mut() else { return };
        let len = block.segments.len();
        if block.segments.as_slice().len() > 1 || block.allocated > len + len / 8 {
            block.segments = Pieces::One(block.segments.copy());
            self.allocated -= block.allocated - len;
            block.allocated = len;
        }
    }

    /// The first piece of the bytes `[from, to)`, which must be resident, and those that follow it up
    /// to `more_to`.
    pub(super) fn slice(&mut self, from: u64, to: u64, more_to: u64) -> Pieces {
        debug_assert!(self.start <= from && from < to && to <= self.end && more_to <= to);
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

    /// The longest slice that starts at `at` and ends at `to` or before.
    fn piece(&mut self, at: u64, to: u64) -> Option<Bytes> {
        let open_start = self.end - self.open.len() as u64;
        if at >= open_start {
            if self.open.len() < MIN_SEGMENT {
                let (from, to) = (span(open_start, at), span(open_start, to));
                return self.open.get(from..to).map(Bytes::copy_from_slice);
            }
            self.freeze();
        }
        let first = self.blocks.front()?.start / BLOCK as u64;
        let block = self.blocks.get(usize::try_from(at / BLOCK as u64 - first).ok()?)?;
        let mut start = block.start;
        for segment in block.segments.as_slice() {
            let end = start + segment.len() as u64;
            if at < end {
                return Some(segment.slice(span(start, at)..span(start, to.min(end))));
            }
            start = end;
        }
        None
    }

    /// Where the oldest full blocks end whose leaving brings memory down to `budget`, or as near to
    /// it as full blocks can.
    pub(super) fn excess(&self, budget: usize) -> u64 {
        let mut left = self.allocated;
        let mut cut = self.start;
        for block in &self.blocks {
            let end = next_boundary(block.start);
            if left <= budget || (end > self.end && !self.finished) {
                break;
            }
            left -= block.allocated;
            cut = end.min(self.end);
        }
        cut
    }

    /// The oldest bytes, up to `to` and about `most` of them, as they lie in memory.
    pub(super) fn oldest(&mut self, to: u64, most: usize) -> Vec<Bytes> {
        let to = to.min(self.start + most as u64);
        let mut pieces = Vec::new();
        let mut at = self.start;
        while at < to {
            let Some(piece) = self.piece(at, to) else { break };
            at += piece.len() as u64;
            pieces.push(piece);
        }
        pieces
    }

    /// Forgets everything before `to`: it is on disk now.
    pub(super) fn forget(&mut self, to: u64) {
        debug_assert!(self.start <= to && to <= self.end);
        if to == self.end && within(to) != 0 {
            self.close_block();
        }
        while let Some(block) = self.blocks.front_mut() {
            if next_boundary(block.start).min(self.end) <= to {
                self.allocated -= block.allocated;
                self.blocks.pop_front();
                continue;
            }
            // The rest of a block that was written before it was full. What is open stays whole.
            for mut segment in std::mem::take(&mut block.segments) {
                if block.start < to {
                    let gone = segment.len().min(span(block.start, to));
                    block.start += gone as u64;
                    segment.advance(gone);
                }
                if !segment.is_empty() {
                    block.segments.push(segment);
                }
            }
            break;
        }
        self.start = to;
    }
}

/// The position of `offset` in its block.
fn within(offset: u64) -> usize {
    span(offset - offset % BLOCK as u64, offset)
}

/// The end of the block that holds `offset`.
fn next_boundary(offset: u64) -> u64 {
    (offset / BLOCK as u64 + 1).saturating_mul(BLOCK as u64)
}

/// The bytes from `from` to `to`, two offsets in resident memory: what fits there fits a `usize`.
#[expect(clippy::cast_possible_truncation, reason = "both lie in memory")]
fn span(from: u64, to: u64) -> usize {
    (to - from) as usize
}
