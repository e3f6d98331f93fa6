//! The core decides: what a read gets and when, when to pull the source, what to write to the store.
//!
//! It is pure: no tokio, no I/O, no clock. So every order of events can be tried in a plain test
//! against a `Vec<u8>`. A driver (the actor, or a test) does the following, and nothing else:
//!
//! - [`handle_event`](Core::handle_event) for everything that happens. It may return an action to carry
//!   out at once: a read whose bytes are there costs no more than that.
//! - [`permit`](Core::permit) before it polls the source. The permit takes the result of one poll.
//! - [`poll_action`](Core::poll_action) until it returns `None`: then the core is idle, and stays idle
//!   until the next event.
//! - [`next_deadline`](Core::next_deadline) while the core is idle: at that time it reports
//!   [`Event::DeadlinePassed`].
//!
//! Time is an argument: the core reads no clock.

mod backoff;
mod chunk;
mod layout;
pub(crate) mod memory;
pub(crate) mod read;
#[cfg(test)]
mod tests;
mod waiters;
mod writeback;

use std::collections::VecDeque;
use std::mem;
use std::ops::Range;
use std::time::Instant;

use bytes::Bytes;

use self::chunk::Chunk;
use self::layout::Layout;
use self::memory::Pieces;
use self::read::{Decision, Outcome, Read, decide};
use self::waiters::Waiters;
use self::writeback::Writeback;
use crate::error::Error;
use crate::progress::{Progress, Snapshot, State};

/// Where a reply is sent. The core only keeps it, and asks whether the caller still waits.
pub(crate) trait Token {
    /// Whether the caller has dropped its request, so that no work need be done for it.
    fn is_abandoned(&self) -> bool;
}

/// What happened.
pub(crate) enum Event<T> {
    /// A caller asks for a range.
    Read { read: Read, token: T },
    /// A caller asks for the end of the stream. The reply has no bytes.
    Load { token: T },
    /// A caller asks that all bytes that are resident now are spilled. The reply has no bytes.
    Spill { token: T },
    /// Requests were dropped, so less may be needed.
    Withdrawn,
    /// The last `WriteStore` is done: its bytes are in the store.
    Written,
    /// The last `WriteStore` failed. Its bytes stay in memory.
    WriteFailed(Error),
    /// The time of `next_deadline` has come.
    DeadlinePassed,
    /// There is no timer: `next_deadline` will not be reported.
    NoTimer,
}

/// What the driver has to do.
pub(crate) enum Action<T> {
    /// Send this reply. A reply to a read may hold fewer bytes than asked for: the caller asks again
    /// for the rest. A reply without bytes means that the stream ends at or before the offset.
    Reply { token: T, result: Result<Pieces, Error> },
    /// Read `range` from the store and send it to the token. The first `enough` bytes of it will do if
    /// they can be read without waiting.
    ReadStore { token: T, range: Range<u64>, enough: usize },
    /// Write these blocks to the store, one after the other from `offset`. Then report `Written` or
    /// `WriteFailed`. Only one write runs at a time.
    WriteStore { offset: u64, blocks: Vec<Bytes> },
    /// Publish this snapshot.
    Publish(Snapshot),
    /// Drop the stream: it must not be polled again.
    CloseStream,
    /// Nothing to do: this many bytes were copied into memory, and count as work.
    Absorbed { bytes: usize },
}

/// What the user of the buffer has chosen.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// The size that the stream is expected to have, in bytes. It is checked, and never trusted.
    pub(crate) declared: Option<u64>,
    /// Bytes of memory before the oldest blocks are spilled.
    pub(crate) max_memory: usize,
    /// Bytes to pull past the furthest byte delivered.
    pub(crate) read_ahead: u64,
}

/// How the stream ended.
enum Ending {
    Complete,
    Failed(Error),
}

/// A request that waits.
enum Waiter<T> {
    Read(Read, T),
    Load(T),
}

/// The state of one buffer. `T` is where replies are sent.
pub(crate) struct Core<T> {
    limits: Limits,
    layout: Layout,
    waiters: Waiters<Waiter<T>>,
    writeback: Writeback<T>,
    /// The rest of the chunk pulled last. A chunk can have any size, so it is absorbed block by block,
    /// between other work.
    arriving: Chunk,
    /// The source sent more than was declared. It fails once `arriving` is absorbed.
    excess: bool,
    /// How the stream ended, once it has.
    ending: Option<Ending>,
    /// Whether the driver still holds the stream.
    stream_open: bool,
    /// The end of the furthest range delivered; `None` before the first delivery, which starts the
    /// read-ahead.
    delivered: Option<u64>,
    /// Actions that became due together, first in, first out.
    due: VecDeque<Action<T>>,
    /// The progress that was published last.
    published: Progress,
    /// Whether deadlines are reported.
    has_timer: bool,
    /// Something happened since `poll_action` returned `None`.
    dirty: bool,
}

/// Permission to poll the stream once. It takes the result of the poll; a poll without a result needs
/// no report.
pub(crate) struct Permit<'a, T> {
    core: &'a mut Core<T>,
}

impl<T: Token> Core<T> {
    pub(crate) fn new(limits: Limits, seed: u64) -> Self {
        let published = Progress { size: limits.declared, ..Progress::EMPTY };
        Self {
            limits,
            layout: Layout::new(),
            waiters: Waiters::new(),
            writeback: Writeback::new(limits.max_memory, seed),
            arriving: Chunk::default(),
            excess: false,
            ending: None,
            stream_open: true,
            delivered: None,
            due: VecDeque::new(),
            published,
            has_timer: true,
            // With unlimited read-ahead the source is pulled before anything happens.
            dirty: true,
        }
    }

    // ---- the protocol ----

    /// Takes in what happened. Returns what to do at once; the rest is due through `poll_action`.
    pub(crate) fn handle_event(&mut self, now: Instant, event: Event<T>) -> Option<Action<T>> {
        let Event::Read { read, token } = event else {
            self.dirty = true;
            self.handle_other(now, event);
            return None;
        };
        let action = self.read(read, token);
        if self.dirty {
            // Progress must be published before the reply, so that the caller sees both.
            self.due.extend(action);
            return None;
        }
        action
    }

    /// The next thing to do. `None` means idle: there is nothing to do until the next event.
    pub(crate) fn poll_action(&mut self) -> Option<Action<T>> {
        // For speed only: all that follows would find nothing to do. A resident read takes 8 % more
        // instructions without this.
        if !self.dirty {
            return None;
        }
        let action = self.next_action();
        let is_visible = matches!(action, Some(Action::Reply { .. } | Action::ReadStore { .. }) | None);
        if is_visible && let Some(publish) = self.unpublished() {
            // Progress is published before a reply, so that the caller sees both.
            if let Some(action) = action {
                self.due.push_front(action);
            }
            return Some(publish);
        }
        self.dirty = action.is_some();
        action
    }

    /// Whether there is nothing to do until the next event.
    pub(crate) fn is_idle(&self) -> bool {
        !self.dirty
    }

    /// Whether to poll the stream now: more bytes are needed, and there is room for them.
    pub(crate) fn permit(&mut self) -> Option<Permit<'_, T>> {
        let wanted = self.arriving.is_empty()
            && !self.has_ended()
            && self.writeback.has_room(&self.layout)
            && self.is_needed();
        wanted.then_some(Permit { core: self })
    }

    /// Whether memory is within its limit, and so has room for buffers that are kept for reuse.
    pub(crate) fn is_within_limit(&self) -> bool {
        self.writeback.is_within_limit(&self.layout)
    }

    /// The progress that was published last.
    pub(crate) fn published(&self) -> Progress {
        self.published
    }

    /// When to report `DeadlinePassed`. To be called only while the core is idle.
    pub(crate) fn next_deadline(&mut self) -> Option<Instant> {
        let retry_at = self.writeback.retry_at().filter(|_| self.has_timer)?;
        self.is_needed().then_some(retry_at)
    }

    /// Bytes of memory held: those that are resident, and those of the chunk that is arriving.
    pub(crate) fn held(&self) -> usize {
        self.layout.allocated().saturating_add(self.arriving.len())
    }

    /// Takes the memory out of a core that is not used any more, so that the driver can choose where it
    /// is freed.
    pub(crate) fn take_memory(&mut self) -> impl Send + use<T> {
        (mem::replace(&mut self.layout, Layout::new()), mem::take(&mut self.arriving))
    }

    // ---- events ----

    fn handle_other(&mut self, now: Instant, event: Event<T>) {
        match event {
            Event::Read { .. } | Event::Withdrawn => {}
            Event::NoTimer => self.has_timer = false,
            Event::DeadlinePassed => {
                if self.writeback.retry_at().is_some_and(|at| at <= now) {
                    self.writeback.retry();
                }
            }
            Event::Load { token } => {
                self.writeback.retry();
                self.waiters.park(u64::MAX, Waiter::Load(token));
            }
            Event::Spill { token } => self.writeback.spill(self.layout.loaded(), token),
            Event::Written => self.writeback.written(&mut self.layout),
            Event::WriteFailed(error) => {
                let spills = self.writeback.write_failed(now, &self.layout, error.clone());
                self.due.extend(spills.map(|token| Action::Reply { token, result: Err(error.clone()) }));
                if self.writeback.has_failed() {
                    // Reads whose bytes are loaded only wait for their turn.
                    let needy = self.waiters.take_beyond(self.reached());
                    let replies = needy.map(|waiter| Action::Reply {
                        token: waiter.into_token(),
                        result: Err(error.clone()),
                    });
                    self.due.extend(replies);
                }
            }
        }
    }

    /// A caller asks for a range. Returns what to do for it now; otherwise the read is parked.
    fn read(&mut self, read: Read, token: T) -> Option<Action<T>> {
        match self.decide(&read) {
            Decision::Wait(until) => {
                self.dirty = true;
                // Retry the failed write: this read needs the memory.
                self.writeback.retry();
                self.waiters.park(until, Waiter::Read(read, token));
                None
            }
            Decision::Act(outcome) => Some(self.carry_out(outcome, token)),
        }
    }

    // ---- actions ----

    fn next_action(&mut self) -> Option<Action<T>> {
        if let Some(action) = self.due.pop_front() {
            return Some(action);
        }
        if let Some(token) = self.writeback.next_spilled(&self.layout) {
            return Some(Action::Reply { token, result: Ok(Pieces::default()) });
        }
        while let Some(waiter) = self.waiters.pop(self.reached()) {
            if waiter.is_abandoned() {
                continue;
            }
            let (read, token) = match waiter {
                Waiter::Read(read, token) => (read, token),
                Waiter::Load(token) => {
                    let result =
                        self.failure().map_or_else(|| Ok(Pieces::default()), |error| Err(error.clone()));
                    return Some(Action::Reply { token, result });
                }
            };
            match self.decide(&read) {
                // A read waits only for an offset that is not reached yet: it is not popped again here.
                Decision::Wait(until) => self.waiters.park(until, Waiter::Read(read, token)),
                Decision::Act(outcome) => return Some(self.carry_out(outcome, token)),
            }
        }
        if self.stream_open && self.has_ended() {
            self.stream_open = false;
            return Some(Action::CloseStream);
        }
        if let Some((offset, blocks)) = self.writeback.next_write(&mut self.layout) {
            return Some(Action::WriteStore { offset, blocks });
        }
        self.absorb()
    }

    /// Takes in one block's worth of the chunk that is arriving, if memory has room.
    fn absorb(&mut self) -> Option<Action<T>> {
        if self.arriving.is_empty() || !self.writeback.has_room(&self.layout) {
            return None;
        }
        let bytes = self.layout.append(&self.arriving);
        self.arriving.advance(bytes);
        if self.arriving.is_empty() {
            // An empty slice would keep the whole chunk alive.
            self.arriving = Chunk::default();
        }
        self.fail_if_oversized();
        Some(Action::Absorbed { bytes })
    }

    /// The snapshot, if it differs from the one published last.
    fn unpublished(&mut self) -> Option<Action<T>> {
        let progress = self.progress();
        if progress == self.published {
            return None;
        }
        self.published = progress;
        let (source_error, store_error) = (self.failure().cloned(), self.writeback.error().cloned());
        Some(Action::Publish(Snapshot { progress, source_error, store_error }))
    }

    fn progress(&mut self) -> Progress {
        let (loaded, spilled) = (self.layout.loaded(), self.layout.stored());
        let declared = self.limits.declared;
        let pulling = self.ending.is_none() && !self.writeback.has_failed() && self.is_needed();
        let (state, size) = match &self.ending {
            Some(Ending::Complete) => (State::Complete, Some(loaded)),
            // A size that has turned out to be wrong is not published any more.
            Some(Ending::Failed(error)) if error.disproves_size() => (State::Failed, None),
            Some(Ending::Failed(_)) => (State::Failed, declared),
            None if pulling => (State::Pulling, declared),
            None => (State::Waiting, declared),
        };
        let (resident, store_failing) = (loaded - spilled, self.writeback.error().is_some());
        Progress { loaded, size, resident, spilled, state, store_failing }
    }

    // ---- decisions ----

    #[inline]
    fn decide(&self, read: &Read) -> Decision {
        decide(read, &self.layout, self.ending.as_ref(), self.delivered.unwrap_or(0))
    }

    /// What the driver has to do for a read that is answered.
    #[inline]
    fn carry_out(&mut self, outcome: Outcome, token: T) -> Action<T> {
        let result = match outcome {
            Outcome::Nothing => Ok(Pieces::default()),
            Outcome::Failure(error) => Err(error),
            Outcome::Resident { range, more_to } => {
                let start = range.start;
                let pieces = self.layout.slice(range, more_to);
                self.deliver(start + pieces.len() as u64);
                Ok(pieces)
            }
            Outcome::Stored { range, enough } => {
                self.deliver(range.end);
                return Action::ReadStore { token, range, enough };
            }
        };
        Action::Reply { token, result }
    }

    /// Requests that wait for this offset or less can be answered.
    fn reached(&self) -> u64 {
        if self.ending.is_some() { u64::MAX } else { self.layout.loaded() }
    }

    /// Notes the end of a delivered range. Only delivered bytes count, not the bytes asked for:
    /// otherwise read-ahead would run ahead of its readers.
    fn deliver(&mut self, end: u64) {
        if Some(end) > self.delivered {
            self.dirty = true;
            self.delivered = Some(end);
        }
    }

    /// Whether a byte that is not loaded is needed.
    fn is_needed(&mut self) -> bool {
        let ahead = match self.delivered {
            _ if self.limits.read_ahead == u64::MAX => u64::MAX,
            Some(end) => end.saturating_add(self.limits.read_ahead),
            None => 0,
        };
        let loaded = self.layout.loaded();
        ahead > loaded || self.waiters.furthest().is_some_and(|until| until > loaded)
    }

    // ---- the end of the stream ----

    /// Whether the stream must not be polled again.
    fn has_ended(&self) -> bool {
        self.ending.is_some() || self.excess
    }

    fn failure(&self) -> Option<&Error> {
        match &self.ending {
            Some(Ending::Failed(error)) => Some(error),
            _ => None,
        }
    }

    fn fail_if_oversized(&mut self) {
        if let (true, true, Some(declared)) = (self.excess, self.arriving.is_empty(), self.limits.declared) {
            self.finish(Ending::Failed(Error::oversized(declared)));
        }
    }

    fn finish(&mut self, ending: Ending) {
        if self.ending.is_none() {
            self.ending = Some(ending);
            self.layout.finish();
        }
    }
}

impl<T: Token> Permit<'_, T> {
    /// The stream yielded a chunk.
    pub(crate) fn chunk(self, chunk: Bytes) {
        let core = self.core;
        let mut chunk = Chunk::from(chunk);
        core.dirty = true;
        let allowed = core.limits.declared.map_or(u64::MAX, |size| size.saturating_sub(core.layout.loaded()));
        if chunk.len() as u64 > allowed {
            chunk.truncate(usize::try_from(allowed).unwrap_or(usize::MAX));
            core.excess = true;
        }
        // An empty slice would keep the whole chunk alive.
        if !chunk.is_empty() {
            core.arriving = chunk;
        }
        core.fail_if_oversized();
        // The first block at once: it saves a turn, and the permit says that there is room.
        core.absorb();
    }

    /// The stream ended.
    pub(crate) fn end(self) {
        let core = self.core;
        core.dirty = true;
        let loaded = core.layout.loaded();
        core.finish(match core.limits.declared {
            Some(declared) if loaded < declared => Ending::Failed(Error::truncated(loaded, declared)),
            _ => Ending::Complete,
        });
    }

    /// The stream failed, for good.
    pub(crate) fn fail(self, cause: std::io::Error) {
        let core = self.core;
        core.dirty = true;
        core.finish(Ending::Failed(Error::source_failed(core.layout.loaded(), cause)));
    }
}

impl<T: Token> Token for Waiter<T> {
    fn is_abandoned(&self) -> bool {
        match self {
            Self::Read(_, token) | Self::Load(token) => token.is_abandoned(),
        }
    }
}

impl<T> Waiter<T> {
    fn into_token(self) -> T {
        match self {
            Self::Read(_, token) | Self::Load(token) => token,
        }
    }
}
