//! Every decision, without a runtime: what a read gets and when, when to pull, what to move to disk.
//!
//! The actor tells the [`Core`] what happened (`read`, `append`, `end`, `fail`, `spilled`,
//! `spill_failed` …) and carries out the [`Action`]s that it answers with. No tokio, no I/O and no
//! clock in here, so every order of events can be tried in a plain test against a `Vec<u8>`.

pub(crate) mod index;
pub(crate) mod memory;
mod spool;
#[cfg(test)]
mod tests;
mod waiters;

use std::collections::VecDeque;

use bytes::{Buf, Bytes};

use self::index::Location;
use self::memory::{BLOCK, Memory, Pieces};
use self::spool::Spool;
use self::waiters::Waiters;
use crate::error::Error;

/// What a reply is sent through; the core only holds it, and asks whether anybody still waits.
pub(crate) trait Token {
    /// Whether the one who asked has left, so that no work need be done for it.
    fn is_abandoned(&self) -> bool;
}

impl<T: Token> Token for (Read, T) {
    fn is_abandoned(&self) -> bool {
        self.1.is_abandoned()
    }
}

/// A range that somebody wants.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Read {
    pub(crate) offset: u64,
    /// In bytes. A range past `u64::MAX` ends there.
    pub(crate) len: u64,
    pub(crate) want: Want,
}

/// How much of its range a read waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Want {
    /// All of it; less only where the stream ends.
    Exact,
    /// Whatever is there, one byte at least, as one piece.
    Piece,
    /// The same, and as much of what follows as is no news: what it gets ahead of its reader must not
    /// move the read-ahead.
    Run,
}

impl Read {
    /// A read of a byte that no stream has: answered, with nothing, when the stream has ended.
    pub(crate) const END: Self = Self { offset: u64::MAX, len: 1, want: Want::Piece };

    fn end(&self) -> u64 {
        self.offset.saturating_add(self.len)
    }

    /// How many bytes must be loaded before this can be answered in full.
    fn need(&self) -> u64 {
        match self.want {
            Want::Exact => self.end(),
            Want::Piece | Want::Run => self.offset.saturating_add(1),
        }
    }
}

/// What the actor is to do.
pub(crate) enum Action<T> {
    /// Send this.
    Reply { token: T, result: Result<Pieces, Error> },
    /// Read `len` bytes at `offset` back from the spill store, and send them followed by `rest`. The
    /// first `enough` of them will do if those are at hand.
    ReadFile { token: T, offset: u64, len: usize, enough: usize, rest: Pieces },
    /// Write these to the spill store, one behind the other from `offset`; then report `spilled` or
    /// `spill_failed`. There is never a second one under way.
    WriteBlocks { offset: u64, blocks: Vec<Bytes> },
}

/// What the user of the buffer has chosen.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// The size that the stream is expected to have, in bytes. A promise to check, never to trust.
    pub(crate) declared: Option<u64>,
    /// Bytes of memory before the oldest blocks go to disk.
    pub(crate) max_memory: usize,
    /// Bytes to pull past the furthest byte delivered.
    pub(crate) read_ahead: u64,
}

/// How the stream is doing, for [`Core::status`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    Waiting,
    Pulling,
    Complete,
    Failed,
}

/// A snapshot of the watermarks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Status {
    pub(crate) loaded: u64,
    pub(crate) spilled: u64,
    pub(crate) size: Option<u64>,
    pub(crate) phase: Phase,
}

enum Ending {
    Complete,
    Failed(Error),
}

/// The state of one buffer. `T` is what replies are sent through.
pub(crate) struct Core<T> {
    limits: Limits,
    memory: Memory,
    waiters: Waiters<(Read, T)>,
    spool: Spool<T>,
    /// The rest of the chunk pulled last. A chunk can be of any size, so it is absorbed a block at
    /// a time, between other work.
    arriving: Bytes,
    /// The source sent more than was declared; to be told once `arriving` is absorbed.
    excess: bool,
    /// How the stream ended, once it has.
    ending: Option<Ending>,
    /// The end of the furthest range delivered; `None` until a first byte is. Nobody having read
    /// anything is no reason to read ahead of them.
    delivered: Option<u64>,
    /// Replies that became due together, first in first out.
    due: VecDeque<(T, Result<Pieces, Error>)>,
    /// Nothing has become due, nor has the status changed, since [`settle`](Self::settle).
    settled: bool,
}

impl<T: Token> Core<T> {
    pub(crate) fn new(limits: Limits) -> Self {
        Self {
            limits,
            memory: Memory::new(),
            waiters: Waiters::new(),
            spool: Spool::new(limits.max_memory),
            arriving: Bytes::new(),
            excess: false,
            ending: None,
            delivered: None,
            due: VecDeque::new(),
            settled: false,
        }
    }

    // ---- inputs ----

    /// Somebody asks for a range. Returns what to do for it now; otherwise the read is parked.
    pub(crate) fn read(&mut self, read: Read, token: T) -> Option<Action<T>> {
        match self.answer(&read, token) {
            Ok(action) => Some(action),
            Err(token) => {
                self.settled = false;
                // A failed write healed by nothing but trying: this read needs it, so try.
                self.spool.retry();
                self.waiters.park(read.need(), (read, token));
                None
            }
        }
    }

    /// Somebody asks that all that is resident now goes to disk.
    pub(crate) fn spill(&mut self, token: T) {
        self.settled = false;
        self.spool.purge(self.memory.end(), token);
    }

    /// The source sent a chunk. Only to be called after [`wants_chunk`](Self::wants_chunk) said so.
    pub(crate) fn append(&mut self, mut chunk: Bytes) {
        self.settled = false;
        debug_assert!(self.arriving.is_empty(), "pulled while a chunk was still arriving");
        let allowed = self.limits.declared.map_or(u64::MAX, |size| size.saturating_sub(self.memory.end()));
        if chunk.len() as u64 > allowed {
            chunk.truncate(usize::try_from(allowed).unwrap_or(usize::MAX));
            self.excess = true;
        }
        // An empty slice of a chunk would keep all of it alive.
        if !chunk.is_empty() {
            self.arriving = chunk;
        }
        self.settle_excess();
    }

    /// Takes in one block's worth of the chunk that is arriving. Returns false where nothing could
    /// be: nothing is arriving, or memory is full and the disk is behind.
    pub(crate) fn absorb(&mut self) -> bool {
        if self.arriving.is_empty() || !self.has_memory() {
            return false;
        }
        let now = self.memory.room().min(self.arriving.len());
        if let Some(bytes) = self.arriving.get(..now) {
            self.memory.append(bytes);
        }
        self.arriving.advance(now);
        if self.arriving.is_empty() {
            self.arriving = Bytes::new();
        }
        self.settle_excess();
        true
    }

    /// The source ended.
    pub(crate) fn end(&mut self) {
        let loaded = self.memory.end();
        match self.limits.declared {
            Some(declared) if loaded < declared => self.fail(Error::truncated(loaded, declared)),
            _ => self.finish(Ending::Complete),
        }
    }

    /// The source failed; for good.
    pub(crate) fn fail(&mut self, error: Error) {
        self.finish(Ending::Failed(error));
    }

    /// The last `WriteBlocks` is on disk.
    pub(crate) fn spilled(&mut self) {
        self.settled = false;
        if let Some(to) = self.spool.written() {
            self.memory.forget(to);
        }
    }

    /// The last `WriteBlocks` failed. Its blocks stay where they are, and whoever waits on account
    /// of it is told.
    pub(crate) fn spill_failed(&mut self, error: &Error) {
        self.settled = false;
        let purges = self.spool.write_failed(&self.memory);
        self.due.extend(purges.map(|token| (token, Err(error.clone()))));
        if self.spool.has_failed() {
            // Those whose bytes are there wait for nothing but their turn.
            let needy = self.waiters.take_beyond(self.satisfied());
            self.due.extend(needy.map(|(_, token)| (token, Err(error.clone()))));
        }
    }

    /// Somebody has left, and perhaps nobody needs what that one did.
    pub(crate) fn withdrawn(&mut self) {
        self.settled = false;
    }

    /// All that is due has been done, and the status has been told.
    pub(crate) fn settle(&mut self) {
        self.settled = true;
    }

    // ---- outputs ----

    /// Whether nothing has happened since [`settle`](Self::settle) but reads that were answered at
    /// once: then nothing is due, and the status is what it was.
    pub(crate) fn is_settled(&self) -> bool {
        self.settled
    }

    /// The next thing to do, if there is one.
    pub(crate) fn next_action(&mut self) -> Option<Action<T>> {
        if let Some((token, result)) = self.due.pop_front() {
            return Some(Action::Reply { token, result });
        }
        if let Some(token) = self.spool.next_purged(self.memory.start()) {
            return Some(Action::Reply { token, result: Ok(Pieces::default()) });
        }
        let satisfied = self.satisfied();
        while let Some((read, token)) = self.waiters.pop(satisfied) {
            if token.is_abandoned() {
                continue;
            }
            match self.answer(&read, token) {
                Ok(action) => return Some(action),
                // Never so: what it waited for is there. Parked again it is not lost, at any rate.
                Err(token) => self.waiters.park(read.need(), (read, token)),
            }
        }
        let (offset, blocks) = self.spool.next_write(&mut self.memory)?;
        Some(Action::WriteBlocks { offset, blocks })
    }

    /// Whether to pull the source: somebody needs more, and there is room for it.
    pub(crate) fn wants_chunk(&mut self) -> bool {
        self.arriving.is_empty() && !self.is_done() && self.has_memory() && self.is_needed()
    }

    /// Whether the source has nothing more to say: it must not be polled again.
    pub(crate) fn is_done(&self) -> bool {
        self.ending.is_some() || self.excess
    }

    /// Why the source failed, if it did.
    pub(crate) fn failure(&self) -> Option<&Error> {
        match &self.ending {
            Some(Ending::Failed(error)) => Some(error),
            _ => None,
        }
    }

    pub(crate) fn status(&mut self) -> Status {
        let loaded = self.memory.end();
        let pulling = !self.spool.has_failed() && self.is_needed();
        let (phase, size) = match &self.ending {
            Some(Ending::Complete) => (Phase::Complete, Some(loaded)),
            // A size that has turned out to be wrong is not told any more.
            Some(Ending::Failed(error)) if error.disproves_size() => (Phase::Failed, None),
            Some(Ending::Failed(_)) => (Phase::Failed, self.limits.declared),
            None if pulling => (Phase::Pulling, self.limits.declared),
            None => (Phase::Waiting, self.limits.declared),
        };
        Status { loaded, spilled: self.memory.start(), size, phase }
    }

    // ---- decisions ----

    /// Reads that need no more bytes than this can be answered: all of them, once there are no more.
    fn satisfied(&self) -> u64 {
        if self.ending.is_some() { u64::MAX } else { self.memory.end() }
    }

    /// What a read gets now; the token back if it must wait.
    fn answer(&mut self, read: &Read, token: T) -> Result<Action<T>, T> {
        let loaded = self.memory.end();
        let location = Location::of(read.offset, read.len, loaded);
        let enough =
            location == Location::BeforeIndex || (location == Location::Bisected && read.want != Want::Exact);
        if !enough {
            match &self.ending {
                None => return Err(token),
                Some(Ending::Failed(error)) => {
                    let result = Err(error.clone());
                    return Ok(Action::Reply { token, result });
                }
                Some(Ending::Complete) => {}
            }
        }
        // A read past the end is empty, wherever it starts.
        let end = read.end().min(loaded);
        let start = read.offset.min(end);
        if start == end {
            return Ok(Action::Reply { token, result: Ok(Pieces::default()) });
        }
        // How far it may get more than a piece.
        let more_to = match read.want {
            Want::Exact => end,
            Want::Piece => start,
            Want::Run if self.ending.is_some() => end,
            Want::Run => self.delivered.map_or(start, |delivered| delivered.min(end)),
        };
        let spilled = self.memory.start();
        if start >= spilled {
            let pieces = self.memory.slice(start, end, more_to);
            self.deliver(start, pieces.len());
            return Ok(Action::Reply { token, result: Ok(pieces) });
        }
        let within = |to: u64| usize::try_from(to.min(spilled).saturating_sub(start)).unwrap_or(usize::MAX);
        let piece = within(end).min(BLOCK);
        let len = within(more_to).max(piece);
        let (mut enough, mut rest) = (piece, Pieces::default());
        if read.want == Want::Exact {
            enough = len;
            if end > spilled {
                rest = self.memory.slice(spilled, end, end);
            }
        }
        self.deliver(start, len + rest.len());
        Ok(Action::ReadFile { token, offset: start, len, enough, rest })
    }

    /// Notes what a read gets. A read of some may get less than there is: what it left is not
    /// delivered, and reading ahead of that would pull the source along before its readers.
    fn deliver(&mut self, start: u64, len: usize) {
        let end = Some(start + len as u64);
        if end > self.delivered {
            self.settled = false;
            self.delivered = end;
        }
    }

    /// Whether the memory bound lets one more block in. Pausing here is what lets the disk lag
    /// without the memory growing.
    fn has_memory(&self) -> bool {
        self.spool.has_room(&self.memory)
    }

    /// Whether somebody needs a byte that has not been loaded yet.
    fn is_needed(&mut self) -> bool {
        let ahead = match self.delivered {
            _ if self.limits.read_ahead == u64::MAX => u64::MAX,
            Some(end) => end.saturating_add(self.limits.read_ahead),
            None => 0,
        };
        let loaded = self.memory.end();
        ahead > loaded || self.waiters.furthest().is_some_and(|need| need > loaded)
    }

    fn settle_excess(&mut self) {
        if let (true, true, Some(declared)) = (self.excess, self.arriving.is_empty(), self.limits.declared) {
            self.fail(Error::oversized(declared));
        }
    }

    fn finish(&mut self, ending: Ending) {
        if self.ending.is_none() {
            self.settled = false;
            self.ending = Some(ending);
            self.memory.finish();
        }
    }
}
