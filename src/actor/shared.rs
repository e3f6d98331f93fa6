//! The state that the actor and its handles share, besides messages and replies.

use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Context;

use futures::task::AtomicWaker;

use crate::error::Error;
use crate::progress::Progress;

/// What the actor publishes for its handles.
#[derive(Clone, Debug)]
pub(crate) struct Snapshot {
    pub(crate) progress: Progress,
    /// Why the source failed, once it has failed for good.
    pub(crate) failure: Option<Error>,
}

/// Flags that handles set for the actor. No message tells the actor of them, so they wake it.
#[derive(Default)]
pub(crate) struct Shared {
    closed: AtomicBool,
    /// Whether a request was dropped since the actor checked last.
    withdrawn: AtomicBool,
    /// Wakes the actor.
    waker: AtomicWaker,
}

impl Shared {
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
