//! The store as handles use it: they read slices that the actor has lent to them.

use std::io::ErrorKind;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering, fence};
use std::sync::{Arc, Weak};

use super::access::try_read;
use super::owned::Owned;
use super::threads::Spawner;
use crate::core::lent::Lent;
use crate::core::memory::number_of;

/// The number of generations that are kept.
const ENTRIES: usize = 16;

/// In place of the end of the settled bytes: the store has a limit. It is never unlimited again.
const LIMITED: u64 = u64::MAX;

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
    /// The end of the settled bytes, as far as the actor has reported it with a slice; or `LIMITED`.
    settled: AtomicU64,
    spawner: Spawner,
}

impl Lender {
    pub(super) fn new(store: &Arc<Owned>, spawner: Spawner) -> Self {
        Self {
            store: Arc::downgrade(store),
            can_try: AtomicBool::new(true),
            generations: Default::default(),
            settled: AtomicU64::new(0),
            spawner,
        }
    }

    /// What runs the disk work of the buffer.
    pub(crate) fn spawner(&self) -> &Spawner {
        &self.spawner
    }

    /// Whether it is worth asking for a slice.
    #[inline]
    pub(crate) fn can_lend(&self) -> bool {
        self.can_try.load(Ordering::Relaxed)
    }

    /// Fills `buf` with the first bytes of the slice, if it is still valid and the store has them without
    /// waiting. Otherwise the content of `buf` is unspecified, and the caller has to ask the actor again.
    pub(crate) fn read(&self, lent: &Lent, buf: &mut [u8]) -> bool {
        let Some(store) = self.store.upgrade() else { return false };
        match try_read(&**store, lent.position, buf) {
            Ok(()) => {}
            Err(kind) => {
                if kind == ErrorKind::Unsupported {
                    // Do not ask again in vain: each attempt costs a message.
                    self.can_try.store(false, Ordering::Relaxed);
                }
                return false;
            }
        }
        // Read the generation after the bytes, so that bytes of a later write are never taken for valid.
        fence(Ordering::Acquire);
        let place = lent.position..lent.position + buf.len() as u64;
        if lent.settled > self.settled.load(Ordering::Relaxed) {
            // The maximum, because the store may have got a limit meanwhile.
            self.settled.fetch_max(lent.settled, Ordering::Release);
        }
        self.generations_of(&place).all(|last| last.load(Ordering::Relaxed) <= lent.generation)
    }

    /// The end of the settled bytes, which need no request; 0 if there are none.
    pub(crate) fn settled(&self) -> u64 {
        match self.settled.load(Ordering::Acquire) {
            LIMITED => 0,
            end if self.can_lend() => end,
            _ => 0,
        }
    }

    /// The store gets a limit. No byte is settled from now on.
    pub(super) fn limit(&self) {
        self.settled.store(LIMITED, Ordering::Relaxed);
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
