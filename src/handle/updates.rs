//! The changes of a buffer's progress.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures::StreamExt;
use tokio::sync::watch;
use tokio_stream::Stream;
use tokio_stream::wrappers::WatchStream;

use super::BufferHandle;
use crate::error::Error;
use crate::progress::{Progress, Snapshot};

/// The changes of a buffer's [`Progress`]; made by [`BufferHandle::subscribe`].
///
/// As a [`Stream`] it yields the current progress first, then the latest progress after each change,
/// and it ends when the buffer is closed. A slow consumer misses intermediate values, never the last
/// one. It does not keep the buffer alive, and it holds no lock between calls.
///
/// # Examples
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), streamspool::Error> {
/// # use streamspool::{Bytes, State, StreamBuffer};
/// use futures::StreamExt;
///
/// # let stream = futures::stream::iter([Ok(Bytes::from_static(b"0123456789"))]);
/// let buffer = StreamBuffer::builder().read_ahead(u64::MAX).spawn(stream);
/// let mut updates = buffer.subscribe();
/// while let Some(progress) = updates.next().await {
///     println!("{} bytes", progress.loaded);
///     if progress.state.is_final() {
///         break;
///     }
/// }
/// assert_eq!(updates.latest().loaded, 10);
/// # Ok(())
/// # }
/// ```
pub struct ProgressUpdates {
    latest: watch::Receiver<Snapshot>,
    changes: WatchStream<Snapshot>,
    /// The progress that was yielded last. The stream's first item is the current progress.
    yielded: Option<Progress>,
}

impl ProgressUpdates {
    pub(super) fn new(latest: watch::Receiver<Snapshot>) -> Self {
        let changes = WatchStream::from_changes(latest.clone());
        Self { latest, changes, yielded: None }
    }

    /// The current progress, whether it has changed or not.
    #[must_use]
    pub fn latest(&self) -> Progress {
        self.latest.borrow().progress
    }

    /// Waits until the progress changes: since the last call, the last item of the stream, or the
    /// subscription.
    ///
    /// # Errors
    ///
    /// [`Closed`](crate::ErrorKind::Closed) once the buffer is closed and its last change was seen.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: a change that was not returned is returned by the next call.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), streamspool::Error> {
    /// # let stream = futures::stream::iter([Ok(streamspool::Bytes::from_static(b"0123456789"))]);
    /// let buffer = streamspool::StreamBuffer::spawn(stream);
    /// let mut updates = buffer.subscribe();
    /// let (size, changed) = tokio::join!(buffer.size(), updates.changed());
    /// assert!(size? == 10 && changed.is_ok());
    /// # Ok(())
    /// # }
    /// ```
    pub async fn changed(&mut self) -> Result<(), Error> {
        // The value at the time of the subscription is not a change.
        self.yielded.get_or_insert(self.latest.borrow().progress);
        match self.next().await {
            Some(_) => Ok(()),
            None => Err(Error::closed(self.latest().frontier)),
        }
    }

    /// Waits for a progress that satisfies `condition`, and returns it; at once if the current one does.
    ///
    /// # Errors
    ///
    /// [`Closed`](crate::ErrorKind::Closed) if the buffer is closed before.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: nothing is lost; the next call looks at the current progress first.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), streamspool::Error> {
    /// # let stream = futures::stream::iter([Ok(streamspool::Bytes::from_static(b"0123456789"))]);
    /// let buffer = streamspool::StreamBuffer::spawn(stream);
    /// let mut updates = buffer.subscribe();
    /// let (loaded, seen) = tokio::join!(buffer.load(), updates.wait_for(|p| p.loaded >= 10));
    /// assert_eq!(seen?.loaded, loaded?);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn wait_for(
        &mut self,
        mut condition: impl FnMut(&Progress) -> bool,
    ) -> Result<Progress, Error> {
        loop {
            let progress = self.latest();
            if condition(&progress) {
                return Ok(progress);
            }
            self.changed().await?;
        }
    }
}

impl Stream for ProgressUpdates {
    type Item = Progress;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Progress>> {
        if self.yielded.is_none() {
            let progress = self.latest();
            self.yielded = Some(progress);
            return Poll::Ready(Some(progress));
        }
        loop {
            let Some(snapshot) = ready!(self.changes.poll_next_unpin(cx)) else { return Poll::Ready(None) };
            // A snapshot may differ in an error only, or be the one at the time of the subscription.
            if self.yielded != Some(snapshot.progress) {
                self.yielded = Some(snapshot.progress);
                return Poll::Ready(Some(snapshot.progress));
            }
        }
    }
}

impl BufferHandle {
    /// The current progress.
    #[must_use]
    pub fn progress(&self) -> Progress {
        self.snapshots.borrow().progress
    }

    /// Subscribes to the changes of the [`progress`](Self::progress).
    ///
    /// # Examples
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), streamspool::Error> {
    /// # let stream = futures::stream::iter([Ok(streamspool::Bytes::from_static(b"0123456789"))]);
    /// let buffer = streamspool::StreamBuffer::spawn(stream);
    /// let mut updates = buffer.subscribe();
    /// let (loaded, seen) = tokio::join!(buffer.load(), updates.wait_for(|p| p.loaded >= 10));
    /// assert_eq!(seen?.loaded, loaded?);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn subscribe(&self) -> ProgressUpdates {
        ProgressUpdates::new(self.snapshots.clone())
    }

    /// The failure of the source that lasts now. In the [state](Progress::state)
    /// [`Failed`](crate::State::Failed), every read of missing bytes gets this error. In the state
    /// [`Retrying`](crate::State::Retrying), it is why the source is opened again.
    #[must_use]
    pub fn error(&self) -> Option<Error> {
        self.snapshots.borrow().source_error.clone()
    }

    /// Why the last write to the spill store failed; `None` once a write has succeeded again.
    ///
    /// A failed write loses no byte. If memory exceeds its limit, it stops pulling; while bytes are
    /// needed, the write is retried in the background, after 100 ms at first and at most every 15 s.
    /// A runtime without a timer retries it only for the next read that needs more.
    #[must_use]
    pub fn store_error(&self) -> Option<Error> {
        self.snapshots.borrow().store_error.clone()
    }
}

impl fmt::Debug for ProgressUpdates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProgressUpdates").field("latest", &self.latest()).finish_non_exhaustive()
    }
}
