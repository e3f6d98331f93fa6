//! One stream of the source: its opening, and its position.

use std::time::{Duration, Instant};

use super::pace::{Meter, Pace};
use crate::source::version::Version;

/// How far a stream has come.
enum Phase {
    /// It is being opened since this time.
    Opening { since: Instant },
    /// It is open.
    Open {
        /// Since when a needed stream is silent.
        silent: Option<Instant>,
        /// Since when no byte of the stream is needed.
        unused: Option<Instant>,
        /// When its opening started, until the first chunk arrives.
        started: Option<Instant>,
    },
}

/// A stream that is open or being opened.
pub(super) struct Stream {
    phase: Phase,
    /// The offset of the next byte to be taken in. While it is being opened: the requested offset.
    pub(super) at: u64,
    /// Where it was asked to end.
    pub(super) end: Option<u64>,
    /// The round of attempts in which it was opened.
    pub(super) round: u64,
    /// The number of new bytes that it has brought.
    pub(super) brought: u64,
    /// When it was opened, or brought new bytes last.
    pub(super) used: Instant,
    /// What the opening said of the resource. It counts once a new byte is accepted: before that, the
    /// stream may not be proven.
    pub(super) told: (Option<u64>, Option<Version>),
    meter: Meter,
}

impl Stream {
    pub(super) fn opening(now: Instant, at: u64, end: Option<u64>, round: u64) -> Self {
        let phase = Phase::Opening { since: now };
        let (brought, told, meter) = (0, (None, None), Meter::default());
        Self { phase, at, end, round, brought, used: now, told, meter }
    }

    /// A one-way stream, which needs no time.
    pub(super) fn one_way(now: Instant) -> Self {
        let phase = Phase::Open { silent: None, unused: None, started: None };
        Self { phase, ..Self::opening(now, 0, None, 0) }
    }

    /// The opening succeeded.
    pub(super) fn opened(&mut self, now: Instant, at: u64, told: (Option<u64>, Option<Version>)) {
        let started = if let Phase::Opening { since } = self.phase { Some(since) } else { None };
        self.phase = Phase::Open { silent: None, unused: None, started };
        (self.at, self.used, self.told) = (at, now, told);
    }

    pub(super) fn is_open(&self) -> bool {
        matches!(self.phase, Phase::Open { .. })
    }

    /// Whether the buffer wants bytes of the stream now.
    pub(super) fn want(&mut self, now: Instant, wanted: bool, pace: &mut Pace) {
        if wanted {
            return self.meter.wait(now);
        }
        self.meter.pause();
        if let Phase::Open { started, .. } = &mut self.phase
            && let Some(started) = started.take()
        {
            // The stream is not polled now, so the time to its first byte cannot be measured. The time of the
            // opening is nearly all of it.
            pace.opened_after(self.used.saturating_duration_since(started));
        }
    }

    /// A chunk has arrived.
    pub(super) fn received(&mut self, now: Instant, bytes: u64, pace: &mut Pace) {
        let Phase::Open { silent, started, .. } = &mut self.phase else { return };
        *silent = None;
        match started.take() {
            // The first chunk was sent during the time to the first byte, so it says nothing about the rate.
            Some(started) => {
                pace.opened_after(now.saturating_duration_since(started));
                self.meter.pause();
            }
            None => self.meter.received(now, bytes, pace),
        }
    }

    /// When the stream is overdue if nothing happens before. `unused_most` is how long it may be unused.
    pub(super) fn next_deadline(
        &mut self,
        now: Instant,
        wanted: bool,
        stall_timeout: Duration,
        unused_most: Option<Duration>,
    ) -> Option<Instant> {
        match &mut self.phase {
            Phase::Opening { since } => since.checked_add(stall_timeout),
            Phase::Open { silent, unused, .. } if wanted => {
                *unused = None;
                silent.get_or_insert(now).checked_add(stall_timeout)
            }
            Phase::Open { silent, unused, .. } => {
                *silent = None;
                unused.get_or_insert(now).checked_add(unused_most?)
            }
        }
    }

    /// Why the stream is to be given up now, if it is.
    pub(super) fn overdue(
        &self,
        now: Instant,
        stall_timeout: Duration,
        unused_most: Option<Duration>,
    ) -> Option<Overdue> {
        let over = |since: Instant, time| since.checked_add(time).is_some_and(|end| end <= now);
        match self.phase {
            Phase::Opening { since } if over(since, stall_timeout) => Some(Overdue::Opening),
            Phase::Open { silent: Some(since), .. } if over(since, stall_timeout) => Some(Overdue::Silent),
            Phase::Open { unused: Some(since), .. } if over(since, unused_most?) => Some(Overdue::Unused),
            _ => None,
        }
    }
}

/// Why a stream is given up after some time.
pub(super) enum Overdue {
    Opening,
    Silent,
    Unused,
}
