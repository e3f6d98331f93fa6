//! The error of a request. One failure is shared by all requests that it concerns.

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;

use crate::panics;

/// Why a request failed: what failed, at which offset, and the I/O error behind it.
///
/// One failure is shared by every read that it concerns, so an `Error` is cheap to clone.
///
/// # The message and its cause
///
/// The [`Display`](fmt::Display) message does not include the cause.
/// [`source`](std::error::Error::source) returns the cause, so a reporter that prints the whole chain
/// (such as `{:#}` of anyhow) prints each text once. Where only the message is printed, the cause is
/// missing: print the chain, as below.
///
/// # As an [`io::Error`]
///
/// An `Error` converts into an [`io::Error`] of the same [kind](io::ErrorKind) as its cause, except for
/// the kinds that readers misread. The cause itself keeps its kind in the chain.
///
/// | kind of the cause | kind of the `io::Error` | reason |
/// |---|---|---|
/// | `UnexpectedEof` | `InvalidData` | decoders take it for the end of the stream |
/// | `Interrupted` | `Other` | the adapters of `std` repeat the call, for ever if the error stays |
/// | `WouldBlock` | `Other` | adapters between async and blocking I/O wait for a wake-up that never comes |
///
/// # Examples
///
/// ```
/// use std::error::Error as _;
/// use std::io;
/// use streamspool::{Bytes, ErrorKind, StreamBuffer};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let stream = futures::stream::iter([
///     Ok(Bytes::from_static(b"abc")),
///     Err(io::Error::new(io::ErrorKind::ConnectionReset, "peer went away")),
/// ]);
/// let buffer = StreamBuffer::spawn(stream);
///
/// // The bytes before the failure stay readable. A read that needs more gets the error.
/// assert_eq!(buffer.read(0, 3).await.unwrap(), "abc");
/// let error = buffer.read(0, 4).await.unwrap_err();
/// assert_eq!(error.kind(), ErrorKind::Source);
/// assert_eq!(error.offset(), 3);
/// assert_eq!(error.to_string(), "the source failed at offset 3");
/// assert_eq!(error.source().unwrap().to_string(), "peer went away");
///
/// // The message and all of its causes, for a person.
/// let mut text = error.to_string();
/// let mut cause = error.source();
/// while let Some(error) = cause {
///     text += &format!(": {error}");
///     cause = error.source();
/// }
/// assert_eq!(text, "the source failed at offset 3: peer went away");
///
/// assert_eq!(io::Error::from(error).kind(), io::ErrorKind::ConnectionReset);
/// # }
/// ```
#[derive(Clone)]
pub struct Error {
    inner: Arc<Inner>,
}

struct Inner {
    kind: ErrorKind,
    /// The whole message, without the cause.
    message: String,
    offset: u64,
    /// The first offset that is kept, if the byte at `offset` was discarded.
    kept_from: Option<u64>,
    cause: Option<io::Error>,
}

/// The kinds of [`Error`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The source stream yielded an error, or panicked. Final: the bytes that arrived before stay readable.
    Source,
    /// The source stream ended before the declared size. Final: the bytes that arrived before stay readable.
    ///
    /// As an [`io::Error`] it is [`InvalidData`](io::ErrorKind::InvalidData), not `UnexpectedEof`,
    /// which decoders take for the end of the stream.
    Truncated,
    /// The source stream went on after the declared size. Final: the declared part stays readable.
    Oversized,
    /// The resource changed while it was read: the source has other bytes than those that arrived
    /// before. Final: the bytes that arrived before stay readable.
    Changed,
    /// The byte was discarded to stay within [`max_disk`](crate::Builder::max_disk), and cannot be fetched
    /// again. [`Error::kept_from`] is the first offset that is kept.
    Discarded,
    /// Writing to or reading from the spill store failed. A failed write loses no byte. A later read tries
    /// again.
    Spill,
    /// [`save`](crate::BufferHandle::save) could not write its file.
    Save,
    /// The request itself makes no sense: a range whose end lies before its start, or a blocking read on a
    /// thread that runs async tasks.
    InvalidInput,
    /// The buffer was closed, or its actor is gone.
    Closed,
}

impl Drop for Inner {
    /// The cause may hold a value of foreign code, and its destructor may panic.
    fn drop(&mut self) {
        panics::drop_quietly(self.cause.take());
    }
}

impl Error {
    fn new(kind: ErrorKind, offset: u64, message: String, cause: Option<io::Error>) -> Self {
        let inner = Inner { kind, message, offset, kept_from: None, cause };
        Self { inner: Arc::new(inner) }
    }

    pub(crate) fn source_failed(offset: u64, cause: io::Error) -> Self {
        Self::new(ErrorKind::Source, offset, format!("the source failed at offset {offset}"), Some(cause))
    }

    pub(crate) fn truncated(offset: u64, declared: u64) -> Self {
        let message =
            format!("the source ended at offset {offset}, before its declared size of {declared} bytes");
        Self::new(ErrorKind::Truncated, offset, message, None)
    }

    pub(crate) fn oversized(declared: u64) -> Self {
        let message =
            format!("the source went on at offset {declared}, past its declared size of {declared} bytes");
        Self::new(ErrorKind::Oversized, declared, message, None)
    }

    pub(crate) fn changed(offset: u64, why: &str) -> Self {
        let message = format!("the resource changed before the byte at offset {offset} was received: {why}");
        Self::new(ErrorKind::Changed, offset, message, None)
    }

    pub(crate) fn discarded(offset: u64, start: u64) -> Self {
        let message =
            format!("the byte at offset {offset} was discarded: the first byte that is kept is at {start}");
        let inner =
            Inner { kind: ErrorKind::Discarded, message, offset, kept_from: Some(start), cause: None };
        Self { inner: Arc::new(inner) }
    }

    pub(crate) fn too_large(offset: u64, len: u64, capacity: u64) -> Self {
        let message = format!(
            "{len} bytes from offset {offset} cannot be loaded at once: max_memory and max_disk allow {capacity}"
        );
        Self::new(ErrorKind::InvalidInput, offset, message, None)
    }

    pub(crate) fn spill_write(offset: u64, cause: io::Error) -> Self {
        let message = format!("could not move bytes from memory to the spill store at offset {offset}");
        Self::new(ErrorKind::Spill, offset, message, Some(cause))
    }

    pub(crate) fn spill_read(offset: u64, len: u64, cause: io::Error) -> Self {
        let message = format!("could not read {len} bytes back from the spill store at offset {offset}");
        Self::new(ErrorKind::Spill, offset, message, Some(cause))
    }

    pub(crate) fn save(path: &Path, offset: u64, cause: io::Error) -> Self {
        let message = format!("could not save to {} at offset {offset}", path.display());
        Self::new(ErrorKind::Save, offset, message, Some(cause))
    }

    pub(crate) fn invalid_range(start: u64, end: u64) -> Self {
        let message = format!("the range starts at offset {start}, past its end at {end}");
        Self::new(ErrorKind::InvalidInput, start, message, None)
    }

    pub(crate) fn on_async_thread(offset: u64) -> Self {
        let message = format!(
            "a blocking call at offset {offset} was made on a thread that runs async tasks; \
             make it in spawn_blocking, or use the async methods"
        );
        Self::new(ErrorKind::InvalidInput, offset, message, None)
    }

    pub(crate) fn closed(offset: u64) -> Self {
        let message = format!("the buffer was closed before it answered a request at offset {offset}");
        Self::new(ErrorKind::Closed, offset, message, None)
    }

    /// What kind of failure this is.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.inner.kind
    }

    /// The offset in the stream, in bytes, at which it happened.
    #[must_use]
    pub fn offset(&self) -> u64 {
        self.inner.offset
    }

    /// The first offset that was kept when the byte at [`offset`](Self::offset) was found to be discarded;
    /// `None` for other errors. More may be discarded since then:
    /// [`Progress::start`](crate::Progress::start) is up to date.
    #[must_use]
    pub fn kept_from(&self) -> Option<u64> {
        self.inner.kept_from
    }

    /// The I/O error behind this one, if there is one: the source's own, or the disk's.
    ///
    /// It is the [`source`](std::error::Error::source) of this error as an [`io::Error`]: with its kind, and with
    /// the error inside it, for a downcast.
    #[must_use]
    pub fn io_error(&self) -> Option<&io::Error> {
        self.inner.cause.as_ref()
    }

    /// The `Error` inside an [`io::Error`] that was made of one, as [`BufferReader`] makes them.
    ///
    /// # Examples
    ///
    /// ```
    /// use streamspool::{Error, ErrorKind, StreamBuffer};
    /// use tokio::io::AsyncReadExt;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// let buffer = StreamBuffer::builder().size(10_u64).spawn(futures::stream::empty());
    /// let error = buffer.reader().read_u8().await.unwrap_err();
    /// assert_eq!(Error::of(&error).map(Error::kind), Some(ErrorKind::Truncated));
    /// # }
    /// ```
    ///
    /// [`BufferReader`]: crate::BufferReader
    #[must_use]
    pub fn of(error: &io::Error) -> Option<&Self> {
        error.get_ref()?.downcast_ref()
    }

    /// Whether this error shows that the declared size was wrong.
    pub(crate) fn disproves_size(&self) -> bool {
        matches!(self.inner.kind, ErrorKind::Truncated | ErrorKind::Oversized)
    }

    /// The kind of the [`io::Error`] made of this error: the kind of the cause, if there is one and its
    /// kind is not misread.
    fn io_kind(&self) -> io::ErrorKind {
        use io::ErrorKind::{
            BrokenPipe, Interrupted, InvalidData, InvalidInput, Other, UnexpectedEof, WouldBlock,
        };
        match (self.inner.cause.as_ref().map(io::Error::kind), self.inner.kind) {
            // Decoders take `UnexpectedEof` for the end of the stream.
            (Some(UnexpectedEof), _)
            | (None, ErrorKind::Truncated | ErrorKind::Oversized | ErrorKind::Changed) => InvalidData,
            // The adapters of `std` repeat an interrupted call. This error stays, so they never end.
            // Adapters between async and blocking I/O turn `WouldBlock` into `Pending` without a waker.
            (Some(Interrupted | WouldBlock), _) => Other,
            (Some(kind), _) => kind,
            (None, ErrorKind::InvalidInput) => InvalidInput,
            (None, ErrorKind::Closed) => BrokenPipe,
            (None, _) => Other,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.inner.message)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Error")
            .field("kind", &self.inner.kind)
            .field("offset", &self.inner.offset)
            .field("cause", &self.inner.cause)
            .finish()
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.inner.cause.as_ref().map(|cause| cause as _)
    }
}

impl From<Error> for io::Error {
    fn from(error: Error) -> Self {
        io::Error::new(error.io_kind(), error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_that_decoders_misread_are_mapped_and_all_others_kept() {
        // Rule 15.
        use io::ErrorKind::{
            ConnectionReset, Interrupted, InvalidData, NotFound, Other, PermissionDenied, StorageFull,
            TimedOut, UnexpectedEof, WouldBlock,
        };
        let mapped = [(UnexpectedEof, InvalidData), (Interrupted, Other), (WouldBlock, Other)];
        let kept = [ConnectionReset, InvalidData, NotFound, Other, PermissionDenied, StorageFull, TimedOut];
        let makers: [fn(io::Error) -> Error; 4] = [
            |cause| Error::source_failed(7, cause),
            |cause| Error::spill_write(7, cause),
            |cause| Error::spill_read(7, 5, cause),
            |cause| Error::save(Path::new("song"), 7, cause),
        ];
        for make in makers {
            for (kind, shown) in mapped.into_iter().chain(kept.map(|kind| (kind, kind))) {
                let error = make(kind.into());
                assert_eq!(error.io_error().map(io::Error::kind), Some(kind));
                assert_eq!(io::Error::from(error).kind(), shown);
            }
        }
    }
}
