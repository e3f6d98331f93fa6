//! The handle asks: it sends a message to the actor and awaits the reply. It reads slices of the store by itself.

use std::fmt;
use std::ops::{Bound, Deref, RangeBounds};
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::{mpsc, watch};

use crate::actor::message::{self, AnswerFuture, Message};
use crate::actor::shared::Shared;
use crate::core::lent::Found;
use crate::core::question::{Answer, Question};
use crate::core::read::{Read, Want};
use crate::error::Error;
use crate::progress::{Ranges, Snapshot};
use crate::store::lender::Lender;

mod blocking;
#[cfg(feature = "symphonia")]
mod blocking_media;
mod blocking_thread;
mod chunks;
mod copying;
mod pending_read;
mod read;
mod reader;
mod save;
mod slices;
mod updates;
mod weak;

pub use self::blocking::BlockingReader;
pub use self::chunks::Chunks;
pub use self::reader::BufferReader;
pub use self::updates::ProgressUpdates;
pub use self::weak::WeakBufferHandle;

/// The most bytes that one message asks for. Longer reads send several messages. This bounds the work
/// of the actor for one message, and the bytes that it holds for it.
const ASK_MOST: u64 = 4 * 1024 * 1024;

/// A handle to a buffered stream: cheap to clone, and usable from any task or thread.
///
/// All handles of a buffer ask the same actor. Each [`BufferReader`](crate::BufferReader),
/// [`BlockingReader`](crate::BlockingReader) and [`Chunks`](crate::Chunks) holds a handle. When the last handle is
/// dropped, the source is dropped and the temporary file disappears.
///
/// # Cancel safety
///
/// Every method here is cancel safe: dropping its future withdraws the request. At most one more chunk is pulled
/// from the source for it. No byte is lost, and no other request is affected. The same request made again gives
/// the same result.
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
    lender: Arc<Lender>,
}

impl BufferHandle {
    pub(crate) fn new(
        requests: mpsc::UnboundedSender<Message>,
        snapshots: watch::Receiver<Snapshot>,
        shared: Arc<Shared>,
        lender: Arc<Lender>,
    ) -> Self {
        Self { requests, snapshots, shared, lender }
    }

    /// The size of the whole resource in bytes.
    ///
    /// A known size is returned at once: the declared size, or the size that the source reported. If a
    /// [source](crate::Source) has loaded nothing yet, it is opened at offset 0 to look. If the size is still
    /// not known, bytes are pulled from the end of the last loaded range to the end of the resource, and
    /// holes before that are not filled. Then the future does not return for an endless stream.
    ///
    /// # Errors
    ///
    /// As [`load`](Self::load), if the end must be found, or if the declared size has turned out to be
    /// wrong.
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
        if let Some(size) = self.known_size() {
            return Ok(size);
        }
        self.ask(Question::Size, Answer::end).await
    }

    /// Loads all bytes of the resource and returns their number. Holes are filled. It does not return for an
    /// endless stream.
    ///
    /// # Errors
    ///
    /// As [`read`](Self::read). With a limit on disk also [`InvalidInput`](crate::ErrorKind::InvalidInput), if
    /// the resource is known to be larger than `max_memory` and `max_disk` together, and
    /// [`Discarded`](crate::ErrorKind::Discarded), if its first bytes are discarded for good.
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
        self.ask(Question::load(0..u64::MAX), Answer::end).await
    }

    /// Loads a range, for example `..1024` or `1_000_000..`, and waits until all of its bytes are loaded.
    ///
    /// Holes in the range are filled, others are not. No bytes are sent to the caller, so no read-ahead
    /// follows. A range that goes on past the end of the resource ends there. A range without an end waits
    /// for the end of the resource. With a limit on disk, other requests may discard bytes of the range again
    /// before or after this returns: each byte has arrived once.
    ///
    /// # Errors
    ///
    /// As [`load`](Self::load); [`InvalidInput`](crate::ErrorKind::InvalidInput) if the range ends before it
    /// starts, or if it has more bytes than `max_memory` and `max_disk` allow.
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
    /// # let chunks = ["01234", "56789"].map(|text| Ok(streamspool::Bytes::from(text)));
    /// # let stream = futures::stream::iter(chunks);
    /// let buffer = streamspool::StreamBuffer::builder().read_ahead(0).spawn(stream);
    /// buffer.load_range(2..4).await?;
    /// assert_eq!(buffer.progress().loaded, 5); // the first chunk
    /// # Ok(())
    /// # }
    /// ```
    pub async fn load_range(&self, range: impl RangeBounds<u64>) -> Result<(), Error> {
        let (start, len) = to_offset_and_len(&range)?;
        self.ask(Question::load(start..start.saturating_add(len)), Answer::end).await.map(drop)
    }

    /// The ranges of bytes that are loaded now: those in memory, and those in the spill store.
    ///
    /// A stream that is loaded from front to back has at most one range of each kind. The bytes of a source
    /// that can be opened anywhere may have holes: what is in no range is missing.
    ///
    /// # Errors
    ///
    /// [`Closed`](crate::ErrorKind::Closed) if the buffer is closed.
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
    /// buffer.load().await?;
    /// assert_eq!(buffer.ranges().await?.resident, [0..10]);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn ranges(&self) -> Result<Ranges, Error> {
        self.ask(Question::Ranges, Answer::ranges).await
    }

    /// Moves all bytes that are in memory now to the spill store, even if memory is within its limit.
    ///
    /// This is useful when a buffer is not read for a while. Bytes that arrive later are kept in memory
    /// again. With a limit on disk, it moves as many bytes as fit and discards none.
    ///
    /// # Errors
    ///
    /// [`Spill`](crate::ErrorKind::Spill) if the store failed: then all bytes stay in memory, and
    /// readable. [`Closed`](crate::ErrorKind::Closed) if the buffer is closed.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe; see [the type](Self#cancel-safety). The bytes are spilled even if the future is
    /// dropped.
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
        self.ask(Question::Spill, Answer::done).await
    }

    /// Changes [`max_memory`](crate::Builder::max_memory), in bytes. Resolves when memory is within the limit, or
    /// when only the blocks that open streams are filling exceed it: up to 256 KiB for each stream.
    ///
    /// # Errors
    ///
    /// [`Spill`](crate::ErrorKind::Spill) if bytes could not be moved to the store: then the limit is changed,
    /// and the bytes stay in memory. [`Closed`](crate::ErrorKind::Closed) if the buffer is closed.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe; see [the type](Self#cancel-safety). The limit is changed even if the future is dropped.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), streamspool::Error> {
    /// # let stream = futures::stream::iter([Ok(streamspool::Bytes::from_static(b"0123456789"))]);
    /// let buffer = streamspool::StreamBuffer::spawn(stream);
    /// buffer.load().await?;
    /// buffer.set_max_memory(0).await?;
    /// assert_eq!(buffer.progress().resident, 0);
    /// assert_eq!(buffer.read(3, 4).await?, "3456");
    /// # Ok(())
    /// # }
    /// ```
    pub async fn set_max_memory(&self, bytes: usize) -> Result<(), Error> {
        self.ask(Question::SetLimits { max_memory: Some(bytes), max_disk: None }, Answer::done).await
    }

    /// Changes [`max_disk`](crate::Builder::max_disk), in bytes. Resolves when the store is within the limit:
    /// bytes that do not fit are discarded, whether they were read or not.
    ///
    /// # Errors
    ///
    /// As [`set_max_memory`](Self::set_max_memory).
    ///
    /// # Cancel safety
    ///
    /// Cancel safe; see [the type](Self#cancel-safety). The limit is changed even if the future is dropped.
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
    /// buffer.set_max_disk(0).await?;
    /// let error = buffer.read(0, 4).await.unwrap_err();
    /// assert_eq!((error.kind(), error.kept_from()), (streamspool::ErrorKind::Discarded, Some(10)));
    /// # Ok(())
    /// # }
    /// ```
    pub async fn set_max_disk(&self, bytes: u64) -> Result<(), Error> {
        self.ask(Question::SetLimits { max_memory: None, max_disk: Some(bytes) }, Answer::done).await
    }

    /// Closes the buffer for all handles: every waiting and every later request gets
    /// [`Closed`](crate::ErrorKind::Closed), and the source and the temporary file are dropped.
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

    /// Whether the buffer is closed: by [`close`](Self::close), or because its actor has ended.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.shared.is_closed() || self.requests.is_closed()
    }

    /// Waits until the buffer is closed and its source is dropped.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: it only waits.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// # let stream = futures::stream::pending();
    /// let buffer = streamspool::StreamBuffer::spawn(stream);
    /// assert!(!buffer.is_closed());
    /// buffer.close();
    /// buffer.closed().await;
    /// assert!(buffer.is_closed());
    /// # }
    /// ```
    pub async fn closed(&self) {
        self.requests.closed().await;
    }

    /// The number of handles of this buffer, readers and chunks included. Weak handles do not count.
    #[must_use]
    pub fn handle_count(&self) -> usize {
        self.requests.strong_count()
    }

    /// When a read was asked for last, to the millisecond; `None` before the first one. A cache can evict the
    /// buffer that was not read for the longest time.
    ///
    /// Reads inside of what a [`BufferReader`] or [`Chunks`] holds do not count: memory, or a slice of the spill
    /// store of up to 1 MiB.
    #[must_use]
    pub fn last_read(&self) -> Option<Instant> {
        self.shared.last_read()
    }

    /// The size, if it is known without asking the actor.
    fn known_size(&self) -> Option<u64> {
        if self.is_closed() { None } else { self.progress().size }
    }

    /// Asks for an exact range of at most [`ASK_MOST`] bytes. The reply may hold only its first bytes;
    /// then the caller asks for the rest. A reply without bytes means that the stream ends there.
    fn ask_exact(&self, offset: u64, len: u64) -> AnswerFuture<Found, &Shared> {
        let read = Read { offset, len: len.min(ASK_MOST), want: Want::Exact };
        self.ask(Question::Read(read), Answer::found)
    }

    /// Asks the actor. Resolves to the value of its answer, or to `Closed`.
    fn ask<V>(&self, question: Question, value: fn(Answer) -> Option<V>) -> AnswerFuture<V, &Shared> {
        self.send(question, value, &*self.shared)
    }

    fn send<V, S: Deref<Target = Shared>>(
        &self,
        question: Question,
        value: fn(Answer) -> Option<V>,
        shared: S,
    ) -> AnswerFuture<V, S> {
        // The error of a question about the whole buffer names the first missing byte.
        let offset = question.offset().unwrap_or_else(|| self.progress().frontier);
        message::send(&self.requests, question, offset, value, shared)
    }
}

impl fmt::Debug for BufferHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BufferHandle").field("progress", &self.progress()).finish_non_exhaustive()
    }
}

/// A range as its offset and its length; the length is [`u64::MAX`] if the range has no end.
fn to_offset_and_len(range: &impl RangeBounds<u64>) -> Result<(u64, u64), Error> {
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
