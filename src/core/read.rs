//! What a read gets, and what it waits for.

use std::ops::Range;

use super::extent::{Ending, Extent};
use super::layout::{Layout, Part, Place};
use super::memory::BLOCK;
use super::readers::Delivered;
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
    /// again for the rest, which is loaded too. If bytes may be discarded, it gets them as they arrive.
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
    /// It waits for all of this range, in which no byte is loaded, or until the source has ended.
    Wait(Range<u64>),
    /// It is answered.
    Act(Outcome),
}

/// What a request is answered with.
pub(super) enum Outcome {
    /// No bytes: the read asked for none, or starts at or past the end of the stream.
    Nothing,
    /// The source failed before the bytes that the request needs.
    Failure(Error),
    /// The end of a range or of the resource.
    End(u64),
    /// The loaded ranges.
    Ranges,
    /// The first piece of this resident range, and the pieces that follow up to `more_to`.
    Resident { range: Range<u64>, more_to: u64 },
    /// This range of the store.
    Stored(Range<u64>),
}

/// Decides what `read` gets now.
#[expect(clippy::inline_always, reason = "a part of the path of a read that is answered at once")]
#[inline(always)]
pub(super) fn decide(read: &Read, layout: &Layout, extent: &Extent, delivered: &Delivered) -> Decision {
    let read_end = read.end().min(layout.most_at_once(read.offset));
    let (end, ending) = (read_end.min(extent.end()), extent.ending());
    let mut parts = layout.split(read.offset..end);
    let Some(Part { range, place }) = parts.next() else {
        // The range is empty because the read is of no bytes, or past the known end; or because it starts at
        // `u64::MAX`. No resource has a byte there, but only its end proves that, somewhere after the last
        // loaded byte.
        let is_past =
            read.len == 0 || end < read_end || layout.end().max(extent.reported().unwrap_or(0)) == u64::MAX;
        return if is_past {
            Decision::Act(Outcome::Nothing)
        } else {
            missing(layout.end()..u64::MAX, ending)
        };
    };
    if place == Place::Discarded {
        return Decision::Act(Outcome::Failure(Error::discarded(read.offset, layout.start())));
    }
    // Where bytes may be discarded, those of an exact read would not wait for each other. So its caller gets them as
    // they arrive.
    if read.want == Want::Exact && !layout.is_limited() {
        let gap = if place == Place::Missing {
            Some(range.clone())
        } else {
            parts.find(|part| part.place == Place::Missing).map(|part| part.range)
        };
        if let Some(gap) = gap {
            return missing(gap, ending);
        }
    } else if place == Place::Missing {
        return missing(range.start..range.start.saturating_add(1), ending);
    }
    // How far the read may get more than one piece.
    let more_to = match read.want {
        Want::Exact => range.end,
        Want::Piece => range.start,
        Want::Run if ending.is_some() => range.end,
        Want::Run => delivered.nearest(range.start).min(range.end),
    };
    if place == Place::Resident {
        return Decision::Act(Outcome::Resident { range, more_to });
    }
    let piece_end = range.end.min(range.start.saturating_add(BLOCK as u64));
    Decision::Act(Outcome::Stored(range.start..more_to.max(piece_end)))
}

/// What becomes of a request that needs this missing range.
pub(super) fn missing(range: Range<u64>, ending: Option<&Ending>) -> Decision {
    match ending {
        None => Decision::Wait(range),
        Some(Ending::Complete) => Decision::Act(Outcome::Nothing),
        Some(Ending::Failed(error)) => Decision::Act(Outcome::Failure(error.clone())),
    }
}
