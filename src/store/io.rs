//! The store as the actor uses it: without waiting where that is possible, else on a disk thread.

use std::collections::VecDeque;
use std::convert::identity;
use std::io::{self, ErrorKind};
use std::mem;
use std::ops::Range;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures::FutureExt;

use super::SpillStore;
use super::access::{read_range, try_read_range, write_all};
use super::buffer_pool::BufferPool;
use super::threads::{self, Job};
use crate::core::memory::Pieces;
use crate::core::{Token, Write};
use crate::error::Error;
use crate::panics;

/// The longest range that the actor itself reads, if that needs no waiting: about 25 microseconds of
/// copying from the page cache.
const TRY_MOST: usize = 256 * 1024;

/// The most reads that run on disk threads at once. More do not make a disk faster.
const READS_AT_ONCE: usize = 8;

/// The fewest queued reads at which abandoned ones are swept out.
const SWEEP_AT_LEAST: usize = 64;

/// A range to be read from the store, and where it is sent.
pub(crate) struct StoreRead<T> {
    pub(crate) token: T,
    /// The range of the resource.
    pub(crate) range: Range<u64>,
    /// Where the store has it.
    pub(crate) position: u64,
    /// The number of bytes that will do if they can be read without waiting. A read that waits for a
    /// thread anyway gets all of them.
    pub(crate) enough: usize,
}

impl<T> StoreRead<T> {
    /// The place of its bytes in the store.
    fn place(&self) -> Range<u64> {
        self.position..self.position + (self.range.end - self.range.start)
    }
}

/// A reply that is ready to be sent.
pub(crate) type Ready<T> = (T, Result<Pieces, Error>);

/// The store of one buffer. A disk thread drops a store that was written to: to close a large file takes
/// long.
struct Owned {
    store: Arc<dyn SpillStore>,
    is_written: bool,
}

pub(crate) struct StoreIo<T> {
    store: Owned,
    /// Whether the store can read without waiting at all.
    can_try: bool,
    pool: BufferPool,
    /// The running write, and its offset.
    writing: Option<(u64, Job<io::Result<()>>)>,
    /// A write that waits until no read needs the old bytes of its places.
    held: Option<Write>,
    /// The running reads. Their tokens are kept here and not by the threads: if the disk hangs, the
    /// end of the actor still answers the callers.
    reading: Vec<(StoreRead<T>, Job<io::Result<Bytes>>)>,
    /// Reads that wait for a running one to end. They hold no bytes.
    queue: VecDeque<StoreRead<T>>,
    /// The length of the queue at which the next sweep is due: twice what the last sweep left.
    sweep_at: usize,
}

impl<T: Token> StoreIo<T> {
    pub(crate) fn new(store: Arc<dyn SpillStore>) -> Self {
        Self {
            store: Owned { store, is_written: false },
            can_try: true,
            pool: BufferPool::default(),
            writing: None,
            held: None,
            reading: Vec::new(),
            queue: VecDeque::new(),
            sweep_at: SWEEP_AT_LEAST,
        }
    }

    /// Reads without waiting if that is possible, and returns the reply. Otherwise the read is queued
    /// for a thread, and `poll_read` returns the reply. `keep` allows that the buffer is kept for reuse.
    pub(crate) fn read(&mut self, read: StoreRead<T>, keep: bool) -> Option<Ready<T>> {
        if self.can_try && read.enough <= TRY_MOST {
            let buffer = self.pool.take(read.enough);
            match try_read_range(&*self.store.store, read.position, buffer) {
                Ok(bytes) => {
                    if keep {
                        self.pool.keep(&bytes);
                    }
                    return Some((read.token, Ok(Pieces::One(bytes))));
                }
                // Do not ask again in vain: each attempt costs a zeroed buffer.
                Err(kind) => self.can_try = kind != ErrorKind::Unsupported,
            }
        }
        self.enqueue(read);
        self.start_reads();
        None
    }

    fn enqueue(&mut self, read: StoreRead<T>) {
        if self.queue.len() >= self.sweep_at {
            self.queue.retain(|read| !read.token.is_abandoned());
            self.sweep_at = SWEEP_AT_LEAST.max(self.queue.len() * 2);
        }
        self.queue.push_back(read);
    }

    fn start_reads(&mut self) {
        while self.reading.len() < READS_AT_ONCE
            && let Some(read) = self.queue.pop_front()
        {
            if read.token.is_abandoned() {
                continue;
            }
            let (store, position) = (Arc::clone(&self.store.store), read.position);
            let len = length(&read.range);
            let job = threads::spawn(move || read_range(&*store, position, len));
            self.reading.push((read, job));
        }
    }

    /// The reply to the next read that a thread has done.
    pub(crate) fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Ready<T>> {
        for at in 0..self.reading.len() {
            let Some((_, job)) = self.reading.get_mut(at) else { break };
            let Poll::Ready(done) = job.poll_unpin(cx) else { continue };
            let (StoreRead { token, range, .. }, _) = self.reading.swap_remove(at);
            self.start_reads();
            self.start_write();
            let result = done.and_then(identity).map(Pieces::One);
            let failed = |error| Error::spill_read(range.start, range.end - range.start, error);
            return Poll::Ready((token, result.map_err(failed)));
        }
        Poll::Pending
    }

    /// Drops the buffers that are kept for reuse.
    pub(crate) fn shrink(&mut self) {
        self.pool.clear();
    }

    /// Starts a write, as soon as no read needs the old bytes of its places.
    pub(crate) fn write(&mut self, write: Write) {
        self.shrink();
        self.store.is_written = true;
        self.held = Some(write);
        self.start_write();
    }

    fn start_write(&mut self) {
        let Some(write) = self.held.take_if(|write| {
            let reads = self.reading.iter().map(|(read, _)| read).chain(&self.queue);
            !reads.map(StoreRead::place).any(|place| write.changes(&place))
        }) else {
            return;
        };
        let (store, offset) = (Arc::clone(&self.store.store), write.offset);
        self.writing = Some((offset, threads::spawn(move || write_all(&*store, &write))));
    }

    /// The offset and the result of the running write, once it has ended.
    pub(crate) fn poll_written(&mut self, cx: &mut Context<'_>) -> Poll<(u64, io::Result<()>)> {
        let Some((offset, job)) = &mut self.writing else { return Poll::Pending };
        let (offset, done) = (*offset, ready!(job.poll_unpin(cx)));
        self.writing = None;
        Poll::Ready((offset, done.and_then(identity)))
    }

    /// Ends all work: callers are answered at once, because their tokens are dropped here. The future
    /// waits for the running work and until the store is dropped. If it is dropped before, both end by
    /// themselves.
    pub(crate) fn finish(&mut self) -> impl Future<Output = ()> + use<T> {
        self.queue.clear();
        let writing = self.writing.take().map(|(_, job)| job);
        let reading: Vec<_> = self.reading.drain(..).map(|(_, job)| job).collect();
        let mut store = self.store.take();
        async move {
            if let Some(job) = writing {
                panics::drop_quietly(job.await);
            }
            for job in reading {
                panics::drop_quietly(job.await);
            }
            if let Some(job) = store.release() {
                panics::drop_quietly(job.await);
            }
        }
    }
}

impl Owned {
    fn take(&mut self) -> Self {
        mem::replace(self, Self { store: Arc::new(Gone), is_written: false })
    }

    /// Drops the store: on a disk thread if that may take long.
    fn release(&mut self) -> Option<Job<()>> {
        let Self { store, is_written } = self;
        let store = mem::replace(store, Arc::new(Gone));
        if mem::take(is_written) {
            return Some(threads::drop_later(store));
        }
        panics::drop_quietly(store);
        None
    }
}

impl Drop for Owned {
    fn drop(&mut self) {
        self.release();
    }
}

/// Stands in for a store that is gone.
struct Gone;

impl SpillStore for Gone {
    fn write_at(&self, _: u64, _: &[u8]) -> io::Result<usize> {
        Err(ErrorKind::NotConnected.into())
    }

    fn read_at(&self, _: u64, _: &mut [u8]) -> io::Result<usize> {
        Err(ErrorKind::NotConnected.into())
    }
}

/// The length of a range that a read asked for; reads are bounded far below `usize::MAX`.
fn length(range: &Range<u64>) -> usize {
    usize::try_from(range.end - range.start).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Ticket;

    impl Token for Ticket {
        fn is_abandoned(&self) -> bool {
            false
        }
    }

    /// Zeros that can always be read without waiting.
    struct Zeros;

    impl SpillStore for Zeros {
        fn write_at(&self, _: u64, bytes: &[u8]) -> io::Result<usize> {
            Ok(bytes.len())
        }

        fn read_at(&self, _: u64, buf: &mut [u8]) -> io::Result<usize> {
            Ok(buf.len())
        }

        fn try_read_at(&self, _: u64, buf: &mut [u8]) -> io::Result<usize> {
            Ok(buf.len())
        }
    }

    /// Whether the buffer of a read is kept.
    fn keeps(store: &mut StoreIo<Ticket>, keep: bool) -> bool {
        assert!(
            store
                .read(StoreRead { token: Ticket, range: 0..4096, position: 0, enough: 4096 }, keep)
                .is_some()
        );
        !store.pool.is_empty()
    }

    #[tokio::test]
    async fn buffers_are_kept_only_if_allowed_and_dropped_by_a_write_and_by_shrink() {
        // Rule 9.
        let mut store = StoreIo::new(Arc::new(Zeros));
        assert!(!keeps(&mut store, false));
        assert!(keeps(&mut store, true));
        store.write(Write { bytes: vec![(0, Bytes::from_static(b"x"))], ..Write::default() });
        assert!(store.pool.is_empty(), "memory exceeds its limit");
        assert!(keeps(&mut store, true));
        store.shrink();
        assert!(store.pool.is_empty());
    }
}
