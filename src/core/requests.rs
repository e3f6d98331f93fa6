//! Requests: each is answered now, or parked until bytes arrive.

use std::ops::Range;

use super::lent::Found;
use super::memory::BLOCK;
use super::question::{Answer, Asked, Question};
use super::read::{Decision, Outcome, Read, Want, decide, missing};
use super::readers::READERS_MOST;
use super::{Action, Core, Token};
use crate::error::Error;

impl<T: Token> Core<T> {
    /// Fails all parked requests: they need missing bytes. Requests that were woken only wait for their turn.
    pub(super) fn fail_needy(&mut self, error: &Error) {
        let failed = |asked: Asked<T>| Action::Reply { token: asked.token, result: Err(error.clone()) };
        self.due.extend(self.waiters.take_parked().map(failed));
    }

    /// The source is not opened any more: fails all parked requests that no stream brings bytes for.
    pub(super) fn fail_unserved(&mut self, error: &Error) {
        let (feeds, layout) = (&self.feeds, &self.layout);
        let failed = self.waiters.take_parked_if(|start| !feeds.is_brought(layout.first_missing(start)));
        let failed = failed.into_iter().map(|asked| asked.token);
        self.due.extend(failed.map(|token| Action::Reply { token, result: Err(error.clone()) }));
    }

    /// A caller asks for a range. Returns what to do for it now; otherwise the read is parked.
    #[expect(clippy::inline_always, reason = "a part of the path of a read that is answered at once")]
    #[inline(always)]
    pub(super) fn read(&mut self, read: Read, token: T) -> Option<Action<T>> {
        match self.decide(&read) {
            Decision::Wait(missing) => {
                self.dirty = true;
                self.requested();
                self.waiters.park(missing, Asked { question: Question::Read(read), token });
                None
            }
            Decision::Act(outcome) => {
                Some(Action::Reply { token, result: self.carry_out(outcome, read.want) })
            }
        }
    }

    /// A caller asks something that is not a read.
    pub(super) fn ask(&mut self, asked: Asked<T>) {
        if matches!(asked.question, Question::Ranges) {
            // They are looked up when the reply is sent, so that they agree with the published progress.
            return self.waiters.answer_later(asked);
        }
        if matches!(asked.question, Question::Load { .. } | Question::Size) {
            self.requested();
        }
        let action = self.answer(asked);
        self.due.extend(action);
    }

    /// What to do for a request now; otherwise it waits.
    pub(super) fn answer(&mut self, asked: Asked<T>) -> Option<Action<T>> {
        let Asked { mut question, token } = asked;
        let decision = match &question {
            Question::Read(read) => self.decide(read),
            Question::Load { range, arrived } => self.decide_load(range, *arrived),
            Question::Size => self.decide_size(),
            Question::Ranges => Decision::Act(Outcome::Ranges),
            Question::Spill => {
                self.writeback.spill(&self.layout, token);
                return None;
            }
            Question::SetLimits { max_memory, max_disk } => {
                self.set_limits(*max_memory, *max_disk, token);
                return None;
            }
        };
        match decision {
            Decision::Wait(missing) => {
                if let Question::Load { arrived, .. } = &mut question {
                    *arrived = missing.start;
                }
                self.waiters.park(missing, Asked { question, token });
                None
            }
            Decision::Act(outcome) => {
                let want = if let Question::Read(read) = &question { read.want } else { Want::Piece };
                Some(Action::Reply { token, result: self.carry_out(outcome, want) })
            }
        }
    }

    /// Decides whether all bytes of `range` have arrived. Those before `arrived` have.
    fn decide_load(&self, range: &Range<u64>, arrived: u64) -> Decision {
        let (start, end) = (range.start, range.end.min(self.extent.end()));
        let capacity = self.layout.capacity().saturating_add(self.writeback.max_memory() as u64);
        if start < end && start < self.layout.start() {
            return Decision::Act(Outcome::Failure(Error::discarded(start, self.layout.start())));
        }
        // Without a size, the resource may end long before.
        let is_known = range.end < u64::MAX || self.extent.reported().is_some();
        if is_known && end.saturating_sub(start) > capacity {
            return Decision::Act(Outcome::Failure(Error::too_large(start, end - start, capacity)));
        }
        let first = self.layout.first_missing(arrived);
        if first >= end {
            return Decision::Act(Outcome::End(end));
        }
        let (_, loaded) = self.layout.look_up(first);
        // If bytes may be discarded, `arrived` passes each of them as soon as it arrives.
        let most = if self.layout.is_limited() { first.saturating_add(1) } else { end };
        missing(first..loaded.min(end).min(most), self.extent.ending())
    }

    /// Decides whether the size is published.
    fn decide_size(&self) -> Decision {
        match (self.extent.failure(), self.extent.size()) {
            (Some(error), _) => Decision::Act(Outcome::Failure(error.clone())),
            (None, Some(size)) => Decision::Act(Outcome::End(size)),
            // The end of the resource is somewhere after the last loaded byte.
            (None, None) => Decision::Wait(self.layout.end()..u64::MAX),
        }
    }

    /// A request needs missing bytes. A failed write is retried, because the bytes need the memory, and
    /// so is a source that failed.
    pub(super) fn requested(&mut self) {
        self.writeback.retry();
        self.feeds.request();
    }

    #[expect(clippy::inline_always, reason = "a part of the path of a read that is answered at once")]
    #[inline(always)]
    fn decide(&self, read: &Read) -> Decision {
        decide(read, &self.layout, &self.extent, &self.delivered)
    }

    /// The answer to a request.
    #[expect(clippy::inline_always, reason = "a part of the path of a read that is answered at once")]
    #[inline(always)]
    fn carry_out(&mut self, outcome: Outcome, want: Want) -> Result<Answer, Error> {
        match outcome {
            Outcome::Nothing => Ok(Answer::Found(Found::default())),
            Outcome::End(end) => Ok(Answer::End(end)),
            Outcome::Ranges => Ok(Answer::Ranges(self.layout.ranges())),
            Outcome::Failure(error) => Err(error),
            Outcome::Resident { range, more_to } => {
                let start = range.start;
                let pieces = self.layout.slice(range, more_to);
                self.deliver(start, start + pieces.len() as u64);
                Ok(Answer::Found(Found::Bytes(pieces)))
            }
            Outcome::Stored(range) => {
                self.lend(&range, want);
                Ok(Answer::Found(Found::Lent(self.layout.lend(range))))
            }
        }
    }

    /// Notes that a range of the store was lent. With a limit on disk, delivered bytes may be discarded, and the
    /// caller has not read these bytes yet. So their block counts as delivered only when a read starts at its end. An
    /// exact read counts at once where bytes can be fetched again: otherwise readers at random offsets would leave
    /// all blocks unread.
    fn lend(&mut self, range: &Range<u64>, want: Want) {
        let is_read = want == Want::Exact && self.feeds.can_jump();
        if !self.layout.is_limited() || is_read {
            return self.deliver(range.start, range.end);
        }
        let at = range.start;
        self.note(at, at);
        self.touch(range, false);
        if at > 0 && at.is_multiple_of(BLOCK as u64) {
            self.touch(&(at - 1..at), true);
        }
    }

    /// Notes that the blocks of a range are used. A block that is delivered for the first time may be discarded, or
    /// make space, so there may be something to do.
    fn touch(&mut self, range: &Range<u64>, is_delivered: bool) {
        self.dirty |= self.layout.touch(range, is_delivered);
    }

    /// Notes that a range was delivered.
    #[expect(clippy::inline_always, reason = "a part of the path of a read that is answered at once")]
    #[inline(always)]
    fn deliver(&mut self, start: u64, end: u64) {
        if self.layout.is_limited() {
            self.touch(&(start..end), true);
        }
        self.note(start, end);
    }

    #[expect(clippy::inline_always, reason = "a part of the path of a read that is answered at once")]
    #[inline(always)]
    fn note(&mut self, start: u64, end: u64) {
        let most = if self.feeds.can_jump() { READERS_MOST } else { 1 };
        let (layout, read_ahead) = (&self.layout, self.read_ahead);
        let loads_all = read_ahead == u64::MAX || self.extent.ending().is_some();
        let is_served = |at| loads_all || layout.first_missing(at) - at >= read_ahead;
        self.dirty |= self.delivered.note(self.now, (start, end), most, is_served);
        if most > 1 {
            self.delivered
                .note_lead(self.now, end - start, self.feeds.reach(), |at| layout.first_missing(at) - at);
        }
    }
}
