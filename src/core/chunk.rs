//! A chunk of the source, until its bytes are copied into memory.

use std::ops::{Deref, Range};

use bytes::Bytes;

use crate::panics;

/// The part of a chunk that is still to be copied.
///
/// The memory of a chunk may belong to foreign code ([`Bytes::from_owner`]), whose destructor may panic.
/// Such a panic is ignored. So the chunk stays whole until it is dropped here: some methods of `Bytes`
/// drop it themselves, as `truncate(0)` does.
#[derive(Default)]
pub(super) struct Chunk {
    whole: Bytes,
    left: Range<usize>,
}

impl Chunk {
    /// Drops all bytes after the first `len` of those that are left.
    pub(super) fn truncate(&mut self, len: usize) {
        self.left.end = self.left.end.min(self.left.start.saturating_add(len));
    }

    /// The first `len` bytes are copied.
    pub(super) fn advance(&mut self, len: usize) {
        self.left.start = self.left.end.min(self.left.start.saturating_add(len));
    }
}

impl From<Bytes> for Chunk {
    fn from(whole: Bytes) -> Self {
        Self { left: 0..whole.len(), whole }
    }
}

impl Deref for Chunk {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.whole.get(self.left.clone()).unwrap_or_default()
    }
}

impl Drop for Chunk {
    fn drop(&mut self) {
        panics::drop_quietly(std::mem::take(&mut self.whole));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chunk_is_cut_at_both_ends_of_what_is_left() {
        let mut chunk = Chunk::from(Bytes::from_static(b"0123456789"));
        assert_eq!(&*chunk, b"0123456789");
        chunk.advance(3);
        assert_eq!(&*chunk, b"3456789");
        chunk.truncate(usize::MAX);
        assert_eq!(&*chunk, b"3456789");
        chunk.truncate(4);
        assert_eq!(&*chunk, b"3456");
        chunk.advance(4);
        assert_eq!(&*chunk, b"");
        chunk.advance(1);
        assert_eq!(&*chunk, b"");
    }
}
