//! The store as the actor uses it: one write at a time, on a disk thread.

use std::convert::identity;
use std::io;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use futures::FutureExt;
use tokio::sync::oneshot;
use tracing::Span;

use super::SpillStore;
use super::access::write_all;
use super::lender::Lender;
use super::owned::Owned;
use super::threads::{Job, Spawner};
use crate::core::Write;

/// The store of one buffer, and its running write.
pub(crate) struct StoreIo {
    /// `None` once all work has ended.
    store: Option<Arc<Owned>>,
    /// Resolves when the store is dropped.
    dropped: oneshot::Receiver<()>,
    lender: Arc<Lender>,
    /// The running write, and its offset.
    writing: Option<(u64, Job<io::Result<()>>)>,
}

impl StoreIo {
    pub(crate) fn new(store: Arc<dyn SpillStore>, spawner: Spawner, span: Span) -> Self {
        let (store, dropped) = Owned::new(store, spawner.clone());
        let store = Arc::new(store);
        Self {
            lender: Arc::new(Lender::new(&store, spawner, span)),
            store: Some(store),
            dropped,
            writing: None,
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

    /// Starts a write. [`poll_written`](Self::poll_written) returns its result. Slices of the places that it changes
    /// are not valid any more.
    pub(crate) fn write(&mut self, write: Write) {
        let Some(store) = self.store.clone() else { return };
        store.writes();
        if let Some(generation) = write.generation {
            self.lender.announce(generation, write.places());
        }
        let offset = write.offset;
        self.writing = Some((offset, self.spawner().spawn(move || write_all(store.store()?, &write))));
    }

    /// The offset and the result of the running write, once it has ended.
    pub(crate) fn poll_written(&mut self, cx: &mut Context<'_>) -> Poll<(u64, io::Result<()>)> {
        let Some((offset, job)) = &mut self.writing else { return Poll::Pending };
        let (offset, done) = (*offset, ready!(job.poll_unpin(cx)));
        self.writing = None;
        Poll::Ready((offset, done.and_then(identity)))
    }

    /// Ends all work. The future waits until the running write and reads have ended and the store is dropped. If the
    /// future is dropped before, they end by themselves.
    pub(crate) fn finish(&mut self) -> impl Future<Output = ()> + use<> {
        (self.store, self.writing) = (None, None);
        let (_, never) = oneshot::channel();
        let dropped = std::mem::replace(&mut self.dropped, never);
        async move {
            // The sender is dropped with the store.
            let _ = dropped.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;
    use std::pin::pin;
    use std::sync::mpsc::channel;
    use std::task::Waker;

    use bytes::Bytes;

    use super::super::SeekStore;
    use super::*;
    use crate::core::lent::Lent;
    use crate::core::memory::BLOCK;

    #[test]
    fn a_slice_is_not_valid_if_a_write_changes_its_place_before_a_disk_thread_has_read_it() {
        // Rule 29.
        let block = BLOCK as u64;
        let bytes = |place| Write { bytes: vec![(place, Bytes::from_static(b"new"))], ..Write::default() };
        let discard = |place| Write { discarded: vec![place..place + 1], ..Write::default() };
        for (write, is_valid) in
            [(bytes(4000), false), (discard(4095), false), (bytes(block), true), (discard(2 * block), true)]
        {
            for read_first in [true, false] {
                let (start, jobs) = channel::<Box<dyn FnOnce() + Send>>();
                let spawner = Spawner::new(move |job| start.send(job).unwrap());
                let file = SeekStore::new(Cursor::new(vec![7; 4096]));
                let mut store = StoreIo::new(Arc::new(file), spawner, Span::none());
                let lender = store.lender();
                let mut read = pin!(lender.read(Lent { range: 0..4096, position: 0, generation: 5 }));
                let mut cx = Context::from_waker(Waker::noop());
                assert!(read.as_mut().poll(&mut cx).is_pending());
                let write = Write {
                    bytes: write.bytes.clone(),
                    discarded: write.discarded.clone(),
                    ..Write::default()
                };
                store.write(Write { generation: Some(6), ..write });
                let mut jobs: Vec<_> = jobs.try_iter().collect();
                assert_eq!(jobs.len(), 2);
                if !read_first {
                    jobs.reverse();
                }
                for job in jobs {
                    job();
                }
                assert!(matches!(store.poll_written(&mut cx), Poll::Ready((_, Ok(())))));
                let Poll::Ready(Ok(found)) = read.as_mut().poll(&mut cx) else { unreachable!("it is read") };
                assert_eq!(found.is_some(), is_valid, "{read_first}");
                assert!(found.iter().flatten().all(|byte| *byte == 7));
            }
        }
    }
}
