//! What happens in a run with a source that can be opened again: plain data, as in the other simulation.

use std::fmt;

use streamspool::Reopen;

use crate::asks::What;
use crate::steps::{End, Op};
use crate::support::store::{AtOnce, Fault};

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

#[derive(Clone, Copy, Debug)]
pub struct Setup {
    /// The bytes that the resource has.
    pub size: u64,
    pub has_versions: bool,
    /// Every stream starts at byte 0.
    pub ignores_offsets: bool,
    /// What the source says of itself.
    pub reopen: Reopen,
    pub declared: Option<u64>,
    pub max_memory: usize,
    /// The first limit of the store. `None` if no limit is ever set.
    pub max_disk: Option<u64>,
    pub read_ahead: u64,
    /// How many streams may be open at once.
    pub streams: usize,
    /// Attempts in a row.
    pub attempts: u32,
    pub at_once: AtOnce,
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

/// Callers are numbered as in the other simulation. Openings and streams are numbered from the oldest one
/// that the buffer holds. A step that names a number that is not there does nothing.
#[derive(Clone, Debug)]
pub enum Step {
    Ask(What),
    Poll(usize),
    Cancel(usize),
    OpenReader,
    Read(usize, Op),
    StopReader(usize),
    DropReader(usize),
    /// An opening gets its answer.
    Answer(usize, Answer),
    /// A stream has chunks of these sizes.
    Send(usize, Vec<usize>),
    /// A stream ends after its chunks.
    Break(usize, Break),
    /// The resource becomes another one, by this difference.
    Change(u8),
    /// 16 s pass: longer than the longest delay before an attempt. Two of them are longer than the time
    /// after which silent streams fail and unused ones are closed.
    Time,
    Turn,
    Settle,
    Disk(usize, Option<Fault>),
    Space(Option<u64>),
}
