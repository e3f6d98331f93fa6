//! Waiting on a thread that may block, and telling it from a thread that runs async tasks.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};

use tokio::task::{coop, yield_now};

/// Blocks this thread until `future` has a result. Returns `None`, and does not poll it, on a thread that
/// runs async tasks: the result may need this thread.
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
/// Tokio has no method that tells. `Handle::try_current` returns a handle in `spawn_blocking` too, and
/// `task::try_id` returns an ID there, but none in `block_on`. So this looks at two effects of tokio. They
/// are not part of its documentation. The tests call this on each kind of thread, and would find a version
/// without them.
fn runs_tasks() -> bool {
    has_scheduler() || has_budget()
}

/// Whether this thread drives a scheduler: every worker, and `block_on` of a current-thread runtime.
///
/// `yield_now` passes its waker to the scheduler of the thread, which wakes it later. On other threads it
/// wakes it at once. `block_in_place` counts as another thread.
fn has_scheduler() -> bool {
    let woken = Arc::new(Woken::default());
    let waker = Waker::from(Arc::clone(&woken));
    let _ = pin!(yield_now()).poll(&mut Context::from_waker(&waker));
    !woken.0.load(Ordering::Relaxed)
}

/// Whether this code is polled with a budget: in every task, in every `block_on`, and in a `LocalSet`.
///
/// It is not in `unconstrained`. On the other hand [`has_scheduler`] does not notice `block_on` outside of
/// the workers. A budget can be recognized by its end only. If there is one, it is used up afterwards, so
/// the task that made the mistake yields early. Outside of tasks nothing changes.
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
