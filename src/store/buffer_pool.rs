//! Buffers for short reads from the store, reused after the caller has dropped them. A reused buffer
//! needs no zeroing and no new memory, and it is in the processor's caches.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};

/// The most bytes that the pool keeps: the buffer of one long read, or of many short ones.
const MOST: usize = 256 * 1024;

/// The most buffers that the pool keeps. A buffer is tried again only after this many other reads: by
/// then its caller has nearly always dropped it.
const MANY: usize = 32;

/// The buffers that were lent last, oldest first.
#[derive(Default)]
pub(super) struct BufferPool {
    lent: VecDeque<Bytes>,
    bytes: usize,
}

impl BufferPool {
    /// A buffer of `len` bytes, with any content.
    pub(super) fn take(&mut self, len: usize) -> BytesMut {
        let mut oldest = None;
        while (self.lent.len() == MANY || self.bytes + len > MOST)
            && let Some(lent) = self.lent.pop_front()
        {
            self.bytes -= lent.len();
            oldest = Some(lent);
        }
        match oldest.filter(|buffer| buffer.len() == len).map(Bytes::try_into_mut) {
            Some(Ok(buffer)) => buffer,
            _ => BytesMut::zeroed(len),
        }
    }

    /// Keeps a filled buffer that is lent to a caller, to reuse it later.
    pub(super) fn keep(&mut self, lent: &Bytes) {
        self.bytes += lent.len();
        self.lent.push_back(lent.clone());
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.lent.is_empty()
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes a buffer, fills it and lends it, as the store does.
    fn lend(pool: &mut BufferPool, len: usize) -> Bytes {
        let lent = pool.take(len).freeze();
        assert_eq!(lent.len(), len);
        pool.keep(&lent);
        lent
    }

    #[test]
    fn a_buffer_that_its_caller_dropped_is_reused() {
        let mut pool = BufferPool::default();
        let first = lend(&mut pool, MOST).as_ptr();
        assert_eq!(lend(&mut pool, MOST).as_ptr(), first, "the pool has room for only one");
        let short: Vec<_> = (0..MANY).map(|_| lend(&mut pool, 4096).as_ptr()).collect();
        let again: Vec<_> = (0..MANY).map(|_| lend(&mut pool, 4096).as_ptr()).collect();
        assert_eq!(again, short, "the oldest first");
    }

    #[test]
    fn a_buffer_that_its_caller_holds_is_not_reused() {
        let mut pool = BufferPool::default();
        let held: Vec<_> = (0..3 * MANY).map(|_| lend(&mut pool, 4096)).collect();
        let mut places: Vec<_> = held.iter().map(|bytes| bytes.as_ptr()).collect();
        places.sort_unstable();
        places.dedup();
        assert_eq!(places.len(), 3 * MANY);
    }

    #[test]
    fn a_buffer_is_not_larger_than_asked_for() {
        let mut pool = BufferPool::default();
        for len in [MOST, 1000, MOST, MOST - 1, 4096] {
            lend(&mut pool, len);
            assert_eq!(pool.take(len).capacity(), len);
        }
    }

    #[test]
    fn kept_buffers_are_bounded_in_bytes_and_in_number() {
        let mut pool = BufferPool::default();
        for len in [1, 4096, MOST / 2, MOST, 1, 100_000, 4096, MOST / 3].into_iter().cycle().take(500) {
            lend(&mut pool, len);
            assert!(pool.bytes <= MOST && pool.lent.len() <= MANY);
            assert_eq!(pool.bytes, pool.lent.iter().map(Bytes::len).sum::<usize>());
        }
        pool.clear();
        assert_eq!((pool.bytes, pool.lent.len()), (0, 0));
    }
}
