//! What happens in a run: its setup, its steps and its end. All of it is plain data, so a run can be
//! printed, kept and done again.

use std::fmt;

use crate::asks::What;
use crate::support::store::{AtOnce, Fault};

/// A run from its start to its end.
#[derive(Clone, Debug)]
pub struct Case {
    pub setup: Setup,
    pub steps: Vec<Step>,
    pub end: End,
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:?}", self.setup)?;
        for step in &self.steps {
            writeln!(f, "    {step:?},")?;
        }
        write!(f, "{:?}", self.end)
    }
}

#[derive(Clone, Copy, Debug)]
pub struct Setup {
    /// The bytes that the source has.
    pub total: u64,
    /// How it ends after them.
    pub ending: Ending,
    pub declared: Option<u64>,
    pub max_memory: usize,
    /// The first limit of the store. `None` if no limit is ever set.
    pub max_disk: Option<u64>,
    pub read_ahead: u64,
    pub at_once: AtOnce,
}

/// How a source ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    End,
    Fail,
    Panic,
    /// It sends nothing more, and does not end.
    Stall,
    /// It sends empty chunks for ever.
    Empty,
}

/// Callers are numbered in the order in which they came; the last one takes the number of one that
/// leaves. A step that names a number that is not there does nothing.
#[derive(Clone, Debug)]
pub enum Step {
    /// A request is made, and not polled yet.
    Ask(What),
    /// A request is polled.
    Poll(usize),
    /// A request is dropped.
    Cancel(usize),
    OpenReader,
    /// A reader begins something. The future of what it did before is dropped.
    Read(usize, Op),
    /// A reader is not polled any more. What it asked for stays asked.
    StopReader(usize),
    DropReader(usize),
    /// A body of this range begins.
    OpenBody(u64, u64),
    /// A body asks for its next piece.
    NextPiece(usize),
    DropBody(usize),
    /// The source has chunks of these sizes.
    Feed(Vec<usize>),
    /// The source ends after its last byte.
    EndSource,
    /// The actor is polled once, if it was woken.
    Turn,
    /// Everything that is woken is polled, until nothing is woken any more.
    Settle,
    /// The disk does one of the calls that wait, by its number.
    Disk(usize, Option<Fault>),
    /// So much time passes that a failed write is retried.
    Time,
    /// The space on the disk.
    Space(Option<u64>),
}

/// What a reader does.
#[derive(Clone, Copy, Debug)]
pub enum Op {
    Read(usize),
    Fill,
    Seek(u64),
    /// A seek from the end.
    SeekEnd(i64),
    /// To the first byte that is kept.
    Skip,
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
    /// All its callers leave.
    Leave,
}
