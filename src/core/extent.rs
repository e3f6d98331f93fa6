//! The extent: where the resource ends, as far as that is known, and how the source ended. No other module keeps a
//! size.

use crate::error::Error;
use crate::progress::State;

/// How the source ended.
pub(super) enum Ending {
    Complete,
    Failed(Error),
}

pub(super) struct Extent {
    /// The size that the user expects. It is checked, and never trusted.
    declared: Option<u64>,
    /// The size that a proven stream has reported, or that its bytes have proven.
    reported: Option<u64>,
    /// Without a reported size: the resource seems to end here or before, because a stream from here on brought no
    /// byte. `u64::MAX` if no stream has shown that.
    at_most: u64,
    /// The source sent more than was declared. It fails once its last chunk is taken in.
    has_excess: bool,
    ending: Option<Ending>,
}

impl Extent {
    pub(super) fn new(declared: Option<u64>) -> Self {
        Self { declared, reported: None, at_most: u64::MAX, has_excess: false, ending: None }
    }

    // ---- what is known ----

    /// The size that the source reported or that is proven.
    pub(super) fn reported(&self) -> Option<u64> {
        self.reported
    }

    /// The reported size, or the declared one.
    pub(super) fn expected(&self) -> Option<u64> {
        self.expected_or(None)
    }

    /// The reported size, or this one that a stream told, or the declared one.
    pub(super) fn expected_or(&self, told: Option<u64>) -> Option<u64> {
        self.reported.or(told).or(self.declared)
    }

    /// No byte from here on is waited for. `u64::MAX` while no end is known. The declared size does not count, because
    /// it may be wrong.
    pub(super) fn end(&self) -> u64 {
        self.reported.unwrap_or(self.at_most)
    }

    /// The size to be published.
    pub(super) fn size(&self) -> Option<u64> {
        match &self.ending {
            Some(Ending::Complete) => Some(self.end()),
            // A size that has turned out to be wrong is not published any more.
            Some(Ending::Failed(error)) if error.disproves_size() => None,
            Some(Ending::Failed(_)) | None => self.expected(),
        }
    }

    /// The state after the source has ended. `start` is the first byte that was not discarded for good.
    pub(super) fn final_state(&self, start: u64) -> Option<State> {
        Some(match self.ending.as_ref()? {
            Ending::Complete if start > 0 => State::Ended,
            Ending::Complete => State::Complete,
            Ending::Failed(_) => State::Failed,
        })
    }

    pub(super) fn ending(&self) -> Option<&Ending> {
        self.ending.as_ref()
    }

    /// The failure that ended the source.
    pub(super) fn failure(&self) -> Option<&Error> {
        match &self.ending {
            Some(Ending::Failed(error)) => Some(error),
            _ => None,
        }
    }

    /// Whether no stream is polled any more.
    pub(super) fn has_ended(&self) -> bool {
        self.ending.is_some() || self.has_excess
    }

    /// The error of a stream that reports another size than the declared one.
    pub(super) fn check(&self, size: Option<u64>) -> Result<(), Error> {
        match (self.declared, size) {
            (Some(declared), Some(size)) if size < declared => Err(Error::truncated(size, declared)),
            (Some(declared), Some(size)) if size > declared => Err(Error::oversized(declared)),
            _ => Ok(()),
        }
    }

    // ---- what becomes known ----

    /// A stream is proven that reports this size. The first size stays.
    pub(super) fn report(&mut self, size: Option<u64>) {
        self.reported = self.reported.or(size);
    }

    /// No byte was taken in, and no stream is open. So a new stream may be one of another resource.
    pub(super) fn restart(&mut self, size: Option<u64>) {
        (self.reported, self.at_most) = (size, u64::MAX);
    }

    /// A stream at `end` brought no byte, so the resource seems to end there or before.
    pub(super) fn seems_to_end(&mut self, end: u64) {
        self.at_most = end;
    }

    /// Bytes up to `end` have arrived. If they are after the end that seemed to be there, that stream only broke.
    pub(super) fn reaches(&mut self, end: u64) {
        if end > self.at_most {
            self.at_most = u64::MAX;
        }
    }

    /// The byte before the end has arrived, so the resource ends there.
    pub(super) fn prove(&mut self) {
        self.reported = Some(self.end());
    }

    /// A chunk of `len` bytes arrives at `at`. Returns how many of them the declared size allows. If there are more,
    /// the source fails after these.
    pub(super) fn allow(&mut self, at: u64, len: usize) -> usize {
        let most = self.declared.map_or(u64::MAX, |declared| declared.saturating_sub(at));
        let allowed = usize::try_from(most).unwrap_or(usize::MAX).min(len);
        self.has_excess |= allowed < len;
        allowed
    }

    /// The failure of a source that has sent more than was declared.
    pub(super) fn excess(&self) -> Option<Error> {
        self.declared.filter(|_| self.has_excess).map(Error::oversized)
    }

    /// The source has ended. The first ending stays. Returns whether it is this one.
    pub(super) fn finish(&mut self, ending: Ending) -> bool {
        let is_first = self.ending.is_none();
        self.ending.get_or_insert(ending);
        is_first
    }

    /// Bytes of a complete resource may be missing again.
    pub(super) fn resume(&mut self) {
        self.ending.take_if(|ending| matches!(ending, Ending::Complete));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What becomes known, in order.
    #[derive(Clone, Copy, Debug)]
    enum Fact {
        Reports(u64),
        SeemsToEnd(u64),
        Reaches(u64),
        Proves,
        Restarts,
        Completes,
        Fails,
    }

    #[test]
    fn the_end_and_the_size_follow_from_what_is_known() {
        use self::Fact::{Completes, Fails, Proves, Reaches, Reports, Restarts, SeemsToEnd};
        const NO: u64 = u64::MAX;
        /// The declared size and the facts; then the end, the published size, and the state if the first 5 bytes were
        /// discarded for good.
        type Case<'a> = (Option<u64>, &'a [Fact], u64, Option<u64>, Option<State>);
        let cases: &[Case<'_>] = &[
            (None, &[], NO, None, None),
            (Some(10), &[], NO, Some(10), None),
            (None, &[Reports(20)], 20, Some(20), None),
            (Some(10), &[Reports(20)], 20, Some(20), None),
            (None, &[Reports(20), Reports(30)], 20, Some(20), None),
            (None, &[SeemsToEnd(20)], 20, None, None),
            (None, &[SeemsToEnd(20), Reaches(20)], 20, None, None),
            (None, &[SeemsToEnd(20), Reaches(21)], NO, None, None),
            (None, &[SeemsToEnd(20), Reports(30)], 30, Some(30), None),
            (None, &[Reports(30), SeemsToEnd(20)], 30, Some(30), None),
            (None, &[SeemsToEnd(20), Proves], 20, Some(20), None),
            (None, &[Reports(20), Restarts], NO, None, None),
            (None, &[SeemsToEnd(20), Restarts], NO, None, None),
            (None, &[SeemsToEnd(20), Completes], 20, Some(20), Some(State::Ended)),
            (Some(10), &[SeemsToEnd(20), Completes], 20, Some(20), Some(State::Ended)),
            (Some(10), &[Fails], NO, Some(10), Some(State::Failed)),
            (Some(10), &[Fails, Completes], NO, Some(10), Some(State::Failed)),
            (Some(10), &[SeemsToEnd(8), Completes, Fails], 8, Some(8), Some(State::Ended)),
        ];
        for (declared, facts, end, size, state) in cases {
            let mut extent = Extent::new(*declared);
            for fact in *facts {
                match *fact {
                    Reports(size) => extent.report(Some(size)),
                    SeemsToEnd(end) => extent.seems_to_end(end),
                    Reaches(end) => extent.reaches(end),
                    Proves => extent.prove(),
                    Restarts => extent.restart(None),
                    Completes => drop(extent.finish(Ending::Complete)),
                    Fails => drop(extent.finish(Ending::Failed(Error::closed(0)))),
                }
            }
            assert_eq!((extent.end(), extent.size()), (*end, *size), "{declared:?} {facts:?}");
            assert_eq!(extent.final_state(5), *state, "{declared:?} {facts:?}");
            assert_eq!(extent.has_ended(), state.is_some());
        }
    }

    #[test]
    fn a_declared_size_is_checked_and_allows_no_byte_more() {
        // Rule 14.
        let mut extent = Extent::new(Some(10));
        assert!(extent.check(None).is_ok() && extent.check(Some(10)).is_ok());
        assert!(extent.check(Some(9)).is_err() && extent.check(Some(11)).is_err());
        assert_eq!(extent.allow(0, 10), 10);
        assert!(extent.excess().is_none() && !extent.has_ended());
        assert_eq!(extent.allow(8, 3), 2);
        assert!(extent.excess().unwrap().disproves_size() && extent.has_ended());
        let mut unknown = Extent::new(None);
        assert!(unknown.check(Some(9)).is_ok());
        assert_eq!(unknown.allow(u64::MAX - 1, 100), 100);
    }

    #[test]
    fn a_complete_resource_may_go_on_and_a_failed_one_may_not() {
        // Rule 28: a lower limit discards bytes that can be fetched again.
        for (ending, goes_on) in [(Ending::Complete, true), (Ending::Failed(Error::closed(0)), false)] {
            let mut extent = Extent::new(None);
            assert!(extent.finish(ending));
            assert_eq!(extent.final_state(0).unwrap() == State::Complete, goes_on);
            extent.resume();
            assert_eq!(extent.ending().is_none(), goes_on);
        }
    }
}
