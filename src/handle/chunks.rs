//! A range as a stream of zero-copy pieces.

use std::fmt;
use std::ops::RangeBounds;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use tokio_stream::Stream;

use super::pending_read::PendingRead;
use super::{BufferHandle, to_offset_and_len};
use crate::core::memory::BLOCK;
use crate::core::read::{Read, Want};
use crate::error::Error;

/// A range of a buffered stream as a [`Stream`] of pieces; made by [`BufferHandle::chunks`].
///
/// It yields each piece as soon as it has arrived, which suits the body of an HTTP response. Pieces of
/// resident bytes are slices of the buffer's memory. It asks for one piece at a time, so a slow consumer
/// pulls no faster than it consumes. Dropping it withdraws its request.
///
/// It ends after the last byte of the range, at the end of the stream, or after an error.
pub struct Chunks {
    handle: BufferHandle,
    pending: PendingRead,
    offset: u64,
    /// The number of bytes that are still to be yielded; 0 at the end.
    left: u64,
    /// The error of an invalid range. The first poll yields it.
    invalid: Option<Error>,
}

impl BufferHandle {
    /// The pieces of a range, for example `..` or `1024..2048`, as a stream.
    ///
    /// A range that ends before it starts yields one error of kind
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput).
    ///
    /// # Examples
    ///
    /// ```
    /// use futures::TryStreamExt;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), streamspool::Error> {
    /// # let stream = futures::stream::iter([Ok(streamspool::Bytes::from_static(b"0123456789"))]);
    /// let buffer = streamspool::StreamBuffer::spawn(stream);
    /// let pieces: Vec<_> = buffer.chunks(4..).try_collect().await?;
    /// assert_eq!(pieces.concat(), b"456789");
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn chunks(&self, range: impl RangeBounds<u64>) -> Chunks {
        let (offset, left, invalid) = match to_offset_and_len(&range) {
            Ok((offset, len)) => (offset, len, None),
            Err(error) => (error.offset(), 0, Some(error)),
        };
        Chunks { handle: self.clone(), pending: PendingRead::default(), offset, left, invalid }
    }
}

impl Chunks {
    /// The offset of the next byte that is yielded: the position of the consumer.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.offset
    }
}

impl Stream for Chunks {
    type Item = Result<Bytes, Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if let Some(error) = self.invalid.take() {
            return Poll::Ready(Some(Err(error)));
        }
        if self.left == 0 {
            return Poll::Ready(None);
        }
        let read = Read { offset: self.offset, len: self.left.min(BLOCK as u64), want: Want::Piece };
        let this = &mut *self;
        match ready!(this.pending.poll_piece(cx, &this.handle, read)) {
            Ok(pieces) => {
                let piece = pieces.join();
                if piece.is_empty() {
                    self.left = 0;
                    return Poll::Ready(None);
                }
                self.offset += piece.len() as u64;
                self.left -= piece.len() as u64;
                Poll::Ready(Some(Ok(piece)))
            }
            Err(error) => {
                self.left = 0;
                Poll::Ready(Some(Err(error)))
            }
        }
    }
}

impl fmt::Debug for Chunks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Chunks")
            .field("offset", &self.offset)
            .field("left", &self.left)
            .finish_non_exhaustive()
    }
}
