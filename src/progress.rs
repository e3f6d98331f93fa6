//! What a buffer tells about itself.

pub use crate::core::index::Location;
use crate::core::{Phase, Status};

/// How far a buffer has come, in bytes.
///
/// A snapshot: [`BufferHandle::progress`](crate::BufferHandle::progress) takes one,
/// [`BufferHandle::subscribe`](crate::BufferHandle::subscribe) tells of each change. Whatever a read
/// has been answered with is already part of the progress that can be seen then.
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
    /// Bytes that have arrived: `[0, loaded)` can be read without waiting for the source.
    pub loaded: u64,
    /// The size of the whole: as declared, or as found out when the stream ended. `None` while it
    /// is unknown, and when the declared one has turned out to be wrong.
    pub size: Option<u64>,
    /// Bytes in memory: the newest, `[spilled, loaded)`.
    pub resident: u64,
    /// Bytes in the spill store only: the oldest, `[0, spilled)`.
    pub spilled: u64,
    /// What the buffer is doing.
    pub state: State,
}

/// What a buffer is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum State {
    /// Nobody needs a byte that has not arrived yet, so the source is left alone.
    Waiting,
    /// More of the source is needed: for a waiting read, or to read ahead of the last one.
    Pulling,
    /// The source has ended, and all of it is here.
    Complete,
    /// The source has failed for good. What came before stays readable.
    Failed,
}

impl State {
    /// Whether nothing more will come: the source has ended, or failed.
    #[must_use]
    pub fn is_final(self) -> bool {
        matches!(self, Self::Complete | Self::Failed)
    }
}

impl Progress {
    /// Where `len` bytes from `offset` lie relative to what has arrived.
    #[must_use]
    pub fn locate(&self, offset: u64, len: u64) -> Location {
        Location::of(offset, len, self.loaded)
    }

    pub(crate) fn new(status: Status) -> Self {
        Self {
            loaded: status.loaded,
            size: status.size,
            resident: status.loaded - status.spilled,
            spilled: status.spilled,
            state: match status.phase {
                Phase::Waiting => State::Waiting,
                Phase::Pulling => State::Pulling,
                Phase::Complete => State::Complete,
                Phase::Failed => State::Failed,
            },
        }
    }
}
