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

mod ending;
mod keeping;
mod model;
mod pulling;
mod reading;
mod spilling;
mod steps;

use std::cell::Cell;
use std::io;
use std::rc::Rc;
use std::sync::LazyLock;

use bytes::Bytes;

use super::memory::{BLOCK, Pieces};
use super::{Action, Core, Limits, Phase, Read, Status, Token, Want};
use crate::error::Error;

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;

/// The most that memory may go over its budget, by rule 9.
const SLACK: usize = MIB;

/// In memory, without a declared size, and pulling only for those who wait: what most tests start
/// from.
const PLAIN: Limits = Limits { declared: None, max_memory: usize::MAX, read_ahead: 0 };

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

impl Token for Ticket {
    fn is_abandoned(&self) -> bool {
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

/// Does what the actor does, at the test's pace.
struct World {
    core: Core<Ticket>,
    /// What has been sent by the source.
    sent: u64,
    /// What was written, and behind it what a failed write left.
    disk: Vec<u8>,
    /// The write under way.
    writing: Option<(u64, Vec<Bytes>)>,
    /// By ticket.
    answers: Vec<Option<Answer>>,
    /// Tickets answered since the test last looked.
    fresh: Vec<usize>,
    file_reads: usize,
    /// Whether what is read from the disk is at hand.
    at_hand: bool,
    /// Whether somebody has left since the core was told.
    left: Rc<Cell<bool>>,
    /// The status when the core was last settled.
    told: Option<Status>,
}

impl World {
    fn new(limits: Limits) -> Self {
        Self {
            core: Core::new(limits),
            sent: 0,
            disk: Vec::new(),
            writing: None,
            answers: Vec::new(),
            fresh: Vec::new(),
            file_reads: 0,
            at_hand: false,
            left: Rc::default(),
            told: None,
        }
    }

    // ---- requests ----

    fn ticket(&mut self) -> (Ticket, Ask) {
        let (id, gone) = (self.answers.len(), Rc::new(Cell::new(false)));
        self.answers.push(None);
        (Ticket { id, gone: Rc::clone(&gone) }, Ask { id, gone, left: Rc::clone(&self.left) })
    }

    fn ask(&mut self, read: Read) -> Ask {
        let (ticket, ask) = self.ticket();
        if let Some(action) = self.core.read(read, ticket) {
            self.perform(action);
        }
        ask
    }

    fn read(&mut self, offset: u64, len: u64) -> Ask {
        self.ask(Read { offset, len, want: Want::Exact })
    }

    fn read_some(&mut self, offset: u64, len: u64) -> Ask {
        self.ask(Read { offset, len, want: Want::Piece })
    }

    fn spill(&mut self) -> Ask {
        let (ticket, ask) = self.ticket();
        self.core.spill(ticket);
        ask
    }

    // ---- the source and the disk ----

    /// The source sends the next `len` bytes, and all that follows from it happens.
    fn send(&mut self, len: usize) {
        self.append(len);
        self.pump();
    }

    /// The source sends the next `len` bytes; nothing comes of it yet.
    fn append(&mut self, len: usize) {
        let from = self.sent;
        self.sent += len as u64;
        self.core.append(source(from, self.sent));
    }

    fn end(&mut self) {
        self.core.end();
        self.pump();
    }

    fn fail(&mut self) {
        let cause = io::Error::new(io::ErrorKind::ConnectionReset, "gone");
        let loaded = self.status().loaded;
        self.core.fail(Error::source_failed(loaded, cause));
        self.pump();
    }

    /// Sends blocks for as long as they are wanted, `most` bytes in all.
    fn send_while_wanted(&mut self, most: usize) {
        let to = self.sent + most as u64;
        while self.sent < to && self.core.wants_chunk() {
            self.send(64 * KIB);
        }
    }

    /// The write under way ends well.
    fn write_succeeds(&mut self) {
        let (offset, blocks) = self.writing.take().expect("a write is under way");
        self.disk.truncate(offset as usize);
        self.disk.extend_from_slice(&blocks.concat());
        self.core.spilled();
    }

    /// The write under way fails half-way.
    fn write_fails(&mut self) {
        let (offset, _) = self.writing.take().expect("a write is under way");
        self.disk.extend_from_slice(b"half a write");
        self.core.spill_failed(&Error::spill_write(offset, io::ErrorKind::StorageFull.into()));
    }

    /// Every write ends well, until there is none.
    fn write_all(&mut self) {
        self.pump();
        while self.writing.is_some() {
            self.write_succeeds();
            self.pump();
        }
    }

    // ---- the actor ----

    /// One action, or one block of the chunk that is arriving. Returns whether there was any.
    fn act(&mut self) -> bool {
        let settled = self.was_settled();
        let more = match self.core.next_action() {
            Some(action) => {
                self.perform(action);
                true
            }
            None => self.core.absorb(),
        };
        self.settle(settled, more);
        more
    }

    /// Whether the actor would not look for anything to do now.
    fn was_settled(&mut self) -> bool {
        if self.left.take() {
            self.core.withdrawn();
        }
        self.core.is_settled()
    }

    /// There was something to do, or not.
    fn settle(&mut self, was_settled: bool, more: bool) {
        if was_settled {
            assert!(!more, "the actor would not have looked, and there was something to do");
            assert_eq!(self.told, Some(self.core.status()), "the actor would not have told of it");
        } else if !more {
            self.told = Some(self.core.status());
            self.core.settle();
        }
    }

    fn pump(&mut self) {
        while self.act() {}
    }

    fn perform(&mut self, action: Action<Ticket>) {
        match action {
            Action::Reply { token, result } => self.answer(&token, result.map(Pieces::join)),
            Action::ReadFile { token, offset, len, enough, rest } => {
                assert!(0 < enough && enough <= len && (enough == len || rest.len() == 0));
                let len = if self.at_hand { enough } else { len };
                let end = offset + len as u64;
                assert!(end <= self.status().spilled, "reads what is not on disk");
                let mut bytes = self.disk[offset as usize..end as usize].to_vec();
                bytes.extend_from_slice(&rest.join());
                self.file_reads += 1;
                self.answer(&token, Ok(bytes.into()));
            }
            Action::WriteBlocks { offset, blocks } => {
                assert!(self.writing.is_none(), "two writes at once");
                assert_eq!(offset, self.status().spilled, "writes are consecutive");
                self.writing = Some((offset, blocks));
            }
        }
    }

    fn answer(&mut self, ticket: &Ticket, answer: Answer) {
        let twice = self.answers[ticket.id].replace(answer);
        assert!(twice.is_none(), "answered twice");
        self.fresh.push(ticket.id);
    }

    // ---- what is seen ----

    fn status(&mut self) -> Status {
        self.core.status()
    }

    fn allocated(&self) -> usize {
        self.core.memory.allocated()
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
