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
mod feeds;
mod layout;
pub(crate) mod memory;
mod pull;
pub(crate) mod read;
#[cfg(test)]
mod tests;
mod waiters;
mod writeback;

use std::collections::VecDeque;
use std::io;
use std::mem;
use std::ops::Range;
use std::time::Instant;

use bytes::Bytes;

use self::chunk::Chunk;
pub(crate) use self::feeds::OpenedStream;
use self::feeds::{Fault, Feed};
use self::layout::Layout;
use self::memory::Pieces;
use self::read::{Decision, Outcome, Read, decide};
use self::waiters::Waiters;
use self::writeback::Writeback;
use crate::error::Error;
use crate::progress::{Progress, Snapshot, State};
use crate::source::OpenAt;
use crate::source::retry::Retry;

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
    /// A caller asks for the size of the resource. The reply has no bytes, and comes as soon as the size
    /// is published.
    Size { token: T },
    /// Requests were dropped, so less may be needed.
    Withdrawn,
    /// The last `OpenStream` succeeded.
    Opened(OpenedStream),
    /// The last `OpenStream` failed.
    OpenFailed(io::Error),
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
    /// Open the source. Then report `Opened` or `OpenFailed`. Only one opening runs, or one stream is
    /// open.
    OpenStream(OpenAt),
    /// Drop the stream, or the opening: it must not be polled again.
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
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
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
    /// How the source is opened, and what is proven of its stream.
    feed: Feed,
    /// Whether the driver is to drop the stream or the opening.
    close_stream: bool,
    /// Requests for the size.
    sizes: Waiters<T>,
    /// The time of the last event for which time matters.
    now: Instant,
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

impl<T: Token> Core<T> {
    /// The core of a stream that is open already.
    pub(crate) fn one_way(limits: Limits, seed: u64, now: Instant) -> Self {
        Self::new(limits, Feed::one_way(), seed, now)
    }

    /// The core of a source that is opened when a byte is needed.
    pub(crate) fn source(limits: Limits, retry: Retry, seed: u64, now: Instant) -> Self {
        Self::new(limits, Feed::source(retry, seed), seed, now)
    }

    fn new(limits: Limits, feed: Feed, seed: u64, now: Instant) -> Self {
        let published = Progress { size: limits.declared, ..Progress::EMPTY };
        Self {
            limits,
            layout: Layout::new(),
            waiters: Waiters::new(),
            writeback: Writeback::new(limits.max_memory, seed),
            arriving: Chunk::default(),
            excess: false,
            ending: None,
            feed,
            close_stream: false,
            sizes: Waiters::new(),
            now,
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
        self.now = now;
        let Event::Read { read, token } = event else {
            self.dirty = true;
            self.handle_other(event);
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

    /// Whether memory is within its limit, and so has room for buffers that are kept for reuse.
    pub(crate) fn is_within_limit(&self) -> bool {
        self.writeback.is_within_limit(&self.layout)
    }

    /// The progress that was published last.
    pub(crate) fn published(&self) -> Progress {
        self.published
    }

    /// Whether the driver must tell the time of every event, and not only of failures: the source can be
    /// opened again.
    pub(crate) fn keeps_time(&self) -> bool {
        self.feed.keeps_time()
    }

    /// When to report `DeadlinePassed`. To be called only while the core is idle.
    pub(crate) fn next_deadline(&mut self, now: Instant) -> Option<Instant> {
        let is_timeless = !self.feed.keeps_time() && self.writeback.retry_at().is_none();
        if is_timeless || !self.has_timer || self.ending.is_some() {
            return None;
        }
        let retry_at = self.writeback.retry_at().filter(|_| self.is_needed());
        if !self.feed.keeps_time() {
            return retry_at;
        }
        self.now = now;
        let (wanted, demanded) = (self.wants_chunk(), self.is_demanded());
        let feed_at = self.feed.next_deadline(now, wanted, demanded);
        [retry_at, feed_at].into_iter().flatten().min()
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

    fn handle_other(&mut self, event: Event<T>) {
        match event {
            Event::Read { .. } | Event::Withdrawn => {}
            Event::NoTimer => {
                self.has_timer = false;
                if let Some(consequence) = self.feed.no_timer() {
                    self.follow(consequence);
                }
            }
            Event::Opened(opened) => self.opened(opened),
            Event::OpenFailed(error) => self.fault(Fault::Io(error)),
            Event::DeadlinePassed => {
                if self.writeback.retry_at().is_some_and(|at| at <= self.now) {
                    self.writeback.retry();
                }
                let (close, fault) = self.feed.deadline_passed(self.now);
                self.close_stream |= close;
                if let Some(fault) = fault {
                    self.fault(fault);
                }
            }
            Event::Load { token } => {
                self.requested();
                self.waiters.park(u64::MAX, Waiter::Load(token));
            }
            Event::Size { token } => {
                self.requested();
                self.sizes.park(u64::MAX, token);
            }
            Event::Spill { token } => self.writeback.spill(self.layout.loaded(), token),
            Event::Written => self.writeback.written(&mut self.layout),
            Event::WriteFailed(error) => {
                let spills = self.writeback.write_failed(self.now, &self.layout, error.clone());
                self.due.extend(spills.map(|token| Action::Reply { token, result: Err(error.clone()) }));
                if self.writeback.has_failed() {
                    self.fail_needy(&error);
                }
            }
        }
    }

    /// All requests that need bytes that are not loaded fail. Others only wait for their turn.
    fn fail_needy(&mut self, error: &Error) {
        let failed = |token| Action::Reply { token, result: Err(error.clone()) };
        let reads = self.waiters.take_beyond(self.reached());
        self.due.extend(reads.map(Waiter::into_token).map(failed));
        if self.known_size().is_none() {
            self.due.extend(self.sizes.take_beyond(0).map(failed));
        }
    }

    /// A caller asks for a range. Returns what to do for it now; otherwise the read is parked.
    fn read(&mut self, read: Read, token: T) -> Option<Action<T>> {
        match self.decide(&read) {
            Decision::Wait(until) => {
                self.dirty = true;
                self.requested();
                self.waiters.park(until, Waiter::Read(read, token));
                None
            }
            Decision::Act(outcome) => Some(self.carry_out(outcome, token)),
        }
    }

    /// A request needs missing bytes. A failed write is retried, because the bytes need the memory, and
    /// so is a source that failed.
    fn requested(&mut self) {
        self.writeback.retry();
        self.feed.request();
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
                Waiter::Load(token) => return Some(self.reply_at_end(token)),
            };
            match self.decide(&read) {
                // A read waits only for an offset that is not reached yet: it is not popped again here.
                Decision::Wait(until) => self.waiters.park(until, Waiter::Read(read, token)),
                Decision::Act(outcome) => return Some(self.carry_out(outcome, token)),
            }
        }
        if (self.ending.is_some() || self.known_size().is_some())
            && let Some(token) = self.sizes.pop(u64::MAX)
        {
            return Some(self.reply_at_end(token));
        }
        if std::mem::take(&mut self.close_stream) {
            return Some(Action::CloseStream);
        }
        if let Some((offset, blocks)) = self.writeback.next_write(&mut self.layout) {
            return Some(Action::WriteStore { offset, blocks });
        }
        self.absorb().or_else(|| self.next_opening())
    }

    /// The reply to a request for the end of the stream.
    fn reply_at_end(&self, token: T) -> Action<T> {
        let result = self.failure().map_or_else(|| Ok(Pieces::default()), |error| Err(error.clone()));
        Action::Reply { token, result }
    }

    /// The snapshot, if it differs from the one published last.
    fn unpublished(&mut self) -> Option<Action<T>> {
        let progress = self.progress();
        if progress == self.published {
            return None;
        }
        self.published = progress;
        let source_error = self.failure().or(self.feed.error()).cloned();
        let store_error = self.writeback.error().cloned();
        Some(Action::Publish(Snapshot { progress, source_error, store_error }))
    }

    fn progress(&mut self) -> Progress {
        let (loaded, spilled) = (self.layout.loaded(), self.layout.stored());
        let told = self.known_size();
        let state = self.open_state();
        let (state, size) = match &self.ending {
            Some(Ending::Complete) => (State::Complete, Some(loaded)),
            // A size that has turned out to be wrong is not published any more.
            Some(Ending::Failed(error)) if error.disproves_size() => (State::Failed, None),
            Some(Ending::Failed(_)) => (State::Failed, told),
            None => (state, told),
        };
        let (resident, store_failing) = (loaded - spilled, self.writeback.error().is_some());
        Progress { loaded, size, resident, spilled, state, store_failing }
    }

    /// The state while the stream has not ended.
    fn open_state(&mut self) -> State {
        if let Some((attempt, delay)) = self.feed.retrying() {
            return if self.is_demanded() { State::Retrying { attempt, delay } } else { State::Waiting };
        }
        // Read-ahead pulls an open stream only. A closed source is opened for a request.
        let pulls = if self.feed.is_pulled() { self.is_needed() } else { self.is_demanded() };
        if pulls && !self.writeback.has_failed() { State::Pulling } else { State::Waiting }
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

    /// The size that the source told, or the declared one.
    fn known_size(&self) -> Option<u64> {
        self.feed.size().or(self.limits.declared)
    }

    /// Whether a request waits for a size that is not known yet.
    fn needs_size(&mut self) -> bool {
        self.known_size().is_none() && self.sizes.furthest().is_some()
    }

    /// Whether a byte that is not loaded is needed.
    fn is_needed(&mut self) -> bool {
        let ahead = match self.delivered {
            _ if self.limits.read_ahead == u64::MAX => u64::MAX,
            Some(end) => end.saturating_add(self.limits.read_ahead),
            None => 0,
        };
        let loaded = self.layout.loaded();
        if self.ending.is_some() {
            return false;
        }
        ahead > loaded || self.needs_size() || self.waiters.furthest().is_some_and(|until| until > loaded)
    }

    fn failure(&self) -> Option<&Error> {
        match &self.ending {
            Some(Ending::Failed(error)) => Some(error),
            _ => None,
        }
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
