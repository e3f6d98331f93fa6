//! `futures::task::AtomicWaker` 0.3.34. tokio's own, which its channels use, takes the same steps.

use std::sync::Mutex;
use std::task::Waker;

use loom::sync::atomic::AtomicUsize;
use loom::sync::atomic::Ordering::{AcqRel, Acquire, Release};

const WAITING: usize = 0;
const REGISTERING: usize = 1;
const WAKING: usize = 2;

pub(crate) struct AtomicWaker {
    state: AtomicUsize,
    waker: Mutex<Option<Waker>>,
}

impl Default for AtomicWaker {
    fn default() -> Self {
        Self { state: AtomicUsize::new(WAITING), waker: Mutex::new(None) }
    }
}

impl AtomicWaker {
    pub(crate) fn register(&self, waker: &Waker) {
        match self.state.compare_exchange(WAITING, REGISTERING, Acquire, Acquire) {
            Ok(_) => {
                let old = self.waker.try_lock().unwrap().replace(waker.clone());
                if self.state.compare_exchange(REGISTERING, WAITING, AcqRel, Acquire).is_err() {
                    // `wake` was called meanwhile.
                    let waker = self.waker.try_lock().unwrap().take().unwrap();
                    self.state.swap(WAITING, AcqRel);
                    waker.wake();
                }
                drop(old);
            }
            Err(WAKING) => {
                waker.wake_by_ref();
                // The task is polled again until the other thread is done. loom must let it.
                loom::thread::yield_now();
            }
            Err(state) => panic!("only the actor registers, but the state is {state}"),
        }
    }

    pub(crate) fn wake(&self) {
        if self.state.fetch_or(WAKING, AcqRel) == WAITING {
            let waker = self.waker.try_lock().unwrap().take();
            self.state.swap(WAITING, Release);
            if let Some(waker) = waker {
                waker.wake();
            }
        }
    }
}
