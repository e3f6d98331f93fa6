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
use super::slices::poll_budget;
use crate::core::lent::{Found, Lent};
use crate::core::memory::BLOCK;
use crate::core::read::{Read, Want};
use crate::error::Error;
use crate::store::lender::Tried;

/// The number of bytes that a sequential reader asks for at a time. Of bytes that were delivered before, one
/// message brings four blocks.
const RUN: u64 = 4 * BLOCK as u64;

/// From this many bytes on, spilled bytes are read directly into the memory of the caller. A call for fewer
/// bytes costs more than copying them.
const DIRECT: usize = 16 * 1024;
/// The most bytes of such a slice at once. They use up half of the budget of the task.
const DIRECT_MOST: usize = 256 * 1024;

/// The number of spilled bytes that are read at once for short reads: by a sequential reader, and by one that
/// has just jumped and may jump again.
const AHEAD: usize = 64 * 1024;
const AFTER_JUMP: usize = 16 * 1024;

/// Reads a buffered stream like a file: [`AsyncRead`], [`AsyncBufRead`] and [`AsyncSeek`].
///
/// Each reader has its own position. A read waits for one byte, not for a full buffer: at the live edge
/// it delivers the bytes that have arrived. The reader holds slices of the buffer's memory as its read
/// buffer: at most 1 MiB while it reads sequentially, and 256 KiB otherwise. Spilled bytes that the page cache
/// has are read directly into the memory of the caller, or, for short reads, 64 KiB at a time. So a `BufReader`
/// around it gains nothing. A seek costs nothing, and inside the held slices it sends no request. A seek from
/// the end waits if the size is not known. It finds the size as [`BufferHandle::size`] does: it fills no holes,
/// and if the source tells its size, the seek only opens the source.
///
/// A read at or past the end returns 0 bytes. A position past the end is legal; a negative one is
/// [`InvalidInput`](io::ErrorKind::InvalidInput). A failure of the source is never an end of file: the
/// reader delivers the bytes before it, and then returns the error for each read.
///
/// # Cancel safety
///
/// Dropping a read future loses no byte: the position moves only when bytes are returned. The reader
/// keeps its request for the byte at the position until it is used again or dropped, because it cannot
/// see that its future was dropped. A seek withdraws the pending read. If the future of a seek from the
/// end is dropped, the next read or [`set_position`](Self::set_position) cancels that seek; the next
/// `seek` completes it first, as [`AsyncSeek`] requires.
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
    /// The pieces that follow it. They came with the same reply.
    following: VecDeque<Bytes>,
    /// The slice of the store that the last reply lent. It holds no bytes.
    lent: Option<Lent>,
    /// Whether the last piece was read to its end, and the next bytes are read now.
    in_order: bool,
    /// The distance from the end to seek to, once the size is known.
    from_end: Option<i64>,
}

impl BufferHandle {
    /// A reader at offset 0, with its own position.
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
            lent: None,
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
        self.lent = self.lent.take().filter(|lent| lent.range.contains(&position));
    }

    /// Continues at the first byte that is kept, if the bytes at the position were
    /// [discarded](crate::ErrorKind::Discarded). Returns the number of bytes that are skipped.
    ///
    /// # Examples
    ///
    /// ```
    /// use tokio::io::AsyncReadExt;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> std::io::Result<()> {
    /// # let stream = futures::stream::iter([Ok(streamspool::Bytes::from(vec![7; 1_000_000]))]);
    /// let buffer = streamspool::StreamBuffer::builder().max_memory(0).max_disk(0).spawn(stream);
    /// let mut slow = buffer.reader();
    /// buffer.read(999_999, 1).await?;
    /// if slow.read_u8().await.is_err() {
    ///     assert!(slow.skip_discarded() > 0);
    ///     assert_eq!(slow.read_u8().await?, 7);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn skip_discarded(&mut self) -> u64 {
        let skipped = self.handle.progress().start.saturating_sub(self.position);
        if skipped > 0 {
            self.set_position(self.position + skipped);
        }
        skipped
    }

    /// The handle that the reader uses.
    #[must_use]
    pub fn handle(&self) -> &BufferHandle {
        &self.handle
    }

    /// The held bytes at the position.
    pub(super) fn at_hand(&self) -> &[u8] {
        let skip = self.position.checked_sub(self.piece_start).and_then(|skip| usize::try_from(skip).ok());
        skip.and_then(|skip| self.piece.get(skip..)).unwrap_or_default()
    }

    /// Gets bytes at the position: into `buf` if it is given and has room for many, else into the piece. At the
    /// end of the stream there are none.
    fn poll_fill(&mut self, cx: &mut Context<'_>, mut buf: Option<&mut ReadBuf<'_>>) -> Poll<io::Result<()>> {
        if self.from_end.take().is_some() {
            // The future of this seek was dropped, and its request is not the one of this read.
            self.pending.cancel();
        }
        while self.at_hand().is_empty() {
            // A reader that waits must not keep a block alive that has left memory.
            let spent = std::mem::take(&mut self.piece);
            if !spent.is_empty() {
                self.in_order = self.position == self.piece_start + spent.len() as u64;
            }
            if let Some(piece) = self.following.pop_front() {
                self.piece_start += spent.len() as u64;
                self.piece = piece;
                continue;
            }
            if let Some(lent) = self.lent.clone() {
                if let Some(part) = lent.from(self.position) {
                    if ready!(self.poll_lent(cx, &part, spent, buf.as_deref_mut()))? {
                        break;
                    }
                } else {
                    self.in_order = self.position == lent.range.end;
                }
                self.lent = None;
            }
            // Only a sequential reader fetches several blocks.
            let want = if self.in_order { Want::Run } else { Want::Piece };
            let read = Read { offset: self.position, len: RUN, want };
            match ready!(self.pending.poll_piece(cx, &self.handle, read))? {
                Found::Bytes(pieces) => {
                    (self.piece, self.following) = pieces.split_first();
                    self.piece_start = self.position;
                    break;
                }
                Found::Lent(lent) => self.lent = Some(lent),
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Reads the first bytes of a slice of the store: directly into `buf` if it has space for many. Returns whether
    /// the slice is still valid.
    fn poll_lent(
        &mut self,
        cx: &mut Context<'_>,
        part: &Lent,
        spent: Bytes,
        buf: Option<&mut ReadBuf<'_>>,
    ) -> Poll<Result<bool, Error>> {
        if !self.pending.is_reading_slice() {
            let buf = buf.filter(|buf| buf.remaining() >= DIRECT);
            let most = match &buf {
                Some(buf) => buf.remaining().min(DIRECT_MOST),
                None if self.in_order => AHEAD,
                None => AFTER_JUMP,
            };
            let len = usize::try_from(part.len()).unwrap_or(usize::MAX).min(most);
            ready!(poll_budget(cx, len));
            match self.try_lent(part, len, spent, buf) {
                Tried::Read => return Poll::Ready(Ok(true)),
                Tried::Stale => return Poll::Ready(Ok(false)),
                Tried::Waits => {}
            }
        }
        let Some(bytes) = ready!(self.pending.poll_slice(cx, &self.handle, part))? else {
            return Poll::Ready(Ok(false));
        };
        (self.piece, self.piece_start) = (bytes, self.position);
        Poll::Ready(Ok(true))
    }

    fn try_lent(&mut self, part: &Lent, len: usize, spent: Bytes, buf: Option<&mut ReadBuf<'_>>) -> Tried {
        if let Some(buf) = buf {
            let tried = self.handle.lender.try_read(part, buf.initialize_unfilled_to(len));
            if let Tried::Read = tried {
                buf.advance(len);
                self.position += len as u64;
                self.in_order = true;
            }
            return tried;
        }
        let spent = spent.try_into_mut().ok().filter(|spent| spent.capacity() <= AHEAD);
        let mut piece = spent.unwrap_or_default();
        piece.resize(len, 0);
        let tried = self.handle.lender.try_read(part, &mut piece);
        if let Tried::Read = tried {
            (self.piece, self.piece_start) = (piece.freeze(), self.position);
        }
        tried
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
        ready!(self.poll_fill(cx, Some(buf)))?;
        // None if the bytes went directly into `buf`.
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
        ready!(this.poll_fill(cx, None))?;
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
                None => ready!(this.pending.poll_size(cx, &this.handle)),
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
