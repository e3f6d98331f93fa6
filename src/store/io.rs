//! The store as the actor uses it: on disk threads.

use std::collections::VecDeque;
use std::convert::identity;
use std::io;
use std::mem;
use std::ops::Range;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures::FutureExt;

use super::SpillStore;
use super::access::{read_range, write_all};
use super::lender::Lender;
use super::owned::Owned;
use super::threads::{Job, Spawner};
use crate::core::{Token, Write};
use crate::error::Error;
use crate::panics;

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
}

impl<T> StoreRead<T> {
    /// The place of its bytes in the store.
    fn place(&self) -> Range<u64> {
        self.position..self.position + (self.range.end - self.range.start)
    }
}

/// A reply that is ready to be sent.
pub(crate) type Ready<T> = (T, Result<Bytes, Error>);

/// The store of one buffer, its running reads and writes, and those that wait.
pub(crate) struct StoreIo<T> {
    store: Arc<Owned>,
    lender: Arc<Lender>,
    /// The running write, and its offset.
    writing: Option<(u64, Job<io::Result<()>>)>,
    /// A write that waits until no read needs the old bytes of its places. In a box, because few buffers
    /// have one.
    held: Option<Box<Write>>,
    /// The running reads. Their tokens are kept here and not by the threads: if the disk hangs, the
    /// end of the actor still answers the callers.
    reading: Vec<(StoreRead<T>, Job<io::Result<Bytes>>)>,
    /// Reads that wait for a running one to end. They hold no bytes.
    queue: VecDeque<StoreRead<T>>,
    /// The length of the queue at which the next sweep is due: twice what the last sweep left.
    sweep_at: usize,
}

impl<T: Token> StoreIo<T> {
    pub(crate) fn new(store: Arc<dyn SpillStore>, spawner: Spawner) -> Self {
        let store = Arc::new(Owned::new(store, spawner.clone()));
        Self {
            lender: Arc::new(Lender::new(&store, spawner)),
            store,
            writing: None,
            held: None,
            reading: Vec::new(),
            queue: VecDeque::new(),
            sweep_at: SWEEP_AT_LEAST,
        }
    }

    /// Reads slices of the store for the handles.
    pub(crate) fn lender(&self) -> Arc<Lender> {
        Arc::clone(&self.lender)
    }

    /// What runs the disk work of the buffer.
    pub(crate) fn spawner(&self) -> &Spawner {
        self.lender.spawner()
    }

    /// The store gets a limit. From now on callers ask for each read.
    pub(crate) fn limit(&self) {
        self.lender.limit();
    }

    /// Reads a range on a disk thread. `poll_read` returns the reply.
    pub(crate) fn read(&mut self, read: StoreRead<T>) {
        self.enqueue(read);
        self.start_reads();
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
            let (store, position) = (self.store.share(), read.position);
            let len = length(&read.range);
            let job = self.spawner().spawn(move || read_range(&*store, position, len));
            self.reading.push((read, job));
        }
    }

    /// The reply to the next read that is done.
    pub(crate) fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Ready<T>> {
        for at in 0..self.reading.len() {
            let Some((_, job)) = self.reading.get_mut(at) else { break };
            let Poll::Ready(done) = job.poll_unpin(cx) else { continue };
            let (StoreRead { token, range, .. }, _) = self.reading.swap_remove(at);
            self.start_reads();
            let failed = |error| Error::spill_read(range.start, range.end - range.start, error);
            return Poll::Ready((token, done.and_then(identity).map_err(failed)));
        }
        Poll::Pending
    }

    /// Starts a write, as soon as no read needs the old bytes of its places.
    /// [`poll_written`](Self::poll_written) does that.
    pub(crate) fn write(&mut self, write: Write) {
        self.store.writes();
        self.held = Some(Box::new(write));
    }

    fn start_write(&mut self) {
        let Some(write) = self.held.take_if(|write| {
            let reads = self.reading.iter().map(|(read, _)| read).chain(&self.queue);
            !reads.map(StoreRead::place).any(|place| write.changes(&place))
        }) else {
            return;
        };
        if let Some(generation) = write.generation {
            self.lender.announce(generation, write.places());
        }
        let (store, offset) = (self.store.share(), write.offset);
        let job = self.spawner().spawn(move || write_all(&*store, &write));
        self.writing = Some((offset, job));
    }

    /// The offset and the result of the running write, once it has ended. To be called after `poll_read`,
    /// because reads that have ended may let a write start.
    pub(crate) fn poll_written(&mut self, cx: &mut Context<'_>) -> Poll<(u64, io::Result<()>)> {
        self.start_write();
        let Some((offset, job)) = &mut self.writing else { return Poll::Pending };
        let (offset, done) = (*offset, ready!(job.poll_unpin(cx)));
        self.writing = None;
        Poll::Ready((offset, done.and_then(identity)))
    }

    /// Ends all work: callers are answered at once, because their tokens are dropped here. The future
    /// waits for the running work and until the store is dropped. If it is dropped before, both end by
    /// themselves. A caller that reads a slice in this moment drops the store instead.
    pub(crate) fn finish(&mut self) -> impl Future<Output = ()> + use<T> {
        self.queue.clear();
        let writing = self.writing.take().map(|(_, job)| job);
        let reading: Vec<_> = self.reading.drain(..).map(|(_, job)| job).collect();
        let store = mem::replace(&mut self.store, Arc::new(Owned::gone()));
        async move {
            if let Some(job) = writing {
                panics::drop_quietly(job.await);
            }
            for job in reading {
                panics::drop_quietly(job.await);
            }
            if let Some(job) = Arc::into_inner(store).and_then(|mut store| store.release()) {
                panics::drop_quietly(job.await);
            }
        }
    }
}

/// The length of a range that a read asked for; reads are bounded far below `usize::MAX`.
fn length(range: &Range<u64>) -> usize {
    usize::try_from(range.end - range.start).unwrap_or(usize::MAX)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test")]
mod tests {
    use std::io::Cursor;
    use std::iter;
    use std::sync::mpsc::channel;
    use std::task::Waker;

    use super::super::SeekStore;
    use super::*;

    struct Ticket;

    impl Token for Ticket {
        fn is_abandoned(&self) -> bool {
            false
        }
    }

    #[test]
    fn a_write_waits_until_no_read_needs_the_old_bytes_of_its_place() {
        // Rule 29. The read of these bytes has a disk job, or waits until another read has ended. Reads of other
        // places are not waited for.
        let bytes = |offset| Write { bytes: vec![(offset, Bytes::from_static(b"new"))], ..Write::default() };
        let discard = || Write { discarded: vec![4095..5000], ..Write::default() };
        for others in [0, READS_AT_ONCE] {
            for (write, waits) in [(bytes(4000), true), (discard(), true), (bytes(4096), false)] {
                let (start, jobs) = channel::<Box<dyn FnOnce() + Send>>();
                let spawner = Spawner::new(move |job| start.send(job).unwrap());
                let file = SeekStore::new(Cursor::new(vec![7; 4096]));
                let mut store = StoreIo::new(Arc::new(file), spawner);
                for len in iter::repeat_n(1, others).chain([4096]) {
                    store.read(StoreRead { token: Ticket, range: 0..len, position: 0 });
                }
                store.write(write);
                let (mut started, mut reads, mut is_written) = (Vec::new(), 0, false);
                let mut cx = Context::from_waker(Waker::noop());
                assert!(store.poll_read(&mut cx).is_pending() && store.poll_written(&mut cx).is_pending());
                started.extend(jobs.try_iter());
                assert_eq!(started.len(), READS_AT_ONCE.min(others + 1) + usize::from(!waits));
                // The last job of those that may run is the first to end.
                while let Some(job) = started.pop() {
                    job();
                    while let Poll::Ready((_, read)) = store.poll_read(&mut cx) {
                        assert!(read.unwrap().iter().all(|byte| *byte == 7));
                        reads += 1;
                    }
                    is_written |= matches!(store.poll_written(&mut cx), Poll::Ready((_, Ok(()))));
                    started.extend(jobs.try_iter());
                }
                assert_eq!((reads, is_written), (others + 1, true));
            }
        }
    }
}
