//! A series of attempts: how often and when the source is opened again after failures.
//!
//! A series has rounds. A round begins with a delay, and then the source is opened for each request that needs
//! it. A failure of an opening or a stream of this round begins the next round. Streams that were under way
//! before, such as those of the same broken server, belong to an earlier round: their failures begin no round.

use std::io;
use std::time::{Duration, Instant};

use super::{Consequence, Fault};
use crate::core::backoff::Backoff;
use crate::error::Error;
use crate::source::Reopen;
use crate::source::error::{Verdict, verdict};
use crate::source::retry::Retry;

/// A delay and when it began.
#[derive(Clone, Copy)]
struct Delay {
    since: Instant,
    time: Duration,
}

impl Delay {
    fn left(&self, now: Instant) -> Duration {
        self.time.saturating_sub(now.saturating_duration_since(self.since))
    }
}

/// A failure of an opening or a stream.
pub(super) struct Failure {
    pub(super) fault: Fault,
    /// The offset of the next missing byte.
    pub(super) at: u64,
    /// The known size, else the declared size.
    pub(super) size: Option<u64>,
    /// The round in which the stream was opened.
    pub(super) round: u64,
    /// Whether the stream has brought a new byte.
    pub(super) has_brought: bool,
}

pub(super) struct Series {
    retry: Retry,
    /// Its number of delays is the number of rounds of this series. It is 0 if there is no series.
    backoff: Backoff,
    /// The number of the round, counted over all series.
    round: u64,
    /// The delay before the source may be opened again, until it is opened.
    delay: Option<Delay>,
    /// The longest delay that the source has asked for.
    asked: Option<Delay>,
    /// The last failure, until the series ends.
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
        Self {
            retry,
            backoff,
            round: 0,
            delay: None,
            asked: None,
            error: None,
            ends_only: true,
            gave_up: false,
        }
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

    /// The number, the time and the delay of the scheduled attempt. A delay beyond all time is never over.
    pub(super) fn next(&self) -> Option<(u32, Option<Instant>, Duration)> {
        self.delay.map(|Delay { since, time }| (self.backoff.attempt(), since.checked_add(time), time))
    }

    /// Whether no delay is left.
    pub(super) fn may_open(&self, now: Instant) -> bool {
        self.delay.is_none_or(|delay| delay.left(now).is_zero())
    }

    /// The attempt is made. Returns the number of its round.
    pub(super) fn attempt(&mut self) -> u64 {
        self.delay = None;
        self.round
    }

    /// A stream that was opened in `round` has brought a new byte. The series ends if the stream was opened after
    /// the last failure that counts, and no delay has begun since. `is_last` says whether each stream that was
    /// opened since then has brought a new byte: otherwise one that always fails would end no series, because
    /// the others work.
    pub(super) fn succeeded(&mut self, now: Instant, round: u64, is_last: impl FnOnce() -> bool) {
        let is_running = self.backoff.attempt() > 0;
        if is_running && (round < self.round || !self.may_open(now) || !is_last()) {
            return;
        }
        (self.delay, self.error, self.ends_only) = (None, None, true);
        self.backoff.reset();
    }

    /// An opening or a stream has failed.
    pub(super) fn failed(&mut self, now: Instant, failure: Failure, reopen: Reopen) -> Consequence {
        let Failure { fault, at, size, round, has_brought } = failure;
        self.ends_only &= matches!(fault, Fault::EarlyEnd);
        let mut asked = None;
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
                    Verdict::Transient { retry_after } => asked = retry_after,
                }
                error
            }
        };
        if reopen == Reopen::Never {
            return Consequence::Fail(error);
        }
        let is_running = self.backoff.attempt() > 0;
        let is_late = round < self.round;
        if !is_running && is_late && !has_brought && asked.is_none() {
            // Its series is over, and no delay has begun since.
            self.error = Some(error);
            return Consequence::Retry;
        }
        let is_counted = !is_running || !is_late && !has_brought;
        if is_counted && self.backoff.attempt() >= self.retry.attempts {
            return self.give_up(error);
        }
        self.error = Some(error);
        let scheduled = self.delay.map(|delay| delay.left(now)).filter(|left| !left.is_zero());
        let new = if is_counted {
            self.round += 1;
            Some(self.backoff.next_delay())
        } else {
            // A stream that brings bytes does not wait for the delays of others.
            has_brought.then(|| self.backoff.first_delay())
        };
        let asked = asked.into_iter().chain(self.asked.map(|asked| asked.left(now))).max();
        self.asked = asked.filter(|left| !left.is_zero()).map(|time| Delay { since: now, time });
        let earliest = scheduled.into_iter().chain(new).min();
        let longest = earliest.into_iter().chain(self.asked.map(|asked| asked.time)).max();
        if longest != scheduled {
            self.delay = longest.map(|time| Delay { since: now, time });
        }
        Consequence::Retry
    }

    fn give_up(&mut self, error: Error) -> Consequence {
        self.delay = None;
        self.backoff.reset();
        // Streams that are under way begin no series.
        self.round += 1;
        (self.gave_up, self.ends_only) = (true, true);
        self.error = Some(error.clone());
        Consequence::GiveUp(error)
    }

    /// The runtime has no timer. No further attempt is made, and the scheduled attempt is given up.
    pub(super) fn no_timer(&mut self) -> Option<Consequence> {
        self.retry.attempts = 0;
        match (self.delay, self.error.clone()) {
            (Some(_), Some(error)) => Some(self.give_up(error)),
            _ => None,
        }
    }
}

fn early_end() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "the stream ended early")
}
