//! Sources that can be opened again, and what an opening yields.

#[cfg(feature = "process")]
pub(crate) mod child;
pub(crate) mod error;
#[cfg(feature = "http-client")]
pub(crate) mod http;
#[cfg(feature = "object_store")]
pub(crate) mod object;
pub(crate) mod reader;
pub(crate) mod retry;
pub(crate) mod version;

use std::fmt;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use tokio_stream::Stream;

pub use self::error::SourceError;
#[cfg(feature = "http-client")]
pub use self::http::{FirstAnswer, HttpAnswer, HttpSource};
#[cfg(feature = "object_store")]
pub use self::object::ObjectSource;
pub use self::retry::Retry;
pub use self::version::Version;

/// A resource that can be opened at any offset, any number of times.
///
/// A buffer opens it when a byte is needed, and opens it again after a failure. Give it to
/// [`StreamBuffer::spawn_source`](crate::StreamBuffer::spawn_source). A closure becomes a source with
/// [`source_fn`].
///
/// Bytes of different versions are never mixed. If each opening yields the resource's
/// [`version`](Opened::version), a buffer compares versions, and continues a broken stream without fetching
/// a byte again. Then it also jumps: a read far ahead opens a stream of its own at its first missing byte. So
/// [`open`](Self::open) is called while other streams are open or being opened, up to
/// [`Builder::streams`](crate::Builder::streams) in all. Without versions there is one stream, and bytes are
/// loaded from front to back. After a failure the source is opened up to 64 KiB before the first missing byte,
/// and these bytes are compared with the bytes that the buffer has.
///
/// # Examples
///
/// A file as a source. Its length and its time of modification are its version.
///
/// ```
/// use std::io::{self, SeekFrom};
/// use std::path::PathBuf;
///
/// use streamspool::{OpenAt, Opened, Source, StreamBuffer, Version};
/// use tokio::io::AsyncSeekExt;
/// use tokio_util::io::ReaderStream;
///
/// struct File(PathBuf);
///
/// impl Source for File {
///     async fn open(&self, at: OpenAt) -> io::Result<Opened> {
///         let mut file = tokio::fs::File::open(&self.0).await?;
///         let meta = file.metadata().await?;
///         file.seek(SeekFrom::Start(at.offset)).await?;
///         let version = format!("{} {:?}", meta.len(), meta.modified()?);
///         Ok(Opened::new(ReaderStream::new(file)).size(meta.len()).version(Version::strong(version)))
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> io::Result<()> {
/// # let dir = tempfile::tempdir()?;
/// # let path = dir.path().join("song.mp3");
/// # std::fs::write(&path, b"0123456789")?;
/// let buffer = StreamBuffer::spawn_source(File(path));
/// assert_eq!(buffer.read(6, 3).await?, "678");
/// # Ok(())
/// # }
/// ```
pub trait Source: Send + Sync + 'static {
    /// Opens the resource at an offset. `async fn open` implements it.
    ///
    /// The stream may start before the offset; then [`Opened::starting_at`] must say so. It may end at
    /// [`OpenAt::end`]. The future is dropped if the buffer is closed, if the opening takes longer than
    /// [`Retry::stall_timeout`], or if another stream is needed instead.
    ///
    /// # Errors
    ///
    /// Any error. All kinds of [`io::Error`] are transient, and the opening is tried again, except
    /// `NotFound`, `PermissionDenied`, `InvalidInput`, `InvalidData` and `Unsupported`. A
    /// [`SourceError`] inside the `io::Error` overrides this.
    fn open(&self, at: OpenAt) -> impl Future<Output = io::Result<Opened>> + Send;
}

impl<S: Source> Source for Arc<S> {
    fn open(&self, at: OpenAt) -> impl Future<Output = io::Result<Opened>> + Send {
        (**self).open(at)
    }
}

/// Makes a [`Source`] of an async closure that opens the resource.
///
/// # Examples
///
/// ```
/// use streamspool::{Bytes, Opened, StreamBuffer, Version, source_fn};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), streamspool::Error> {
/// let source = source_fn(|at| async move {
///     let all = Bytes::from_static(b"0123456789");
///     let rest = all.slice(at.offset as usize..);
///     let stream = futures::stream::iter([Ok(rest)]);
///     Ok(Opened::new(stream).size(10).version(Version::strong("v1")))
/// });
/// let buffer = StreamBuffer::spawn_source(source);
/// assert_eq!(buffer.read(4, 3).await?, "456");
/// # Ok(())
/// # }
/// ```
pub fn source_fn<F, Fut>(open: F) -> impl Source
where
    F: Fn(OpenAt) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = io::Result<Opened>> + Send + 'static,
{
    SourceFn(open)
}

struct SourceFn<F>(F);

impl<F, Fut> Source for SourceFn<F>
where
    F: Fn(OpenAt) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = io::Result<Opened>> + Send + 'static,
{
    fn open(&self, at: OpenAt) -> impl Future<Output = io::Result<Opened>> + Send {
        (self.0)(at)
    }
}

/// Where a [`Source`] is to be opened.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct OpenAt {
    /// The offset of the first byte that is needed.
    pub offset: u64,
    /// The offset after the last byte that is needed, if it is known: the buffer has the bytes from there on. The
    /// stream may end there, and that is no failure. If it goes on, the buffer drops it there.
    pub end: Option<u64>,
    /// The version of the bytes that the buffer has, if there is one: for a conditional request.
    pub version: Option<Version>,
}

impl OpenAt {
    /// At this offset, without an end and without a version.
    #[must_use]
    pub fn new(offset: u64) -> Self {
        Self { offset, end: None, version: None }
    }
}

/// The stream of a source.
pub(crate) type ByteStream = Pin<Box<dyn Stream<Item = io::Result<Bytes>> + Send>>;

/// An opened [`Source`]: a stream, and what is known of the resource.
pub struct Opened {
    pub(crate) stream: ByteStream,
    /// The offset of the first byte; the requested one if `None`.
    pub(crate) start: Option<u64>,
    pub(crate) size: Option<u64>,
    pub(crate) version: Option<Version>,
    pub(crate) reopen: Reopen,
}

impl Opened {
    /// A stream that starts at the requested offset, of a resource without a known size or version that
    /// can be opened anywhere.
    pub fn new(stream: impl Stream<Item = io::Result<Bytes>> + Send + 'static) -> Self {
        Self { stream: Box::pin(stream), start: None, size: None, version: None, reopen: Reopen::Anywhere }
    }

    /// The offset of the stream's first byte, if it is not the requested one.
    ///
    /// Of a stream that starts earlier, the bytes that are loaded already are skipped. A stream that starts
    /// later means that the resource has changed.
    #[must_use]
    pub fn starting_at(mut self, offset: u64) -> Self {
        self.start = Some(offset);
        self
    }

    /// The offset of the stream's first byte, if it is not the requested one: for sources that wrap another
    /// one.
    #[must_use]
    pub fn start(&self) -> Option<u64> {
        self.start
    }

    /// The size of the whole resource in bytes, if it is known: a `u64` or an `Option<u64>`.
    #[must_use]
    pub fn size(mut self, bytes: impl Into<Option<u64>>) -> Self {
        self.size = bytes.into();
        self
    }

    /// The version of the resource, if it is known: a [`Version`] or an `Option<Version>`. Only a source with
    /// versions has several streams.
    #[must_use]
    pub fn version(mut self, version: impl Into<Option<Version>>) -> Self {
        self.version = version.into();
        self
    }

    /// Wraps the stream, for example to limit its rate or to count its bytes. The wrapped stream must yield
    /// the same bytes and errors.
    ///
    /// # Examples
    ///
    /// A source that reports each chunk of another one.
    ///
    /// ```
    /// use std::io;
    ///
    /// use futures::StreamExt;
    /// use streamspool::{OpenAt, Opened, Source};
    ///
    /// struct Reported<S>(S);
    ///
    /// impl<S: Source> Source for Reported<S> {
    ///     async fn open(&self, at: OpenAt) -> io::Result<Opened> {
    ///         let opened = self.0.open(at).await?;
    ///         Ok(opened.map_stream(|stream| stream.inspect(|chunk| println!("{chunk:?}"))))
    ///     }
    /// }
    /// ```
    #[must_use]
    pub fn map_stream<S>(
        mut self,
        wrap: impl FnOnce(Pin<Box<dyn Stream<Item = io::Result<Bytes>> + Send>>) -> S,
    ) -> Self
    where
        S: Stream<Item = io::Result<Bytes>> + Send + 'static,
    {
        self.stream = Box::pin(wrap(self.stream));
        self
    }

    /// How the resource can be opened again: for sources that wrap another one.
    #[must_use]
    pub fn reopens(&self) -> Reopen {
        self.reopen
    }

    /// How the resource can be opened again; [`Reopen::Anywhere`] by default.
    #[must_use]
    pub fn reopen(mut self, reopen: Reopen) -> Self {
        self.reopen = reopen;
        self
    }
}

impl fmt::Debug for Opened {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Opened")
            .field("start", &self.start)
            .field("size", &self.size)
            .field("version", &self.version)
            .field("reopen", &self.reopen)
            .finish_non_exhaustive()
    }
}

/// How a resource can be opened again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Reopen {
    /// Not at all: a pipe, or a body whose bytes differ between requests.
    Never,
    /// Only from its start: a server that ignores ranges. The bytes that the buffer has are skipped.
    FromStart,
    /// At any offset. With a [`Version`], far reads get streams of their own.
    #[default]
    Anywhere,
}

/// A [`Source`] of any type.
pub(crate) trait AnySource: Send + Sync {
    fn open(self: Arc<Self>, at: OpenAt) -> Opening;
}

/// An opening that runs.
pub(crate) type Opening = Pin<Box<dyn Future<Output = io::Result<Opened>> + Send>>;

impl<S: Source> AnySource for S {
    fn open(self: Arc<Self>, at: OpenAt) -> Opening {
        Box::pin(async move { Source::open(&*self, at).await })
    }
}
