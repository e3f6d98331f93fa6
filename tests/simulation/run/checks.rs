//! What must hold during a run.

use streamspool::State;

use super::Run;
use crate::asks::What;
use crate::support::MIB;

/// What memory may hold over its budget.
const SLACK: u64 = MIB as u64;

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
            assert!(now.loaded <= source.pulled && now.spilled <= disk.stored, "{now:?}");
        });
        assert_eq!(now.resident + now.spilled, now.loaded, "every byte is in one place");
        assert!(now.loaded >= last.loaded && now.spilled >= last.spilled, "{last:?}, then {now:?}");
        let most = (self.setup.max_memory as u64).saturating_add(SLACK);
        assert!(now.resident <= most, "{} bytes in memory, {most} allowed", now.resident);
        if let Some(declared) = self.setup.declared {
            assert!(now.loaded <= declared, "{now:?}, though {declared} were declared");
        }
        self.last = now;
    }

    /// When nothing is woken.
    pub(super) fn check_settled(&mut self) {
        self.check();
        let disk_waits = self.disk.calls_waiting() > 0;
        let (now, source) = (self.handle.progress(), self.feed.seen());
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
            let here = need <= now.loaded && offset >= now.spilled;
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
            let pulls_for_none = need.callers.is_empty() && now.loaded >= need.allowed(now.loaded);
            assert!(!pulls_for_none || now.state != State::Pulling, "pulling for no caller, {now:?}");
        });
    }
}
