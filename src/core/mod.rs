//! The core decides: what a read gets and when, which streams to open and to pull, what to write to the
//! store.
//!
//! It is pure: no tokio, no I/O, no clock. So a plain test can run every order of events, and compare the
//! bytes with a `Vec<u8>`. A driver (the actor, or a test) does the following, and nothing else:
//!
//! - [`handle_event`](Core::handle_event) for everything that happens. It may return an action to carry
//!   out at once: a read whose bytes are there costs no more than that.
//! - [`permit`](Core::permit) before it polls a stream. The permit takes the result of one poll.
//! - [`poll_action`](Core::poll_action) until it returns `None`: then the core is idle, and stays idle
//!   until the next event.
//! - [`next_deadline`](Core::next_deadline) while the core is idle: at that time it reports
//!   [`Event::DeadlinePassed`].
//!
//! Time is an argument: the core reads no clock.

mod backoff;
mod chunk;
mod demand;
mod extent;
mod feeds;
mod layout;
pub(crate) mod lent;
mod limits;
pub(crate) mod memory;
mod pieces;
mod pull;
pub(crate) mod question;
mod ranges;
pub(crate) mod read;
mod readers;
mod recency;
mod requests;
mod segments;
mod slots;
#[cfg(test)]
mod tests;
mod waiters;
mod writeback;

use std::collections::VecDeque;
use std::io;
use std::mem;
use std::ops::Range;
use std::time::Instant;

use self::chunk::Chunk;
use self::demand::{Need, Searched};
use self::extent::Extent;
pub(crate) use self::feeds::OpenedStream;
use self::feeds::{Fault, Feeds};
use self::layout::Layout;
use self::question::{Answer, Asked, Question};
use self::readers::Delivered;
use self::waiters::Waiters;
pub(crate) use self::writeback::Write;
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
    /// A caller asks something.
    Asked(Asked<T>),
    /// Requests were dropped, so less may be needed.
    Withdrawn,
    /// The last `OpenStream` of this stream succeeded.
    Opened(usize, OpenedStream),
    /// The last `OpenStream` of this stream failed.
    OpenFailed(usize, io::Error),
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
    /// Send this reply. The answer to a read may hold fewer bytes than asked for: the caller asks again
    /// for the rest. An answer without bytes means that the stream ends at or before the offset. The
    /// caller reads a slice of the store itself, and asks again if the slice is not valid any more.
    Reply { token: T, result: Result<Answer, Error> },
    /// Write to the store. First make the slices that were lent before invalid, if the write has a generation. Then
    /// report `Written` or `WriteFailed`. Only one write runs at a time.
    WriteStore(Write),
    /// Publish this snapshot.
    Publish(Snapshot),
    /// Open the source, in place of the stream or the opening with this number. Then report `Opened` or
    /// `OpenFailed`. The numbers are small.
    OpenStream { stream: usize, at: OpenAt },
    /// Drop the stream with this number, or its opening: it must not be polled again.
    CloseStream(usize),
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
    /// Bytes that the store may hold, in whole blocks.
    pub(crate) max_disk: u64,
    /// Bytes to pull past the bytes that were delivered last.
    pub(crate) read_ahead: u64,
    /// The most streams of a source that may be open or being opened at once.
    pub(crate) streams: usize,
}

/// The state of one buffer. `T` is where replies are sent.
pub(crate) struct Core<T> {
    /// Bytes to pull past the bytes that were delivered last.
    read_ahead: u64,
    layout: Layout,
    waiters: Waiters<Asked<T>>,
    writeback: Writeback<T>,
    /// The rest of the chunk that was pulled last. A chunk can have any size, so it is absorbed block by
    /// block, between other work. No stream is pulled before all of it is absorbed.
    arriving: Chunk,
    /// The stream that yielded it.
    arriving_from: usize,
    /// A new limit of the store that still has to be applied.
    new_max_disk: Option<u64>,
    extent: Extent,
    /// The end of the resource that waiting requests know of.
    followed_end: u64,
    /// The streams of the source, and what is proven of them.
    feeds: Feeds,
    /// The streams that the driver is to drop.
    closing: Vec<usize>,
    /// The time of the last event for which time matters.
    now: Instant,
    /// When it was last decided whether to open the source.
    decided_opening: Instant,
    /// The ranges that were delivered last. The first delivery starts the read-ahead.
    delivered: Delivered,
    /// How far requests were searched for one that needs an opening.
    searched: Searched,
    /// Actions that became due together, first in, first out.
    due: VecDeque<Action<T>>,
    /// The progress that was published last.
    published: Progress,
    /// Whether a failure of the source was published with it.
    published_error: bool,
    /// Whether deadlines are reported.
    has_timer: bool,
    /// Something happened since `poll_action` returned `None`.
    dirty: bool,
    /// Whether an idle core wants bytes of its one-way stream, as long as nothing happens. For speed only.
    /// `None` if this has to be decided anew: while a request is parked, it may be dropped at any time.
    wanted_idle: Option<bool>,
}

impl<T: Token> Core<T> {
    /// The core of a stream that is open already.
    pub(crate) fn one_way(limits: Limits, seed: u64, now: Instant) -> Self {
        Self::new(limits, Feeds::one_way(now), seed, now)
    }

    /// The core of a source that is opened when a byte is needed.
    pub(crate) fn source(limits: Limits, retry: Retry, seed: u64, now: Instant) -> Self {
        Self::new(limits, Feeds::source(retry, limits.streams, seed), seed, now)
    }

    fn new(limits: Limits, feeds: Feeds, seed: u64, now: Instant) -> Self {
        let streams = feeds.open_count();
        let published = Progress { size: limits.declared, streams, ..Progress::EMPTY };
        let mut layout = Layout::new();
        layout.set_limit(limits.max_disk);
        Self {
            read_ahead: limits.read_ahead,
            layout,
            waiters: Waiters::new(!feeds.is_one_way()),
            writeback: Writeback::new(limits.max_memory, seed),
            arriving: Chunk::default(),
            arriving_from: 0,
            new_max_disk: None,
            extent: Extent::new(limits.declared),
            followed_end: u64::MAX,
            feeds,
            closing: Vec::new(),
            now,
            decided_opening: now,
            delivered: Delivered::new(),
            searched: Searched::default(),
            due: VecDeque::new(),
            published,
            published_error: false,
            has_timer: true,
            // With unlimited read-ahead the source is pulled before anything happens.
            dirty: true,
            wanted_idle: None,
        }
    }

    // ---- the protocol ----

    /// Takes in what happened. Returns what to do at once; the rest is due through `poll_action`.
    #[expect(clippy::inline_always, reason = "a part of the path of a read that is answered at once")]
    #[inline(always)]
    pub(crate) fn handle_event(&mut self, now: Instant, event: Event<T>) -> Option<Action<T>> {
        self.now = now;
        let Event::Asked(Asked { question: Question::Read(read), token }) = event else {
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
        let is_visible = matches!(action, Some(Action::Reply { .. }) | None);
        if is_visible && let Some(publish) = self.unpublished() {
            // Progress is published before a reply, so that the caller sees both.
            if let Some(action) = action {
                self.due.push_front(action);
            }
            return Some(publish);
        }
        self.dirty = action.is_some();
        // A parked request can be abandoned at any time, so it is looked at each time.
        let is_decided = !self.dirty && self.feeds.is_one_way() && self.waiters.furthest().is_none();
        self.wanted_idle = is_decided.then(|| self.wants_chunk(0));
        if !self.dirty && self.layout.spare() > 0 && !self.writeback.is_writing() {
            // Blocks leave faster than they fill.
            self.layout.free_spare();
        }
        action
    }

    /// Whether there is nothing to do until the next event.
    pub(crate) fn is_idle(&self) -> bool {
        !self.dirty
    }

    /// The progress that was published last.
    pub(crate) fn published(&self) -> Progress {
        self.published
    }

    /// The numbers of all streams. Some of them may not be in use.
    pub(crate) fn streams(&self) -> Range<usize> {
        self.feeds.ids()
    }

    /// Whether time matters for this source, because it can be opened again. Then the driver must report the
    /// time of every event, and not only of failures.
    pub(crate) fn keeps_time(&self) -> bool {
        !self.feeds.is_one_way()
    }

    /// When to report `DeadlinePassed`. To be called only while the core is idle.
    pub(crate) fn next_deadline(&mut self, now: Instant) -> Option<Instant> {
        let is_timeless = self.feeds.is_one_way() && self.writeback.retry_at().is_none();
        if is_timeless || !self.has_timer || self.extent.ending().is_some() {
            return None;
        }
        let retry_write = self.writeback.retry_at().filter(|_| self.is_needed());
        if self.feeds.is_one_way() {
            return retry_write;
        }
        self.now = now;
        let retrying = self.feeds.retrying().and_then(|(_, at, _)| at);
        // An attempt that was due then and not made waits for something else, such as memory. Its time is no
        // deadline: the driver would report it again and again.
        let retry_source = retrying.filter(|at| *at > self.decided_opening && self.needs_opening());
        let mut deadline = [retry_write, retry_source].into_iter().flatten().min();
        for stream in self.feeds.ids() {
            // The rest of its chunk waits for memory. It would be lost if the stream were closed now. Only where
            // bytes are discarded it may have to wait until a caller reads others, and can be fetched again.
            if self.arriving_from == stream && !self.arriving.is_empty() && !self.may_fetch_again() {
                continue;
            }
            let wanted = self.wants_chunk(stream);
            self.feeds.want(now, stream, wanted);
            deadline = deadline.into_iter().chain(self.feeds.deadline_of(stream)).min();
        }
        // A request that waits for a stream which belongs to other readers.
        let is_due = self.feeds.may_open(now) && self.needs_opening();
        let moved = self.feeds.next_move(self.decided_opening).filter(|_| is_due);
        deadline.into_iter().chain(moved).min()
    }

    /// Bytes of memory held: those that are resident, and those of the chunk that is arriving.
    pub(crate) fn held(&self) -> usize {
        self.layout.allocated().saturating_add(self.layout.spare()).saturating_add(self.arriving.len())
    }

    /// Takes the memory out of a core that is not used any more, so that the driver can choose where it
    /// is freed.
    pub(crate) fn take_memory(&mut self) -> impl Send + use<T> {
        (mem::replace(&mut self.layout, Layout::new()), mem::take(&mut self.arriving))
    }

    // ---- events ----

    #[inline(never)]
    fn handle_other(&mut self, event: Event<T>) {
        match event {
            Event::Asked(asked) => self.ask(asked),
            Event::Withdrawn => {}
            Event::NoTimer => {
                self.has_timer = false;
                if let Some(consequence) = self.feeds.no_timer() {
                    self.follow(consequence);
                }
            }
            Event::Opened(stream, opened) => self.opened(stream, opened),
            Event::OpenFailed(stream, error) => self.fault(stream, Fault::Io(error)),
            Event::DeadlinePassed => self.deadline_passed(),
            Event::Written => self.writeback.written(&mut self.layout),
            Event::WriteFailed(error) => {
                let spills = self.writeback.write_failed(self.now, &mut self.layout, error.clone());
                self.due.extend(spills.map(|token| Action::Reply { token, result: Err(error.clone()) }));
                if self.writeback.has_failed() {
                    self.fail_needy(&error);
                }
            }
        }
    }

    fn deadline_passed(&mut self) {
        if self.writeback.retry_at().is_some_and(|at| at <= self.now) {
            self.writeback.retry();
        }
        for stream in self.feeds.ids() {
            match self.feeds.overdue(self.now, stream) {
                Some(Ok(())) => self.close(stream),
                Some(Err(fault)) => self.fault(stream, fault),
                None => {}
            }
        }
    }

    // ---- actions ----

    fn next_action(&mut self) -> Option<Action<T>> {
        if let Some(action) = self.due.pop_front() {
            return Some(action);
        }
        if let Some(token) = self.writeback.next_spilled() {
            return Some(Action::Reply { token, result: Ok(Answer::Done) });
        }
        while let Some(waiter) = self.waiters.pop() {
            if waiter.is_abandoned() {
                continue;
            }
            if let Some(action) = self.answer(waiter) {
                return Some(action);
            }
        }
        if let Some(stream) = self.closing.pop() {
            return Some(Action::CloseStream(stream));
        }
        if self.apply_limits() {
            return self.next_action();
        }
        let (kept, discards) = (self.kept(), self.discards());
        let write = self.writeback.next_write(&mut self.layout, &discards);
        self.note_discards(&kept);
        if let Some(write) = write {
            return Some(Action::WriteStore(write));
        }
        // A `spill` does not wait for bytes that have no place: only this write has decided that.
        let done = self.writeback.next_spilled().or_else(|| self.writeback.next_adjusted(&self.layout));
        if let Some(token) = done {
            return Some(Action::Reply { token, result: Ok(Answer::Done) });
        }
        self.absorb().or_else(|| self.next_opening())
    }

    /// The snapshot, if it differs from the one published last.
    fn unpublished(&mut self) -> Option<Action<T>> {
        let progress = self.progress();
        let has_error = self.source_error().is_some();
        if progress == self.published && has_error == self.published_error {
            return None;
        }
        (self.published, self.published_error) = (progress, has_error);
        let source_error = self.source_error().cloned();
        let store_error = self.writeback.error().cloned();
        Some(Action::Publish(Snapshot { progress, source_error, store_error }))
    }

    fn progress(&mut self) -> Progress {
        let (loaded, spilled) = (self.layout.loaded(), self.layout.stored());
        let (resident, store_failing) = (loaded - spilled, self.writeback.error().is_some());
        let (start, size) = (self.layout.start(), self.extent.size());
        let state = self.extent.final_state(start).unwrap_or_else(|| self.open_state());
        let frontier = self.layout.first_missing(start);
        let streams = self.feeds.open_count();
        Progress { loaded, size, resident, spilled, start, frontier, streams, state, store_failing }
    }

    /// The state while the source has not ended.
    fn open_state(&mut self) -> State {
        if self.layout.is_whole(self.extent.end()) && self.layout.start() == 0 {
            return State::Complete;
        }
        if let Some((attempt, _, delay)) = self.feeds.retrying()
            && self.needs_opening()
        {
            return State::Retrying { attempt, delay };
        }
        if self.is_needed() && !self.writeback.has_failed() { State::Pulling } else { State::Waiting }
    }

    /// Whether a byte that is not loaded is needed.
    fn is_needed(&mut self) -> bool {
        if self.extent.ending().is_some() {
            return false;
        }
        self.feeds.ids().any(|stream| self.need(stream) > Need::Nothing) || self.needs_opening()
    }

    /// The failure of the source that lasts.
    fn source_error(&self) -> Option<&Error> {
        self.extent.failure().or(self.feeds.error())
    }
}
