//! What the source of a run has seen, and what the buffer may ask of it. Rules 21 to 24.
//!
//! The bytes that count are those of one version: the version of the first byte that the buffer takes in.

use std::ops::Range;

use streamspool::OpenAt;

use super::ranges::Ranges;
use super::server::{Connection, Flow, version_of};
use super::steps::{Break, Setup};
use crate::asks::Again;
use crate::support::source::Need;

/// How many openings and streams the buffer may hold at once.
pub const STREAMS: usize = 1;

/// The bytes that prove a stream without a version.
const OVERLAP: u64 = 64 * 1024;

/// The facts of a run, and what was against the rules.
pub struct Checks {
    declared: Option<u64>,
    attempts: u32,
    /// Failures in a row without a new byte.
    row: u32,
    /// The version of the bytes that count, once there are some.
    pub kept: Option<u8>,
    /// A stream whose bytes count told its version: from then on versions are the proof.
    is_versioned: bool,
    /// The bytes that count and were sent.
    pub arrived: Ranges,
    /// The size, where a proven stream has told it, or has ended there.
    pub size: Option<u64>,
    /// What the callers need.
    pub need: Need,
    /// The offsets that callers waited for who have left since the actor looked last.
    left: Vec<u64>,
    /// What the buffer had loaded when the actor was polled.
    loaded: u64,
    /// No more bytes were to come when the actor was polled.
    is_final: bool,
    /// A stream was opened that does not belong to the bytes that count: the buffer must fail.
    pub must_fail: bool,
    pub facts: Again,
    pub openings: u64,
    pub chunks: u64,
    pub sent: u64,
    /// What was against the rules. A panic would be one more fault that a buffer survives.
    pub wrong: Vec<String>,
}

impl Checks {
    pub fn new(setup: &Setup) -> Self {
        Self {
            declared: setup.declared,
            attempts: setup.attempts,
            row: 0,
            kept: None,
            is_versioned: false,
            arrived: Ranges::default(),
            size: None,
            need: Need::new(setup.read_ahead),
            left: Vec::new(),
            loaded: 0,
            is_final: false,
            must_fail: false,
            facts: Again::default(),
            openings: 0,
            chunks: 0,
            sent: 0,
            wrong: Vec::new(),
        }
    }

    /// How the bytes of a version differ from those that count.
    pub fn difference(&self, version: u8) -> u8 {
        self.kept.map_or(0, |kept| kept ^ version)
    }

    /// Another resource has another size: some of them are longer, and one is much shorter.
    pub fn size_of(&self, version: u8, size: u64) -> u64 {
        match self.difference(version) {
            3 => size / 2,
            difference => size + u64::from(difference),
        }
    }

    fn frontier(&self) -> u64 {
        self.arrived.first_missing(0)
    }

    fn must(&mut self, holds: bool, text: impl FnOnce() -> String) {
        if !holds {
            self.wrong.push(text());
        }
    }

    // ---- turns ----

    /// The actor is about to be polled.
    pub fn turn_begins(&mut self, loaded: u64, is_final: bool) {
        (self.loaded, self.is_final) = (loaded, is_final);
    }

    /// The actor was polled: it knows of all callers that have left.
    pub fn turn_ends(&mut self) {
        self.need.looked();
        self.left.clear();
    }

    /// A caller has left that waited for this offset.
    pub fn leave(&mut self, waited_for: Option<u64>) {
        self.left.extend(waited_for);
        self.need.excuse = true;
    }

    // ---- openings ----

    /// The buffer opens the source.
    pub fn opening(&mut self, at: &OpenAt, held: &[Connection]) {
        self.openings += 1;
        self.must(held.len() < STREAMS, || format!("{} streams and one more", held.len()));
        self.must(!self.is_final, || "an opening after the end".to_owned());
        let mut waiting = self.need.callers.iter().map(|(until, _)| *until).chain(self.left.iter().copied());
        let is_needed = self.need.read_ahead == u64::MAX || waiting.any(|until| until > self.loaded);
        self.must(is_needed, || format!("an opening at {} that no request waits for", at.offset));
        // The first missing byte: all bytes before it have arrived.
        let frontier = self.frontier();
        let (version, overlap) = match self.kept {
            Some(kept) if self.is_versioned => (Some(version_of(kept)), 0),
            _ => (None, frontier.min(OVERLAP)),
        };
        let is_right = at.offset == frontier - overlap && at.version == version;
        self.must(is_right, || {
            format!("{at:?}, where {frontier} is missing and {overlap} bytes are the proof")
        });
        self.must(self.size.is_none_or(|size| frontier < size), || {
            format!("an opening at the end, {frontier}")
        });
    }

    /// Whether the stream lacks the version that is the proof.
    fn is_unproven(&self, flow: &Flow) -> bool {
        self.is_versioned && !flow.told_version
    }

    /// An opening has succeeded.
    pub fn opened(&mut self, asked: u64, flow: &Flow) {
        let frontier = self.frontier();
        let is_known_size = |size| self.size.is_none_or(|known| known == size) && frontier <= size;
        let is_late = flow.at > asked;
        let is_other = self.difference(flow.version) > 0;
        let other_size = frontier > 0 && flow.told_size.is_some_and(|size| !is_known_size(size));
        let other_version = self.is_versioned && flow.told_version && is_other;
        self.facts.changes += u64::from(is_late || is_other || other_size);
        if let (Some(declared), Some(size)) = (self.declared, flow.told_size) {
            self.facts.wrong_size |= declared != size;
        }
        if is_late || other_size || other_version || self.facts.wrong_size {
            self.must_fail = true;
        } else if self.is_unproven(flow) {
            self.fault();
        } else if frontier == 0 {
            // Nothing has to be proven.
            self.size = flow.told_size;
        } else if self.is_versioned {
            self.size = self.size.or(flow.told_size);
        }
    }

    pub fn refused(&mut self) {
        self.fault();
    }

    /// A silent opening or stream was dropped: because it was silent for too long, or for another reason.
    pub fn dropped_silent(&mut self) {
        self.fault();
    }

    fn fault(&mut self) {
        self.facts.faults += 1;
        self.row += 1;
        self.facts.series += u64::from(self.row > self.attempts);
    }

    // ---- streams ----

    /// A stream is polled.
    pub fn polled(&mut self, flow: &Flow) {
        self.must(!flow.ended, || "a stream was polled after its end".to_owned());
        let is_proven = !self.must_fail && !self.is_unproven(flow);
        self.must(is_proven, || format!("a stream was polled that is not proven: {flow:?}"));
        let frontier = self.frontier();
        let (_, needless) = self.need.polled(frontier, flow.has_more());
        self.must(needless.is_none(), || format!("polled at {frontier}, needed up to {needless:?}"));
    }

    /// The buffer takes these bytes of a stream.
    pub fn chunk(&mut self, asked: u64, flow: &Flow, range: Range<u64>) {
        self.chunks += 1;
        self.sent += range.end - range.start;
        let frontier = self.frontier();
        // Surplus at the end is cut.
        let size = self.size.or(flow.told_size).unwrap_or(u64::MAX);
        let end = range.end.min(size);
        if self.kept.is_none() && end > range.start.max(asked) {
            self.kept = Some(flow.version);
        }
        if self.kept != Some(flow.version) || end <= range.start {
            return;
        }
        self.arrived.add(range.start..end);
        if self.frontier() > frontier {
            self.row = 0;
            self.is_versioned |= flow.told_version;
            self.size = self.size.or(flow.told_size);
        }
    }

    /// A stream has ended.
    pub fn ended(&mut self, flow: &Flow, how: Break) {
        if how != Break::End {
            self.fault();
            return;
        }
        let frontier = self.frontier();
        let is_proven = flow.at >= frontier && self.difference(flow.version) == 0;
        if is_proven {
            self.size = self.size.or(flow.told_size);
        }
        match self.size.or(self.declared) {
            Some(size) if is_proven && frontier >= size => self.size = Some(size),
            // An end is the only sign of the size.
            None if is_proven => self.size = Some(frontier),
            _ => {
                self.facts.early_ends += 1;
                self.fault();
            }
        }
    }
}
