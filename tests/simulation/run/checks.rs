//! What must hold during a run.

use streamspool::State;

use super::Run;
use crate::asks::What;

impl Run {
    /// After every step.
    pub(super) fn check(&mut self) {
        let (now, last) = (self.handle.progress(), self.last);
        let source = self.feed.seen();
        assert!(!source.polled_after_end, "the source was polled after its end");
        if let Some((pulled, allowed)) = source.needless {
            panic!("the source was pulled at {pulled}, and no caller needs more than {allowed}");
        }
        self.disk.look(|disk| {
            assert_eq!(disk.wrong, [""; 0], "the store saw");
            assert!(now.loaded <= source.pulled, "{now:?}");
            self.limits.check(&now, disk);
        });
        assert_eq!(now.resident + now.spilled, now.loaded, "every byte is in one place");
        assert_eq!(now.start + now.loaded, now.frontier, "a hole");
        assert!(now.start >= last.start && now.frontier >= last.frontier, "{last:?}, then {now:?}");
        if self.setup.max_disk.is_none() {
            assert!(now.start == 0 && now.spilled >= last.spilled, "{last:?}, then {now:?}");
        }
        if let Some(declared) = self.setup.declared {
            assert!(now.frontier <= declared, "{now:?}, though {declared} were declared");
        }
        self.last = now;
    }

    /// When nothing is woken.
    pub(super) fn check_settled(&mut self) {
        self.check();
        let disk_waits = self.disk.calls_waiting() > 0;
        let (now, source) = (self.handle.progress(), self.feed.seen());
        assert!(now.spilled <= self.disk.look(|disk| disk.held.len()), "{now:?}");
        if !disk_waits {
            self.told_failures = self.disk.look(|seen| seen.failures);
        }
        for ask in self.asks.iter().filter(|ask| ask.is_asked) {
            assert!(self.actor.is_some(), "{:?} was never answered", ask.what);
            let (offset, need) = match ask.what {
                What::Read { offset, len } => (offset, offset.saturating_add(len)),
                What::Some { offset, .. } => (offset, offset.saturating_add(1)),
                _ => (0, u64::MAX),
            };
            let here = need <= now.frontier && offset >= now.start + now.spilled;
            assert!(!here, "rule 4: {:?} waits for loaded bytes, {now:?}", ask.what);
        }
        let waits = !self.is_quiet();
        assert!(disk_waits || !waits || source.stalled, "a caller waits for nothing, {now:?}, {source:?}");
        if self.actor.is_none() || self.is_closed {
            return;
        }
        assert!(!source.ended || disk_waits || source.dropped, "the source has ended, and is kept");
        // A caller that leaves wakes the actor, so the state tells the truth.
        self.feed.need(|need| {
            let pulls_for_none = need.callers.is_empty() && now.frontier >= need.allowed(now.frontier);
            assert!(!pulls_for_none || now.state != State::Pulling, "pulling for no caller, {now:?}");
        });
    }
}
