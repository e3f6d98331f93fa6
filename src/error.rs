//! What can go wrong, said once and shared by everybody it concerns.

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;

/// Why a request failed: what it was about, at which offset, and the I/O error behind it.
///
/// One failure is shared by every read that it concerns, so an `Error` is cheap to clone.
/// It converts into [`io::Error`] and keeps the [`io::ErrorKind`] of its cause.
///
/// # Examples
///
/// ```
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
/// // What came before the fault stays readable; what needs more gets the fault.
/// assert_eq!(buffer.read(0, 3).await.unwrap(), "abc");
/// let error = buffer.read(0, 4).await.unwrap_err();
/// assert_eq!(error.kind(), ErrorKind::Source);
/// assert_eq!(error.offset(), 3);
/// assert_eq!(error.to_string(), "the source failed at offset 3: peer went away");
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
    cause: Option<io::Error>,
}

/// The kinds of [`Error`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The source stream yielded an error, or panicked. Final: all that came before stays readable.
    Source,
    /// The source stream ended before the declared size. Final: what came stays readable.
    ///
    /// As an [`io::Error`] it is [`InvalidData`](io::ErrorKind::InvalidData), not `UnexpectedEof`,
    /// which decoders take for the end of the stream.
    Truncated,
    /// The source stream went on after the declared size. Final: the declared part stays readable.
    Oversized,
    /// Writing to or reading from the spill store failed. Nothing is lost, and a later read tries
    /// again.
    Spill,
    /// [`save`](crate::BufferHandle::save) could not write its file.
    Save,
    /// The request itself makes no sense, for example a range whose end lies before its start.
    InvalidInput,
    /// The buffer was closed, or its actor is gone.
    Closed,
}

impl Error {
    fn new(kind: ErrorKind, offset: u64, message: String, cause: Option<io::Error>) -> Self {
        let inner = Arc::new(Inner { kind, message, offset, cause });
        Self { inner }
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

    /// The I/O error behind this one, if there is one: the source's own, or the disk's.
    ///
    /// It is already part of the [`Display`](fmt::Display) message; ask for it to look at its kind
    /// or to downcast what it carries.
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

    /// Whether it shows that the declared size was wrong.
    pub(crate) fn disproves_size(&self) -> bool {
        matches!(self.inner.kind, ErrorKind::Truncated | ErrorKind::Oversized)
    }

    /// The kind that this error has as an [`io::Error`]: its cause's own, where there is one.
    fn io_kind(&self) -> io::ErrorKind {
        match (&self.inner.cause, self.inner.kind) {
            (Some(cause), _) => cause.kind(),
            // `UnexpectedEof` would be truer of the first, but decoders take it for the end.
            (None, ErrorKind::Truncated | ErrorKind::Oversized) => io::ErrorKind::InvalidData,
            (None, ErrorKind::InvalidInput) => io::ErrorKind::InvalidInput,
            (None, ErrorKind::Closed) => io::ErrorKind::BrokenPipe,
            (None, _) => io::ErrorKind::Other,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.inner.message)?;
        match &self.inner.cause {
            Some(cause) => write!(f, ": {cause}"),
            None => Ok(()),
        }
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
    // The cause itself stands in the message already, so the chain goes on behind it.
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.inner.cause.as_ref().and_then(std::error::Error::source)
    }
}

impl From<Error> for io::Error {
    fn from(error: Error) -> Self {
        io::Error::new(error.io_kind(), error)
    }
}
