//! What happens in a run: its setup, its steps and its end. All of it is plain data, so a run can be printed, kept
//! and done again.

use std::fmt;

use streamspool::Reopen;

use crate::asks::What;
use crate::disk::{AtOnce, Fault};

/// A run from its start to its end.
#[derive(Clone, Debug)]
pub struct Case {
    pub setup: Setup,
    pub steps: Vec<Step>,
    /// How the source behaves for some time before the end.
    pub trouble: Trouble,
    pub end: End,
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:?}", self.setup)?;
        for step in &self.steps {
            writeln!(f, "    {step:?},")?;
        }
        write!(f, "{:?}, {:?}", self.trouble, self.end)
    }
}

/// The kind of a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A one-way stream: a source that is opened once, before the first step. Its first failure is its end.
    OneWay,
    /// A source that can be opened again. It refuses, hangs, falls silent, breaks after any byte, starts early or
    /// late, sends too much, ignores offsets, and changes with or without a new version.
    Reopenable,
}

#[derive(Clone, Copy, Debug)]
pub struct Setup {
    pub kind: Kind,
    /// The bytes that the source has.
    pub size: u64,
    pub declared: Option<u64>,
    pub max_memory: usize,
    /// The first limit of the store. `None` if no limit is ever set.
    pub max_disk: Option<u64>,
    pub read_ahead: u64,
    pub at_once: AtOnce,
    /// How a one-way stream ends after its last byte.
    pub ending: Ending,
    // The rest is for sources that can be opened again.
    pub has_versions: bool,
    /// Every stream starts at byte 0.
    pub ignores_offsets: bool,
    /// What the source says of itself.
    pub reopen: Reopen,
    /// How many streams may be open at once.
    pub streams: usize,
    /// Attempts in a row.
    pub attempts: u32,
}

/// How a one-way stream ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    Break(Break),
    /// It sends nothing more, and does not end.
    Stall,
    /// It sends empty chunks for ever.
    Empty,
}

/// How a source answers an opening.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// With a stream.
    Stream {
        start: Start,
        /// It tells the version, if the resource has one.
        version: bool,
        /// It tells the size.
        size: bool,
    },
    Refuse(Refusal),
}

/// Where a stream starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    AsAsked,
    /// So many bytes earlier, but not before byte 0.
    Early(u64),
    /// So many bytes later.
    Late(u64),
}

/// How an opening fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// No connection.
    Transient,
    /// Try again in 20 s.
    Busy,
    /// There is no such resource.
    Permanent,
    Panic,
}

/// How a stream ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Break {
    End,
    Reset,
    Permanent,
    Panic,
}

/// How a source behaves that does not work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// It works.
    None,
    /// It refuses every opening.
    Refuses,
    /// It answers no opening.
    Hangs,
    /// Its streams send nothing.
    IsSilent,
    /// Its streams break before the first byte.
    Breaks,
}

/// Requests and readers are numbered in the order in which they came; the last one takes the number of one that
/// leaves. Openings and streams are numbered from the oldest one that the buffer holds. A step that names a number
/// that is not there does nothing.
#[derive(Clone, Debug)]
pub enum Step {
    /// A request is made, and not polled yet.
    Ask(What),
    /// A request is polled.
    Poll(usize),
    /// A request is dropped.
    Cancel(usize),
    OpenReader,
    /// A reader of another type: a stream of this range.
    OpenChunks(u64, u64),
    /// A reader begins something. The future of what it did before is dropped.
    Read(usize, Op),
    /// A reader is not polled any more. What it asked for stays asked.
    StopReader(usize),
    DropReader(usize),
    /// An opening gets its answer.
    Answer(usize, Answer),
    /// A stream has chunks of these sizes.
    Send(usize, Vec<usize>),
    /// A stream ends after its chunks. A one-way stream does so only after its last byte.
    Break(usize, Break),
    /// The resource becomes another one, by this difference.
    Change(u8),
    /// The actor is polled once, if it was woken.
    Turn,
    /// Everything that is woken is polled, until nothing is woken any more.
    Settle,
    /// The same. Then the ranges that the buffer has are compared with those that have arrived.
    Look,
    /// The disk does one of the jobs that wait, by its number. Its first calls of the store go wrong like this.
    /// A request may be polled in the middle of its first write.
    Disk(usize, Vec<Fault>, Option<usize>),
    /// 16 s pass: longer than the longest delay before an attempt or before a failed write is retried. Two of them
    /// are longer than the time after which silent streams fail and unused ones are closed.
    Time,
    /// The space on the disk.
    Space(Option<u64>),
}

/// What a reader does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    Read(usize),
    Fill,
    Seek(u64),
    /// A seek from the end.
    SeekEnd(i64),
    /// To the first byte that is kept.
    Skip,
    /// The next piece of a stream of a range. The others are for readers that seek.
    Piece,
}

/// How a buffer ends.
#[derive(Clone, Copy, Debug)]
pub enum End {
    /// The disk and the source are well: all requests are answered, and every byte can be read.
    Heal,
    /// It is closed.
    Close,
    /// Its actor is dropped.
    Abort,
    /// All its callers leave, and time passes. Then the last handle leaves.
    Pause,
    /// All its callers leave at once, with the last handle.
    Leave,
}
