//! A series of attempts: how often and when the source is opened again after failures.

use std::io;
use std::time::{Duration, Instant};

use super::{Consequence, Fault};
use crate::core::backoff::Backoff;
use crate::error::Error;
use crate::source::Reopen;
use crate::source::error::{Verdict, verdict};
use crate::source::retry::Retry;

pub(super) struct Series {
    retry: Retry,
    backoff: Backoff,
    /// When the source may be opened again after a failure, and the delay until then.
    retry_at: Option<(Instant, Duration)>,
    /// The last failure, until a new byte arrives.
    error: Option<Error>,
    /// Whether all failures of the series were early ends.
    ends_only: bool,
    /// The last series has failed, and no request has come since.
    gave_up: bool,
}

impl Series {
    /// `seed` is for the jitter of delays.
    pub(super) fn new(retry: Retry, seed: u64) -> Self {
        let backoff = Backoff::new(retry.first_delay, retry.max_delay, seed);
        Self { retry, backoff, retry_at: None, error: None, ends_only: true, gave_up: false }
    }

    pub(super) fn stall_timeout(&self) -> Duration {
        self.retry.stall_timeout
    }

    pub(super) fn error(&self) -> Option<&Error> {
        self.error.as_ref()
    }

    pub(super) fn gave_up(&self) -> bool {
        self.gave_up
    }

    /// A request needs missing bytes: a new series may start.
    pub(super) fn request(&mut self) {
        self.gave_up = false;
    }

    /// The number, the time and the delay of the scheduled attempt.
    pub(super) fn next(&self) -> Option<(u32, Instant, Duration)> {
        self.retry_at.map(|(at, delay)| (self.backoff.attempt(), at, delay))
    }

    /// The attempt is made.
    pub(super) fn attempt(&mut self) {
        self.retry_at = None;
    }

    /// A new byte has arrived.
    pub(super) fn succeeded(&mut self) {
        self.error = None;
        self.ends_only = true;
        self.backoff.reset();
    }

    /// An opening or a stream has failed. `at` is the offset of its next missing byte. `size` is the known
    /// size, else the declared size.
    pub(super) fn failed(
        &mut self,
        now: Instant,
        fault: Fault,
        at: u64,
        size: Option<u64>,
        reopen: Reopen,
    ) -> Consequence {
        self.ends_only &= matches!(fault, Fault::EarlyEnd);
        let mut retry_after = None;
        let error = match fault {
            Fault::Changed(why) => return Consequence::Fail(Error::changed(at, why)),
            Fault::WrongSize(error) => return Consequence::Fail(error),
            Fault::EarlyEnd => match size {
                Some(size) if self.ends_only => Error::truncated(at, size),
                _ => Error::source_failed(at, early_end()),
            },
            Fault::Io(cause) => {
                let verdict = verdict(&cause);
                let error = Error::source_failed(at, cause);
                match verdict {
                    Verdict::Permanent => return Consequence::Fail(error),
                    Verdict::Transient { retry_after: asked } => retry_after = asked,
                }
                error
            }
        };
        if reopen == Reopen::Never {
            return Consequence::Fail(error);
        }
        if self.backoff.attempt() >= self.retry.attempts {
            return self.give_up(error);
        }
        let delay = self.backoff.next_delay().max(retry_after.unwrap_or_default());
        self.error = Some(error);
        // A delay beyond all time is never over.
        self.retry_at = Some((now.checked_add(delay).unwrap_or(now), delay));
        Consequence::Retry
    }

    fn give_up(&mut self, error: Error) -> Consequence {
        self.retry_at = None;
        self.backoff.reset();
        (self.gave_up, self.ends_only) = (true, true);
        self.error = Some(error.clone());
        Consequence::GiveUp(error)
    }

    /// The runtime has no timer. No further attempt is made, and the scheduled attempt is given up.
    pub(super) fn no_timer(&mut self) -> Option<Consequence> {
        self.retry.attempts = 0;
        match (self.retry_at, self.error.clone()) {
            (Some(_), Some(error)) => Some(self.give_up(error)),
            _ => None,
        }
    }
}

fn early_end() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "the stream ended early")
}
