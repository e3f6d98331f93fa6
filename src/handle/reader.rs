//! `AsyncRead + AsyncBufRead + AsyncSeek` on a handle.

use std::collections::VecDeque;
use std::fmt;
use std::io::{self, SeekFrom};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use tokio::io::{AsyncBufRead, AsyncRead, AsyncSeek, ReadBuf};

use super::BufferHandle;
use super::pending_read::PendingRead;
use crate::core::memory::BLOCK;
use crate::core::read::{Read, Want};

/// How many bytes it asks for at a time once it has read a piece to its end. What has been read before
/// comes all at once: a message for four blocks instead of four.
const RUN: u64 = 4 * BLOCK as u64;

/// Reads a buffered stream like a file: [`AsyncRead`], [`AsyncBufRead`] and [`AsyncSeek`].
///
/// Each reader has a position of its own and never waits for more than one byte: at the live edge it
/// delivers what has arrived. It is its own read buffer, of slices of the buffer's memory, 1 MiB of
/// them at most while it reads in order and 256 KiB otherwise, so wrapping it into a `BufReader` gains
/// nothing. Seeking is free: it moves no file pointer, and
/// inside the piece at hand it asks nobody. Only a seek from the end of a stream of unknown size
/// waits, until all of it is loaded.
///
/// Reading at or past the end gives 0 bytes; a position past the end is legal; a negative one is
/// [`InvalidInput`](io::ErrorKind::InvalidInput). A failure of the source is never an end: what
/// came before it is delivered, and then the error, each time anew.
///
/// # Cancel safety
///
/// Dropping a read future loses nothing: the position moves only when bytes are handed out. What it
/// asked for, a byte at the position, the reader goes on asking for until it is used otherwise or
/// dropped: it cannot see that nobody polls it any more. A seek withdraws the read in flight. A seek from the end that was dropped before it was done is
/// forgotten by the next read or [`set_position`](Self::set_position); the next `seek` completes it
/// first, as the protocol of [`AsyncSeek`] has it.
///
/// # Examples
///
/// ```
/// use std::io::SeekFrom;
/// use tokio::io::{AsyncReadExt, AsyncSeekExt};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> std::io::Result<()> {
/// # let stream = futures::stream::iter([Ok(streamspool::Bytes::from_static(b"0123456789"))]);
/// let buffer = streamspool::StreamBuffer::spawn(stream);
/// let mut reader = buffer.reader();
///
/// let mut last = String::new();
/// reader.seek(SeekFrom::End(-3)).await?;
/// reader.read_to_string(&mut last).await?;
/// assert_eq!(last, "789");
///
/// let mut first = [0; 4];
/// reader.rewind().await?;
/// reader.read_exact(&mut first).await?;
/// assert_eq!(&first, b"0123");
/// # Ok(())
/// # }
/// ```
pub struct BufferReader {
    handle: BufferHandle,
    pending: PendingRead,
    position: u64,
    /// Bytes of the stream from `piece_start`. Kept whole, so that short seeks stay inside it.
    piece: Bytes,
    piece_start: u64,
    /// What comes behind it, as it came together with it.
    following: VecDeque<Bytes>,
    /// Whether the last piece was read to its end, and what comes next is wanted now.
    in_order: bool,
    /// How far from the end to go once it is known.
    from_end: Option<i64>,
}

impl BufferHandle {
    /// A reader at offset 0, with a position of its own.
    ///
    /// # Examples
    ///
    /// ```
    /// use tokio::io::AsyncBufReadExt;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> std::io::Result<()> {
    /// # let stream = futures::stream::iter([Ok(streamspool::Bytes::from_static(b"one\ntwo\n"))]);
    /// let buffer = streamspool::StreamBuffer::spawn(stream);
    /// let mut lines = buffer.reader().lines();
    /// assert_eq!(lines.next_line().await?.as_deref(), Some("one"));
    /// assert_eq!(lines.next_line().await?.as_deref(), Some("two"));
    /// assert_eq!(lines.next_line().await?, None);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn reader(&self) -> BufferReader {
        self.reader_at(0)
    }

    /// A reader at `offset`, in bytes; past the end it reads nothing.
    #[must_use]
    pub fn reader_at(&self, offset: u64) -> BufferReader {
        BufferReader {
            handle: self.clone(),
            pending: PendingRead::default(),
            position: offset,
            piece: Bytes::new(),
            piece_start: offset,
            following: VecDeque::new(),
            in_order: false,
            from_end: None,
        }
    }
}

impl BufferReader {
    /// The offset of the next byte that it reads.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Moves to `position` at once, like [`std::io::Cursor::set_position`].
    ///
    /// Withdraws the read and the seek in flight. A position past the end is legal.
    pub fn set_position(&mut self, position: u64) {
        self.pending.cancel();
        self.from_end = None;
        self.in_order &= position == self.position;
        self.position = position;
        let held = self.piece.len() + self.following.iter().map(Bytes::len).sum::<usize>();
        if !(self.piece_start..=self.piece_start + held as u64).contains(&position) {
            // These bytes are of no use at the new position, and the reader may stay there for long.
            self.piece = Bytes::new();
            self.following.clear();
        }
    }

    /// The handle that it reads through.
    #[must_use]
    pub fn handle(&self) -> &BufferHandle {
        &self.handle
    }

    /// What is at hand at the position.
    fn at_hand(&self) -> &[u8] {
        let skip = self.position.checked_sub(self.piece_start).and_then(|skip| usize::try_from(skip).ok());
        skip.and_then(|skip| self.piece.get(skip..)).unwrap_or_default()
    }

    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.from_end.take().is_some() {
            // A seek that nobody waits for any more; what it fetches is not what is to be read.
            self.pending.cancel();
        }
        while self.at_hand().is_empty() {
            // Waiting must not keep a block alive that memory has parted with.
            let len = std::mem::take(&mut self.piece).len() as u64;
            if len > 0 {
                self.in_order = self.position == self.piece_start + len;
            }
            if let Some(piece) = self.following.pop_front() {
                self.piece_start += len;
                self.piece = piece;
                continue;
            }
            // Who jumps about, or stops soon, is not to hold four blocks for it.
            let want = if self.in_order { Want::Run } else { Want::Piece };
            let read = Read { offset: self.position, len: RUN, want };
            (self.piece, self.following) =
                ready!(self.pending.poll_piece(cx, &self.handle, read))?.split_first();
            self.piece_start = self.position;
            break;
        }
        Poll::Ready(Ok(()))
    }

    fn advance(&mut self, amount: usize) {
        let amount = amount.min(self.at_hand().len());
        self.position += amount as u64;
    }
}

impl AsyncRead for BufferReader {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if buf.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        ready!(self.poll_fill(cx))?;
        let at_hand = self.at_hand();
        let now = at_hand.get(..buf.remaining()).unwrap_or(at_hand);
        buf.put_slice(now);
        let amount = now.len();
        self.advance(amount);
        Poll::Ready(Ok(()))
    }
}

impl AsyncBufRead for BufferReader {
    fn poll_fill_buf(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<&[u8]>> {
        let this = self.get_mut();
        ready!(this.poll_fill(cx))?;
        Poll::Ready(Ok(this.at_hand()))
    }

    fn consume(mut self: Pin<&mut Self>, amount: usize) {
        self.advance(amount);
    }
}

impl AsyncSeek for BufferReader {
    fn start_seek(mut self: Pin<&mut Self>, target: SeekFrom) -> io::Result<()> {
        match target {
            SeekFrom::Start(position) => self.set_position(position),
            SeekFrom::Current(by) => {
                let position = moved(self.position, by)?;
                self.set_position(position);
            }
            SeekFrom::End(by) => {
                self.pending.cancel();
                self.from_end = Some(by);
            }
        }
        Ok(())
    }

    fn poll_complete(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<u64>> {
        if let Some(by) = self.from_end {
            let this = &mut *self;
            let size = match this.handle.known_size() {
                Some(size) => Ok(size),
                None => {
                    ready!(this.pending.poll_size(cx, &this.handle)).map(|()| this.handle.published_size())
                }
            };
            this.from_end = None;
            this.pending.cancel();
            let position = moved(size?, by)?;
            this.set_position(position);
        }
        Poll::Ready(Ok(self.position))
    }
}

fn moved(from: u64, by: i64) -> io::Result<u64> {
    from.checked_add_signed(by).ok_or_else(|| {
        let message = format!("a seek by {by} bytes from offset {from} leads out of the range of offsets");
        io::Error::new(io::ErrorKind::InvalidInput, message)
    })
}

impl fmt::Debug for BufferReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BufferReader").field("position", &self.position).finish_non_exhaustive()
    }
}
