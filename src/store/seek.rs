//! A store on top of anything that can be read, written and seeked.

use std::fmt;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::sync::{Mutex, PoisonError};

use super::SpillStore;

/// Makes a [`SpillStore`] of anything that is [`Read`] + [`Write`] + [`Seek`], one access at a time.
///
/// # Examples
///
/// ```
/// use streamspool::{SeekStore, StreamBuffer};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), streamspool::Error> {
/// # let stream = futures::stream::iter([Ok(streamspool::Bytes::from_static(b"0123456789"))]);
/// let store = SeekStore::new(tempfile::SpooledTempFile::new(1 << 20));
/// let buffer = StreamBuffer::builder().store(store).spawn(stream);
/// # buffer.load().await?;
/// # buffer.spill().await?;
/// # assert_eq!(buffer.read(2, 3).await?, "234");
/// # Ok(())
/// # }
/// ```
pub struct SeekStore<T> {
    inner: Mutex<T>,
}

impl<T> SeekStore<T> {
    /// A store that keeps its bytes in `inner`, from its start on.
    pub fn new(inner: T) -> Self {
        Self { inner: Mutex::new(inner) }
    }

    /// One access at `offset`. A panic in an earlier access has poisoned the mutex, but does no harm here: the
    /// position is set before each access.
    fn at<R>(&self, offset: u64, access: impl FnOnce(&mut T) -> io::Result<R>) -> io::Result<R>
    where
        T: Seek,
    {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.seek(SeekFrom::Start(offset))?;
        access(&mut inner)
    }
}

impl<T: Read + Write + Seek + Send + 'static> SpillStore for SeekStore<T> {
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<usize> {
        self.at(offset, |inner| {
            let written = inner.write(bytes)?;
            inner.flush()?;
            Ok(written)
        })
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        self.at(offset, |inner| inner.read(buf))
    }
}

impl<T> fmt::Debug for SeekStore<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SeekStore").finish_non_exhaustive()
    }
}
