//! What a source remembers of the answers so far.

use reqwest::StatusCode;
use reqwest::header::HeaderMap;

use super::validators::strong_date;
use crate::source::Version;

/// What the answers so far say about the server. It only saves requests: each answer is judged by itself.
#[derive(Debug, Default)]
pub(super) struct Learned {
    ranges: Ranges,
    /// The statuses that a request without `Range` got too: they do not refuse the range.
    refusals: Vec<StatusCode>,
    /// A tag, and the strong date of the same answer. The date proves the version where the tag is weak or missing.
    dated: Option<(Version, Vec<u8>)>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Ranges {
    #[default]
    Unknown,
    /// A part was served.
    Served,
    /// The server serves the resource only to requests without `Range`.
    Refused,
}

impl Learned {
    /// Whether each request is to be sent without `Range`.
    pub(super) fn refuses_ranges(&self) -> bool {
        self.ranges == Ranges::Refused
    }

    /// Whether an answer with this status may be due to the `Range` of its request.
    pub(super) fn may_refuse_range(&self, status: StatusCode) -> bool {
        // A server that has served a part, and then fails, is broken or busy. To load the whole resource again
        // would be dear.
        let is_broken = status.is_server_error() && self.ranges == Ranges::Served;
        !is_broken && !self.refusals.contains(&status)
    }

    /// A usable part has arrived.
    pub(super) fn served_part(&mut self) {
        if self.ranges == Ranges::Unknown {
            self.ranges = Ranges::Served;
        }
    }

    /// The answer to a request without `Range` is usable, and the answer to the same request with one was not: it
    /// had this status. `accepts_ranges` is what the usable answer says.
    pub(super) fn served_whole_only(&mut self, refusal: StatusCode, accepts_ranges: bool) {
        // The server may have been busy, or the offset may have been past the end.
        let is_chance = refusal.is_server_error() || refusal == StatusCode::RANGE_NOT_SATISFIABLE;
        if self.ranges == Ranges::Unknown && !(is_chance && accepts_ranges) {
            self.ranges = Ranges::Refused;
        }
    }

    /// A request with `Range` and the same request without one got this status.
    pub(super) fn refused_whole(&mut self, status: StatusCode) {
        if !self.refusals.contains(&status) {
            self.refusals.push(status);
        }
    }

    /// A usable answer had this version.
    pub(super) fn saw(&mut self, version: Option<&Version>, headers: &HeaderMap) {
        if let (Some(version), Some(date)) = (version, strong_date(headers)) {
            self.dated = Some((version.clone(), date.to_vec()));
        }
    }

    /// The date that the resource of this version has.
    pub(super) fn date_of(&self, known: Option<&Version>) -> Option<&[u8]> {
        let (version, date) = self.dated.as_ref()?;
        (Some(version) == known).then_some(date)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MISSING: StatusCode = StatusCode::NOT_FOUND;
    const BROKEN: StatusCode = StatusCode::INTERNAL_SERVER_ERROR;
    const OUTSIDE: StatusCode = StatusCode::RANGE_NOT_SATISFIABLE;

    #[test]
    fn ranges_are_given_up_unless_the_refusal_may_have_had_another_reason() {
        // Rule 21.
        for (refusal, accepts_ranges, gives_up) in [
            (MISSING, false, true),
            (MISSING, true, true),
            (StatusCode::PARTIAL_CONTENT, true, true),
            (BROKEN, false, true),
            (BROKEN, true, false),
            (OUTSIDE, false, true),
            (OUTSIDE, true, false),
        ] {
            let mut learned = Learned::default();
            learned.served_whole_only(refusal, accepts_ranges);
            assert_eq!(learned.refuses_ranges(), gives_up, "{refusal} {accepts_ranges}");
            // A server that has served a part does not refuse ranges.
            let mut learned = Learned::default();
            learned.served_part();
            learned.served_whole_only(refusal, accepts_ranges);
            assert!(!learned.refuses_ranges(), "{refusal} {accepts_ranges}");
        }
    }

    #[test]
    fn a_status_is_tried_without_a_range_once() {
        // Rule 24.
        let mut learned = Learned::default();
        learned.refused_whole(BROKEN);
        assert!(!learned.may_refuse_range(BROKEN));
        assert!(learned.may_refuse_range(MISSING));
        let mut learned = Learned::default();
        learned.served_part();
        assert!(!learned.may_refuse_range(BROKEN));
        assert!(learned.may_refuse_range(MISSING));
    }
}
