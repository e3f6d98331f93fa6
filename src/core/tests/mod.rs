//! The core in a world of its own: a source that never lies about its bytes, a disk that takes its
//! time or fails when told to, and no runtime. The numbers are those of the contract's rules.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::cast_possible_truncation,
    reason = "a test that panics has found something, and its offsets are small"
)]

mod crowd;
mod crowds;
mod demand;
mod discards;
mod ending;
mod failures;
mod far;
mod holes;
mod islands;
mod jumping;
mod keeping;
mod limits;
mod model;
mod proof;
mod pulling;
mod random;
mod reading;
mod remote;
mod resuming;
mod series;
mod server;
mod settled;
mod sharing;
mod sources;
mod spilling;
mod steps;
mod turns;

use std::cell::Cell;
use std::io;
use std::rc::Rc;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::lent::{Found, Lent};
use super::memory::BLOCK;
use super::pull::Permit;
use super::read::{Read, Want};
use super::{Action, Core, Event, Limits, Token, Write};
use crate::error::Error;
use crate::progress::{Progress, Snapshot, State};

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;

/// The most that memory may go over its budget, by rule 9.
const SLACK: usize = MIB;

/// In memory, without a declared size and without read-ahead: what most tests start
/// from.
const PLAIN: Limits =
    Limits { declared: None, max_memory: usize::MAX, read_ahead: 0, max_disk: u64::MAX, streams: 2 };

/// The stream of every test.
static SOURCE: LazyLock<Bytes> = LazyLock::new(|| generate(8 * MIB));

/// Bytes that depend on all of their offset: a shift by any distance shows.
fn generate(len: usize) -> Bytes {
    let word = |at: u64| {
        let mixed = (at ^ (at >> 31)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        (mixed ^ (mixed >> 29)).wrapping_mul(0xBF58_476D_1CE4_E5B9).to_be_bytes()
    };
    (1..=len.div_ceil(8) as u64).flat_map(word).collect::<Vec<u8>>().into()
}

/// Bytes `[from, to)` of the stream.
fn source(from: u64, to: u64) -> Bytes {
    SOURCE.slice(from as usize..to as usize)
}

type Answer = Result<Bytes, Error>;

/// Where a reply is sent: a number, and whether anybody still waits for it.
struct Ticket {
    id: usize,
    gone: Rc<Cell<bool>>,
}

thread_local! {
    /// How often the core has looked whether a caller still waits: a measure of its walks over requests.
    static LOOKED_AT: Cell<u64> = const { Cell::new(0) };
}

impl Token for Ticket {
    fn is_abandoned(&self) -> bool {
        LOOKED_AT.set(LOOKED_AT.get() + 1);
        self.gone.get()
    }
}

/// The asker's half of a ticket.
struct Ask {
    id: usize,
    gone: Rc<Cell<bool>>,
    left: Rc<Cell<bool>>,
}

impl Ask {
    fn abandon(&self) {
        self.gone.set(true);
        self.left.set(true);
    }
}

/// Drives the core as the actor does, at the test's pace.
struct World {
    core: Core<Ticket>,
    /// Bytes that the source has sent.
    sent: u64,
    /// The bytes that were written, and after them the rest of a failed write.
    disk: Vec<u8>,
    /// The running write.
    writing: Option<Write>,
    /// The places that the store was told to discard.
    discarded: Vec<std::ops::Range<u64>>,
    /// By ticket: what is left of the range that it asks for, if it asks for one.
    reads: Vec<Option<Read>>,
    /// By ticket: the first parts of an exact read that is answered in parts.
    parts: Vec<Vec<Bytes>>,
    /// By ticket.
    answers: Vec<Option<Answer>>,
    /// Tickets that were answered since the test looked last.
    fresh: Vec<usize>,
    store_reads: usize,
    /// Whether callers can read slices of the store.
    borrow: bool,
    /// The end of the settled bytes, as the last slice reported it.
    settled: u64,
    /// Whether a caller has left since the core was told.
    left: Rc<Cell<bool>>,
    published: Progress,
    /// Whether the stream was closed.
    closed: bool,
    now: Instant,
}

impl World {
    fn new(limits: Limits) -> Self {
        let now = Instant::now();
        let core = Core::one_way(limits, 1, now);
        let published = core.published();
        Self {
            core,
            sent: 0,
            disk: Vec::new(),
            writing: None,
            discarded: Vec::new(),
            reads: Vec::new(),
            parts: Vec::new(),
            answers: Vec::new(),
            fresh: Vec::new(),
            store_reads: 0,
            borrow: false,
            settled: 0,
            left: Rc::default(),
            published,
            closed: false,
            now,
        }
    }

    // ---- requests ----

    fn ticket(&mut self, read: Option<Read>) -> (Ticket, Ask) {
        let (id, gone) = (self.answers.len(), Rc::new(Cell::new(false)));
        self.answers.push(None);
        self.parts.push(Vec::new());
        self.reads.push(read);
        (Ticket { id, gone: Rc::clone(&gone) }, Ask { id, gone, left: Rc::clone(&self.left) })
    }

    /// Asks, and carries out the replies that are due by then.
    fn ask(&mut self, read: Read) -> Ask {
        let ask = self.ask_only(read);
        while !self.core.due.is_empty() {
            self.act();
        }
        ask
    }

    fn ask_only(&mut self, read: Read) -> Ask {
        let read = Read { borrow: self.borrow, ..read };
        let (token, ask) = self.ticket(Some(read));
        self.event(Event::Read { read, token });
        ask
    }

    fn read(&mut self, offset: u64, len: u64) -> Ask {
        self.ask(Read { offset, len, want: Want::Exact, borrow: false })
    }

    fn read_some(&mut self, offset: u64, len: u64) -> Ask {
        self.ask(Read { offset, len, want: Want::Piece, borrow: false })
    }

    fn load(&mut self) -> Ask {
        let ask = self.load_only();
        self.pump();
        ask
    }

    fn load_only(&mut self) -> Ask {
        let (token, ask) = self.ticket(None);
        self.event(Event::Load { range: 0..u64::MAX, token });
        ask
    }

    fn size(&mut self) -> Ask {
        let (token, ask) = self.ticket(None);
        self.event(Event::Size { token });
        ask
    }

    fn spill(&mut self) -> Ask {
        let (token, ask) = self.ticket(None);
        self.event(Event::Spill { token });
        ask
    }

    fn set_limits(&mut self, max_memory: Option<usize>, max_disk: Option<u64>) -> Ask {
        let (token, ask) = self.ticket(None);
        self.event(Event::SetLimits { max_memory, max_disk, token });
        ask
    }

    fn event(&mut self, event: Event<Ticket>) {
        if let Some(action) = self.core.handle_event(self.now, event) {
            self.perform(action);
        }
    }

    // ---- the source and the disk ----

    /// Whether the source is to be pulled.
    fn wants_chunk(&mut self) -> bool {
        self.core.permit(self.now, 0).is_some()
    }

    /// The source sends the next `len` bytes, and everything that follows from it happens.
    fn send(&mut self, len: usize) {
        self.append(len);
        self.pump();
    }

    /// The source sends the next `len` bytes, whether they are needed or not.
    fn append(&mut self, len: usize) {
        let from = self.sent;
        self.sent += len as u64;
        self.chunk(source(from, self.sent));
    }

    fn chunk(&mut self, chunk: Bytes) {
        Permit { core: &mut self.core, stream: 0 }.chunk(chunk);
    }

    fn end(&mut self) {
        self.end_unseen();
        self.pump();
    }

    /// The source ends; nothing follows from it yet.
    fn end_unseen(&mut self) {
        Permit { core: &mut self.core, stream: 0 }.end();
    }

    fn fail(&mut self) {
        self.fail_unseen();
        self.pump();
    }

    fn fail_unseen(&mut self) {
        let cause = io::Error::new(io::ErrorKind::ConnectionReset, "gone");
        Permit { core: &mut self.core, stream: 0 }.fail(cause);
    }

    /// Sends blocks while they are wanted, `most` bytes in all.
    fn send_while_wanted(&mut self, most: usize) {
        let to = self.sent + most as u64;
        while self.sent < to && self.wants_chunk() {
            self.send(64 * KIB);
        }
    }

    /// The running write succeeds.
    fn write_succeeds(&mut self) {
        let write = self.writing.take().expect("a write is running");
        if !self.core.layout.is_limited() {
            // Nothing of a failed write stays.
            self.disk.truncate(write.offset as usize);
        }
        for (place, bytes) in &write.bytes {
            let (start, end) = (*place as usize, *place as usize + bytes.len());
            if self.disk.len() < end {
                self.disk.resize(end, 0);
            }
            self.disk[start..end].copy_from_slice(bytes);
        }
        self.discarded.extend(write.discarded);
        // As the actor does: the store has dropped the bytes before the core knows.
        drop(write.bytes);
        self.event(Event::Written);
    }

    /// The running write fails half-way.
    fn write_fails(&mut self) {
        let offset = self.writing.take().expect("a write is running").offset;
        self.disk.extend_from_slice(b"half a write");
        self.event(Event::WriteFailed(Error::spill_write(offset, io::ErrorKind::StorageFull.into())));
    }

    /// Every write succeeds, until none is due.
    fn write_all(&mut self) {
        self.pump();
        while self.writing.is_some() {
            self.write_succeeds();
            self.pump();
        }
    }

    /// The time of the core's next deadline comes. Returns whether there is one.
    fn pass_deadline(&mut self) -> bool {
        self.tell_withdrawn();
        let Some(deadline) = self.core.next_deadline(self.now) else { return false };
        assert!(deadline > self.now, "a deadline in the past");
        // Too early has no effect.
        self.now = deadline.checked_sub(Duration::from_nanos(1)).unwrap();
        self.event(Event::DeadlinePassed);
        assert_eq!(self.core.next_deadline(self.now), Some(deadline));
        self.now = deadline;
        self.event(Event::DeadlinePassed);
        true
    }

    // ---- the actor ----

    /// Carries out one action. Returns whether there was one.
    fn act(&mut self) -> bool {
        self.tell_withdrawn();
        if let Some(action) = self.core.poll_action() {
            self.perform(action);
            return true;
        }
        self.check_idle();
        false
    }

    fn tell_withdrawn(&mut self) {
        if self.left.take() {
            self.event(Event::Withdrawn);
        }
    }

    /// An idle core has nothing to do, and its progress is published.
    fn check_idle(&mut self) {
        assert!(self.core.is_idle());
        assert!(self.core.next_action().is_none(), "the core was idle, and an action was due");
        assert_eq!(self.published, self.core.progress(), "the core was idle, and progress was not published");
    }

    fn pump(&mut self) {
        while self.act() {}
    }

    fn perform(&mut self, action: Action<Ticket>) {
        match action {
            Action::Reply { token, result } => {
                assert!(self.left.get() || self.published == self.core.progress(), "reply before progress");
                let result = result.map(|found| match found {
                    Found::Bytes(pieces) => pieces.join(),
                    Found::Lent(Lent { range, position, settled, .. }) => {
                        self.settled = settled;
                        assert!(self.disk[..settled as usize] == SOURCE[..settled as usize], "settled bytes");
                        self.read_store(&range, position)
                    }
                });
                self.answer(token, result);
            }
            Action::ReadStore { token, range, position } => {
                // The driver may reply at once.
                assert!(self.left.get() || self.published == self.core.progress(), "read before progress");
                let bytes = self.read_store(&range, position);
                self.answer(token, Ok(bytes));
            }
            Action::WriteStore(write) => {
                assert!(self.writing.is_none(), "two writes at once");
                if !self.core.layout.is_limited() {
                    assert_eq!(joined(&write.bytes).0, self.progress().spilled, "writes are consecutive");
                }
                self.writing = Some(write);
            }
            Action::Publish(Snapshot { progress, source_error, store_error }) => {
                assert_ne!(progress, self.published, "published twice");
                assert_eq!(source_error.is_some(), progress.state == State::Failed);
                assert_eq!(store_error.is_some(), progress.store_failing);
                self.published = progress;
            }
            Action::OpenStream { at, .. } => panic!("a one-way stream is opened at {}", at.offset),
            Action::CloseStream(_) => {
                assert!(!self.closed, "closed twice");
                self.closed = true;
            }
            Action::Absorbed { bytes } => assert!(bytes > 0 && bytes <= BLOCK),
        }
    }

    fn read_store(&mut self, range: &std::ops::Range<u64>, position: u64) -> Bytes {
        assert!(range.start < range.end);
        assert!(range.end <= self.progress().frontier, "reads bytes that are not in the store");
        self.store_reads += 1;
        let (from, len) = (position as usize, (range.end - range.start) as usize);
        Bytes::copy_from_slice(&self.disk[from..from + len])
    }

    /// A reply arrives. As the handle does, asks for the rest of an exact read.
    fn answer(&mut self, ticket: Ticket, answer: Answer) {
        let id = ticket.id;
        if let (Ok(bytes), Some(read)) = (&answer, &mut self.reads[id])
            && read.want == Want::Exact
            && !bytes.is_empty()
        {
            self.parts[id].push(bytes.clone());
            read.offset += bytes.len() as u64;
            read.len -= bytes.len() as u64;
            if read.len > 0 {
                let read = *read;
                return self.event(Event::Read { read, token: ticket });
            }
        }
        let answer = answer.map(|bytes| match &std::mem::take(&mut self.parts[id])[..] {
            [] => bytes,
            [whole] => whole.clone(),
            parts => parts.concat().into(),
        });
        let twice = self.answers[id].replace(answer);
        assert!(twice.is_none(), "answered twice");
        self.fresh.push(id);
    }

    /// The end of the furthest range of an action that is due but not carried out yet.
    fn due_end(&self) -> Option<u64> {
        let end = |action: &Action<Ticket>| match action {
            Action::Reply { token, result: Ok(found) } if found.len() > 0 => {
                self.reads[token.id].map(|read| read.offset + found.len())
            }
            Action::ReadStore { range, .. } => Some(range.end),
            _ => None,
        };
        self.core.due.iter().filter_map(end).max()
    }

    // ---- what is seen ----

    fn progress(&mut self) -> Progress {
        self.core.progress()
    }

    fn allocated(&self) -> usize {
        self.core.layout.allocated()
    }

    fn is_waiting(&self, ask: &Ask) -> bool {
        self.answers[ask.id].is_none()
    }

    fn answered(&self, ask: &Ask) -> Answer {
        self.answers[ask.id].clone().expect("it is answered")
    }

    fn bytes(&self, ask: &Ask) -> Bytes {
        self.answered(ask).expect("it is answered with bytes")
    }

    fn error(&self, ask: &Ask) -> Error {
        self.answered(ask).expect_err("it is answered with an error")
    }
}

/// The offset and the bytes of a write without gaps.
fn joined(writes: &[(u64, Bytes)]) -> (u64, Vec<u8>) {
    let mut bytes = Vec::new();
    let start = writes.first().expect("a write has bytes").0;
    for (offset, part) in writes {
        assert_eq!(*offset, start + bytes.len() as u64, "a gap in a write");
        bytes.extend_from_slice(part);
    }
    (start, bytes)
}

/// The progress of a one-way buffer whose store does not fail.
fn progress(loaded: u64, spilled: u64, size: Option<u64>, state: State) -> Progress {
    let streams = usize::from(!state.is_final());
    let resident = loaded - spilled;
    let (start, frontier, store_failing) = (0, loaded, false);
    Progress { loaded, size, resident, spilled, start, frontier, streams, state, store_failing }
}
