//! A range as a stream of zero-copy pieces.

use std::fmt;
use std::ops::RangeBounds;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use tokio_stream::Stream;

use super::pending_read::PendingRead;
use super::slices::poll_budget;
use super::{BufferHandle, to_offset_and_len};
use crate::core::lent::{Found, Lent};
use crate::core::memory::BLOCK;
use crate::core::read::{Read, Want};
use crate::error::Error;
use crate::store::lender::Tried;

/// The longest piece that is read from the store at once, about 10 microseconds of copying.
const PIECE: usize = 64 * 1024;

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
    /// The slice of the store that the last reply lent.
    lent: Option<Lent>,
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
        Chunks { handle: self.clone(), pending: PendingRead::default(), offset, left, lent: None, invalid }
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
        let this = &mut *self;
        let piece = loop {
            if let Some(part) = this.lent.as_ref().and_then(|lent| lent.from(this.offset)) {
                match ready!(this.poll_slice(cx, &part)) {
                    Ok(Some(piece)) => break Ok(piece),
                    Ok(None) => {}
                    Err(error) => break Err(error),
                }
            }
            this.lent = None;
            let read = Read { offset: this.offset, len: this.left.min(BLOCK as u64), want: Want::Piece };
            match ready!(this.pending.poll_piece(cx, &this.handle, read)) {
                Ok(Found::Bytes(pieces)) => break Ok(pieces.join()),
                Ok(Found::Lent(lent)) => this.lent = Some(lent),
                Err(error) => break Err(error),
            }
        };
        Poll::Ready(match piece {
            Ok(piece) if !piece.is_empty() => {
                this.offset += piece.len() as u64;
                this.left -= piece.len() as u64;
                Some(Ok(piece))
            }
            ended => {
                this.left = 0;
                ended.err().map(Err)
            }
        })
    }
}

impl Chunks {
    /// The first bytes of a slice of the store; `None` if it is not valid any more.
    fn poll_slice(&mut self, cx: &mut Context<'_>, part: &Lent) -> Poll<Result<Option<Bytes>, Error>> {
        if !self.pending.is_reading_slice() {
            let len = usize::try_from(part.len()).unwrap_or(PIECE).min(PIECE);
            ready!(poll_budget(cx, len));
            let mut bytes = BytesMut::zeroed(len);
            match self.handle.lender.try_read(part, &mut bytes) {
                Tried::Read => return Poll::Ready(Ok(Some(bytes.freeze()))),
                Tried::Stale => return Poll::Ready(Ok(None)),
                Tried::Waits => {}
            }
        }
        self.pending.poll_slice(cx, &self.handle, part)
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
