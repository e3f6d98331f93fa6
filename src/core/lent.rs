//! The answer to a read: bytes, or a slice of the store that the caller reads.

use std::ops::Range;

use super::memory::Pieces;

/// The answer to a read.
pub(crate) enum Found {
    /// Bytes of the range. None means that the stream ends there.
    Bytes(Pieces),
    /// A part of the range that the store holds.
    Lent(Lent),
}

impl Default for Found {
    fn default() -> Self {
        Self::Bytes(Pieces::default())
    }
}

/// A slice of the store, never empty. It holds no bytes and keeps none alive: the store may write other
/// bytes there at any time. So the caller reads first, and then checks whether the slice was still valid.
#[derive(Clone, Debug)]
pub(crate) struct Lent {
    /// The range of the resource.
    pub(crate) range: Range<u64>,
    /// Where the store holds it.
    pub(crate) position: u64,
    /// How many writes had been decided that may reuse places of the store. Later ones may reuse these.
    pub(crate) generation: u64,
}

impl Lent {
    /// The number of bytes.
    pub(crate) fn len(&self) -> u64 {
        self.range.end - self.range.start
    }

    /// The bytes from `offset` on, and how many they are at most. `None` if that is outside of the slice.
    pub(crate) fn from(&self, offset: u64) -> Option<Self> {
        let skipped = offset.checked_sub(self.range.start)?;
        let lent = Self { range: offset..self.range.end, position: self.position + skipped, ..*self };
        (!lent.range.is_empty()).then_some(lent)
    }
}
