//! Copies the bytes of a reply in the caller's own task, and lets other tasks run meanwhile.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::task::yield_now;
use tokio::time::Instant;

use super::BufferHandle;
use crate::core::lent::Lent;
use crate::core::memory::Pieces;
use crate::error::Error;
use crate::store::lender::Tried;

/// The most bytes of a read that a caller's task copies in one poll, and about the longest time. Other tasks of the
/// thread wait that long. Copying these bytes takes about 5 microseconds, but up to 50 into new memory. So the
/// time is checked after each step. It affects only the speed of other tasks; no test measures it.
const COPY_MOST: usize = 32 * 1024;
const COPY_TIME: Duration = Duration::from_micros(15);
const COPY_STEP: usize = 16 * 1024;

/// Where the bytes of a read go, in order.
pub(super) trait Target {
    /// The number of bytes that it has.
    fn len(&self) -> usize;

    /// Adds these bytes.
    fn put(&mut self, bytes: &[u8]);

    /// Adds `len` bytes that `read` fills in. They count only if it has read them.
    fn fill(&mut self, len: usize, read: impl FnOnce(&mut [u8]) -> Tried) -> Tried;
}

/// Bytes that are joined in new memory. It is allocated with the first of them: a read that waits holds none.
pub(super) struct Joined {
    bytes: BytesMut,
    capacity: usize,
}

impl Joined {
    pub(super) fn with_capacity(capacity: u64) -> Self {
        Self { bytes: BytesMut::new(), capacity: usize::try_from(capacity).unwrap_or(0) }
    }

    pub(super) fn freeze(self) -> Bytes {
        self.bytes.freeze()
    }

    fn allocate(&mut self) {
        if self.bytes.is_empty() {
            self.bytes.reserve(self.capacity);
        }
    }
}

impl Target for Joined {
    fn len(&self) -> usize {
        self.bytes.len()
    }

    fn put(&mut self, bytes: &[u8]) {
        self.allocate();
        self.bytes.extend_from_slice(bytes);
    }

    fn fill(&mut self, len: usize, read: impl FnOnce(&mut [u8]) -> Tried) -> Tried {
        self.allocate();
        let start = self.bytes.len();
        self.bytes.resize(start + len, 0);
        let tried = self.bytes.get_mut(start..).map_or(Tried::Stale, read);
        match (start, &tried) {
            (_, Tried::Read) => {}
            (0, _) => self.bytes = BytesMut::new(),
            _ => self.bytes.truncate(start),
        }
        tried
    }
}

/// Memory of the caller. Bytes that do not fit are dropped.
pub(super) struct Filled<'a> {
    buf: &'a mut [u8],
    len: usize,
}

impl<'a> Filled<'a> {
    pub(super) fn new(buf: &'a mut [u8]) -> Self {
        Self { buf, len: 0 }
    }
}

impl Target for Filled<'_> {
    fn len(&self) -> usize {
        self.len
    }

    fn put(&mut self, bytes: &[u8]) {
        let end = self.len + bytes.len();
        if let Some(to) = self.buf.get_mut(self.len..end) {
            to.copy_from_slice(bytes);
            self.len = end;
        }
    }

    fn fill(&mut self, len: usize, read: impl FnOnce(&mut [u8]) -> Tried) -> Tried {
        let end = self.len + len;
        let tried = self.buf.get_mut(self.len..end).map_or(Tried::Stale, read);
        if let Tried::Read = tried {
            self.len = end;
        }
        tried
    }
}

/// Decides when a task that copies lets others run.
struct Pace {
    copied: usize,
    /// `None` if only a few bytes are copied. Then no clock is needed, and a test that pauses the clock
    /// decides every step.
    start: Option<Instant>,
}

impl Pace {
    fn new(len: usize) -> Self {
        Self { copied: 0, start: (len > COPY_STEP).then(Instant::now) }
    }

    /// To be called before each step of at most [`COPY_STEP`] bytes.
    async fn step(&mut self, bytes: usize) {
        if self.copied >= COPY_MOST || self.start.is_some_and(|start| start.elapsed() >= COPY_TIME) {
            yield_now().await;
            *self = Self { copied: 0, start: Some(Instant::now()) };
        }
        self.copied += bytes;
    }
}

/// Copies pieces.
pub(super) async fn copy(pieces: Pieces, target: &mut impl Target) {
    let mut pace = Pace::new(pieces.len());
    for piece in pieces {
        for part in piece.chunks(COPY_STEP) {
            pace.step(part.len()).await;
            target.put(part);
        }
    }
}

impl BufferHandle {
    /// Reads a slice of the store, as far as it stays valid.
    pub(super) async fn copy_lent(&self, lent: Lent, target: &mut impl Target) -> Result<(), Error> {
        let mut pace = Pace::new(usize::try_from(lent.len()).unwrap_or(usize::MAX));
        let mut next = Some(lent);
        while let Some(part) = next {
            let mut len = usize::try_from(part.len()).unwrap_or(usize::MAX).min(COPY_STEP);
            pace.step(len).await;
            match target.fill(len, |buf| self.lender.try_read(&part, buf)) {
                Tried::Read => {}
                Tried::Stale => return Ok(()),
                Tried::Waits => {
                    let Some(bytes) = self.wait_for_slice(part.clone()).await? else { return Ok(()) };
                    len = bytes.len();
                    copy(Pieces::One(bytes), target).await;
                }
            }
            next = part.from(part.range.start + len as u64);
        }
        Ok(())
    }
}
