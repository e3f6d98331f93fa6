//! Readers and bodies: they go through the stream, stop in the middle, and go on.

use std::io::{self, SeekFrom};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures::Stream;
use streamspool::{BufferHandle, BufferReader, Chunks, Error};
use tokio::io::{AsyncBufRead, AsyncRead, AsyncSeek, ReadBuf};

use crate::asks::{Facts, Flag, Since, judge_error, judge_some};
use crate::steps::Op;
use crate::support::BLOCK;

/// A reader, and what is expected of it.
pub struct Player {
    reader: BufferReader,
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

impl Player {
    pub fn new(handle: &BufferHandle) -> Self {
        Self {
            reader: handle.reader(),
            op: None,
            position: 0,
            flag: Flag::raised(),
            asked: None,
            since: Since::default(),
            delivered: 0,
        }
    }

    pub fn demand(&self) -> Option<(u64, u64)> {
        self.asked
    }

    pub fn is_waiting(&self) -> bool {
        self.op.is_some()
    }

    /// Its future is dropped. What it asked for stays asked.
    pub fn leave(&mut self) {
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
        match op {
            // A read asks for a block at the position, unless it is at hand. It also withdraws a seek
            // from the end whose future was dropped.
            Op::Read(_) | Op::Fill => {
                let here = self.position;
                self.asked = Some((here.saturating_add(1), here.saturating_add(BLOCK as u64)));
            }
            Op::Seek(offset) => self.seek(offset),
            Op::Skip => {
                self.op = None;
                if self.reader.skip_discarded() > 0 {
                    self.asked = None;
                }
                self.position = self.position.max(self.reader.handle().progress().start);
                assert_eq!(self.reader.position(), self.position);
            }
            Op::SeekEnd(by) => {
                Pin::new(&mut self.reader).start_seek(SeekFrom::End(by)).unwrap();
                self.asked = (!size_is_known).then_some((u64::MAX, u64::MAX));
            }
        }
    }

    fn seek(&mut self, offset: u64) {
        (self.op, self.asked) = (None, None);
        Pin::new(&mut self.reader).start_seek(SeekFrom::Start(offset)).unwrap();
        let waker = Arc::clone(&self.flag).into();
        let Poll::Ready(at) = Pin::new(&mut self.reader).poll_complete(&mut Context::from_waker(&waker))
        else {
            panic!("a seek waits for nothing")
        };
        assert_eq!(at.unwrap(), offset);
        self.position = offset;
        assert_eq!(self.reader.position(), offset);
    }

    /// Polls what it does.
    pub fn poll(&mut self, facts: &Facts) {
        let Some(op) = self.op else { return };
        self.flag.take();
        let waker = Arc::clone(&self.flag).into();
        let cx = &mut Context::from_waker(&waker);
        let mut reader = Pin::new(&mut self.reader);
        let mut position = self.position;
        let result = match op {
            Op::Read(len) => {
                let mut buf = vec![0; len];
                let mut buf = ReadBuf::new(&mut buf);
                let Poll::Ready(result) = reader.poll_read(cx, &mut buf) else { return };
                result.map(|()| {
                    judge_some(buf.filled(), position, len as u64, facts);
                    position += buf.filled().len() as u64;
                    position
                })
            }
            Op::Fill => {
                let Poll::Ready(result) = reader.as_mut().poll_fill_buf(cx) else { return };
                let amount = result.map(|bytes| {
                    judge_some(bytes, position, u64::MAX, facts);
                    bytes.len()
                });
                amount.map(|amount| {
                    // Not all of it, so that the rest is at hand.
                    let consumed = amount / 2 + amount % 2;
                    reader.consume(consumed);
                    position += consumed as u64;
                    position - consumed as u64 + amount as u64
                })
            }
            Op::Seek(_) | Op::Skip => return,
            Op::SeekEnd(by) => {
                let Poll::Ready(result) = reader.poll_complete(cx) else { return };
                match result {
                    Ok(at) => {
                        let size = facts.declared.unwrap_or(facts.total);
                        assert!(at == size.saturating_add_signed(by), "{at} is not {by} from {size}");
                        position = at;
                        Ok(0)
                    }
                    Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
                        assert!(by < 0, "{error}");
                        Ok(0)
                    }
                    Err(error) => Err(error),
                }
            }
        };
        match result {
            Ok(delivered) => self.delivered = self.delivered.max(delivered),
            Err(error) => {
                let error: Error = *error.into_inner().unwrap().downcast().unwrap();
                let (start, need) = match op {
                    Op::SeekEnd(_) => (u64::MAX, u64::MAX),
                    _ => (self.position, self.position.saturating_add(1)),
                };
                judge_error(&error, start, need, self.since, facts);
            }
        }
        self.position = position;
        assert_eq!(self.reader.position(), position, "the position after {op:?}");
        (self.op, self.asked) = (None, None);
    }
}

/// A range as a stream, and how far it has come.
pub struct Body {
    chunks: Chunks,
    at: u64,
    end: u64,
    pub flag: Arc<Flag>,
    since: Since,
    asked: bool,
    pub done: bool,
}

impl Body {
    pub fn new(handle: &BufferHandle, at: u64, end: u64) -> Self {
        let chunks = handle.chunks(at..end);
        Self { chunks, at, end, flag: Flag::raised(), since: Since::default(), asked: false, done: false }
    }

    pub fn demand(&self) -> Option<(u64, u64)> {
        let end = self.end.min(self.at.saturating_add(BLOCK as u64));
        (self.asked && !self.done).then(|| (self.at.saturating_add(1), end))
    }

    pub fn delivered(&self) -> u64 {
        self.at
    }

    /// Asks for the next piece, if none is under way.
    pub fn begin(&mut self, since: Since) {
        if !self.asked {
            (self.asked, self.since) = (self.at < self.end, since);
        }
    }

    pub fn poll(&mut self, facts: &Facts) {
        self.flag.take();
        let waker = Arc::clone(&self.flag).into();
        let next = Pin::new(&mut self.chunks).poll_next(&mut Context::from_waker(&waker));
        let Poll::Ready(next) = next else { return };
        self.asked = false;
        match next {
            Some(Ok(piece)) => {
                assert!(!self.done && !piece.is_empty(), "more after the end, or an empty piece");
                judge_some(&piece, self.at, self.end - self.at, facts);
                self.at += piece.len() as u64;
            }
            Some(Err(error)) => {
                judge_error(&error, self.at, self.at.saturating_add(1), self.since, facts);
                self.done = true;
            }
            None => {
                if !self.done && self.at < self.end {
                    judge_some(&[], self.at, self.end - self.at, facts);
                }
                self.done = true;
            }
        }
    }
}
