//! The store holds the bytes that memory has no room for.

mod access;
#[cfg(feature = "checksums")]
mod checksummed;
mod guarded;
pub(crate) mod io;
pub(crate) mod lender;
mod owned;
mod seek;
mod temp_dir;
mod temp_file;
pub(crate) mod threads;

use std::io::{ErrorKind, Result};
use std::ops::Range;
use std::sync::Arc;

#[cfg(feature = "checksums")]
pub use self::checksummed::ChecksummedStore;
pub(crate) use self::guarded::Guarded;
pub use self::seek::SeekStore;
pub use self::temp_file::TempFileStore;
pub(crate) use self::temp_file::no_file_in;

/// Where a buffer keeps the bytes that memory has no room for: anything that can be written and
/// read at an offset.
///
/// The default is a [`TempFileStore`]. [`SeekStore`] makes a store of anything that is
/// [`Read`](std::io::Read) + [`Write`](std::io::Write) + [`Seek`](std::io::Seek), and `ChecksummedStore`
/// (feature `checksums`) verifies the bytes that another store returns. Give your own store to
/// [`Builder::store`](crate::Builder::store).
///
/// A buffer writes a range before it reads it, and it promises no more than that: writes may leave gaps,
/// come in any order, and come again for the same range. One write runs at a time. Several reads run
/// at a time, on several threads, also while a write runs. A store may read and write fewer bytes than
/// asked for. A panic in it counts as an error of that call, and a panic in its destructor is ignored. It
/// is dropped when the buffer is dropped and its last read has ended: on a thread that may block, if it was
/// ever written to.
///
/// A store belongs to one buffer. Every buffer writes from offset 0 on, so two buffers on one store, for
/// example on two clones of an `Arc`, read each other's bytes. The crate does not detect this: a type
/// that implements this trait may keep the same store behind a pointer of its own, which cannot be seen
/// from outside. To share one file, give each buffer a store that adds an offset of its own. A buffer may
/// use the store of another buffer after that one has ended.
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
///         let (start, end) = (offset as usize, offset as usize + bytes.len());
///         if held.len() < end {
///             held.resize(end, 0); // a gap before `offset` holds any bytes
///         }
///         held[start..end].copy_from_slice(bytes);
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
    /// Any error that prevents the write. The bytes stay in memory, and the same range is written again
    /// when a read needs the memory.
    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<usize>;

    /// Reads bytes at an offset and returns how many there were; 0 inside a range that was written is
    /// an error. May block. At most eight calls run at a time. With a limit on disk, bytes at a place may be written
    /// while they are read: then neither the bytes nor an error are used.
    ///
    /// # Errors
    ///
    /// Any error that prevents the read. It fails only the request that needs these bytes.
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<usize>;

    /// Reads bytes at an offset if that needs no waiting, as from a page cache.
    ///
    /// It is called on async tasks and so must not block. Several calls run at a time, because each caller
    /// reads its own bytes. If it does not fill `buf`, the read is done with [`read_at`](Self::read_at) on a
    /// thread that may block. With a limit on disk, bytes at a place may be written while they are read:
    /// then they are not used.
    ///
    /// # Errors
    ///
    /// [`WouldBlock`](ErrorKind::WouldBlock) if the bytes can't be read now without waiting;
    /// [`Unsupported`](ErrorKind::Unsupported) if this store never can: then it is not called again.
    /// `Unsupported` is the default.
    fn try_read_at(&self, offset: u64, buf: &mut [u8]) -> Result<usize> {
        let _ = (offset, buf);
        Err(ErrorKind::Unsupported.into())
    }

    /// Bytes of this range are not read any more before they are written again. May block.
    ///
    /// A store can free their space. The default does nothing.
    fn discard(&self, range: Range<u64>) {
        let _ = range;
    }
}

/// Implements [`SpillStore`] for a pointer to a store, so that a store can be chosen at run time, or
/// inspected while a buffer uses it.
macro_rules! store_behind {
    ($pointer:ident) => {
        impl<S: SpillStore + ?Sized> SpillStore for $pointer<S> {
            fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<usize> {
                (**self).write_at(offset, bytes)
            }

            fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<usize> {
                (**self).read_at(offset, buf)
            }

            fn try_read_at(&self, offset: u64, buf: &mut [u8]) -> Result<usize> {
                (**self).try_read_at(offset, buf)
            }

            fn discard(&self, range: Range<u64>) {
                (**self).discard(range);
            }
        }
    };
}

store_behind!(Arc);
store_behind!(Box);
