//! What the source of a run has seen, and what the buffer may ask of it. Rules 21 to 26.
//!
//! The bytes that count are those of one version: the version of the first byte that the buffer takes in.

use std::ops::{Range, RangeInclusive};

use streamspool::{OpenAt, Reopen};

use crate::asks::Again;
use crate::need::Need;
use crate::source::{Connection, Flow, version_of};
use crate::steps::{Break, Setup};
use crate::support::ranges::Ranges;

/// The bytes that prove a stream without a version.
const OVERLAP: u64 = 64 * 1024;

/// The facts of a run, and what was against the rules.
#[allow(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub struct Checks {
    setup: Setup,
    /// Failures in a row without a new byte of a stream that was opened after the last of them.
    row: u32,
    /// The number of openings at the last failure, and in the rest of that poll of the actor: the actor polls an
    /// opening first after it has asked for it, so it may have asked for those before the failure.
    row_at: u64,
    /// Whether something has failed in this poll of the actor.
    is_failing: bool,
    /// The version of the bytes that count, once there are some.
    pub kept: Option<u8>,
    /// The version that proves a stream, where one was told.
    version: Option<u8>,
    /// How the source can be opened again, as far as it has shown.
    reopen: Reopen,
    /// The versions of all streams, each as a bit.
    seen: u8,
    /// A stream has started before its offset: the source may not be opened anywhere.
    pub started_early: bool,
    /// The bytes that count and were sent.
    pub arrived: Ranges,
    /// The bytes that the buffer was known to have when nothing was left to do, and those that it has discarded
    /// for good. It drops a chunk, or a part of it, if the stream is not needed any more.
    loaded: Ranges,
    /// All bytes that the buffer was ever known to have.
    ever: Ranges,
    /// Bytes were taken in of a source that cannot be opened anywhere, so they may be discarded for good.
    pub was_bound: bool,
    /// The size, where a proven stream has told it, or has ended there.
    pub size: Option<u64>,
    /// How the first stream has ended.
    first_end: Option<Break>,
    /// The size was told or shown: by a stream that brought no byte, or that has ended past the end.
    pub has_ended: bool,
    /// What the callers need.
    pub need: Need,
    /// No more bytes were to come when the actor was polled.
    is_final: bool,
    /// The size that was known then.
    size_before: Option<u64>,
    /// Whether the source could be opened anywhere then.
    could_jump: bool,
    /// A stream was opened that does not belong to the bytes that count: the buffer must fail.
    pub must_fail: bool,
    pub facts: Again,
    pub openings: u64,
    /// The most openings and streams at once.
    pub most_held: usize,
    pub chunks: u64,
    pub sent: u64,
    /// Bytes that were sent again, because they were discarded.
    pub sent_again: u64,
    /// The offset after the furthest byte that was sent.
    pub furthest: u64,
    /// What was against the rules. A panic would be one more fault that a buffer survives.
    pub wrong: Vec<String>,
}

impl Checks {
    pub fn new(setup: &Setup) -> Self {
        Self {
            setup: *setup,
            row: 0,
            row_at: 0,
            is_failing: false,
            kept: None,
            version: None,
            reopen: setup.reopen,
            seen: 0,
            started_early: false,
            arrived: Ranges::default(),
            loaded: Ranges::default(),
            ever: Ranges::default(),
            was_bound: false,
            size: None,
            has_ended: false,
            first_end: None,
            need: Need::new(setup.read_ahead),
            is_final: false,
            size_before: None,
            could_jump: false,
            must_fail: false,
            facts: Again::default(),
            openings: 0,
            most_held: 0,
            chunks: 0,
            sent: 0,
            sent_again: 0,
            furthest: 0,
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

    /// Whether the buffer may open the source anywhere, with a proof.
    fn can_jump(&self) -> bool {
        self.reopen == Reopen::Anywhere && self.version.is_some()
    }

    /// How many openings and streams the buffer may hold at once.
    fn most(&self) -> usize {
        if self.setup.has_versions { self.setup.streams } else { 1 }
    }

    /// Whether a request may wait for the turn of another reader: no stream more may be open. With limits, which may
    /// change, each stream needs space for a block, and two streams always have it.
    pub fn takes_turns(&self, held: usize) -> bool {
        let fit = if self.setup.max_disk.is_some() { 2 } else { usize::MAX };
        self.setup.has_versions && held >= self.most().min(fit)
    }

    fn must(&mut self, holds: bool, text: impl FnOnce() -> String) {
        if !holds {
            self.wrong.push(text());
        }
    }

    // ---- turns ----

    /// The actor is about to be polled.
    pub fn turn_begins(&mut self, is_final: bool) {
        (self.is_final, self.size_before, self.could_jump) = (is_final, self.size, self.can_jump());
        self.is_failing = false;
    }

    /// The buffer has these bytes, or has discarded them for good. `is_settled` says that nothing is left to do.
    pub fn looked(&mut self, loaded: &Ranges, is_settled: bool) {
        self.loaded = loaded.clone();
        loaded.iter().for_each(|range| self.ever.add(range.clone()));
        if is_settled {
            self.arrived = loaded.clone();
        }
    }

    /// Whether the buffer has taken in a byte.
    pub fn has_bytes(&self) -> bool {
        self.arrived.len() > 0
    }

    /// The offset after the last byte that has arrived.
    pub fn end(&self) -> u64 {
        self.arrived.end()
    }

    /// Whether bytes may have been discarded for good.
    pub fn may_discard(&self) -> bool {
        self.setup.max_disk.is_some() && self.was_bound
    }

    /// Whether bytes may have been discarded since the last look that can be fetched again.
    pub fn may_refetch(&self) -> bool {
        self.setup.max_disk.is_some() && self.setup.has_versions && self.setup.reopen == Reopen::Anywhere
    }

    /// The first missing byte of a stream that has reached this offset: it is one of these.
    fn next_missing(&self, offset: u64) -> RangeInclusive<u64> {
        let first = if self.may_refetch() { offset } else { self.loaded.first_missing(offset) };
        // All bytes before one that has arrived may have been discarded for good.
        let last = if self.may_discard() { self.end() } else { 0 };
        first..=self.arrived.first_missing(offset).max(first).max(last)
    }

    /// Whether a stream is needed that has one of these as its first missing byte.
    pub fn is_needed(&self, next: &RangeInclusive<u64>) -> bool {
        // Bytes that were discarded are fetched again only for a request.
        let new = self.ever.first_missing(*next.start());
        let is_new = !self.may_refetch() || next.contains(&new);
        let ahead = if self.may_refetch() { new..=*next.end() } else { next.clone() };
        self.need.is_asked(next) || is_new && self.need.is_needed(&ahead)
    }

    // ---- openings ----

    /// The buffer opens the source.
    pub fn opening(&mut self, at: &OpenAt, held: &[Connection]) {
        self.openings += 1;
        if self.is_failing {
            self.row_at = self.openings;
        }
        self.most_held = self.most_held.max(held.len() + 1);
        let most = self.most();
        self.must(held.len() < most, || format!("{} streams and one more", held.len()));
        self.must(!self.is_final, || "an opening after the end".to_owned());
        match at.version.clone() {
            Some(version) => self.jump(at, version == version_of(self.version.unwrap_or(u8::MAX))),
            None => self.resume(at),
        }
        // An opening that was decided before the size was known is still polled once.
        if let Some(size) = self.size_before.filter(|_| self.has_bytes()) {
            self.must(at.offset < size, || format!("{at:?} is not before the end, {size}"));
        }
    }

    /// An opening that a version proves: at any missing byte.
    fn jump(&mut self, at: &OpenAt, is_version: bool) {
        // Without bytes, the version is that of any stream before.
        let has_bytes = self.has_bytes();
        self.must(is_version || !has_bytes, || format!("{at:?} has not the version of the bytes"));
        let may_refetch = self.may_refetch();
        let is_missing = self.loaded.first_missing(at.offset) == at.offset;
        self.must(is_missing || may_refetch, || format!("{at:?} is loaded"));
        let is_loaded_after = at.end.is_none_or(|end| {
            let is_missing = !self.loaded.touches(&(end - 1..end)) || may_refetch;
            end > at.offset && self.arrived.touches(&(end..end + 1)) && is_missing
        });
        self.must(is_loaded_after, || format!("{at:?} does not end before loaded bytes"));
        let is_needed = self.need.waits_beyond(at.offset) || self.need.may_continue(at.offset);
        self.must(is_needed, || format!("{at:?}, for which no request waits"));
        let is_new = self.ever.first_missing(at.offset) == at.offset;
        let is_asked = self.need.is_asked_beyond(at.offset);
        self.must(is_new || is_asked, || format!("{at:?}, to fetch bytes again that no request waits for"));
        // Without jumps it is the first missing byte. The first opening may be anywhere.
        let lowest = self.loaded.first_missing(0);
        let is_first = (lowest..=self.arrived.first_missing(0).max(lowest)).contains(&at.offset);
        let may_jump = self.can_jump() || self.could_jump || !self.has_bytes();
        self.must(may_jump || is_first || may_refetch, || {
            format!("{at:?}, but {lowest} is the first missing byte")
        });
    }

    /// An opening that the last received bytes prove. Before there are any, it may be anywhere.
    fn resume(&mut self, at: &OpenAt) {
        self.must(self.version.is_none() || !self.has_bytes(), || format!("{at:?} lacks the version"));
        let (low, high) = (self.loaded.first_missing(0), self.arrived.first_missing(0));
        if self.loaded.len() == 0 && !self.has_bytes() {
            let is_needed = self.need.waits_beyond(0);
            return self.must(is_needed, || format!("{at:?}, for which no request waits"));
        }
        // The overlap ends at the first missing byte, which lies between these two.
        let is_right = |frontier: u64| at.offset == frontier - frontier.min(OVERLAP);
        let is_exact = is_right(high) || is_right(low);
        let is_between = (low..=high).contains(&(at.offset + OVERLAP));
        self.must(is_exact || is_between, || format!("{at:?}, where {low} or {high} is missing"));
        let is_needed = self.need.waits_beyond(low);
        self.must(is_needed, || format!("{at:?}, for which no request waits"));
    }

    pub fn knows_version(&self) -> bool {
        self.version.is_some()
    }

    /// Whether the stream lacks the version that is the proof.
    fn is_unproven(&self, flow: &Flow) -> bool {
        self.version.is_some() && !flow.told_version
    }

    /// An opening has succeeded. `others` says whether there are other streams. Returns whether the stream is
    /// pulled.
    pub fn opened(&mut self, asked: u64, flow: &Flow, others: bool) -> bool {
        // Before the first byte, the buffer may have closed the other streams already, or not.
        let is_first = !self.has_bytes();
        let end = self.loaded.end();
        let is_known_size = |size| self.size.is_none_or(|known| known == size) && end <= size;
        let is_late = flow.at > asked;
        self.started_early |= flow.started_early;
        self.was_bound |= flow.started_early || !flow.told_version;
        let other_size = !is_first && flow.told_size.is_some_and(|size| !is_known_size(size));
        let is_other = self.version.is_some_and(|version| version != flow.version);
        let other_version = !is_first && is_other && flow.told_version;
        self.seen |= 1 << flow.version;
        let differs = self.seen.count_ones() > 1 || self.difference(flow.version) > 0;
        self.facts.changes += u64::from(is_late || other_size || differs);
        if let (Some(declared), Some(size)) = (self.setup.declared, flow.told_size) {
            self.facts.wrong_size |= declared != size;
        }
        if is_late || other_size || other_version || self.facts.wrong_size {
            self.must_fail = true;
            return false;
        }
        if !is_first && self.is_unproven(flow) {
            self.fault();
            return false;
        }
        // Before the first byte, the buffer may have refused the stream, or not.
        let is_early = !is_first && flow.started_early && self.setup.reopen == Reopen::Anywhere;
        if is_early {
            self.reopen = Reopen::FromStart;
        } else if asked > 0 {
            // A stream that starts at 0 as asked does not show that the source obeys offsets.
            self.reopen = self.setup.reopen;
        }
        if is_first {
            // Nothing has to be proven.
            self.size = flow.told_size;
            self.version = flow.told_version.then_some(flow.version);
        } else if self.version.is_some() {
            self.size = self.size.or(flow.told_size);
        }
        self.has_ended |= self.size.is_some();
        // Without a proof, the bytes before a stream must come first. A source that is never opened again fails.
        let is_pulled = flow.at == 0 || !is_first || others || self.can_jump();
        if !is_pulled {
            self.fault();
        }
        self.note_bound();
        is_pulled
    }

    fn note_bound(&mut self) {
        self.was_bound |= self.has_bytes() && !self.can_jump();
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
        (self.row_at, self.is_failing) = (self.openings, true);
        self.facts.series += u64::from(self.row > self.setup.attempts);
    }

    // ---- streams ----

    /// A stream is polled.
    pub fn polled(&mut self, flow: &Flow) {
        self.must(!flow.ended, || "a stream was polled after its end".to_owned());
        self.must(!self.must_fail, || format!("a stream was polled that is not proven: {flow:?}"));
        let next = self.next_missing(flow.at);
        let is_needed = self.is_needed(&next);
        let may = self.need.polled(is_needed, flow.has_more());
        self.must(may, || format!("polled at {next:?} without need: {flow:?}"));
    }

    /// Whether a stream or an opening is needed.
    pub fn needs(&self, held: &Connection) -> bool {
        let (at, last) = held.stream.as_ref().map_or((held.asked, held.asked), |flow| (flow.at, flow.last));
        // With a limit, a chunk may wait until other bytes are read.
        let from = if self.setup.max_disk.is_some() { last } else { at };
        self.is_needed(&(self.loaded.first_missing(from)..=self.loaded.first_missing(at)))
    }

    /// The buffer takes these bytes of a stream.
    /// `is_alone` says whether it is the only one, and no opening runs.
    pub fn chunk(&mut self, flow: &Flow, range: Range<u64>, is_alone: bool) {
        self.chunks += 1;
        self.sent += range.end - range.start;
        self.furthest = self.furthest.max(range.end);
        // Surplus at the end is cut.
        let end = range.end.min(self.size.or(flow.told_size).unwrap_or(u64::MAX));
        if end <= range.start {
            return;
        }
        let had_bytes = self.has_bytes();
        let kept = *self.kept.get_or_insert(flow.version);
        if kept != flow.version {
            return;
        }
        if self.may_refetch() {
            let mut missing = self.ever.clone();
            self.loaded.iter().for_each(|range| missing.remove(range));
            missing.remove(&(0..range.start));
            missing.remove(&(end..u64::MAX));
            self.sent_again += missing.len();
        }
        let (is_first, before, last) = (!had_bytes, self.arrived.len(), self.end());
        self.arrived.add(range.start..end);
        // Bytes before others may have been discarded for good, also if they never arrived.
        let is_new = if self.may_discard() { self.end() > last } else { self.arrived.len() > before };
        // A stream of before ends no series, and one beside others need not.
        if is_new && is_alone && flow.opening > self.row_at {
            self.row = 0;
        }
        // A byte that was discarded may be new again.
        if is_new || self.may_refetch() && self.version.is_some() {
            if is_first {
                // What other streams told before may count or not.
                (self.size, self.size_before) = (None, None);
            }
            if flow.told_version || is_first {
                self.version = flow.told_version.then_some(kept);
            }
            self.size = self.size.or(flow.told_size);
        }
        self.note_bound();
    }

    /// Whether the only stream of a source has ended, and whether that was a failure.
    pub fn first_end(&self) -> (bool, bool) {
        (self.first_end.is_some(), self.first_end.is_some_and(|how| how != Break::End))
    }

    /// A stream has ended.
    pub fn ended(&mut self, flow: &Flow, how: Break) {
        self.first_end.get_or_insert(how);
        if how != Break::End {
            return self.fault();
        }
        let is_proven = flow.at >= self.arrived.first_missing(0) || self.version.is_some();
        let is_whole = is_proven && self.difference(flow.version) == 0 && flow.at >= self.setup.size;
        self.has_ended |= is_whole;
        let is_short = self.setup.declared.is_some_and(|declared| flow.at < declared);
        let is_size = flow.told_size.is_some() || flow.at == self.end();
        if is_whole && is_size && !is_short {
            self.size = Some(self.setup.size);
        }
        if !is_whole || is_short {
            self.facts.early_ends += 1;
            self.fault();
        }
    }
}
