//! The clock of the actor, and its one timer.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Instant;

use tokio::time::Sleep;

use crate::panics;

/// The time of the runtime's clock, which tests can pause.
pub(crate) fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

/// Wakes the actor at the core's next deadline.
#[derive(Default)]
pub(super) struct Timer {
    sleep: Option<Pin<Box<Sleep>>>,
    deadline: Option<Instant>,
    /// The runtime has no time driver.
    is_missing: bool,
}

/// The runtime has no time driver.
pub(super) struct NoTimer;

impl Timer {
    /// Ready once `deadline` has passed, or at once if the runtime has no time driver. Without a
    /// deadline it stays pending.
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        deadline: Option<Instant>,
    ) -> Poll<Result<(), NoTimer>> {
        let Some(at) = deadline else {
            self.deadline = None;
            return Poll::Pending;
        };
        if self.deadline != deadline {
            self.set(at);
        }
        match &mut self.sleep {
            Some(sleep) if !self.is_missing => sleep.as_mut().poll(cx).map(Ok),
            _ => Poll::Ready(Err(NoTimer)),
        }
    }

    fn set(&mut self, at: Instant) {
        self.deadline = Some(at);
        let at = tokio::time::Instant::from_std(at);
        match &mut self.sleep {
            Some(sleep) => sleep.as_mut().reset(at),
            // tokio has no other way to ask for a time driver: without one, this panics.
            None => match catch_unwind(AssertUnwindSafe(|| Box::pin(tokio::time::sleep_until(at)))) {
                Ok(sleep) => self.sleep = Some(sleep),
                Err(payload) => {
                    self.is_missing = true;
                    panics::drop_quietly(payload);
                }
            },
        }
    }
}
