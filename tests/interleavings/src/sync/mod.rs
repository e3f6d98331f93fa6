//! The parts that the protocol uses: loom's atomics, and models of a waker and of two channels.
//!
//! Each model takes the steps of the original on its atomics, in the same order and with the same
//! memory orderings. What the original keeps in an `UnsafeCell` is in a std `Mutex` here. loom does not
//! see that mutex, so it orders nothing; `try_lock` checks that one thread at a time is in there.

pub(crate) mod mpsc;
pub(crate) mod oneshot;
mod waker;

pub(crate) use loom::sync::atomic::{AtomicBool, Ordering};
pub(crate) use loom::thread::yield_now;

pub(crate) use self::waker::AtomicWaker;

/// A model has no foreign code. A panic is one of loom, which must not be caught.
pub(crate) fn quietly<T>(work: impl FnOnce() -> T) {
    drop(work());
}

/// A model has no task budget.
pub(crate) fn unconstrained<F>(future: F) -> F {
    future
}
