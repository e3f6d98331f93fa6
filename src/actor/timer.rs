//! The clock of the actor, and its one timer.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Instant;

use tokio::runtime::Handle;
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
        // A timer panics once its runtime is gone.
        let polled = self.sleep.as_mut().and_then(|sleep| panics::quietly(|| sleep.as_mut().poll(cx)));
        if let Some(polled) = polled {
            return polled.map(Ok);
        }
        self.sleep = None;
        self.is_missing = true;
        Poll::Ready(Err(NoTimer))
    }

    fn set(&mut self, at: Instant) {
        self.deadline = Some(at);
        // On another executor nothing is asked, because a question to tokio would panic there. A hook of the process
        // may end it at each panic.
        if self.is_missing || Handle::try_current().is_err() && self.sleep.is_none() {
            return;
        }
        let at = tokio::time::Instant::from_std(at);
        // tokio tells in no other way whether the runtime has a time driver, or still has one: without one, this panics.
        self.sleep = match self.sleep.take() {
            Some(mut sleep) => panics::quietly(|| sleep.as_mut().reset(at)).map(|()| sleep),
            None => panics::quietly(|| Box::pin(tokio::time::sleep_until(at))),
        };
    }
}
