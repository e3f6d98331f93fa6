//! The one driver of the core's tests: a core, its callers, its source and its disk, without a runtime.
//!
//! It does what the actor does, at the test's pace, and checks at each step what must hold for every kind of source:
//! progress is published before a reply, an idle core has nothing left to do, a stream is closed once, one write runs
//! at a time, and no write or read of the store leaves its limits. Only this folder uses the protocol of the core.

mod disk;
mod questions;
mod requests;
mod source;

use std::collections::VecDeque;
use std::rc::Rc;

use self::disk::Disk;
pub(super) use self::requests::{Answer, Ask, looked_at};
use self::requests::{Request, Ticket};
use self::source::Source;
pub(super) use self::source::{SIZE, Stream, ms, told, versioned};
use super::*;
use crate::core::lent::Found;
use crate::core::question::Answer as Answered;
use crate::core::{Action, Core, Event};
use crate::progress::Snapshot;
use crate::source::retry::Retry;

/// What the bytes come from.
#[derive(Clone, Copy)]
pub(super) enum Kind {
    /// A stream that is open from the start, and is never opened again.
    OneWay,
    /// A source that is opened when a byte is needed.
    Source(Retry),
}

/// What one turn of the driver did.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Done {
    /// Nothing: the core is idle.
    Nothing,
    /// This many bytes of the arriving chunk were taken in.
    Absorbed(usize),
    WriteStarted,
    Other,
}

/// Drives the core as the actor does, at the test's pace.
#[expect(clippy::struct_excessive_bools, reason = "independent facts about the test")]
pub(super) struct World {
    core: Core<Ticket>,
    is_one_way: bool,
    pub(super) now: Instant,
    /// The time of the last event.
    told: Instant,
    /// Whether nothing has happened since the core was last seen to be idle.
    is_checked: bool,
    /// How often the core has become idle.
    idles: u32,
    /// By number.
    requests: Vec<Request>,
    /// The requests that were answered since the test looked last, in order.
    pub(super) fresh: VecDeque<usize>,
    /// How many requests the core keeps.
    held: Rc<Cell<usize>>,
    /// Whether a caller has left since the core was told.
    left: Rc<Cell<bool>>,
    pub(super) source: Source,
    pub(super) disk: Disk,
    /// Every byte of the resource is that of `source` with these bits changed.
    pub(super) version: u8,
    /// Whether callers keep such slices until the test has them read by `read_lent`.
    pub(super) keeps_slices: bool,
    /// Whether actions are carried out only by `act` and `pump`, and not after each event.
    pub(super) is_slow: bool,
    pub(super) published: Progress,
    /// The failure of the source that was published with it.
    pub(super) error: Option<Error>,
}

impl World {
    /// A driver that carries out actions only by `act` and `pump`.
    pub(super) fn slow(kind: Kind, limits: Limits) -> Self {
        let now = Instant::now();
        let core = match kind {
            Kind::OneWay => Core::one_way(limits, 1, now),
            Kind::Source(retry) => Core::source(limits, retry, 7, now),
        };
        let (published, is_one_way) = (core.published(), matches!(kind, Kind::OneWay));
        Self {
            core,
            is_one_way,
            now,
            told: now,
            is_checked: false,
            idles: 0,
            requests: Vec::new(),
            fresh: VecDeque::new(),
            held: Rc::default(),
            left: Rc::default(),
            source: Source::new(is_one_way, limits.streams),
            disk: Disk::new(limits.max_disk < u64::MAX),
            version: 0,
            keeps_slices: false,
            is_slow: true,
            published,
            error: None,
        }
    }

    pub(super) fn new(kind: Kind, limits: Limits) -> Self {
        let mut world = Self::slow(kind, limits);
        world.is_slow = false;
        world.pump();
        world
    }

    /// A stream that is open from the start.
    pub(super) fn one_way(limits: Limits) -> Self {
        Self::new(Kind::OneWay, limits)
    }

    /// A source that is opened when a byte is needed.
    pub(super) fn source(limits: Limits) -> Self {
        Self::new(Kind::Source(Retry::default()), limits)
    }

    // ---- events and actions ----

    /// Something happens, and everything that follows from it.
    fn event(&mut self, event: Event<Ticket>) {
        self.tell(event);
        self.react();
    }

    /// Everything that follows from the last event happens, if the driver is not slow.
    fn react(&mut self) {
        if !self.is_slow {
            self.pump();
        }
    }

    fn tell(&mut self, event: Event<Ticket>) {
        let was_idle = self.is_checked && self.core.is_idle();
        let action = self.core.handle_event(self.now, event);
        // A source may be retried, or not, because of the time or of a read that is answered at once. Progress shows
        // that with the next event.
        self.is_checked = !self.is_one_way && was_idle && self.core.is_idle();
        self.told = self.now;
        if let Some(action) = action {
            self.perform(action);
        }
    }

    /// The events of `events` happen before any action is carried out.
    pub(super) fn before_actions<V>(&mut self, events: impl FnOnce(&mut Self) -> V) -> V {
        let is_slow = std::mem::replace(&mut self.is_slow, true);
        let result = events(self);
        self.is_slow = is_slow;
        self.react();
        result
    }

    /// Carries out all actions.
    pub(super) fn pump(&mut self) {
        while self.act() != Done::Nothing {}
    }

    /// Carries out one action.
    pub(super) fn act(&mut self) -> Done {
        self.tell_withdrawn();
        if let Some(action) = self.core.poll_action() {
            return self.perform(action);
        }
        self.check_idle();
        Done::Nothing
    }

    /// Whether the core says that there is nothing to do.
    pub(super) fn is_idle(&self) -> bool {
        self.core.is_idle()
    }

    fn tell_withdrawn(&mut self) {
        if self.left.take() {
            self.tell(Event::Withdrawn);
        }
    }

    /// An idle core has nothing to do, and its progress is published.
    fn check_idle(&mut self) {
        assert!(self.core.is_idle());
        // Told that something has happened, it looks again, at the same time: later there may be something to do.
        if std::mem::replace(&mut self.is_checked, true) {
            return;
        }
        self.idles += 1;
        // For speed only: these questions cost as much as the step before them.
        if self.is_one_way || self.idles.is_multiple_of(4) {
            assert!(self.core.handle_event(self.told, Event::Withdrawn).is_none());
            assert!(self.core.poll_action().is_none(), "the core was idle, and an action was due");
            self.check_published("the core was idle");
        }
    }

    fn check_published(&mut self, when: &str) {
        let progress = self.progress();
        assert_eq!(self.published, progress, "{when}, and progress was not published");
        assert_eq!(self.error.is_some(), self.has_source_error(), "{when}, and a failure was not published");
    }

    fn perform(&mut self, action: Action<Ticket>) -> Done {
        match action {
            Action::Reply { token, result } => {
                self.check_reply();
                match result {
                    Ok(Answered::Found(Found::Bytes(pieces))) => self.answer(token, Ok(pieces.join())),
                    Ok(Answered::End(_) | Answered::Ranges(_) | Answered::Done) => {
                        self.answer(token, Ok(Bytes::new()));
                    }
                    Err(error) => self.answer(token, Err(error)),
                    Ok(Answered::Found(Found::Lent(lent))) => {
                        self.check_stored(&lent.range);
                        self.disk.lend(token, lent);
                        if !self.keeps_slices {
                            assert!(self.read_lent(self.disk.lent.len() - 1), "a slice is not valid at once");
                        }
                    }
                }
            }
            Action::WriteStore(write) => {
                if self.is_one_way && !self.disk.is_limited {
                    let (offset, bytes) = disk::joined(&write.bytes);
                    assert_eq!(offset, self.progress().spilled, "writes are consecutive");
                    // A test with a longer stream compares its bytes itself.
                    let is_known = offset + bytes.len() as u64 <= SOURCE.len() as u64;
                    assert!(
                        !is_known || bytes == self.content(offset, bytes.len() as u64),
                        "writes other bytes"
                    );
                }
                self.disk.start(write);
                return Done::WriteStarted;
            }
            Action::Publish(Snapshot { progress, source_error, store_error }) => {
                let is_same = progress == self.published && source_error.is_some() == self.error.is_some();
                assert!(!is_same, "published twice");
                let must_fail = matches!(progress.state, State::Failed | State::Retrying { .. });
                let may_fail = must_fail || !self.is_one_way;
                assert!(if source_error.is_some() { may_fail } else { !must_fail }, "{progress:?}");
                assert_eq!(store_error.is_some(), progress.store_failing);
                (self.published, self.error) = (progress, source_error);
            }
            Action::OpenStream { stream, at } => {
                assert!(!self.is_one_way, "a one-way stream is opened at {}", at.offset);
                let (fresh, ranges) = (self.fresh.iter().copied().collect(), self.ranges());
                self.source.open(stream, at, self.now, fresh, ranges);
            }
            Action::CloseStream(stream) => self.source.close(stream),
            Action::Absorbed { bytes } => {
                assert!(bytes <= BLOCK && (bytes > 0 || !self.is_one_way));
                self.note_arrived(bytes as u64);
                return Done::Absorbed(bytes);
            }
        }
        Done::Other
    }

    fn check_reply(&mut self) {
        if self.left.get() {
            return;
        }
        if self.is_one_way {
            return self.check_published("a reply is sent");
        }
        // A delivery and the time change what a source is opened for. The state may show that with the next event.
        let progress = Progress { state: self.published.state, ..self.progress() };
        assert_eq!(self.published, progress, "a reply is sent, and progress was not published");
    }

    /// The store is asked only for bytes that it has.
    fn check_stored(&self, range: &Range<u64>) {
        assert!(!range.is_empty());
        let spilled = self.ranges().spilled;
        let is_stored = spilled.iter().any(|has| has.start <= range.start && range.end <= has.end);
        assert!(is_stored, "reads bytes that are not in the store: {range:?}");
    }

    /// The bytes of the resource as its streams have sent them.
    fn content(&self, offset: u64, len: u64) -> Vec<u8> {
        source(offset, offset + len).iter().map(|byte| byte ^ self.version).collect()
    }

    // ---- time ----

    /// When the core is to be told the time.
    pub(super) fn deadline(&mut self) -> Option<Instant> {
        self.tell_withdrawn();
        self.react();
        self.core.next_deadline(self.now)
    }

    /// Reports to the core that the time of its deadline has come.
    pub(super) fn tell_time(&mut self) {
        self.event(Event::DeadlinePassed);
    }

    /// Moves the clock by this time, and reports that to the core.
    pub(super) fn pass(&mut self, time: Duration) {
        self.now += time;
        self.tell_time();
    }

    /// There is no timer.
    pub(super) fn has_no_timer(&mut self) {
        self.event(Event::NoTimer);
    }

    /// The time of the core's next deadline comes, if there is one. Returns how long that took.
    pub(super) fn pass_deadline(&mut self) -> Option<Duration> {
        let deadline = self.deadline()?;
        let waited = deadline.saturating_duration_since(self.now);
        if waited.is_zero() {
            // Time has passed since the last event.
            assert!(!self.is_one_way, "a deadline in the past");
        } else {
            // Too early has no effect.
            self.now = deadline.checked_sub(Duration::from_nanos(1)).unwrap();
            self.tell_time();
            assert_eq!(self.deadline(), Some(deadline));
            self.now = deadline;
        }
        self.tell_time();
        Some(waited)
    }

    /// Goes to the next deadline. Returns how long that took.
    pub(super) fn wait(&mut self) -> Duration {
        self.pass_deadline().expect("a deadline")
    }

    /// Goes on to the time of the next opening.
    pub(super) fn wait_for_opening(&mut self) {
        let before = self.source.openings.len();
        while self.source.openings.len() == before {
            self.wait();
        }
    }
}
