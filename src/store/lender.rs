//! The store as handles use it: they read slices that the actor has lent to them.

use std::convert::identity;
use std::io::ErrorKind;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering, fence};
use std::sync::{Arc, Weak};

use bytes::Bytes;
use tokio::sync::Semaphore;
use tracing::Span;

use super::access::{read_range, try_read};
use super::owned::Owned;
use super::threads::Spawner;
use crate::core::lent::Lent;
use crate::core::memory::number_of;
use crate::error::Error;

/// The number of generations that are kept.
const ENTRIES: usize = 16;

/// The most reads that run on disk threads at once. More do not make a disk faster.
const READS_AT_ONCE: usize = 8;

/// The most bytes of one read on a disk thread.
const READ_MOST: usize = 1024 * 1024;

/// What became of an attempt to read a slice without waiting.
pub(crate) enum Tried {
    /// The bytes are right.
    Read,
    /// The store has to wait for the bytes.
    Waits,
    /// The slice is not valid any more, or the buffer has ended. The actor is to be asked again.
    Stale,
}

/// Reads slices of the store for the handles of one buffer, and knows which slices are still valid.
///
/// It works as a sequence lock does, without ever waiting: each write that may reuse places of the store is
/// announced before it starts, and each reader looks for announcements after it has read.
pub(crate) struct Lender {
    /// It does not keep the store alive.
    store: Weak<Owned>,
    /// Whether the store can read without waiting at all.
    can_try: AtomicBool,
    /// The generation of the last write that was announced for each slot. Several slots share an entry, so a
    /// slice may count as invalid although it is valid.
    generations: [AtomicU64; ENTRIES],
    /// A permit for each read on a disk thread.
    permits: Arc<Semaphore>,
    spawner: Spawner,
    /// The span of the buffer, for the events of its store.
    span: Span,
}

impl Lender {
    pub(super) fn new(store: &Arc<Owned>, spawner: Spawner, span: Span) -> Self {
        Self {
            store: Arc::downgrade(store),
            can_try: AtomicBool::new(true),
            generations: Default::default(),
            permits: Arc::new(Semaphore::new(READS_AT_ONCE)),
            spawner,
            span,
        }
    }

    /// What runs the disk work of the buffer.
    pub(crate) fn spawner(&self) -> &Spawner {
        &self.spawner
    }

    /// Fills `buf` with the first bytes of the slice, if the store has them without waiting. Unless they are read,
    /// the content of `buf` is unspecified.
    pub(crate) fn try_read(&self, lent: &Lent, buf: &mut [u8]) -> Tried {
        if !self.can_try.load(Ordering::Relaxed) {
            return Tried::Waits;
        }
        let Some(store) = self.store.upgrade() else { return Tried::Stale };
        let read = store.store().map_err(|error| error.kind());
        match read.and_then(|store| try_read(store, lent.position, buf)) {
            Ok(()) if self.is_valid(lent, buf.len()) => Tried::Read,
            Ok(()) => Tried::Stale,
            Err(kind) => {
                if kind == ErrorKind::Unsupported {
                    self.can_try.store(false, Ordering::Relaxed);
                }
                Tried::Waits
            }
        }
    }

    /// Reads the first bytes of the slice on a disk thread, at most 1 MiB. `None` if the slice is not valid any more.
    ///
    /// The read holds its permit and its memory until it has ended, whether its caller waits or not.
    pub(crate) async fn read(&self, lent: Lent) -> Result<Option<Bytes>, Error> {
        let len = usize::try_from(lent.len()).unwrap_or(READ_MOST).min(READ_MOST);
        // The semaphore is never closed.
        let permit = Arc::clone(&self.permits).acquire_owned().await;
        let Some(store) = self.store.upgrade() else { return Ok(None) };
        let position = lent.position;
        let read = move || {
            let bytes = store.store().and_then(|store| read_range(store, position, len));
            drop(permit);
            bytes
        };
        let job = self.span.in_scope(|| self.spawner.spawn(read));
        let bytes = job.await.and_then(identity);
        // Checked before the error, because a later write may have caused it.
        if !self.is_valid(&lent, len) {
            return Ok(None);
        }
        bytes.map(Some).map_err(|error| Error::spill_read(lent.range.start, len as u64, error))
    }

    /// Whether the first `len` bytes of the slice, which were read before this call, are the right ones.
    fn is_valid(&self, lent: &Lent, len: usize) -> bool {
        // Read the generation after the bytes, so that bytes of a later write are never taken for valid.
        fence(Ordering::Acquire);
        let place = lent.position..lent.position + len as u64;
        self.generations_of(&place).all(|last| last.load(Ordering::Relaxed) <= lent.generation)
    }

    /// A write is going to start that changes these places. Earlier slices of them are not valid any more.
    pub(super) fn announce(&self, generation: u64, places: impl Iterator<Item = Range<u64>>) {
        for place in places {
            for last in self.generations_of(&place) {
                last.store(generation, Ordering::Relaxed);
            }
        }
        // Before the write. The hand-over to the thread that writes orders them too.
        fence(Ordering::Release);
    }

    /// The entries of the slots that have bytes of this place.
    fn generations_of(&self, place: &Range<u64>) -> impl Iterator<Item = &AtomicU64> {
        let slots = number_of(place.start)..number_of(place.end.saturating_sub(1)) + 1;
        // More slots than entries would only repeat them.
        let entry = |slot: u64| usize::try_from(slot % ENTRIES as u64).ok();
        slots.take(ENTRIES).filter_map(move |slot| self.generations.get(entry(slot)?))
    }
}
