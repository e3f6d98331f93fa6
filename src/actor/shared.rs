//! The state that the actor and its handles share, besides messages and replies.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::Context;
use std::time::{Duration, Instant};

use futures::task::AtomicWaker;

/// Flags that handles set for the actor. No message tells the actor of them, so they wake it.
pub(crate) struct Shared {
    closed: AtomicBool,
    /// Whether a request was dropped since the actor checked last.
    withdrawn: AtomicBool,
    /// Wakes the actor.
    waker: AtomicWaker,
    /// When the buffer was made: the start of `last_read`.
    made: Instant,
    /// When the actor took in a read last, in nanoseconds after `made`; 0 before the first read.
    last_read: AtomicU64,
}

impl Shared {
    pub(crate) fn new(made: Instant) -> Self {
        let (closed, withdrawn) = (AtomicBool::new(false), AtomicBool::new(false));
        Self { closed, withdrawn, waker: AtomicWaker::new(), made, last_read: AtomicU64::new(0) }
    }

    /// Notes that a read was taken in.
    pub(crate) fn note_read(&self, now: Instant) {
        let nanos = now.saturating_duration_since(self.made).as_nanos();
        self.last_read.store(u64::try_from(nanos).unwrap_or(u64::MAX).max(1), Ordering::Relaxed);
    }

    pub(crate) fn last_read(&self) -> Option<Instant> {
        match self.last_read.load(Ordering::Relaxed) {
            0 => None,
            nanos => self.made.checked_add(Duration::from_nanos(nanos)),
        }
    }

    /// Closes the buffer.
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::Release);
        self.waker.wake();
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// Tells the actor that a request was dropped, so that the source is not pulled for it any more.
    pub(crate) fn withdraw(&self) {
        self.withdrawn.store(true, Ordering::Release);
        self.waker.wake();
    }

    /// Registers the actor's waker, then returns whether a flag was set since the last call. The
    /// waker is registered first: a flag that is set after the check wakes the actor.
    pub(crate) fn poll(&self, cx: &Context<'_>) -> bool {
        self.waker.register(cx.waker());
        self.withdrawn.swap(false, Ordering::AcqRel) || self.is_closed()
    }
}
