//! How far a buffer has come, and what it is doing.

use std::ops::Range;
use std::time::Duration;

use crate::error::Error;

/// How far a buffer has come, in bytes.
///
/// This is a snapshot. [`BufferHandle::progress`](crate::BufferHandle::progress) takes one, and
/// [`BufferHandle::subscribe`](crate::BufferHandle::subscribe) yields each change. Progress is
/// published before a reply is sent: a caller that got bytes sees them in the progress.
///
/// # Examples
///
/// ```
/// use streamspool::{Bytes, Location, State, StreamBuffer};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), streamspool::Error> {
/// let stream = futures::stream::iter([Ok(Bytes::from_static(b"0123456789"))]);
/// let buffer = StreamBuffer::builder().size(10).spawn(stream);
/// assert_eq!(buffer.progress().locate(0, 4), Location::AtIndex);
///
/// buffer.load().await?;
/// let progress = buffer.progress();
/// assert_eq!((progress.loaded, progress.size), (10, Some(10)));
/// assert_eq!(progress.state, State::Complete);
/// assert_eq!(progress.locate(0, 4), Location::BeforeIndex);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Progress {
    /// The number of bytes that can be read without waiting for the source: `resident + spilled`. It is no
    /// offset: of a source that can be opened anywhere, the loaded bytes may have holes.
    /// [`BufferHandle::ranges`](crate::BufferHandle::ranges) returns their ranges.
    pub loaded: u64,
    /// The size of the whole resource: the declared one, the one that the source told, or the real one after
    /// a stream has ended there. `None` while it is unknown, and after the declared size has turned out to be
    /// wrong.
    pub size: Option<u64>,
    /// The number of bytes in memory: those that arrived last.
    pub resident: u64,
    /// The number of bytes that are only in the spill store: those that arrived first.
    pub spilled: u64,
    /// The offset of the first byte that was not discarded for good. It is 0 without
    /// [`max_disk`](crate::Builder::max_disk), and for sources whose bytes can be fetched again. It never
    /// decreases.
    pub start: u64,
    /// The offset of the first missing byte from `start` on: `[start, frontier)` can be read without
    /// waiting for the source. Bytes after a hole are loaded too, but do not move it.
    pub frontier: u64,
    /// The number of streams of the source that are open. Openings that still run do not count.
    pub streams: usize,
    /// What the buffer is doing.
    pub state: State,
    /// Whether the last write to the spill store failed, and no write has succeeded since.
    /// [`BufferHandle::store_error`](crate::BufferHandle::store_error) says why. No byte is lost: bytes
    /// stay in memory, and the write is retried.
    pub store_failing: bool,
}

/// The ranges of bytes that a buffer has: sorted, without overlaps, and never empty.
///
/// A byte in neither list is missing. A range in memory may touch one in the spill store.
///
/// [`BufferHandle::ranges`](crate::BufferHandle::ranges) returns them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Ranges {
    /// The ranges of bytes in memory.
    pub resident: Vec<Range<u64>>,
    /// The ranges of bytes that are only in the spill store.
    pub spilled: Vec<Range<u64>>,
}

/// What a buffer is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum State {
    /// No caller needs a byte that is missing, so the source is not polled.
    Waiting,
    /// The source is opened or polled: a request waits for bytes, or read-ahead is due.
    Pulling,
    /// The source failed. It is opened again after a delay, because a request waits for its bytes.
    /// [`BufferHandle::error`](crate::BufferHandle::error) says why it failed.
    Retrying {
        /// The number of the attempt, from 1 on.
        attempt: u32,
        /// The delay before the attempt.
        delay: Duration,
    },
    /// The size is known, and all bytes are loaded: none is missing, and none is discarded. A
    /// buffer is not `Complete` any more when it discards bytes for a new limit.
    Complete,
    /// The source has ended, and its first bytes were discarded for good: [`start`](Progress::start) is the first one
    /// that is kept. The [`size`](Progress::size) is known.
    Ended,
    /// The source has failed for good. Bytes that arrived before stay readable.
    Failed,
}

impl State {
    /// Whether no more bytes will come: the source has ended or failed. A lower
    /// [`max_disk`](crate::BufferHandle::set_max_disk) can end the state `Complete`.
    #[must_use]
    pub fn is_final(self) -> bool {
        matches!(self, Self::Complete | Self::Ended | Self::Failed)
    }
}

/// What the actor publishes for its handles.
#[derive(Clone, Debug)]
pub(crate) struct Snapshot {
    pub(crate) progress: Progress,
    /// The failure of the source that lasts now.
    pub(crate) source_error: Option<Error>,
    /// The failure of the store that lasts now.
    pub(crate) store_error: Option<Error>,
}

impl Progress {
    /// The progress of a buffer that has loaded no byte, and knows no size.
    pub(crate) const EMPTY: Self = Self {
        loaded: 0,
        size: None,
        resident: 0,
        spilled: 0,
        start: 0,
        frontier: 0,
        streams: 0,
        state: State::Waiting,
        store_failing: false,
    };

    /// Where `len` bytes from `offset` lie, seen from the [`frontier`](Self::frontier).
    #[must_use]
    pub fn locate(&self, offset: u64, len: u64) -> Location {
        Location::of(offset, len, self.frontier)
    }
}

/// Where a range of bytes lies, seen from the *index*: the offset of the first missing byte, which is
/// [`Progress::frontier`].
///
/// A range can lie before the index, across it, start exactly at it, or start after it. For a stream that
/// is loaded from front to back, this decides whether a read is answered now or waits.
///
/// | location | the range | an exact read | `read_some` |
/// |---|---|---|---|
/// | `BeforeIndex` | has arrived completely | is answered now | is answered now |
/// | `Bisected` | has arrived in part: its start | waits for the rest | is answered now, shorter |
/// | `AtIndex` | starts with the first missing byte | waits | waits for that byte |
/// | `AfterIndex` | starts after the first missing byte | waits | waits |
///
/// If the loaded bytes have holes, a range `AfterIndex` may be loaded, and then its reads are answered now.
/// The same holds for the rest of a `Bisected` range.
/// [`BufferHandle::ranges`](crate::BufferHandle::ranges) tells what is loaded after the index.
///
/// [`Progress::locate`] returns it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Location {
    /// All of the range has arrived.
    BeforeIndex,
    /// The start of the range has arrived. At least one of its later bytes has not.
    Bisected,
    /// The range starts with the first missing byte.
    AtIndex,
    /// The range starts after the first missing byte.
    AfterIndex,
}

impl Location {
    /// All locations, in the order of the table above.
    pub const ALL: &'static [Self] = &[Self::BeforeIndex, Self::Bisected, Self::AtIndex, Self::AfterIndex];

    /// Where `len` bytes from `offset` lie when the index is at `index`. An empty range needs no byte,
    /// so it lies before the index wherever it starts.
    fn of(offset: u64, len: u64, index: u64) -> Self {
        if len == 0 || offset.saturating_add(len) <= index {
            Self::BeforeIndex
        } else if offset < index {
            Self::Bisected
        } else if offset == index {
            Self::AtIndex
        } else {
            Self::AfterIndex
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_lies_before_across_at_or_after_the_index() {
        for (offset, len, location) in [
            (0, 100, Location::BeforeIndex),
            (99, 1, Location::BeforeIndex),
            (0, 101, Location::Bisected),
            (99, u64::MAX, Location::Bisected),
            (100, 1, Location::AtIndex),
            (101, 1, Location::AfterIndex),
            (u64::MAX, u64::MAX, Location::AfterIndex),
            // An empty range needs no byte.
            (100, 0, Location::BeforeIndex),
            (u64::MAX, 0, Location::BeforeIndex),
        ] {
            assert_eq!(Location::of(offset, len, 100), location, "{len} bytes at {offset}");
        }
    }
}
