//! Turns: a caller that reads slices of the store does not wait for the actor, so it lets other tasks run now and
//! then.

use std::cell::Cell;
use std::task::{Context, Poll};

/// The most bytes that callers on one thread read from slices in one turn, about 25 microseconds of copying from
/// the page cache.
const TURN_MOST: usize = 256 * 1024;

/// A short read counts as this many bytes.
const READ_LEAST: usize = 4 * 1024;

thread_local! {
    /// The bytes that callers on this thread have read since one of them has let other tasks run. All are counted
    /// together: a task may use another reader, or another buffer, for each read.
    static TAKEN: Cell<usize> = const { Cell::new(0) };
}

/// Decides when a caller lets other tasks run.
///
/// tokio's budget of a task is not used for this, because other executors have none. The turns of one thread
/// depend on all that it has read before. So a simulation that is repeated step by step needs a new thread.
#[derive(Default)]
pub(super) struct Turn {
    /// It has let others run, and goes on now, whatever they have read meanwhile.
    has_waited: bool,
}

impl Turn {
    /// Ready if the caller may read on now.
    pub(super) fn poll(&mut self, cx: &Context<'_>) -> Poll<()> {
        if self.has_waited || TAKEN.get() < TURN_MOST {
            return Poll::Ready(());
        }
        TAKEN.set(0);
        self.has_waited = true;
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// The most bytes to read at once, at least `least`.
    pub(super) fn most(least: usize) -> usize {
        TURN_MOST.saturating_sub(TAKEN.get()).max(least)
    }

    /// So many bytes are read.
    pub(super) fn read(&mut self, bytes: usize) {
        self.has_waited = false;
        TAKEN.set(TAKEN.get().saturating_add(bytes.max(READ_LEAST)));
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;

    #[test]
    fn a_caller_that_has_let_others_run_goes_on_though_they_have_read_much() {
        // Rule 4.
        let cx = Context::from_waker(Waker::noop());
        TAKEN.set(0);
        let (mut one, mut other) = (Turn::default(), Turn::default());
        for _ in 0..3 {
            other.read(10 * TURN_MOST);
            assert!(one.poll(&cx).is_pending());
            other.read(10 * TURN_MOST);
            assert!(one.poll(&cx).is_ready());
            one.read(1);
        }
    }

    #[test]
    fn a_turn_is_as_long_as_its_bytes_or_64_short_reads() {
        // Rule 4.
        let cx = Context::from_waker(Waker::noop());
        TAKEN.set(0);
        let mut turn = Turn::default();
        for _ in 0..64 {
            assert!(turn.poll(&cx).is_ready());
            turn.read(1);
        }
        assert!(turn.poll(&cx).is_pending());
        turn.read(100_000);
        assert_eq!(Turn::most(1), TURN_MOST - 100_000);
        turn.read(TURN_MOST);
        assert_eq!(Turn::most(10), 10);
        assert!(turn.poll(&cx).is_pending());
    }
}
