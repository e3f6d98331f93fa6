//! What passes between the actor and its handles beside requests and replies: a few flags, and no
//! lock. It wakes the actor for what no message tells.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Context;

use futures::task::AtomicWaker;

use crate::error::Error;

#[derive(Default)]
pub(crate) struct Signal {
    closed: AtomicBool,
    /// Whether somebody has left since the actor looked last.
    withdrawn: AtomicBool,
    /// The actor.
    waker: AtomicWaker,
    /// Why the source failed, once it has.
    failure: OnceLock<Error>,
}

impl Signal {
    /// Ends the buffer.
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::Release);
        self.waker.wake();
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// Tells that a request was dropped, so that what it needed is not pulled, nor told to be.
    pub(crate) fn withdraw(&self) {
        self.withdrawn.store(true, Ordering::Release);
        self.waker.wake();
    }

    /// Whether there is anything to be told; if not, the task is woken when there is.
    pub(crate) fn poll(&self, cx: &Context<'_>) -> bool {
        self.waker.register(cx.waker());
        self.withdrawn.swap(false, Ordering::AcqRel) || self.is_closed()
    }

    pub(crate) fn fail(&self, error: Error) {
        // The first one is the one: a source fails once.
        let _ = self.failure.set(error);
    }

    pub(crate) fn failure(&self) -> Option<&Error> {
        self.failure.get()
    }
}
