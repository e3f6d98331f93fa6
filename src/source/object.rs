//! An object of an object store.

use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::sync::Arc;

use futures::{StreamExt, stream};
use object_store::path::Path;
use object_store::{Error, GetOptions, GetRange, ObjectMeta, ObjectStore};

use super::{OpenAt, Opened, Source, SourceError, Version};

/// An object of a store of the crate `object_store`, as a [`Source`]: S3, Google Cloud Storage, Azure, files,
/// and others. Needs the feature `object_store`.
///
/// Each opening requests one range. The first answer tells the size and the version. Each further opening
/// asks for the same version: by its version ID if the store gives one, else with `If-Match` and the `ETag`.
/// So the bytes of two versions are never mixed:
///
/// - If the object was replaced, reads of missing bytes fail with
///   [`Changed`](crate::ErrorKind::Changed), and loaded bytes stay readable.
/// - In a bucket with versioning, the version that was opened first is read to its end.
///
/// A store refuses a range that starts at or past the end of the object, with an error that it also uses for other
/// failures. So after such an error of a request that does not start at 0, one more request asks for the size,
/// without bytes. If the object ends before the range, the read is empty.
///
/// # Failures
///
/// No such object, no permission, an invalid path and an unsupported operation are permanent failures. All
/// others are transient: the buffer opens the object again, as [`Builder::retry`](crate::Builder::retry)
/// says.
///
/// Build the store without retries of its own: `RetryConfig { max_retries: 0, ..Default::default() }`.
/// Otherwise both retry, and the delays multiply. Also, the store counts the time of its retries from the
/// start of a request, so that it gives up a download that takes longer than `retry_timeout` (3 minutes).
/// The store's timeout for a whole request (30 s by default) breaks longer downloads, and each break costs a
/// new request. Turn it off with `ClientOptions::with_timeout_disabled`. Silence is handled by
/// [`Retry::stall_timeout`](crate::Retry::stall_timeout).
///
/// # Examples
///
/// ```
/// use std::sync::Arc;
/// use object_store::memory::InMemory;
/// use object_store::{ObjectStore, ObjectStoreExt};
/// use streamspool::{ObjectSource, StreamBuffer};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let store = Arc::new(InMemory::new());
/// store.put(&"films/one.mp4".into(), "0123456789".into()).await?;
///
/// let buffer = StreamBuffer::spawn_source(ObjectSource::new(store, "films/one.mp4"));
/// assert_eq!(buffer.size().await?, 10);
/// assert_eq!(buffer.read(7, 3).await?, "789");
/// # Ok(())
/// # }
/// ```
pub struct ObjectSource {
    store: Arc<dyn ObjectStore>,
    path: Path,
}

impl ObjectSource {
    /// The object at this path of the store. Nothing is requested yet.
    pub fn new(store: Arc<dyn ObjectStore>, path: impl Into<Path>) -> Self {
        Self { store, path: path.into() }
    }

    /// The answer for a request of a version that the object does not have any more: the present version and
    /// size, without bytes. The buffer decides whether the resource has changed.
    async fn replaced(&self, at: &OpenAt, cause: Error) -> io::Result<Opened> {
        let meta = self.look(GetOptions::new()).await.map_err(to_io)?;
        if version(&meta) == at.version {
            // It was replaced and restored between the two requests.
            return Err(SourceError::transient(cause).into());
        }
        Ok(without_bytes(at, &meta))
    }

    /// The answer for a failed request: the version and size, without bytes, if the object ends at or before the
    /// offset. Stores have no separate error for such a range.
    async fn past_the_end(&self, at: &OpenAt, cause: Error) -> io::Result<Opened> {
        // The same version: another one may end elsewhere.
        match self.look(GetOptions { range: None, ..options(at) }).await {
            Ok(meta) if meta.size <= at.offset => Ok(without_bytes(at, &meta)),
            _ => Err(to_io(cause)),
        }
    }

    /// The version and the size. Requests no bytes.
    async fn look(&self, options: GetOptions) -> Result<ObjectMeta, Error> {
        Ok(self.store.get_opts(&self.path, options.with_head(true)).await?.meta)
    }
}

impl Source for ObjectSource {
    async fn open(&self, at: OpenAt) -> io::Result<Opened> {
        let result = match self.store.get_opts(&self.path, options(&at)).await {
            Ok(result) => result,
            Err(cause @ Error::Precondition { .. }) => return self.replaced(&at, cause).await,
            Err(cause @ Error::Generic { .. }) if at.offset > 0 => {
                return self.past_the_end(&at, cause).await;
            }
            Err(error) => return Err(to_io(error)),
        };
        let (start, size, version) = (result.range.start, result.meta.size, version(&result.meta));
        let stream = result.into_stream().map(|chunk| chunk.map_err(to_io));
        Ok(Opened::new(stream).starting_at(start).size(size).version(version))
    }
}

/// An opened object that sends no bytes.
fn without_bytes(at: &OpenAt, meta: &ObjectMeta) -> Opened {
    Opened::new(stream::empty()).starting_at(at.offset).size(meta.size).version(version(meta))
}

/// The request for the range and the version.
fn options(at: &OpenAt) -> GetOptions {
    let mut options = GetOptions::new();
    options.range = match at.end {
        Some(end) => Some(GetRange::Bounded(at.offset..end)),
        // A range that starts at 0 is an error for an empty object.
        None => (at.offset > 0).then_some(GetRange::Offset(at.offset)),
    };
    let validator = at.version.as_ref().and_then(|version| std::str::from_utf8(version.as_bytes()).ok());
    if let Some(id) = validator.and_then(|validator| validator.strip_prefix(VERSION_ID)) {
        options.version = Some(id.into());
    } else if let Some(e_tag) = validator.and_then(|validator| validator.strip_prefix(E_TAG)) {
        options.if_match = Some(e_tag.into());
    }
    options
}

/// What a [`Version`] starts with: it tells how to ask for it.
const VERSION_ID: &str = "version ";
const E_TAG: &str = "etag ";

/// The version of the object: its version ID, else its `ETag`.
fn version(meta: &ObjectMeta) -> Option<Version> {
    // S3 gives this ID to each object that is written while versioning is suspended.
    if let Some(id) = meta.version.as_ref().filter(|id| *id != "null") {
        return Some(Version::strong(format!("{VERSION_ID}{id}")));
    }
    // A weak validator proves no bytes.
    let e_tag = meta.e_tag.as_ref().filter(|e_tag| !e_tag.starts_with("W/"))?;
    Some(Version::strong(format!("{E_TAG}{e_tag}")))
}

fn to_io(error: Error) -> io::Error {
    let kind = match &error {
        Error::NotFound { .. } => io::ErrorKind::NotFound,
        Error::PermissionDenied { .. } | Error::Unauthenticated { .. } => io::ErrorKind::PermissionDenied,
        Error::InvalidPath { .. } | Error::UnknownConfigurationKey { .. } => io::ErrorKind::InvalidInput,
        Error::NotSupported { .. } | Error::NotImplemented { .. } => io::ErrorKind::Unsupported,
        // The store of files reports a missing permission as a generic error.
        _ => match io_kind(&error) {
            Some(kind @ io::ErrorKind::PermissionDenied) => kind,
            kind => {
                return io::Error::new(kind.unwrap_or(io::ErrorKind::Other), SourceError::transient(error));
            }
        },
    };
    io::Error::new(kind, SourceError::permanent(error))
}

/// The kind of the `io::Error` among the causes, if there is one.
fn io_kind(error: &Error) -> Option<io::ErrorKind> {
    let mut causes = std::iter::successors(error.source(), |cause| (*cause).source());
    causes.find_map(|cause| cause.downcast_ref::<io::Error>()).map(io::Error::kind)
}

impl fmt::Debug for ObjectSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ObjectSource").finish_non_exhaustive()
    }
}
