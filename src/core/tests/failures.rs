//! What must hold of failures, attempts and errors in each run of a source at random: rules 20 and 24. It is
//! derived again from what the driver sees, and not from the code of the series.

use std::collections::BTreeMap;

use super::*;

/// The attempts of each series.
pub(super) const ATTEMPTS: u32 = 4;

/// What was seen so far.
#[derive(Default)]
pub(super) struct Failures {
    /// The number of the attempt that is waited for or was made last; 0 if no failure lasts.
    attempt: u32,
    /// The number of openings when it was counted.
    counted_at: usize,
    streams: BTreeMap<usize, Seen>,
    reach: u64,
}

/// A stream or its opening, as it was after the last step.
#[derive(Clone, Copy, Default)]
struct Seen {
    /// The number of openings before its own.
    opened_at: usize,
    /// New bytes.
    brought: u64,
    /// Its position, if it is open.
    at: Option<u64>,
}

impl Failures {
    /// A request failed that waited for the byte at `missing`, and the failure is not final.
    pub(super) fn failed(&self, world: &World, missing: u64) {
        assert_eq!(self.attempt, ATTEMPTS, "a request fails before the last attempt");
        let reach = self.reach.min(world.reach());
        let reaches = |at: u64| missing.checked_sub(at).is_some_and(|gap| gap <= reach);
        // A stream that has worked and reached the byte since before this step, in which the requests failed.
        let serves = |(id, now): (&usize, &Stream)| {
            let before = self.streams.get(id).filter(|seen| seen.opened_at == now.opened_at);
            let before = before.filter(|seen| seen.brought > 0).and_then(|seen| seen.at);
            before.is_some_and(reaches) && now.at.is_some_and(reaches)
        };
        let is_served = world.source.streams.iter().any(serves);
        // A byte that was discarded may be missing only since the request failed.
        let is_served = is_served && !world.has_arrived(missing);
        assert!(!is_served, "a request fails that a stream brings bytes for");
    }

    /// Looks at the streams. Returns the openings of those that may have brought new bytes since the last step.
    fn look(&mut self, world: &World) -> Vec<usize> {
        let before = std::mem::take(&mut self.streams);
        let mut have_brought = Vec::new();
        for (id, stream) in &world.source.streams {
            let Stream { at, opened_at, brought, .. } = *stream;
            let now = Seen { opened_at, brought, at };
            if now.brought
                > before.get(id).filter(|seen| seen.opened_at == opened_at).map_or(0, |seen| seen.brought)
            {
                have_brought.push(opened_at);
            }
            self.streams.insert(*id, now);
        }
        // A stream that is closed may have brought bytes in the same step.
        let is_closed = |(id, seen): &(&usize, &Seen)| {
            self.streams.get(id).is_none_or(|now| now.opened_at > seen.opened_at)
        };
        have_brought.extend(before.iter().filter(is_closed).map(|(_, seen)| seen.opened_at));
        have_brought
    }

    /// After each step, once the answers were looked at.
    pub(super) fn check(&mut self, world: &World) {
        let openings = world.openings();
        let brought = self.look(world);
        self.reach = world.reach();
        let scheduled = world.attempt();
        if let State::Retrying { attempt, delay } = world.published.state {
            assert!((1..=ATTEMPTS).contains(&attempt), "attempt {attempt}");
            assert!(world.error.is_some(), "a failure that is retried is reported");
            assert!(!delay.is_zero());
        }
        if world.published.state == State::Failed {
            return;
        }
        if world.error.is_none() {
            if self.attempt > 0 && self.attempt < ATTEMPTS {
                let is_new = brought.iter().any(|opened| *opened >= self.counted_at);
                assert!(is_new, "a series ends without a new byte of a stream that was opened in it");
            }
            self.attempt = 0;
        } else if scheduled > self.attempt {
            assert_eq!(scheduled, self.attempt + 1, "one step counts two attempts");
            assert!(scheduled == 1 || openings > self.counted_at, "an attempt that was not made");
            (self.attempt, self.counted_at) = (scheduled, openings);
        } else if scheduled > 0 && scheduled < self.attempt {
            // The series was given up, or it ended and another one began in this step.
            (self.attempt, self.counted_at) = (scheduled, openings);
        }
    }
}
