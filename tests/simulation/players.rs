//! Readers, and streams of a range: callers that go through the bytes, stop in the middle, and go on.

use std::io::{self, SeekFrom};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use futures::Stream;
use streamspool::{BufferHandle, BufferReader, Bytes, Chunks, Error};
use tokio::io::{AsyncBufRead, AsyncRead, AsyncSeek, ReadBuf};

use crate::asks::{Facts, Flag, Since, judge_error, judge_some};
use crate::steps::Op;
use crate::support::BLOCK;

/// A caller that goes through the bytes, and what is expected of it.
pub struct Player {
    reader: Reader,
    /// What it does, if it is polled.
    op: Option<Op>,
    pub position: u64,
    pub flag: Arc<Flag>,
    /// What its pending request is for: the offset that it waits for, and the end of what it may get.
    asked: Option<(u64, u64)>,
    since: Since,
    /// The end of the furthest range that it was delivered.
    pub delivered: u64,
}

/// What it reads with.
enum Reader {
    Seeking(Box<BufferReader>),
    /// A stream of the bytes up to an end, and whether it is over.
    Chunks {
        chunks: Box<Chunks>,
        end: u64,
        is_over: bool,
    },
}

impl Player {
    pub fn reader(handle: &BufferHandle) -> Self {
        Self::new(Reader::Seeking(Box::new(handle.reader())), 0)
    }

    /// A stream of this range.
    pub fn chunks(handle: &BufferHandle, at: u64, end: u64) -> Self {
        Self::new(Reader::Chunks { chunks: Box::new(handle.chunks(at..end)), end, is_over: false }, at)
    }

    fn new(reader: Reader, position: u64) -> Self {
        let (flag, since) = (Flag::raised(), Since::default());
        Self { reader, op: None, position, flag, asked: None, since, delivered: 0 }
    }

    pub fn is_chunks(&self) -> bool {
        matches!(self.reader, Reader::Chunks { .. })
    }

    pub fn can(&self, op: Op) -> bool {
        self.is_chunks() == (op == Op::Piece)
    }

    pub fn demand(&self) -> Option<(u64, u64)> {
        self.asked
    }

    pub fn is_waiting(&self) -> bool {
        self.op.is_some()
    }

    /// It is not polled any more. What it asked for stays asked.
    pub fn stop(&mut self) {
        self.op = None;
    }

    /// Begins something else. The future of what it did before is dropped.
    pub fn begin(&mut self, op: Op, size_is_known: bool, since: Since) {
        if self.asked.is_none() {
            // A pending request may be answered by what was known when it was made.
            self.since = since;
        }
        self.flag = Flag::raised();
        self.op = Some(op);
        let from = self.position;
        let block = (from.saturating_add(1), from.saturating_add(BLOCK as u64));
        match (&mut self.reader, op) {
            // A read asks for a block at the position, unless the reader holds these bytes. It also withdraws a seek
            // from the end whose future was dropped.
            (Reader::Seeking(_), Op::Read(_) | Op::Fill) => self.asked = Some(block),
            (Reader::Seeking(reader), Op::Seek(offset)) => {
                Pin::new(&mut **reader).start_seek(SeekFrom::Start(offset)).unwrap();
                let Poll::Ready(at) =
                    Pin::new(&mut **reader).poll_complete(&mut Context::from_waker(Waker::noop()))
                else {
                    panic!("a seek waits for nothing")
                };
                assert_eq!((at.unwrap(), reader.position()), (offset, offset));
                (self.op, self.asked, self.position) = (None, None, offset);
            }
            (Reader::Seeking(reader), Op::Skip) => {
                if reader.skip_discarded() > 0 {
                    self.asked = None;
                }
                self.op = None;
                self.position = from.max(reader.handle().progress().start);
                assert_eq!(reader.position(), self.position);
            }
            (Reader::Seeking(reader), Op::SeekEnd(by)) => {
                Pin::new(&mut **reader).start_seek(SeekFrom::End(by)).unwrap();
                self.asked = (!size_is_known).then_some((u64::MAX, u64::MAX));
            }
            (Reader::Chunks { end, is_over, .. }, _) => {
                self.asked = (from < *end && !*is_over).then_some((block.0, block.1.min(*end)));
            }
            (Reader::Seeking(_), Op::Piece) => panic!("a reader has no pieces"),
        }
    }

    /// Polls what it does.
    pub fn poll(&mut self, facts: &Facts) {
        let Some(op) = self.op else { return };
        self.flag.take();
        let (waker, from) = (Arc::clone(&self.flag).into(), self.position);
        let cx = &mut Context::from_waker(&waker);
        let Poll::Ready(result) = (match &mut self.reader {
            Reader::Seeking(reader) => poll_reader(Pin::new(reader), cx, op, from, facts),
            Reader::Chunks { chunks, end, is_over } => {
                Pin::new(chunks).poll_next(cx).map(|next| take_piece(next, from, *end, is_over, facts))
            }
        }) else {
            return;
        };
        match result {
            Ok((position, delivered)) => {
                self.position = position;
                self.delivered = self.delivered.max(delivered);
            }
            Err(error) => {
                let (start, need) = match op {
                    Op::SeekEnd(_) => (u64::MAX, u64::MAX),
                    _ => (from, from.saturating_add(1)),
                };
                judge_error(&error, start, need, self.since, facts);
            }
        }
        if let Reader::Seeking(reader) = &self.reader {
            assert_eq!(reader.position(), self.position, "the position after {op:?}");
        }
        (self.op, self.asked) = (None, None);
    }
}

/// The position after what was done, and the end of what was delivered.
type Passed = Result<(u64, u64), Error>;

fn poll_reader(
    mut reader: Pin<&mut BufferReader>,
    cx: &mut Context<'_>,
    op: Op,
    from: u64,
    facts: &Facts,
) -> Poll<Passed> {
    let result = match op {
        Op::Read(len) => {
            let mut buf = vec![0; len];
            let mut buf = ReadBuf::new(&mut buf);
            let Poll::Ready(result) = reader.poll_read(cx, &mut buf) else { return Poll::Pending };
            result.map(|()| {
                judge_some(buf.filled(), from, len as u64, facts);
                let end = from + buf.filled().len() as u64;
                (end, end)
            })
        }
        Op::Fill => {
            let Poll::Ready(result) = reader.as_mut().poll_fill_buf(cx) else { return Poll::Pending };
            let amount = result.map(|bytes| {
                judge_some(bytes, from, u64::MAX, facts);
                bytes.len()
            });
            amount.map(|amount| {
                // Consumes a part, so that the reader holds the rest.
                let consumed = amount.div_ceil(2);
                reader.consume(consumed);
                (from + consumed as u64, from + amount as u64)
            })
        }
        Op::SeekEnd(by) => {
            let Poll::Ready(result) = reader.poll_complete(cx) else { return Poll::Pending };
            match result {
                Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
                    assert!(by < 0, "{error}");
                    Ok((from, 0))
                }
                result => result.map(|at| {
                    let size = facts.declared.unwrap_or(facts.total);
                    assert!(at == size.saturating_add_signed(by), "{at} is not {by} from {size}");
                    (at, 0)
                }),
            }
        }
        Op::Seek(_) | Op::Skip | Op::Piece => panic!("{op:?} waits for nothing"),
    };
    Poll::Ready(result.map_err(|error| *error.into_inner().unwrap().downcast().unwrap()))
}

/// Takes the next item of a stream whose position is `from` and whose end is `end`.
fn take_piece(
    next: Option<Result<Bytes, Error>>,
    from: u64,
    end: u64,
    is_over: &mut bool,
    facts: &Facts,
) -> Passed {
    let Some(Ok(piece)) = next else {
        if !*is_over && from < end && next.is_none() {
            judge_some(&[], from, end - from, facts);
        }
        *is_over = true;
        return next.transpose().map(|_| (from, 0));
    };
    assert!(!*is_over && !piece.is_empty(), "more after the end, or an empty piece");
    judge_some(&piece, from, end - from, facts);
    let end = from + piece.len() as u64;
    Ok((end, end))
}
