//! Reads by offset. The actor sends pieces, and the caller's own task joins them.

use std::ops::RangeBounds;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::task::yield_now;
use tokio::time::Instant;

use super::{BufferHandle, to_offset_and_len};
use crate::actor::message::Request;
use crate::core::memory::Pieces;
use crate::core::read::{Read, Want};
use crate::error::Error;

/// The most bytes that a caller's task copies in one poll, and about the longest time. Other tasks of the
/// thread wait that long. Copying these bytes takes less than 10 microseconds, but up to 100 into new
/// memory. So the time is checked after each step. This affects only the speed of other tasks; no test
/// measures it.
const COPY_MOST: usize = 64 * 1024;
const COPY_TIME: Duration = Duration::from_micros(15);
const COPY_STEP: usize = 16 * 1024;

impl BufferHandle {
    /// Reads exactly the `len` bytes from `offset`, and waits for those that have not arrived yet.
    ///
    /// The result is shorter only if the stream ends there, and empty past its end. A range past
    /// [`u64::MAX`] means "to the end". A `len` of 0 is answered at once and pulls nothing. Memory is
    /// allocated for bytes that exist, never for the `len` that is asked for.
    ///
    /// The bytes are a slice of the buffer's memory if the range lies in one segment of a block there and is
    /// not short. A held slice keeps its block of up to 256 KiB alive, outside of
    /// [`max_memory`](crate::Builder::max_memory). Replies of up to 1 KiB are copies, and hold no more
    /// than themselves; so do replies that are joined from several segments or blocks.
    ///
    /// # Errors
    ///
    /// [`Source`](crate::ErrorKind::Source), [`Truncated`](crate::ErrorKind::Truncated) or
    /// [`Oversized`](crate::ErrorKind::Oversized) if the stream failed before the range was
    /// complete; [`Spill`](crate::ErrorKind::Spill) if the store failed;
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
    /// assert_eq!(buffer.read(6, 3).await?, "678");
    /// assert_eq!(buffer.read(2, 3).await?, "234");
    /// assert_eq!(buffer.read(8, 100).await?, "89");
    /// # Ok(())
    /// # }
    /// ```
    pub async fn read(&self, offset: u64, len: usize) -> Result<Bytes, Error> {
        self.read_exact(offset, len as u64).await
    }

    /// Reads exactly `buf.len()` bytes from `offset` into `buf`, as [`read`](Self::read) does, and
    /// returns their number. It is smaller only if the stream ends there.
    ///
    /// The content of `buf` is unspecified after an error, or if the future is dropped.
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
    /// let mut buf = [0; 4];
    /// assert_eq!(buffer.read_into(3, &mut buf).await?, 4);
    /// assert_eq!(&buf, b"3456");
    /// assert_eq!(buffer.read_into(8, &mut buf).await?, 2);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn read_into(&self, offset: u64, buf: &mut [u8]) -> Result<usize, Error> {
        let mut done = 0;
        while done < buf.len() {
            let (offset, left) = (offset.saturating_add(done as u64), buf.len() - done);
            let pieces = self.ask_exact(offset, left as u64).await?;
            if pieces.len() == 0 {
                break;
            }
            copy(pieces, |part| {
                let end = done + part.len();
                if let Some(to) = buf.get_mut(done..end) {
                    to.copy_from_slice(part);
                }
                done = end;
            })
            .await;
        }
        Ok(done)
    }

    /// Reads the bytes that are available at `offset`: 1 to `max` bytes, as soon as there is one.
    ///
    /// The result is empty only at or past the end of the stream, or if `max` is 0. It is one piece of
    /// memory, at most a block of 256 KiB; ask again for the bytes that follow. A held result keeps as
    /// much memory alive as one of [`read`](Self::read).
    ///
    /// # Errors
    ///
    /// As [`read`](Self::read), but only if the byte at `offset` itself is not available.
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
    /// // Three bytes have arrived so far, and more may come.
    /// let buffer = streamspool::StreamBuffer::spawn(stream);
    /// assert_eq!(buffer.read_some(1, 100).await?, "12");
    /// # Ok(())
    /// # }
    /// ```
    pub async fn read_some(&self, offset: u64, max: usize) -> Result<Bytes, Error> {
        let read = Read { offset, len: max as u64, want: Want::Piece };
        Ok(self.request(Request::Read(read), &*self.shared).await?.join())
    }

    /// Reads a range, for example `1024..2048`, `..100` or `4096..`.
    ///
    /// As [`read`](Self::read); a range without an end goes to the end of the stream.
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

    async fn read_exact(&self, offset: u64, len: u64) -> Result<Bytes, Error> {
        let mut pieces = match self.ask_exact(offset, len).await? {
            Pieces::One(piece) if piece.len() as u64 == len || piece.is_empty() => return Ok(piece),
            pieces => pieces,
        };
        // Memory for the bytes that exist, not for what `len` claims.
        let exists = self.progress().loaded.saturating_sub(offset).min(len);
        let mut joined = BytesMut::with_capacity(usize::try_from(exists).unwrap_or(0));
        while pieces.len() > 0 {
            copy(pieces, |part| joined.extend_from_slice(part)).await;
            let done = joined.len() as u64;
            if done >= len {
                break;
            }
            pieces = self.ask_exact(offset.saturating_add(done), len - done).await?;
        }
        Ok(joined.freeze())
    }
}

/// Passes the bytes of `pieces` to `sink`, and lets other tasks run after [`COPY_MOST`] bytes or
/// [`COPY_TIME`].
async fn copy(pieces: Pieces, mut sink: impl FnMut(&[u8])) {
    // Shorter reads need no clock. A test that pauses the clock decides every step.
    let (mut copied, mut start) = (0, (pieces.len() > COPY_STEP).then(Instant::now));
    for piece in pieces {
        for part in piece.chunks(COPY_STEP) {
            if copied >= COPY_MOST || start.is_some_and(|start| start.elapsed() >= COPY_TIME) {
                yield_now().await;
                (copied, start) = (0, Some(Instant::now()));
            }
            sink(part);
            copied += part.len();
        }
    }
}
