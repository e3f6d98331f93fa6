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
        /// Since when a wanted stream is silent; `None` while it is not wanted.
        silent: Option<Instant>,
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
    /// Where it started. Bytes between here and `at` may have arrived since requests were parked.
    pub(super) from: u64,
    /// The round of attempts in which it was opened.
    pub(super) round: u64,
    /// The number of new bytes that it has brought.
    pub(super) brought: u64,
    /// When its first chunk arrived: its turn starts.
    first_byte: Option<Instant>,
    /// When it was opened, or brought new bytes last.
    pub(super) used: Instant,
    /// When the buffer wanted a byte of it last.
    wanted: Instant,
    /// When a request waited for it last, as far as its bytes have answered one.
    answered: Instant,
    /// What the opening said of the resource. It counts once a new byte is accepted: before that, the
    /// stream may not be proven.
    pub(super) told: (Option<u64>, Option<Version>),
    meter: Meter,
}

impl Stream {
    pub(super) fn opening(now: Instant, at: u64, end: Option<u64>, round: u64) -> Self {
        Self {
            phase: Phase::Opening { since: now },
            at,
            end,
            from: at,
            round,
            brought: 0,
            first_byte: None,
            used: now,
            wanted: now,
            answered: now,
            told: (None, None),
            meter: Meter::default(),
        }
    }

    /// A one-way stream, which needs no time.
    pub(super) fn one_way(now: Instant) -> Self {
        Self { phase: Phase::Open { silent: None, started: None }, ..Self::opening(now, 0, None, 0) }
    }

    /// The opening succeeded.
    pub(super) fn opened(&mut self, now: Instant, at: u64, told: (Option<u64>, Option<Version>)) {
        let started = if let Phase::Opening { since } = self.phase { Some(since) } else { None };
        self.phase = Phase::Open { silent: None, started };
        (self.at, self.from, self.told) = (at, at, told);
        (self.used, self.wanted) = (now, now);
    }

    pub(super) fn is_open(&self) -> bool {
        matches!(self.phase, Phase::Open { .. })
    }

    /// Whether the buffer wants bytes of the stream now.
    pub(super) fn want(&mut self, now: Instant, wanted: bool, pace: &mut Pace) {
        let Phase::Open { silent, started } = &mut self.phase else { return };
        if wanted {
            self.wanted = now;
            silent.get_or_insert(now);
            return self.meter.wait(now, pace);
        }
        *silent = None;
        self.meter.pause(now);
        if let Some(started) = started.take() {
            // The stream is not polled now, so the time to its first byte cannot be measured. The time of the
            // opening is nearly all of it.
            pace.opened_after(self.used.saturating_duration_since(started));
        }
    }

    /// A chunk has arrived.
    pub(super) fn received(&mut self, now: Instant, bytes: u64, pace: &mut Pace) {
        let Phase::Open { silent, started } = &mut self.phase else { return };
        *silent = None;
        self.wanted = now;
        self.first_byte.get_or_insert(now);
        match started.take() {
            // The first chunk was sent during the time to the first byte, so it says nothing about the rate.
            Some(started) => {
                pace.opened_after(now.saturating_duration_since(started));
                self.meter.pause(now);
            }
            None => self.meter.received(now, bytes, pace),
        }
    }

    /// New bytes were taken in. `answers` says whether a request has waited for them.
    pub(super) fn absorbed(&mut self, now: Instant, bytes: u64, answers: bool) {
        self.at += bytes;
        self.brought += bytes;
        self.used = now;
        if answers {
            self.answered = now;
        }
    }

    /// Whether the turn of the stream has ended: it has brought enough for its opening, or has had the time for it.
    pub(super) fn turn_is_over(&self, now: Instant, pace: &Pace) -> bool {
        self.brought >= pace.turn() || self.turn_end(pace).is_some_and(|end| end <= now)
    }

    /// When the turn of the stream ends at the latest.
    pub(super) fn turn_end(&self, pace: &Pace) -> Option<Instant> {
        self.first_byte?.checked_add(pace.turn_time())
    }

    /// Until when a caller that the stream has answered is expected to ask for the next bytes: for half the time of
    /// an opening.
    pub(super) fn expects_until(&self, pace: &Pace) -> Option<Instant> {
        self.answered.checked_add(pace.opening() / 2)
    }

    /// When the stream is overdue if nothing happens before. `unused_most` is how long it may be unused.
    pub(super) fn next_deadline(
        &self,
        stall_timeout: Duration,
        unused_most: Option<Duration>,
    ) -> Option<(Instant, Overdue)> {
        let (since, time, overdue) = match self.phase {
            Phase::Opening { since } => (since, stall_timeout, Overdue::Opening),
            Phase::Open { silent: Some(since), .. } => (since, stall_timeout, Overdue::Silent),
            Phase::Open { silent: None, .. } => (self.wanted, unused_most?, Overdue::Unused),
        };
        Some((since.checked_add(time)?, overdue))
    }

    /// Why the stream is to be given up now, if it is.
    pub(super) fn overdue(
        &self,
        now: Instant,
        stall_timeout: Duration,
        unused_most: Option<Duration>,
    ) -> Option<Overdue> {
        let (at, overdue) = self.next_deadline(stall_timeout, unused_most)?;
        (at <= now).then_some(overdue)
    }
}

/// Why a stream is given up after some time.
pub(super) enum Overdue {
    Opening,
    Silent,
    Unused,
}
