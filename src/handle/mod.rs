//! The handle asks: it sends a message to the actor and awaits the reply.

use std::fmt;
use std::ops::{Bound, Deref, RangeBounds};
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use tokio::sync::{mpsc, watch};

use crate::actor::message::{self, Answer, Message, Request};
use crate::actor::shared::{Shared, Snapshot};
use crate::core::read::{Read, Want};
use crate::error::Error;

mod chunks;
mod pending_read;
mod reader;
mod save;
mod updates;
mod weak;

pub use self::chunks::Chunks;
pub use self::reader::BufferReader;
pub use self::updates::ProgressUpdates;
pub use self::weak::WeakBufferHandle;

/// The most bytes that one message asks for. Longer reads send several messages. This bounds the work
/// of the actor for one message, and the bytes that it holds for it.
const ASK_MOST: u64 = 4 * 1024 * 1024;

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
    snapshots: watch::Receiver<Snapshot>,
    shared: Arc<Shared>,
}

impl BufferHandle {
    pub(crate) fn new(
        requests: mpsc::UnboundedSender<Message>,
        snapshots: watch::Receiver<Snapshot>,
        shared: Arc<Shared>,
    ) -> Self {
        Self { requests, snapshots, shared }
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
        let pieces = self
            .request(Request::Read(Read { offset, len: max as u64, want: Want::Piece }), &*self.shared)
            .await?;
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
        self.request(Request::Load, &*self.shared).await?;
        // Progress is published before the reply, so this is the end just reached.
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
        self.request(Request::Spill, &*self.shared).await.map(drop)
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
        self.shared.close();
    }

    /// The size where no question to the actor is needed for it.
    pub(crate) fn known_size(&self) -> Option<u64> {
        if self.requests.is_closed() || self.shared.is_closed() { None } else { self.progress().size }
    }

    /// Asks for an exact range of at most [`ASK_MOST`] bytes. The reply may hold only its first bytes;
    /// then the caller asks for the rest. A reply without bytes means that the stream ends there.
    fn ask_exact(&self, offset: u64, len: u64) -> Answer<&Shared> {
        let read = Read { offset, len: len.min(ASK_MOST), want: Want::Exact };
        self.request(Request::Read(read), &*self.shared)
    }

    /// Sends a request. Resolves to the reply, or to `Closed`.
    fn request<S: Deref<Target = Shared>>(&self, request: Request, shared: S) -> Answer<S> {
        message::send(&self.requests, request, shared)
    }

    /// Joins the pieces that the actor sends, here in the caller's own task.
    async fn read_exact(&self, offset: u64, len: u64) -> Result<Bytes, Error> {
        let mut pieces = self.ask_exact(offset, len).await?;
        if pieces.len() as u64 == len {
            return Ok(pieces.join());
        }
        // Memory for the bytes that exist, not for what `len` claims.
        let exists = self.progress().loaded.saturating_sub(offset).min(len);
        let mut joined = BytesMut::with_capacity(usize::try_from(exists).unwrap_or(0));
        while pieces.len() > 0 {
            for piece in pieces.as_slice() {
                joined.extend_from_slice(piece);
            }
            let done = joined.len() as u64;
            if done == len {
                break;
            }
            pieces = self.ask_exact(offset.saturating_add(done), len - done).await?;
        }
        Ok(joined.freeze())
    }
}

impl fmt::Debug for BufferHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BufferHandle").field("progress", &self.progress()).finish_non_exhaustive()
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
