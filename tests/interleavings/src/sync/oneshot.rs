//! `tokio::sync::oneshot` 1.54.

use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use loom::sync::atomic::AtomicUsize;
use loom::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed};

const TASK_SET: usize = 1;
/// The sender has sent its value, or is gone.
const COMPLETE: usize = 2;
const CLOSED: usize = 4;

pub(crate) struct RecvError;

struct Channel<T> {
    state: AtomicUsize,
    value: Mutex<Option<T>>,
    task: Mutex<Option<Waker>>,
}

pub(crate) struct Sender<T>(Arc<Channel<T>>);
pub(crate) struct Receiver<T>(Arc<Channel<T>>);

pub(crate) fn channel<T>() -> (Sender<T>, Receiver<T>) {
    let (value, task) = (Mutex::default(), Mutex::default());
    let channel = Arc::new(Channel { state: AtomicUsize::new(0), value, task });
    (Sender(Arc::clone(&channel)), Receiver(channel))
}

impl<T> Channel<T> {
    fn take(&self) -> Option<T> {
        self.value.try_lock().unwrap().take()
    }

    fn complete(&self) -> bool {
        let mut state = self.state.load(Relaxed);
        while state & CLOSED == 0 {
            match self.state.compare_exchange_weak(state, state | COMPLETE, AcqRel, Acquire) {
                Ok(_) => break,
                Err(actual) => state = actual,
            }
        }
        if state & (CLOSED | TASK_SET) == TASK_SET {
            self.task.try_lock().unwrap().as_ref().unwrap().wake_by_ref();
        }
        state & CLOSED == 0
    }
}

impl<T> Sender<T> {
    pub(crate) fn is_closed(&self) -> bool {
        self.0.state.load(Acquire) & CLOSED != 0
    }

    pub(crate) fn send(self, value: T) -> Result<(), T> {
        *self.0.value.try_lock().unwrap() = Some(value);
        // `drop` would complete a second time, which changes nothing: the receiver looks once.
        let channel = Arc::clone(&self.0);
        if channel.complete() { Ok(()) } else { Err(channel.take().unwrap()) }
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        self.0.complete();
    }
}

impl<T> Future for Receiver<T> {
    type Output = Result<T, RecvError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let channel = &self.0;
        let mut state = channel.state.load(Acquire);
        // The models poll with one waker only, so a task that is set stays.
        if state & (COMPLETE | CLOSED | TASK_SET) == 0 {
            *channel.task.try_lock().unwrap() = Some(cx.waker().clone());
            state = channel.state.fetch_or(TASK_SET, AcqRel);
        }
        if state & COMPLETE != 0 {
            Poll::Ready(channel.take().ok_or(RecvError))
        } else if state & CLOSED != 0 {
            Poll::Ready(Err(RecvError))
        } else {
            Poll::Pending
        }
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        if self.0.state.fetch_or(CLOSED, Acquire) & COMPLETE != 0 {
            drop(self.0.take());
        }
    }
}
