//! What callers ask, and what they are answered. A question is the same value from the handle that sends it to the
//! core that answers it, and while it waits.

use std::ops::Range;

use super::Token;
use super::lent::Found;
use super::read::Read;
use crate::progress::Ranges;

/// What a caller asks.
pub(crate) enum Question {
    /// A range. The answer is [`Answer::Found`].
    Read(Read),
    /// A range is to be loaded. The answer is [`Answer::End`], with the end of the range, or of the resource if that
    /// is before.
    ///
    /// All bytes of the range before `arrived` have arrived. A byte that arrived and was discarded since then is not
    /// waited for again: otherwise two requests could wait for each other for ever.
    Load { range: Range<u64>, arrived: u64 },
    /// The size of the resource. The answer is [`Answer::End`], after the size was published.
    Size,
    /// The ranges of loaded bytes. The answer is [`Answer::Ranges`].
    Ranges,
    /// All bytes that are resident now are to be spilled. The answer is [`Answer::Done`].
    Spill,
    /// Limits are changed. The answer is [`Answer::Done`], when the buffer is within them.
    SetLimits { max_memory: Option<usize>, max_disk: Option<u64> },
}

impl Question {
    pub(crate) fn load(range: Range<u64>) -> Self {
        Self::Load { arrived: range.start, range }
    }

    /// The offset that the question is about, if it is about one.
    pub(crate) fn offset(&self) -> Option<u64> {
        match self {
            Self::Read(read) => Some(read.offset),
            Self::Load { range, .. } => Some(range.start),
            Self::Size | Self::Ranges | Self::Spill | Self::SetLimits { .. } => None,
        }
    }
}

/// What a caller is answered, if not with an error.
pub(crate) enum Answer {
    /// Bytes, or the slice of the store that has them.
    Found(Found),
    /// The end of a range or of the resource.
    End(u64),
    Ranges(Ranges),
    Done,
}

impl Answer {
    // Each question has one kind of answer. So the other kinds do not occur in these.

    pub(crate) fn found(self) -> Option<Found> {
        if let Self::Found(found) = self { Some(found) } else { None }
    }

    pub(crate) fn end(self) -> Option<u64> {
        if let Self::End(end) = self { Some(end) } else { None }
    }

    pub(crate) fn ranges(self) -> Option<Ranges> {
        if let Self::Ranges(ranges) = self { Some(ranges) } else { None }
    }

    pub(crate) fn done(self) -> Option<()> {
        if let Self::Done = self { Some(()) } else { None }
    }
}

/// A question, and where its answer is sent.
pub(crate) struct Asked<T> {
    pub(crate) question: Question,
    pub(crate) token: T,
}

impl<T: Token> Token for Asked<T> {
    fn is_abandoned(&self) -> bool {
        self.token.is_abandoned()
    }
}
