//! Waits on a thread that may block, and recognizes threads that must not, because they run async tasks.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};

use tokio::task::{coop, yield_now};

/// Blocks this thread until `future` has a result. On a thread that runs async tasks it returns `None` and does
/// not poll the future: the result may depend on a task of this thread.
///
/// `futures::executor::block_on` does the same, but panics on a thread that runs it already.
pub(super) fn wait<T>(future: impl Future<Output = T>) -> Option<T> {
    if runs_tasks() {
        return None;
    }
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut cx = Context::from_waker(&waker);
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(result) = future.as_mut().poll(&mut cx) {
            return Some(result);
        }
        // An early return only costs one poll. A wake-up before this call makes it return at once.
        thread::park();
    }
}

/// Whether this code is called from within a task, or from a future in `block_on`.
///
/// Tokio has no method for this. `Handle::try_current` returns a handle in `spawn_blocking` too. `task::try_id`
/// returns an ID there, but none in `block_on`. So this function looks at two effects of tokio that its
/// documentation does not promise. The tests call it on each kind of thread, so they fail with a version of tokio
/// that has no such effects.
fn runs_tasks() -> bool {
    has_scheduler() || has_budget()
}

/// Whether this thread drives a scheduler: every worker, and `block_on` of a current-thread runtime.
///
/// `yield_now` passes its waker to the scheduler of the thread, which wakes it later. On a thread without a
/// scheduler, `yield_now` wakes its waker at once. It does the same inside `block_in_place`.
fn has_scheduler() -> bool {
    let woken = Arc::new(Woken::default());
    let waker = Waker::from(Arc::clone(&woken));
    let _ = pin!(yield_now()).poll(&mut Context::from_waker(&waker));
    !woken.0.load(Ordering::Relaxed)
}

/// Whether this code is polled with a budget: in every task, in every `block_on`, and in a `LocalSet`.
///
/// Code in `unconstrained` has no budget; [`has_scheduler`] finds it where the thread has a scheduler. On the
/// other hand, `has_scheduler` does not find a `block_on` outside of the workers; this function does. The only way
/// to find a budget is to use it up. So a task that calls a blocking method yields earlier afterwards. Outside of
/// tasks nothing changes.
fn has_budget() -> bool {
    let mut cx = Context::from_waker(Waker::noop());
    (0..=LARGEST_BUDGET).any(|_| pin!(coop::consume_budget()).poll(&mut cx).is_pending())
}

/// The largest budget that tokio can represent. It starts with 128.
const LARGEST_BUDGET: u8 = u8::MAX;

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.0.unpark();
    }
}

#[derive(Default)]
struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}
