//! What a read gets, and what it waits for.

use std::ops::Range;

use super::Ending;
use super::layout::{Layout, Part, Place};
use super::memory::BLOCK;
use crate::error::Error;

/// A range that a caller wants.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Read {
    pub(crate) offset: u64,
    /// In bytes. A range past `u64::MAX` ends there.
    pub(crate) len: u64,
    pub(crate) want: Want,
}

/// How much of its range a read waits for, and how much it gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Want {
    /// Waits for all of the range. Gets the first part of it that lies in one place; the caller asks
    /// again for the rest, which is loaded too.
    Exact,
    /// Waits for one byte. Gets one piece.
    Piece,
    /// As `Piece`, plus following bytes that were delivered before: they must not advance the
    /// read-ahead.
    Run,
}

impl Read {
    pub(super) fn end(&self) -> u64 {
        self.offset.saturating_add(self.len)
    }
}

/// What becomes of a read.
pub(super) enum Decision {
    /// It waits until all bytes before this offset are loaded, or the stream has ended.
    Wait(u64),
    /// It is answered.
    Act(Outcome),
}

/// What a read is answered with.
pub(super) enum Outcome {
    /// No bytes: it asked for none, or starts at or past the end of the stream.
    Nothing,
    /// The source failed before the bytes that it needs.
    Failure(Error),
    /// The first piece of this resident range, and the pieces that follow up to `more_to`.
    Resident { range: Range<u64>, more_to: u64 },
    /// Bytes of the store: all of `range` if it must wait for the disk, else the first `enough` bytes.
    Stored { range: Range<u64>, enough: usize },
}

/// Decides what `read` gets now. `delivered` is the end of the furthest range delivered so far.
#[inline]
pub(super) fn decide(read: &Read, layout: &Layout, ending: Option<&Ending>, delivered: u64) -> Decision {
    let end = match ending {
        Some(Ending::Complete) => read.end().min(layout.loaded()),
        _ => read.end(),
    };
    let missing = |until| match ending {
        None => Decision::Wait(until),
        Some(Ending::Complete) => Decision::Act(Outcome::Nothing),
        Some(Ending::Failed(error)) => Decision::Act(Outcome::Failure(error.clone())),
    };
    let mut parts = layout.split(read.offset..end);
    let Some(Part { range, place }) = parts.next() else {
        // No stream has a byte at `u64::MAX`, but only the end of the stream shows that.
        return if read.len == 0 { Decision::Act(Outcome::Nothing) } else { missing(u64::MAX) };
    };
    match read.want {
        Want::Piece | Want::Run if place == Place::Missing => return missing(read.offset.saturating_add(1)),
        Want::Exact if place == Place::Missing || parts.any(|part| part.place == Place::Missing) => {
            return missing(end);
        }
        _ => {}
    }
    // How far the read may get more than one piece.
    let more_to = match read.want {
        Want::Exact => range.end,
        Want::Piece => range.start,
        Want::Run if ending.is_some() => range.end,
        Want::Run => delivered.clamp(range.start, range.end),
    };
    if place == Place::Resident {
        return Decision::Act(Outcome::Resident { range, more_to });
    }
    let piece_end = range.end.min(range.start + BLOCK as u64);
    let end = more_to.max(piece_end);
    let enough = if read.want == Want::Exact { end } else { piece_end };
    let enough = usize::try_from(enough - range.start).unwrap_or(usize::MAX);
    Decision::Act(Outcome::Stored { range: range.start..end, enough })
}
