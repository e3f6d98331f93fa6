//! Reads for threads that may block: synchronous decoders, parsers and archives.

use std::fmt;
use std::future::poll_fn;
use std::io::{self, BufRead, Read, Seek, SeekFrom};
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use tokio::io::{AsyncBufRead, AsyncRead, AsyncSeek, ReadBuf};

use super::blocking_thread::wait;
use super::{BufferHandle, BufferReader};
use crate::error::Error;

impl BufferHandle {
    /// Reads exactly the `len` bytes from `offset`, as [`read`](Self::read) does, and blocks the thread until
    /// they have arrived.
    ///
    /// Call it on a thread that may block: a thread of [`spawn_blocking`](tokio::task::spawn_blocking), the
    /// closure of `block_in_place`, or a thread of your own, with or without a runtime. The wait ends with the
    /// bytes, with an error, or when the buffer is closed. To end it early, [`close`](Self::close) the buffer
    /// from another thread.
    ///
    /// The buffer must be served meanwhile. A buffer that was spawned on a current-thread runtime is served only
    /// while a thread is in `block_on` of that runtime. So do not read in the destructor of a task: when a
    /// runtime ends, it drops its tasks and serves no buffer any more.
    ///
    /// # Errors
    ///
    /// As [`read`](Self::read). [`InvalidInput`](crate::ErrorKind::InvalidInput) on a thread that runs async
    /// tasks of tokio, even if the bytes are loaded: in a task, a `LocalSet`, or a future in `block_on`. A read
    /// that blocks such a thread stops all tasks of the thread. One of them may be the task that has to bring
    /// the bytes, and then the read would never end. The tasks of other executors are not recognized: do not
    /// block their threads. Inside [`unconstrained`](tokio::task::unconstrained), a future in the `block_on` of a
    /// thread that is no worker is not recognized either.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let stream = futures::stream::iter([Ok(streamspool::Bytes::from_static(b"0123456789"))]);
    /// let buffer = streamspool::StreamBuffer::spawn(stream);
    /// let error = buffer.blocking_read(2, 3).unwrap_err();
    /// assert_eq!(error.kind(), streamspool::ErrorKind::InvalidInput, "this is an async function");
    ///
    /// let bytes = tokio::task::spawn_blocking(move || buffer.blocking_read(2, 3)).await?;
    /// assert_eq!(bytes?, "234");
    /// # Ok(())
    /// # }
    /// ```
    pub fn blocking_read(&self, offset: u64, len: usize) -> Result<Bytes, Error> {
        wait(self.read(offset, len)).unwrap_or_else(|| Err(Error::on_async_thread(offset)))
    }

    /// A reader for a thread that may block. It starts at the first byte.
    ///
    /// It can be made anywhere, also in an async function, and moved to the thread that reads.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::io::BufRead;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let stream = futures::stream::iter([Ok(streamspool::Bytes::from_static(b"one\ntwo\n"))]);
    /// let buffer = streamspool::StreamBuffer::spawn(stream);
    /// let reader = buffer.blocking_reader();
    /// let lines = tokio::task::spawn_blocking(move || reader.lines().collect::<Result<Vec<_>, _>>());
    /// assert_eq!(lines.await??, ["one", "two"]);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn blocking_reader(&self) -> BlockingReader {
        BlockingReader {
            reader: self.reader(),
            #[cfg(feature = "symphonia")]
            was_complete: self.progress().state == crate::progress::State::Complete,
        }
    }
}

/// Reads a buffered stream like a file, on a thread that may block: [`Read`], [`BufRead`] and [`Seek`]; made
/// by [`BufferHandle::blocking_reader`].
///
/// It suits synchronous decoders, parsers and archives. Each reader has its own position and holds slices of
/// the buffer's memory as its read buffer, as a [`BufferReader`] does. A read waits for one byte, not for a
/// full buffer. A seek never waits, except a seek from the end if the size is not known: see
/// [`BufferHandle::size`].
///
/// A read at or past the end returns 0 bytes. A position past the end is legal; a negative one is
/// [`InvalidInput`](io::ErrorKind::InvalidInput).
///
/// With the feature `symphonia`, it is a `MediaSource` of Symphonia.
///
/// # Threads
///
/// Use it on the threads that [`blocking_read`](BufferHandle::blocking_read) names. On a thread that runs
/// async tasks of tokio every method of the three traits, except [`consume`](BufRead::consume), returns
/// [`InvalidInput`](io::ErrorKind::InvalidInput) and changes nothing. It never panics. A wait ends when the
/// buffer is [closed](BufferHandle::close).
///
/// Each call takes up to one microsecond to find out what kind of thread it is on. A parser of single bytes is
/// faster with [`fill_buf`](BufRead::fill_buf) and [`consume`](BufRead::consume), or with a small `BufReader`.
///
/// # Errors
///
/// A failure of the source is never an end of file: the reader delivers the bytes before it, and then
/// returns the error for each read. [`Error::of`] finds the [`Error`] in it.
///
/// # Examples
///
/// ```
/// use std::io::{Read, Seek, SeekFrom};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let stream = futures::stream::iter([Ok(streamspool::Bytes::from_static(b"0123456789"))]);
/// let buffer = streamspool::StreamBuffer::spawn(stream);
/// let mut reader = buffer.blocking_reader();
/// let last = tokio::task::spawn_blocking(move || {
///     let mut last = String::new();
///     reader.seek(SeekFrom::End(-3))?;
///     reader.read_to_string(&mut last)?;
///     std::io::Result::Ok(last)
/// });
/// assert_eq!(last.await??, "789");
/// # Ok(())
/// # }
/// ```
pub struct BlockingReader {
    reader: BufferReader,
    /// Whether all bytes were loaded when the reader was made.
    #[cfg(feature = "symphonia")]
    pub(super) was_complete: bool,
}

impl BlockingReader {
    /// The offset of the next byte that it reads.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.reader.position()
    }

    /// Moves to `position` at once, on any thread, like [`std::io::Cursor::set_position`]. A position past
    /// the end is legal.
    pub fn set_position(&mut self, position: u64) {
        self.reader.set_position(position);
    }

    /// The handle that the reader uses.
    #[must_use]
    pub fn handle(&self) -> &BufferHandle {
        self.reader.handle()
    }

    /// Waits for the result of a poll method of the reader.
    fn wait<T>(
        &mut self,
        mut poll: impl FnMut(Pin<&mut BufferReader>, &mut Context<'_>) -> Poll<io::Result<T>>,
    ) -> io::Result<T> {
        let position = self.position();
        let result = wait(poll_fn(|cx| poll(Pin::new(&mut self.reader), cx)));
        result.unwrap_or_else(|| Err(Error::on_async_thread(position).into()))
    }
}

impl Read for BlockingReader {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let mut buf = ReadBuf::new(buf);
        self.wait(|reader, cx| reader.poll_read(cx, &mut buf))?;
        Ok(buf.filled().len())
    }
}

impl BufRead for BlockingReader {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.wait(|reader, cx| reader.poll_fill_buf(cx).map_ok(drop))?;
        Ok(self.reader.at_hand())
    }

    fn consume(&mut self, amount: usize) {
        Pin::new(&mut self.reader).consume(amount);
    }
}

impl Seek for BlockingReader {
    fn seek(&mut self, target: SeekFrom) -> io::Result<u64> {
        let mut target = Some(target);
        self.wait(|mut reader, cx| {
            if let Some(target) = target.take() {
                reader.as_mut().start_seek(target)?;
            }
            reader.poll_complete(cx)
        })
    }
}

impl fmt::Debug for BlockingReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BlockingReader").field("position", &self.position()).finish_non_exhaustive()
    }
}
