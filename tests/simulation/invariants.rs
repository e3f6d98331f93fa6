//! What must hold during a run: after every step, and when nothing is woken any more.

use std::mem;
use std::task::Poll;

use streamspool::State;

use crate::asks::What;
use crate::run::{MANY_TURNS, Run};
use crate::source::Connection;
use crate::steps::Kind;
use crate::support::poll_once;
use crate::support::ranges::Ranges;

impl Run {
    fn is_one_way(&self) -> bool {
        self.setup.kind == Kind::OneWay
    }

    /// After every step.
    pub(super) fn check(&mut self) {
        let (now, last) = (self.handle.progress(), self.last);
        let (wrong, arrived, may_refetch, may_discard) = self.server.checks(|checks| {
            let (may_refetch, may_discard) = (checks.may_refetch(), checks.may_discard());
            (mem::take(&mut checks.wrong), checks.arrived.len(), may_refetch, may_discard)
        });
        assert_eq!(wrong, [""; 0], "the source saw, {now:?}");
        assert!(
            now.loaded <= arrived,
            "a byte was taken in before its proof: {arrived} have arrived, {now:?}"
        );
        assert_eq!(self.disk.wrong(), [""; 0], "the store saw");
        self.disk.look(|disk| self.limits.check(&now, disk));
        assert_eq!(now.resident + now.spilled, now.loaded, "every byte is in one place");
        assert!(!self.is_one_way() || now.start + now.loaded == now.frontier, "a hole, {now:?}");
        assert!(now.start >= last.start, "{last:?}, then {now:?}");
        assert!(may_refetch || now.frontier >= last.frontier, "{last:?}, then {now:?}");
        if self.setup.max_disk.is_none() {
            assert!(now.loaded >= last.loaded && now.spilled >= last.spilled, "{last:?}, then {now:?}");
        }
        assert!(now.start == 0 || may_discard, "bytes are discarded that can be fetched again, {now:?}");
        if let Some(declared) = self.setup.declared {
            let most = now.loaded.max(now.frontier);
            assert!(most <= declared, "{now:?}, though {declared} were declared");
        }
        self.last = now;
    }

    /// When nothing is woken: each caller that waits has a cause.
    pub(super) fn check_cause(&self) {
        let (now, state) = (self.handle.progress(), self.server.state());
        let waits_for_source = state.held.iter().any(Connection::is_awaited);
        let is_retrying = matches!(now.state, State::Retrying { .. });
        // Rule 25: until the turn of another reader is over.
        let takes_turns = state.checks.takes_turns(state.held.len());
        let has_cause = self.disk.waiting() > 0 || waits_for_source || is_retrying || takes_turns;
        assert!(self.is_quiet() || has_cause, "a caller waits for nothing, {now:?}, {:?}", state.held);
    }

    /// When nothing is woken, and the ranges are known.
    pub(super) fn check_settled(&mut self) {
        self.check();
        let (now, is_one_way) = (self.handle.progress(), self.is_one_way());
        let disk_waits = self.disk.waiting() > 0;
        if !disk_waits {
            self.told_failures = self.disk.look(|seen| seen.failures);
        }
        assert!(now.spilled <= self.disk.look(|disk| disk.held.len()), "{now:?}");
        if is_one_way {
            // Blocks are spilled in order.
            self.resident = Ranges::default();
            self.resident.add(now.start + now.spilled..now.frontier);
        }
        for ask in self.asks.iter().filter(|ask| ask.is_asked) {
            assert!(self.actor.is_some() || self.may_outlast(ask), "{:?} was never answered", ask.what);
            let range = match ask.what {
                What::Read { offset, len } => offset..offset.saturating_add(len),
                What::Slice { offset, end } => offset..end,
                What::Some { offset, .. } => offset..offset.saturating_add(1),
                _ => continue,
            };
            // It may wait for the store, from which its bytes were discarded since then and fetched again.
            let may_be_read = disk_waits && self.setup.max_disk.is_some() && !is_one_way;
            let is_empty = ask.what.demand(true).is_none();
            let is_here = is_empty || !range.is_empty() && self.resident.holds(&range);
            assert!(!is_here || may_be_read, "rule 4: {:?} waits for what is there, {now:?}", ask.what);
        }
        if let State::Retrying { attempt, .. } = now.state {
            assert!((1..=self.setup.attempts).contains(&attempt), "{now:?}");
            assert!(self.is_closed || self.handle.error().is_some(), "no failure is reported, {now:?}");
        }
        if self.actor.is_some() && !self.is_closed {
            self.check_source();
        }
    }

    /// What the buffer does with its source when nothing is woken.
    fn check_source(&self) {
        let (now, state) = (self.handle.progress(), self.server.state());
        let checks = &state.checks;
        assert!(!now.state.is_final() || state.held.is_empty(), "a stream is kept after the end, {now:?}");
        let disk_waits = self.disk.waiting() > 0;
        let has_ended = |held: &Connection| held.stream.as_ref().is_some_and(|flow| flow.ended);
        assert!(disk_waits || !state.held.iter().any(has_ended), "a stream has ended, and is kept, {now:?}");
        assert!(!checks.must_fail || now.state.is_final(), "other bytes are not seen as such, {now:?}");
        // A caller that leaves wakes the actor, so the state tells the truth.
        let is_retrying = matches!(now.state, State::Retrying { .. });
        let is_waited_for = !checks.need.callers.is_empty() || self.setup.read_ahead == u64::MAX;
        let (needs, is_stuck) = if self.is_one_way() {
            (checks.is_needed(&(now.frontier..=now.frontier)), false)
        } else {
            let needs = !is_retrying && state.held.iter().any(|held| checks.needs(held));
            (needs, disk_waits || now.store_failing)
        };
        let is_busy = is_retrying || now.state == State::Pulling;
        assert!(
            is_waited_for || needs || !is_busy || is_stuck,
            "busy for no caller, {now:?}, {:?}, {:?}",
            state.held,
            checks.need
        );
    }

    /// Asks for the ranges that the buffer has.
    pub(super) async fn look(&mut self) {
        let handle = self.handle.clone();
        let mut ranges = Box::pin(handle.ranges());
        for _ in 0..MANY_TURNS {
            let Poll::Ready(ranges) = poll_once(&mut ranges) else {
                tokio::task::yield_now().await;
                self.turn().await;
                continue;
            };
            let Ok(ranges) = ranges else { return };
            let now = self.handle.progress();
            let (mut resident, mut loaded) = (Ranges::default(), Ranges::default());
            resident.add_all(&ranges.resident);
            loaded.add_all(&ranges.spilled);
            assert_eq!((resident.len(), loaded.len()), (now.resident, now.spilled), "{ranges:?}, {now:?}");
            assert!(ranges.resident.iter().all(|range| !loaded.touches(range)), "a byte in two places");
            loaded.add_all(&ranges.resident);
            assert_eq!(loaded.first_missing(now.start), now.frontier, "{ranges:?}, {now:?}");
            assert!(!loaded.touches(&(0..now.start)), "{ranges:?}, {now:?}");
            let arrived = self.server.checks(|checks| checks.arrived.clone());
            let all = ranges.resident.iter().chain(&ranges.spilled);
            assert!(
                all.into_iter().all(|range| arrived.holds(range)),
                "{ranges:?}, but {arrived:?} have arrived"
            );
            (self.resident, self.kept) = (resident, loaded.clone());
            loaded.add(0..now.start);
            // A chunk that waits for memory may be dropped or not. With a limit it may wait until other bytes are
            // read. The only stream of a source is not closed before its end, and nothing of it is dropped.
            let is_limited = self.setup.max_disk.is_some();
            let is_waiting = self.disk.waiting() > 0 || now.store_failing || is_limited;
            let is_settled = !is_waiting && !self.is_one_way();
            self.server.checks(|checks| checks.looked(&loaded, is_settled));
            return;
        }
        panic!("the ranges are not told");
    }
}
