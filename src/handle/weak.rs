//! A handle that does not keep its buffer alive.

use std::fmt;
use std::sync::Arc;

use tokio::sync::{mpsc, watch};

use super::BufferHandle;
use crate::actor::message::Message;
use crate::actor::shared::Shared;
use crate::progress::Snapshot;
use crate::store::lender::Lender;

/// A handle that does not keep its buffer alive; made by [`BufferHandle::downgrade`].
#[derive(Clone)]
pub struct WeakBufferHandle {
    requests: mpsc::WeakUnboundedSender<Message>,
    snapshots: watch::Receiver<Snapshot>,
    shared: Arc<Shared>,
    lender: Arc<Lender>,
}

impl WeakBufferHandle {
    /// A handle, if the buffer still has one, or a reader or chunks, and is not closed.
    #[must_use]
    pub fn upgrade(&self) -> Option<BufferHandle> {
        let requests = self.requests.upgrade()?;
        // `close` sets the flag. The end of the actor closes the channel.
        if self.shared.is_closed() || requests.is_closed() {
            return None;
        }
        let (snapshots, shared) = (self.snapshots.clone(), Arc::clone(&self.shared));
        Some(BufferHandle::new(requests, snapshots, shared, Arc::clone(&self.lender)))
    }
}

impl fmt::Debug for WeakBufferHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WeakBufferHandle").finish_non_exhaustive()
    }
}

impl BufferHandle {
    /// A handle that does not keep the buffer alive, for example for a map of all buffers.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), streamspool::Error> {
    /// # let stream = futures::stream::iter([Ok(streamspool::Bytes::from_static(b"0123456789"))]);
    /// let buffer = streamspool::StreamBuffer::spawn(stream);
    /// let weak = buffer.downgrade();
    /// let reader = weak.upgrade().expect("there is a handle").reader();
    /// drop(buffer);
    /// assert!(weak.upgrade().is_some(), "a reader keeps the buffer too");
    /// drop(reader);
    /// assert!(weak.upgrade().is_none());
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn downgrade(&self) -> WeakBufferHandle {
        let (snapshots, shared) = (self.snapshots.clone(), Arc::clone(&self.shared));
        let (requests, lender) = (self.requests.downgrade(), Arc::clone(&self.lender));
        WeakBufferHandle { requests, snapshots, shared, lender }
    }
}
