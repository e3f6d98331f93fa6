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
/// copying from the page cache. The caller of a longer read asks again for the rest.
const TRY_MOST: usize = 256 * 1024;

/// Up to this length, a read is tried as soon as it is asked for. Longer ones take turns, so that many of
/// them do not delay the short ones.
const SHORT: usize = 16 * 1024;

/// The most bytes of longer reads that are tried before other work gets its turn.
const TRY_AT_ONCE: u32 = 2 * 256 * 1024;

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
    /// If this many bytes can be read without waiting, they suffice. A read that waits for a thread anyway
    /// gets all of them.
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
    /// Whether read buffers may be kept for reuse: memory was within its limit at the last read, and no
    /// write was started since.
    can_keep: bool,
    /// Longer reads that are to be tried without waiting, and the bytes that were tried in this turn. They
    /// hold no bytes.
    #[expect(clippy::box_collection, reason = "most buffers have none, and the struct is kept small")]
    to_try: Option<Box<VecDeque<StoreRead<T>>>>,
    tried: u32,
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
    pub(crate) fn new(store: Arc<dyn SpillStore>) -> Self {
        Self {
            store: Owned { store, is_written: false },
            can_try: true,
            pool: BufferPool::default(),
            can_keep: false,
            to_try: None,
            tried: 0,
            writing: None,
            held: None,
            reading: Vec::new(),
            queue: VecDeque::new(),
            sweep_at: SWEEP_AT_LEAST,
        }
    }

    /// Reads a short range without waiting if that is possible, and returns the reply. Otherwise
    /// `poll_read` returns it later. `keep` allows that the buffer is kept for reuse.
    pub(crate) fn read(&mut self, read: StoreRead<T>, keep: bool) -> Option<Ready<T>> {
        self.can_keep = keep;
        if self.can_try && read.enough > SHORT {
            self.to_try.get_or_insert_default().push_back(read);
            return None;
        }
        self.try_read(read)
    }

    /// Reads without waiting if that is possible. Otherwise the read is queued for a thread.
    fn try_read(&mut self, read: StoreRead<T>) -> Option<Ready<T>> {
        if self.can_try {
            let len = read.enough.min(TRY_MOST);
            match try_read_range(&*self.store.store, read.position, self.pool.take(len)) {
                Ok(bytes) => {
                    if self.can_keep {
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

    /// Tries the longer reads, until the bytes of this turn are spent.
    fn try_next(&mut self) -> Option<Ready<T>> {
        while self.tried < TRY_AT_ONCE
            && let Some(read) = self.to_try.as_mut().and_then(|reads| reads.pop_front())
        {
            if read.token.is_abandoned() {
                continue;
            }
            self.tried += u32::try_from(read.enough.min(TRY_MOST)).unwrap_or(u32::MAX);
            let ready = self.try_read(read);
            if ready.is_some() {
                return ready;
            }
        }
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

    /// The reply to the next read that is done.
    pub(crate) fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Ready<T>> {
        // Do this first: it may start reads on threads, which are polled below.
        if let Some(ready) = self.try_next() {
            return Poll::Ready(ready);
        }
        for at in 0..self.reading.len() {
            let Some((_, job)) = self.reading.get_mut(at) else { break };
            let Poll::Ready(done) = job.poll_unpin(cx) else { continue };
            let (StoreRead { token, range, .. }, _) = self.reading.swap_remove(at);
            self.start_reads();
            let result = done.and_then(identity).map(Pieces::One);
            let failed = |error| Error::spill_read(range.start, range.end - range.start, error);
            return Poll::Ready((token, result.map_err(failed)));
        }
        self.tried = 0;
        if self.to_try.as_ref().is_some_and(|reads| !reads.is_empty()) {
            // The others get the next turn.
            cx.waker().wake_by_ref();
        }
        Poll::Pending
    }

    /// Drops the buffers that are kept for reuse.
    pub(crate) fn shrink(&mut self) {
        self.pool.clear();
    }

    /// Starts a write, as soon as no read needs the old bytes of its places.
    /// [`poll_written`](Self::poll_written) does that.
    pub(crate) fn write(&mut self, write: Write) {
        self.shrink();
        self.can_keep = false;
        self.store.is_written = true;
        self.held = Some(Box::new(write));
    }

    fn start_write(&mut self) {
        let Some(write) = self.held.take_if(|write| {
            let to_try = self.to_try.iter().flat_map(|reads| reads.iter());
            let reads = self.reading.iter().map(|(read, _)| read).chain(&self.queue).chain(to_try);
            !reads.map(StoreRead::place).any(|place| write.changes(&place))
        }) else {
            return;
        };
        let (store, offset) = (Arc::clone(&self.store.store), write.offset);
        self.writing = Some((offset, threads::spawn(move || write_all(&*store, &write))));
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
    /// themselves.
    pub(crate) fn finish(&mut self) -> impl Future<Output = ()> + use<T> {
        self.to_try = None;
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

/// Takes the place of a store that was dropped.
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
#[allow(clippy::panic, reason = "a test")]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::{Wake, Waker};

    use super::*;

    #[derive(Default)]
    struct Ticket {
        is_abandoned: bool,
    }

    impl Token for Ticket {
        fn is_abandoned(&self) -> bool {
            self.is_abandoned
        }
    }

    /// Counts wake-ups.
    #[derive(Default)]
    struct Wakes(AtomicUsize);

    impl Wake for Wakes {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
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

    /// A read that wants all of its `len` bytes.
    fn ask(len: usize) -> StoreRead<Ticket> {
        StoreRead { token: Ticket::default(), range: 0..len as u64, position: 0, enough: len }
    }

    /// Whether the buffer of a read is kept.
    fn keeps(store: &mut StoreIo<Ticket>, keep: bool) -> bool {
        assert!(store.read(ask(4096), keep).is_some());
        !store.pool.is_empty()
    }

    #[tokio::test]
    async fn buffers_are_kept_only_if_allowed_and_dropped_by_a_write_and_by_shrink() {
        // Rule 9.
        let mut store = StoreIo::new(Arc::new(Zeros));
        assert!(!keeps(&mut store, false));
        assert!(keeps(&mut store, true));
        assert!(store.read(ask(TRY_MOST), true).is_none());
        store.write(Write { bytes: vec![(0, Bytes::from_static(b"x"))], ..Write::default() });
        assert!(store.pool.is_empty(), "memory exceeds its limit");
        assert!(store.poll_read(&mut Context::from_waker(Waker::noop())).is_ready());
        assert!(store.pool.is_empty(), "memory exceeds its limit");
        assert!(keeps(&mut store, true));
        store.shrink();
        assert!(store.pool.is_empty());
    }

    #[tokio::test]
    async fn longer_reads_take_turns_and_do_not_delay_short_ones() {
        // Rule 4.
        let mut store = StoreIo::new(Arc::new(Zeros));
        let woken = Arc::<Wakes>::default();
        let waker = Waker::from(Arc::clone(&woken));
        let mut cx = Context::from_waker(&waker);
        assert!(
            store.read(StoreRead { token: Ticket { is_abandoned: true }, ..ask(TRY_MOST) }, false).is_none()
        );
        for _ in 0..5 {
            assert!(store.read(ask(16 * TRY_MOST), false).is_none());
        }
        assert!(store.read(ask(SHORT), false).is_some(), "it is answered before them");
        for (turn, replies) in [2, 2, 1].into_iter().enumerate() {
            for _ in 0..replies {
                let Poll::Ready((_, Ok(pieces))) = store.poll_read(&mut cx) else { panic!("no reply") };
                assert_eq!(pieces.len(), TRY_MOST, "the first bytes of what it wants");
            }
            assert!(store.poll_read(&mut cx).is_pending());
            assert_eq!(woken.0.load(Ordering::Relaxed), 2.min(turn + 1), "woken while reads are left");
        }
        assert!(store.reading.is_empty(), "no thread");
    }

    /// A store whose reads last until the test lets them end. It notes its calls.
    struct Slow {
        calls: std::sync::Mutex<Vec<&'static str>>,
        end: std::sync::Mutex<std::sync::mpsc::Receiver<()>>,
    }

    impl SpillStore for Slow {
        fn write_at(&self, _: u64, bytes: &[u8]) -> io::Result<usize> {
            self.calls.lock().unwrap().push("write");
            Ok(bytes.len())
        }

        fn read_at(&self, _: u64, buf: &mut [u8]) -> io::Result<usize> {
            let _ = self.end.lock().unwrap().recv();
            self.calls.lock().unwrap().push("read");
            Ok(buf.len())
        }

        fn discard(&self, _: Range<u64>) {
            self.calls.lock().unwrap().push("discard");
        }
    }

    #[tokio::test]
    async fn a_write_waits_until_no_read_needs_the_old_bytes_of_its_place() {
        // Rule 29. Reads are queued, run on a thread, or are tried: here they run. Others are not waited for.
        let bytes = || vec![(4000, Bytes::from_static(b"new"))];
        let writes = Write { bytes: bytes(), ..Write::default() };
        let discards = Write { discarded: vec![4095..5000], ..Write::default() };
        let elsewhere = Write { bytes: vec![(4096, Bytes::from_static(b"new"))], ..Write::default() };
        for (write, waits) in [(writes, true), (discards, true), (elsewhere, false)] {
            let (go_on, end) = std::sync::mpsc::channel();
            let slow = Slow { calls: std::sync::Mutex::default(), end: std::sync::Mutex::new(end) };
            let (slow, mut order) = (Arc::new(slow), Vec::new());
            let mut store = StoreIo::new(Arc::clone(&slow) as Arc<dyn SpillStore>);
            assert!(store.read(ask(4096), false).is_none());
            store.write(write);
            assert!(store.poll_read(&mut Context::from_waker(Waker::noop())).is_pending());
            let _ = store.poll_written(&mut Context::from_waker(Waker::noop()));
            assert_eq!(store.writing.is_none(), waits);
            if !waits {
                std::future::poll_fn(|cx| store.poll_written(cx)).await.1.unwrap();
                order.push("write");
            }
            go_on.send(()).unwrap();
            std::future::poll_fn(|cx| store.poll_read(cx)).await.1.unwrap();
            order.push("read");
            if waits {
                std::future::poll_fn(|cx| store.poll_written(cx)).await.1.unwrap();
                order.push(slow.calls.lock().unwrap().last().unwrap());
            }
            assert_eq!(*slow.calls.lock().unwrap(), order);
        }
    }
}
