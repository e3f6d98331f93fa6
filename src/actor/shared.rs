//! The state that the actor and its handles share, besides messages and replies.

use std::sync::OnceLock;
use std::sync::atomic::AtomicU64;
use std::task::Context;
use std::time::{Duration, Instant};

use super::sync::{AtomicBool, AtomicWaker, Ordering};

/// In nanoseconds. The time of the last read may be too early by this much. Most reads follow another one closely
/// and write nothing, so that the processors need not exchange the memory.
const NOTE_EVERY: u64 = 1_000_000;

/// Flags that handles set for the actor. No message tells the actor of them, so they wake it.
///
/// A handle sets the flag first, then wakes the actor. The actor registers its waker first, then
/// checks the flag. Both steps change the state of the same `AtomicWaker`, so one comes first:
///
/// - The handle wakes first. Then `register` synchronizes with it, and the check sees the flag.
/// - The actor registers first. Then `wake` finds the waker, and the actor checks once more.
///
/// The waker orders the flags on both paths, so no flag needs `SeqCst`, and `closed` would do with
/// `Relaxed`. `withdrawn` is also seen and unset without a wake-up: see [`withdraw`](Self::withdraw).
/// `tests/interleavings` runs this code in all orders of these steps.
#[derive(Default)]
pub(crate) struct Shared {
    closed: AtomicBool,
    /// Whether a request was dropped since the actor checked last.
    withdrawn: AtomicBool,
    /// Wakes the actor.
    waker: AtomicWaker,
    /// When a read was asked for first.
    first_read: OnceLock<Instant>,
    /// When a read was asked for last, in nanoseconds after the first read.
    last_read: AtomicU64,
}

impl Shared {
    /// Notes that a read is asked for. Many callers may do so at once, and not in the order of their times.
    pub(crate) fn note_read(&self, now: Instant) {
        let first = self.first_read.get_or_init(|| now);
        let nanos = u64::try_from(now.saturating_duration_since(*first).as_nanos()).unwrap_or(u64::MAX);
        if nanos >= self.last_read.load(Ordering::Relaxed).saturating_add(NOTE_EVERY) {
            self.last_read.fetch_max(nanos, Ordering::Relaxed);
        }
    }

    /// When a read was asked for last.
    pub(crate) fn last_read(&self) -> Option<Instant> {
        self.first_read.get()?.checked_add(Duration::from_nanos(self.last_read.load(Ordering::Relaxed)))
    }

    /// Closes the buffer.
    pub(crate) fn close(&self) {
        // `Release` is for the callers: one that finds the buffer closed sees all that came before.
        self.closed.store(true, Ordering::Release);
        self.waker.wake();
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// Tells the actor that a request was dropped, so that the source is not pulled for it any more.
    /// The reply channel of that request must be closed before.
    pub(crate) fn withdraw(&self) {
        // The actor may see and unset this flag before the wake-up, which then finds nothing to do. So
        // an actor that sees the flag must see the closed reply channel too: `Release` here, `Acquire`
        // in `poll_withdrawn`. Two handles can set the flag before the actor unsets it. Then the actor
        // must see both channels: it would not with `store`, which replaces the release of the other
        // handle. `swap` continues it.
        self.withdrawn.swap(true, Ordering::Release);
        self.waker.wake();
    }

    /// Registers the actor's waker. Then returns whether a request was dropped since the last call.
    /// A flag that is set after the check wakes the actor; so [`is_closed`](Self::is_closed) must be
    /// checked after this call too.
    pub(crate) fn poll_withdrawn(&self, cx: &Context<'_>) -> bool {
        self.waker.register(cx.waker());
        self.withdrawn.swap(false, Ordering::Acquire)
    }
}
