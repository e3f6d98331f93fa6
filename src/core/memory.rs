//! The resident part of the stream: blocks of bytes by offset.
//!
//! Chunks of the source are copied once into blocks. This bounds the memory of each resident byte (a
//! one-byte `Bytes` may keep 64 KiB of its producer's buffer alive), makes writes to the store large,
//! makes look-up a division, and lets most reads be one slice of one block.
//!
//! A block is filled from front to back. A read of its filled part must be zero-copy while the rest is
//! still open. So a block is a short list of frozen segments, and the last block ends in an open
//! buffer. A read from the open buffer freezes its bytes as one more segment, which goes on sharing the
//! allocation of the block.

use std::collections::{VecDeque, vec_deque};
use std::{iter, slice};

use bytes::{Buf, Bytes, BytesMut};

/// The number of bytes of the stream that a block covers: `[n * BLOCK, (n + 1) * BLOCK)`.
pub(crate) const BLOCK: usize = 256 * 1024;

/// A read of less than this copies from the open buffer and does not freeze a segment. This bounds
/// the segments of a block to 64, and such a copy costs less than sharing.
const MIN_SEGMENT: usize = 4 * 1024;

/// The longest slice that is copied, unless it is a large part of its block. A shared slice keeps a
/// block of 256 KiB alive for as long as its caller holds it. Up to 1 KiB a copy costs little more than
/// a shared slice (`cargo bench --bench parts -- short`).
const COPY_MOST: usize = 1024;

/// The smallest buffer that the first block grows by.
const MIN_GROWTH: usize = 1024;

/// The bytes of a range in order: slices of blocks, not yet joined. Nearly always one.
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

    /// All bytes as one `Bytes`: the piece itself if there is only one, else a copy.
    pub(crate) fn join(self) -> Bytes {
        match self {
            Self::One(piece) => piece,
            many @ Self::Many(_) => many.copy(),
        }
    }

    /// A copy of all bytes, in memory of exactly their size.
    fn copy(&self) -> Bytes {
        let mut joined = BytesMut::with_capacity(self.len());
        for piece in self.as_slice() {
            joined.extend_from_slice(piece);
        }
        joined.freeze()
    }

    /// The first piece, and those that follow it.
    pub(crate) fn split_first(self) -> (Bytes, VecDeque<Bytes>) {
        match self {
            Self::One(piece) => (piece, VecDeque::new()),
            Self::Many(pieces) => {
                let mut rest = VecDeque::from(pieces);
                (rest.pop_front().unwrap_or_default(), rest)
            }
        }
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
    /// One segment if the block was not read while it was filled. A look-up then touches only the block.
    segments: Pieces,
    /// Bytes of memory held, used or not.
    allocated: usize,
}

/// The resident bytes, `[start, end)` of the stream, without a gap.
pub(super) struct Memory {
    /// Consecutive: each covers the next aligned range of `BLOCK` bytes.
    blocks: VecDeque<Block>,
    /// The end of the last block, which is not frozen yet and has room for more.
    open: BytesMut,
    start: u64,
    end: u64,
    allocated: usize,
    /// No more bytes will come, so the last block counts as full.
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

    /// The number of bytes that the current block has room for; a whole block if the next one is due.
    fn room(&self) -> usize {
        BLOCK - within(self.end)
    }

    /// Appends the first of these bytes, up to the end of the current block. Returns their number.
    pub(super) fn append(&mut self, bytes: &[u8]) -> usize {
        let taken = bytes.len().min(self.room());
        let mut rest = bytes.get(..taken).unwrap_or_default();
        while !rest.is_empty() {
            if self.open.len() == self.open.capacity() {
                self.grow(rest.len());
            }
            // The allocator may have given more than a block has room for.
            let room = (self.open.capacity() - self.open.len()).min(self.room());
            let (now, later) = rest.split_at(room.min(rest.len()));
            self.open.extend_from_slice(now);
            self.end += now.len() as u64;
            rest = later;
        }
        if taken > 0 && within(self.end) == 0 {
            self.close_block();
        }
        taken
    }

    /// Makes room for more at the end of the last block, or begins the next block.
    fn grow(&mut self, incoming: usize) {
        self.freeze();
        let (filled, room) = (within(self.end), self.room());
        // The first block of the stream doubles, so that a small stream costs little more than its size.
        let size =
            if self.end < BLOCK as u64 { incoming.max(filled).max(MIN_GROWTH).min(room) } else { room };
        self.open = BytesMut::with_capacity(size);
        // The allocator may have given more than asked for. It is used, so it counts.
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

    /// Turns the bytes of the open buffer into a segment. The room after them stays open.
    fn freeze(&mut self) {
        if let (false, Some(block)) = (self.open.is_empty(), self.blocks.back_mut()) {
            block.segments.push(self.open.split().freeze());
        }
    }

    fn close_block(&mut self) {
        self.freeze();
        // Even without room left, the open buffer would keep the allocation of the block alive.
        self.open = BytesMut::new();
    }

    /// No more bytes will come: gives back the unused room of the last block, and makes it one segment.
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

    /// The first piece of `[from, to)`, which must be resident, and the pieces that follow it up to
    /// `more_to`.
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

    /// The longest slice that starts at `at` and ends at `to` or before. A short one is a copy.
    fn piece(&mut self, at: u64, to: u64) -> Option<Bytes> {
        let open_start = self.end - self.open.len() as u64;
        if at >= open_start {
            if self.open.len() < MIN_SEGMENT || span(at, to) <= COPY_MOST {
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
                let range = span(start, at)..span(start, to.min(end));
                return if range.len() <= COPY_MOST && block.allocated > 4 * range.len() {
                    segment.get(range).map(Bytes::copy_from_slice)
                } else {
                    Some(segment.slice(range))
                };
            }
            start = end;
        }
        None
    }

    /// The end of the oldest full blocks that must leave to bring memory down to `max_memory`, or as
    /// near to it as full blocks can.
    pub(super) fn excess(&self, max_memory: usize) -> u64 {
        let mut left = self.allocated;
        let mut cut = self.start;
        for block in &self.blocks {
            let end = next_boundary(block.start);
            if left <= max_memory || (end > self.end && !self.finished) {
                break;
            }
            left -= block.allocated;
            cut = end.min(self.end);
        }
        cut
    }

    /// The oldest bytes, up to `to` and about `most` of them, as slices of their blocks.
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

    /// Drops all bytes before `to`.
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
            // The rest of a block that was written before it was full. The open buffer stays whole.
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

/// The number of bytes from `from` to `to`, two offsets in memory: their distance fits a `usize`.
#[expect(clippy::cast_possible_truncation, reason = "both lie in memory")]
fn span(from: u64, to: u64) -> usize {
    (to - from) as usize
}
