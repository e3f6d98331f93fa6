//! The handle asks: it sends a message to the actor and awaits the reply.

use std::fmt;
use std::ops::{Bound, Deref, RangeBounds};
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use tokio::sync::{mpsc, watch};

use crate::core::{Read, Want};
use crate::error::Error;
use crate::message::{Answer, Message, Request};
use crate::progress::Progress;
use crate::signal::Signal;

/// The most that one message asks for, in bytes. Longer reads ask again and again, which bounds
/// what the actor does, and what it holds, for one message.
pub(crate) const ASK_MOST: u64 = 4 * 1024 * 1024;

/// A handle to a buffered stream: cheap to clone, and usable from any task or thread.
///
/// All handles of a buffer ask the same actor. When the last one goes, and the last
/// [`BufferReader`](crate::BufferReader) and [`Chunks`](crate::Chunks) with it, the source is
/// dropped and the temporary file is gone.
///
/// # Cancel safety
///
/// Every method here is cancel safe: dropping the future it returned withdraws the request. At most
/// one more chunk is pulled from the source on its account, no byte is lost, and no other request
/// notices. It can be asked again with the same result.
///
/// # Examples
///
/// ```
/// use streamspool::{Bytes, StreamBuffer};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), streamspool::Error> {
/// let stream = futures::stream::iter(["Hello, ", "world", "!"].map(|s| Ok(Bytes::from(s))));
/// let buffer = StreamBuffer::spawn(stream);
///
/// let other = buffer.clone();
/// let world = tokio::spawn(async move { other.read(7, 5).await });
/// assert_eq!(buffer.read(0, 5).await?, "Hello");
/// assert_eq!(world.await.unwrap()?, "world");
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct BufferHandle {
    requests: mpsc::UnboundedSender<Message>,
    progress: watch::Receiver<Progress>,
    signal: Arc<Signal>,
}

impl BufferHandle {
    pub(crate) fn new(
        requests: mpsc::UnboundedSender<Message>,
        progress: watch::Receiver<Progress>,
        signal: Arc<Signal>,
    ) -> Self {
        Self { requests, progress, signal }
    }

    /// Reads exactly the `len` bytes from `offset`, waiting for those that have not arrived yet.
    ///
    /// The result is shorter only because the stream ends there, and empty past its end. A range
    /// past [`u64::MAX`] means "to the end". A `len` of 0 answers at once and pulls nothing. Memory
    /// is allocated for bytes that exist, never for what `len` claims.
    ///
    /// The bytes are a slice of the buffer's memory where the range lies in one block there, and a
    /// copy otherwise.
    ///
    /// # Errors
    ///
    /// [`Source`](crate::ErrorKind::Source), [`Truncated`](crate::ErrorKind::Truncated) or
    /// [`Oversized`](crate::ErrorKind::Oversized) if the stream failed before the range was
    /// complete; [`Spill`](crate::ErrorKind::Spill) if the disk failed;
    /// [`Closed`](crate::ErrorKind::Closed) if the buffer is gone.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe; see [the type](Self#cancel-safety).
    ///
    /// # Examples
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), streamspool::Error> {
    /// # let stream = futures::stream::iter([Ok(streamspool::Bytes::from_static(b"0123456789"))]);
    /// let buffer = streamspool::StreamBuffer::spawn(stream);
    /// assert_eq!(buffer.read(6, 3).await?, "678");
    /// assert_eq!(buffer.read(2, 3).await?, "234");
    /// assert_eq!(buffer.read(8, 100).await?, "89");
    /// # Ok(())
    /// # }
    /// ```
    pub async fn read(&self, offset: u64, len: usize) -> Result<Bytes, Error> {
        self.read_exact(offset, len as u64).await
    }

    /// Reads what is there at `offset`: 1 to `max` bytes, as soon as there is one.
    ///
    /// Empty only at or past the end of the stream, or if `max` is 0. Never more than one piece of
    /// memory, and so never a copy of resident bytes; ask again for what follows.
    ///
    /// # Errors
    ///
    /// As [`read`](Self::read), but only if the very byte at `offset` can't be had.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe; see [the type](Self#cancel-safety).
    ///
    /// # Examples
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), streamspool::Error> {
    /// # use futures::StreamExt;
    /// # let stream = futures::stream::iter([Ok(streamspool::Bytes::from_static(b"012"))]);
    /// # let stream = stream.chain(futures::stream::pending());
    /// // Three bytes have come so far, and nobody knows whether there will be more.
    /// let buffer = streamspool::StreamBuffer::spawn(stream);
    /// assert_eq!(buffer.read_some(1, 100).await?, "12");
    /// # Ok(())
    /// # }
    /// ```
    pub async fn read_some(&self, offset: u64, max: usize) -> Result<Bytes, Error> {
        let pieces = self.ask(Read { offset, len: max as u64, want: Want::Piece }).await?;
        Ok(pieces.join())
    }

    /// Reads a range, for example `1024..2048`, `..100` or `4096..`.
    ///
    /// Like [`read`](Self::read); a range without an end goes to the end of the stream.
    ///
    /// # Errors
    ///
    /// As [`read`](Self::read); [`InvalidInput`](crate::ErrorKind::InvalidInput) if the range ends
    /// before it starts.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe; see [the type](Self#cancel-safety).
    ///
    /// # Examples
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), streamspool::Error> {
    /// # let stream = futures::stream::iter([Ok(streamspool::Bytes::from_static(b"0123456789"))]);
    /// let buffer = streamspool::StreamBuffer::spawn(stream);
    /// assert_eq!(buffer.slice(2..5).await?, "234");
    /// assert_eq!(buffer.slice(7..).await?, "789");
    /// # Ok(())
    /// # }
    /// ```
    pub async fn slice(&self, range: impl RangeBounds<u64> + Send) -> Result<Bytes, Error> {
        let (offset, len) = to_offset_and_len(&range)?;
        drop(range);
        self.read_exact(offset, len).await
    }

    /// The size of the whole in bytes: the declared one at once, otherwise by loading to the end.
    ///
    /// # Errors
    ///
    /// As [`load`](Self::load) where it must be loaded, or where the declared size has turned out
    /// to be wrong.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe; see [the type](Self#cancel-safety).
    ///
    /// # Examples
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), streamspool::Error> {
    /// # let stream = futures::stream::iter([Ok(streamspool::Bytes::from_static(b"0123456789"))]);
    /// let buffer = streamspool::StreamBuffer::spawn(stream);
    /// assert_eq!(buffer.size().await?, 10);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn size(&self) -> Result<u64, Error> {
        match self.known_size() {
            Some(size) => Ok(size),
            None => self.load().await,
        }
    }

    /// Pulls the stream to its end and returns the number of bytes.
    ///
    /// # Errors
    ///
    /// As [`read`](Self::read).
    ///
    /// # Cancel safety
    ///
    /// Cancel safe; see [the type](Self#cancel-safety).
    ///
    /// # Examples
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), streamspool::Error> {
    /// # let stream = futures::stream::iter([Ok(streamspool::Bytes::from_static(b"0123456789"))]);
    /// let buffer = streamspool::StreamBuffer::spawn(stream);
    /// assert_eq!(buffer.load().await?, 10);
    /// assert_eq!(buffer.progress().loaded, 10);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn load(&self) -> Result<u64, Error> {
        self.ask(Read::END).await?;
        // The actor tells its progress before it answers, so this is the end just reached.
        Ok(self.progress().loaded)
    }

    /// Moves all that is in memory now to the spill store, whatever the memory budget.
    ///
    /// Worth a call when a buffer is not used for a while. What arrives later is kept in memory
    /// again.
    ///
    /// # Errors
    ///
    /// [`Spill`](crate::ErrorKind::Spill) if the store failed: then everything stays in memory, and
    /// readable. [`Closed`](crate::ErrorKind::Closed) if the buffer is gone.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe; see [the type](Self#cancel-safety). A purge once asked for goes on.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), streamspool::Error> {
    /// # let stream = futures::stream::iter([Ok(streamspool::Bytes::from_static(b"0123456789"))]);
    /// let buffer = streamspool::StreamBuffer::spawn(stream);
    /// buffer.load().await?;
    /// buffer.spill().await?;
    /// assert_eq!(buffer.progress().resident, 0);
    /// assert_eq!(buffer.read(3, 4).await?, "3456");
    /// # Ok(())
    /// # }
    /// ```
    pub async fn spill(&self) -> Result<(), Error> {
        self.request(Request::Spill, &*self.signal).await.map(drop)
    }

    /// How far the buffer has come, as of now.
    #[must_use]
    pub fn progress(&self) -> Progress {
        *self.progress.borrow()
    }

    /// Tells of every change in the [`progress`](Self::progress), latest value first.
    ///
    /// The receiver does not keep the buffer alive: its
    /// [`changed`](watch::Receiver::changed) fails once the buffer is gone.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let stream = futures::stream::iter([Ok(streamspool::Bytes::from_static(b"0123456789"))]);
    /// let buffer = streamspool::StreamBuffer::spawn(stream);
    /// let mut progress = buffer.subscribe();
    /// let (loaded, seen) = tokio::join!(buffer.load(), progress.wait_for(|p| p.loaded >= 10));
    /// assert_eq!(seen?.loaded, loaded?);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<Progress> {
        self.progress.clone()
    }

    /// Why the source failed for good: what every read that needs more is answered with. `None`
    /// unless the [state](crate::Progress::state) is [`Failed`](crate::State::Failed).
    #[must_use]
    pub fn error(&self) -> Option<Error> {
        self.signal.failure().cloned()
    }

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
        let (progress, signal) = (self.progress.clone(), Arc::clone(&self.signal));
        WeakBufferHandle { requests: self.requests.downgrade(), progress, signal }
    }

    /// Ends the buffer for everybody: every waiting and every later request is answered with
    /// [`Closed`](crate::ErrorKind::Closed), the source is dropped and the temporary file is gone.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// # let stream = futures::stream::pending();
    /// let buffer = streamspool::StreamBuffer::spawn(stream);
    /// buffer.close();
    /// let error = buffer.read(0, 1).await.unwrap_err();
    /// assert_eq!(error.kind(), streamspool::ErrorKind::Closed);
    /// # }
    /// ```
    pub fn close(&self) {
        self.signal.close();
    }

    /// The size where no question to the actor is needed for it.
    pub(crate) fn known_size(&self) -> Option<u64> {
        if self.requests.is_closed() || self.signal.is_closed() { None } else { self.progress().size }
    }

    /// Asks for a part of a range, [`ASK_MOST`] bytes at most.
    pub(crate) fn ask(&self, read: Read) -> Answer<&Signal> {
        self.request(Request::Read(read), &*self.signal)
    }

    pub(crate) fn signal(&self) -> Arc<Signal> {
        Arc::clone(&self.signal)
    }

    /// Sends a request. What comes is the answer, or that there will be none.
    pub(crate) fn request<S: Deref<Target = Signal>>(&self, request: Request, signal: S) -> Answer<S> {
        let (message, mut answer) = Message::new(request, signal);
        let sent = self.requests.send(message);
        if sent.is_err() || self.requests.is_closed() || self.signal.is_closed() {
            // Perhaps it came too late to be taken in, and nobody would ever answer it.
            answer.close();
        }
        answer
    }

    /// Joins what the actor hands out in pieces, here in the caller's own task.
    async fn read_exact(&self, offset: u64, len: u64) -> Result<Bytes, Error> {
        let first = self.ask(Read { offset, len: len.min(ASK_MOST), want: Want::Exact }).await?;
        if len <= ASK_MOST || (first.len() as u64) < ASK_MOST {
            return Ok(first.join());
        }
        // Room for what exists, not for what `len` claims.
        let exists = self.progress().loaded.saturating_sub(offset).min(len);
        let mut joined = BytesMut::with_capacity(usize::try_from(exists).unwrap_or(0));
        let mut pieces = first;
        loop {
            let got = pieces.len() as u64;
            for piece in pieces.as_slice() {
                joined.extend_from_slice(piece);
            }
            let done = joined.len() as u64;
            let asked = ASK_MOST.min(len - (done - got));
            if got < asked || done == len {
                return Ok(joined.freeze());
            }
            let next = offset.saturating_add(done);
            let len = (len - done).min(ASK_MOST);
            pieces = self.ask(Read { offset: next, len, want: Want::Exact }).await?;
        }
    }
}

impl fmt::Debug for BufferHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BufferHandle").field("progress", &self.progress()).finish_non_exhaustive()
    }
}

/// A handle that does not keep its buffer alive; made by [`BufferHandle::downgrade`].
#[derive(Clone)]
pub struct WeakBufferHandle {
    requests: mpsc::WeakUnboundedSender<Message>,
    progress: watch::Receiver<Progress>,
    signal: Arc<Signal>,
}

impl WeakBufferHandle {
    /// A handle, if the buffer still has one, or a reader or chunks, and is not closed.
    #[must_use]
    pub fn upgrade(&self) -> Option<BufferHandle> {
        let requests = self.requests.upgrade().filter(|requests| !requests.is_closed())?;
        Some(BufferHandle::new(requests, self.progress.clone(), Arc::clone(&self.signal)))
    }
}

impl fmt::Debug for WeakBufferHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WeakBufferHandle").finish_non_exhaustive()
    }
}

/// A range as its offset and how many bytes it covers; [`u64::MAX`] where it has no end.
pub(crate) fn to_offset_and_len(range: &impl RangeBounds<u64>) -> Result<(u64, u64), Error> {
    let start = match range.start_bound() {
        Bound::Included(start) => *start,
        Bound::Excluded(before) => before.saturating_add(1),
        Bound::Unbounded => 0,
    };
    let end = match range.end_bound() {
        Bound::Included(last) => last.saturating_add(1),
        Bound::Excluded(end) => *end,
        Bound::Unbounded => return Ok((start, u64::MAX)),
    };
    match end.checked_sub(start) {
        Some(len) => Ok((start, len)),
        None => Err(Error::invalid_range(start, end)),
    }
}
