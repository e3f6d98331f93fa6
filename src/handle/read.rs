//! Reads by offset. The actor sends pieces and slices of the store, and the caller's own task copies them.

use std::ops::RangeBounds;

use bytes::Bytes;

use super::copying::{Filled, Joined, Target, copy};
use super::{BufferHandle, to_offset_and_len};
use crate::core::lent::Found;
use crate::core::memory::Pieces;
use crate::core::question::{Answer, Question};
use crate::core::read::{Read, Want};
use crate::error::Error;

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
        let len = buf.len() as u64;
        let mut into = Filled::new(buf);
        if len > 0 {
            let found = self.ask_exact(offset, len).await?;
            self.copy_all(offset, len, found, &mut into).await?;
        }
        Ok(into.len())
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
        loop {
            let read = Read { offset, len: max as u64, want: Want::Piece };
            match self.ask(Question::Read(read), Answer::found).await? {
                Found::Bytes(pieces) => return Ok(pieces.join()),
                Found::Lent(lent) => {
                    let mut joined = Joined::with_capacity(lent.len());
                    self.copy_lent(lent, &mut joined).await?;
                    if joined.len() > 0 {
                        return Ok(joined.freeze());
                    }
                }
            }
        }
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
        let found = self.ask_exact(offset, len).await?;
        let exists = match found {
            Found::Bytes(Pieces::One(piece)) if piece.len() as u64 == len || piece.is_empty() => {
                return Ok(piece);
            }
            Found::Lent(ref lent) if lent.len() == len => len,
            // Memory for the bytes that exist, not for what `len` claims. If the range goes on past the end of the
            // resource, the end is known now.
            _ => {
                let progress = self.progress();
                let to_end = progress.size.map_or(u64::MAX, |size| size.saturating_sub(offset));
                len.min(to_end).min(progress.loaded)
            }
        };
        let mut joined = Joined::with_capacity(exists);
        self.copy_all(offset, len, found, &mut joined).await?;
        Ok(joined.freeze())
    }

    /// Copies the bytes of an exact read, and asks for the rest of them until the stream ends. `found` is
    /// the first reply.
    async fn copy_all(
        &self,
        offset: u64,
        len: u64,
        mut found: Found,
        target: &mut impl Target,
    ) -> Result<(), Error> {
        loop {
            match found {
                Found::Bytes(pieces) if pieces.len() == 0 => return Ok(()),
                Found::Bytes(pieces) => copy(pieces, target).await,
                Found::Lent(lent) => self.copy_lent(lent, target).await?,
            }
            let done = target.len() as u64;
            if done >= len {
                return Ok(());
            }
            found = self.ask_exact(offset.saturating_add(done), len - done).await?;
        }
    }
}
