//! What holds the bytes that memory has no room for. Blocking and positional; no tokio here.

use std::fmt;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use bytes::{Bytes, BytesMut};

use crate::error::no_file_in;
use crate::guard::guarded;

/// Where a buffer keeps the bytes that memory has no room for: anything that can be written and
/// read at an offset.
///
/// The default is a [`TempFileStore`]; [`SeekStore`] makes one of anything that is
/// [`Read`] + [`Write`] + [`Seek`]. Give yours to [`Builder::store`](crate::Builder::store).
///
/// A buffer writes each byte once, in order, from offset 0 without gaps, one write at a time;
/// after a failed write it writes the same range again. It reads only what was written, from
/// several threads at once, also while a write is under way. A store may do short reads and writes.
/// A panic in it counts as an error of that call. It is dropped when the buffer and its last read
/// are done.
///
/// # Examples
///
/// ```
/// use std::io;
/// use std::sync::RwLock;
/// use streamspool::{SpillStore, StreamBuffer};
///
/// /// Keeps spilled bytes compressed, or encrypted, or on another machine; here simply in a `Vec`.
/// struct VecStore(RwLock<Vec<u8>>);
///
/// impl SpillStore for VecStore {
///     fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<usize> {
///         let mut held = self.0.write().unwrap();
///         held.truncate(offset as usize);
///         held.extend_from_slice(bytes);
///         Ok(bytes.len())
///     }
///
///     fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
///         let mut rest = &self.0.read().unwrap()[offset as usize..];
///         io::Read::read(&mut rest, buf)
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), streamspool::Error> {
/// # let stream = futures::stream::iter([Ok(streamspool::Bytes::from_static(b"0123456789"))]);
/// let store = VecStore(RwLock::default());
/// let buffer = StreamBuffer::builder().store(store).spawn(stream);
/// buffer.load().await?;
/// buffer.spill().await?;
/// assert_eq!(buffer.read(2, 3).await?, "234");
/// # Ok(())
/// # }
/// ```
pub trait SpillStore: Send + Sync + 'static {
    /// Writes bytes at an offset and returns how many it took; 0 is an error. May block.
    ///
    /// # Errors
    ///
    /// Whatever kept it from writing. The bytes stay in memory, and the same range is written again
    /// when somebody needs it.
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<usize>;

    /// Reads bytes at an offset and returns how many there were; 0 before the end of what was
    /// written is an error. May block.
    ///
    /// # Errors
    ///
    /// Whatever kept it from reading. It fails the one read that wanted these bytes.
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize>;

    /// Reads bytes at an offset if that takes no waiting, as from a page cache.
    ///
    /// It is called on an async task and so must not block. Whenever it does not fill `buf`, the
    /// read is done with [`read_at`](Self::read_at) on a blocking thread.
    ///
    /// # Errors
    ///
    /// [`WouldBlock`](io::ErrorKind::WouldBlock) if it can't now, and
    /// [`Unsupported`](io::ErrorKind::Unsupported) if it never can: then it is asked no more. So says
    /// every store that does not know better.
    fn try_read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        let _ = (offset, buf);
        Err(io::ErrorKind::Unsupported.into())
    }
}

/// Makes a store of a pointer to one, so that it can be chosen at run time, or be looked at from
/// outside.
macro_rules! store_behind {
    ($pointer:ident) => {
        impl<S: SpillStore + ?Sized> SpillStore for $pointer<S> {
            fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<usize> {
                (**self).write_at(offset, bytes)
            }

            fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
                (**self).read_at(offset, buf)
            }

            fn try_read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
                (**self).try_read_at(offset, buf)
            }
        }
    };
}

store_behind!(Arc);
store_behind!(Box);

/// The default store: an unnamed temporary file, made by the first write.
///
/// Unnamed means that there is nothing to clean up, not even after a crash; on Unix, nobody but the
/// user can open it. On Linux, what the page cache holds is read without leaving the async task, and
/// so is a file on a tmpfs. A filesystem that does not tell what is cached, such as the overlay of a
/// container, costs each read a blocking thread: give the buffer a directory on another one.
#[derive(Debug, Default)]
pub struct TempFileStore {
    dir: Option<PathBuf>,
    file: OnceLock<TempFile>,
}

#[derive(Debug)]
struct TempFile {
    file: File,
    /// Whether reading it waits for a disk only as reading memory may, when that was swapped out.
    #[cfg(target_os = "linux")]
    in_memory: bool,
}

impl TempFileStore {
    /// A store in the system's temporary directory.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A store in a directory of your choice, which must exist when bytes are first spilled.
    #[must_use]
    pub fn in_dir(dir: impl Into<PathBuf>) -> Self {
        Self { dir: Some(dir.into()), file: OnceLock::new() }
    }

    fn create(&self) -> io::Result<TempFile> {
        let dir = self.dir.clone().unwrap_or_else(tempfile::env::temp_dir);
        let file = tempfile::tempfile_in(&dir).and_then(private).map_err(|error| no_file_in(&dir, &error))?;
        Ok(TempFile {
            #[cfg(target_os = "linux")]
            in_memory: is_in_memory(&file),
            file,
        })
    }

    fn written(&self) -> io::Result<&TempFile> {
        self.file.get().ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

impl SpillStore for TempFileStore {
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<usize> {
        let file = if let Some(file) = self.file.get() {
            file
        } else {
            let file = self.create()?;
            self.file.get_or_init(|| file)
        };
        positional::write_at(&file.file, offset, bytes)
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        positional::read_at(&self.written()?.file, offset, buf)
    }

    #[cfg(target_os = "linux")]
    fn try_read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        use rustix::io::{ReadWriteFlags, preadv2};
        let TempFile { file, in_memory } = self.written()?;
        if *in_memory {
            return positional::read_at(file, offset, buf);
        }
        Ok(preadv2(file, &mut [io::IoSliceMut::new(buf)], offset, ReadWriteFlags::NOWAIT)?)
    }
}

/// Whether a file is on a tmpfs. Those do not know `NOWAIT`, and need it as little as memory does, which
/// may be swapped out too.
#[cfg(target_os = "linux")]
fn is_in_memory(file: &File) -> bool {
    const TMPFS: u32 = 0x0102_1994;
    rustix::fs::fstatfs(file).is_ok_and(|found| u32::try_from(found.f_type) == Ok(TMPFS))
}

#[cfg(unix)]
mod positional {
    use std::fs::File;
    use std::io;
    use std::os::unix::fs::FileExt;

    pub(super) fn read_at(file: &File, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        file.read_at(buf, offset)
    }

    pub(super) fn write_at(file: &File, offset: u64, bytes: &[u8]) -> io::Result<usize> {
        file.write_at(bytes, offset)
    }
}

#[cfg(windows)]
mod positional {
    use std::fs::File;
    use std::io;
    use std::os::windows::fs::FileExt;

    // They move the file's own position too, which nobody here uses.
    pub(super) fn read_at(file: &File, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        file.seek_read(buf, offset)
    }

    pub(super) fn write_at(file: &File, offset: u64, bytes: &[u8]) -> io::Result<usize> {
        file.seek_write(bytes, offset)
    }
}

/// Takes away the permissions that the umask left to others. Without a name they can hardly use
/// them; but some ways to open a file go without its name.
fn private(file: File) -> io::Result<File> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        file.set_permissions(std::fs::Permissions::from_mode(0o600))?;
    }
    Ok(file)
}

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

    /// One access at `offset`. A position is set before each, so a panic in an earlier one, which
    /// poisons the mutex, leaves nothing behind that matters here.
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

/// Writes all of `blocks`, one behind the other from `offset`.
pub(crate) fn write_blocks(store: &dyn SpillStore, mut offset: u64, blocks: &[Bytes]) -> io::Result<()> {
    for block in blocks {
        let mut rest = &block[..];
        while !rest.is_empty() {
            match guarded("spill store", || store.write_at(offset, rest)) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(taken) => {
                    rest = rest.get(taken..).ok_or_else(|| overclaimed(taken, rest.len()))?;
                    offset += taken as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok(())
}

/// Reads exactly `len` bytes at `offset`.
pub(crate) fn read_range(store: &dyn SpillStore, offset: u64, len: usize) -> io::Result<Bytes> {
    let mut bytes = BytesMut::zeroed(len);
    let mut done = 0;
    while let Some(rest) = bytes.get_mut(done..).filter(|rest| !rest.is_empty()) {
        match guarded("spill store", || store.read_at(offset + done as u64, rest)) {
            Ok(0) => {
                // Not `UnexpectedEof`: decoders take that for the end of the stream.
                let message = format!("the store ends at offset {}", offset + done as u64);
                return Err(io::Error::new(io::ErrorKind::InvalidData, message));
            }
            Ok(read) if read > rest.len() => return Err(overclaimed(read, rest.len())),
            Ok(read) => done += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(bytes.freeze())
}

/// A store that says it did more than was asked has done who knows what.
fn overclaimed(claimed: usize, asked: usize) -> io::Error {
    let message = format!("the store claims {claimed} bytes where {asked} were asked for");
    io::Error::new(io::ErrorKind::InvalidData, message)
}

/// Fills `bytes` from `offset` if that takes no waiting.
pub(crate) fn try_read_range(store: &dyn SpillStore, offset: u64, mut bytes: BytesMut) -> io::Result<Bytes> {
    let read = guarded("spill store", || store.try_read_at(offset, &mut bytes))?;
    if read == bytes.len() { Ok(bytes.freeze()) } else { Err(io::ErrorKind::WouldBlock.into()) }
}
