//! Readers and chunks that go through the stream at random, stop in the middle, and go on.

use std::io::{self, SeekFrom};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures::Stream;
use streamspool::{BufferHandle, BufferReader, Chunks, Error};
use tokio::io::{AsyncBufRead, AsyncRead, AsyncSeek, ReadBuf};

use crate::asks::{Facts, Flag, Since, judge_error, judge_some};
use crate::support::faults::expected;
use crate::support::{BLOCK, Random};

#[derive(Clone, Copy, Debug)]
enum Op {
    Read(usize),
    Fill,
    /// A seek from the end, by this.
    End(i64),
}

/// A reader, and what is expected of it.
pub struct Player {
    reader: BufferReader,
    /// What it does, if anything; whoever waited for it may have left by now.
    op: Option<Op>,
    position: u64,
    pub flag: Arc<Flag>,
    /// Whether the reader has a request under way, and what for.
    asked: Option<(u64, u64)>,
    since: Since,
    /// Up to where it has been delivered.
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

    /// Whoever waited for it drops their future. What it asked for stays asked.
    pub fn leave(&mut self) {
        self.op = None;
    }

    /// Begins something else, whatever was under way: its future is dropped.
    pub fn begin(&mut self, random: &mut Random, total: u64, size_is_known: bool, since: Since) -> String {
        if self.asked.is_none() {
            // What is under way may be answered with what was known when it was asked.
            self.since = since;
        }
        self.flag = Flag::raised();
        let op = match random.below(10) {
            0..=3 => Op::Read([1, 10, 5000, 700_000][random.below(4) as usize]),
            4..=6 => Op::Fill,
            7 | 8 => return self.seek(random, total),
            _ => {
                let by = random.below(2 * total + 2) as i64 - total as i64;
                Pin::new(&mut self.reader).start_seek(SeekFrom::End(by)).unwrap();
                self.asked = (!size_is_known).then_some((u64::MAX, u64::MAX));
                self.op = Some(Op::End(by));
                return format!("seeks by {by} from the end");
            }
        };
        // A read is a request for a block at the position, unless it is at hand. It also takes
        // back a seek from the end that was given up.
        let here = (self.position.saturating_add(1), self.position.saturating_add(BLOCK as u64));
        self.asked = Some(here);
        self.op = Some(op);
        format!("{op:?} at {}", self.position)
    }

    fn seek(&mut self, random: &mut Random, total: u64) -> String {
        let offset = match random.below(4) {
            0 => random.below(total + 1),
            1 => self.position.saturating_sub(random.below(1000)),
            2 => self.position.saturating_add(random.below(1000)),
            _ => total.saturating_sub(1) + random.below(3),
        };
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
        format!("seeks to {offset}")
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
            Op::End(by) => {
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
                let need = if matches!(op, Op::End(_)) { u64::MAX } else { self.position.saturating_add(1) };
                let error: Error = *error.into_inner().unwrap().downcast().unwrap();
                judge_error(&error, need, self.since, facts);
            }
        }
        self.position = position;
        assert_eq!(self.reader.position(), position, "the position after {op:?}");
        (self.op, self.asked) = (None, None);
    }
}

/// A range as a stream, and how far it has come.
pub struct Pieces {
    chunks: Chunks,
    at: u64,
    end: u64,
    pub flag: Arc<Flag>,
    since: Since,
    asked: bool,
    pub done: bool,
}

impl Pieces {
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
                judge_error(&error, self.at.saturating_add(1), self.since, facts);
                self.done = true;
            }
            None => {
                if !self.done && self.at < self.end {
                    judge_some(&expected(0, 0), self.at, self.end - self.at, facts);
                }
                self.done = true;
            }
        }
    }
}
