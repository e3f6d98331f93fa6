//! The end of a run: a source that can be opened again may have trouble for some time, and then the buffer ends. No
//! request is left without an answer, no byte is lost, and nothing is left behind.

use std::mem;
use std::task::Poll;

use streamspool::{ErrorKind, Progress, Reopen, State};

use crate::asks::What;
use crate::checks::Checks;
use crate::players::Player;
use crate::run::{Counts, Run, closed};
use crate::steps::{Answer, Break, End, Ending, Kind, Refusal, Start, Trouble};
use crate::support::{BLOCK, is_data, poll_once};

/// More rounds than the rest of any resource takes.
const MANY_ROUNDS: usize = 1000;

/// What a working source says.
const FINE: Answer = Answer::Stream { start: Start::AsAsked, version: true, size: true };

impl Run {
    /// The source does not work for so long that every request that waits is answered. Then nothing is tried
    /// again.
    pub async fn trouble(&mut self, trouble: Trouble) {
        if trouble == Trouble::None {
            return;
        }
        self.disk.limit(None);
        self.settle_with_disk().await;
        let before = self.server.checks(|checks| checks.openings);
        // The first failure is that of a stream or an opening of before. If there is none, the first opening
        // still waits for the disk. Each round opens the source for each stream at most once. An opening without a
        // proof may have to start again at byte 0. Each stream may move once, because its caller has left.
        let restart = u64::from(self.handle.progress().loaded == 0);
        let rounds = u64::from(self.setup.attempts) + 1;
        let most = (rounds + 1) * self.setup.streams as u64 + restart;
        // Two steps of time for each attempt, and two more for its delay.
        for _ in 0..4 * (rounds + 3) {
            self.fail(trouble).await;
            if self.is_quiet() {
                break;
            }
            self.time().await;
            self.settle_with_disk().await;
        }
        let now = self.handle.progress();
        assert!(self.is_quiet(), "a series of attempts does not end, {now:?}");
        let openings = self.server.checks(|checks| checks.openings);
        assert!(openings - before <= most, "{} openings in a series, {now:?}", openings - before);
        if self.setup.read_ahead == u64::MAX {
            return;
        }
        for _ in 0..4 {
            self.time().await;
            self.settle_with_disk().await;
        }
        let now = self.handle.progress();
        let after = self.server.checks(|checks| checks.openings);
        // A reader that stopped still wants its byte.
        let is_wanted = self.players.iter().any(|player| player.demand().is_some());
        assert!(is_wanted || after == openings, "an attempt that no request waits for, {now:?}");
    }

    /// All openings and streams of this moment fail, or stay silent.
    async fn fail(&mut self, trouble: Trouble) {
        // An opening that fails may lead to another one.
        for _ in 0..3 {
            let held = self.server.state().held.len();
            for at in 0..held {
                match trouble {
                    Trouble::Refuses => self.server.answer(at, Answer::Refuse(Refusal::Transient)),
                    Trouble::IsSilent | Trouble::Breaks => self.server.answer(at, FINE),
                    Trouble::Hangs | Trouble::None => {}
                }
                if matches!(trouble, Trouble::Refuses | Trouble::Breaks) {
                    self.server.break_off(at, Break::Reset);
                }
            }
            self.settle_with_disk().await;
        }
    }

    /// The disk and the source work: all requests are answered, and no byte is lost.
    async fn heal(&mut self) {
        self.settle_with_disk().await;
        self.disk.limit(None);
        if self.setup.kind == Kind::OneWay {
            return self.send_the_rest().await;
        }
        self.server.restore();
        if self.setup.max_disk.is_some() {
            return self.read_in_parts().await;
        }
        // A stream of before may still break, and a write of before may have failed. Each may fail a load.
        for _ in 0..4 {
            self.load().await;
        }
        let now = self.handle.progress();
        let never_ends = self.setup.declared.is_some_and(|declared| declared > self.setup.size);
        assert!(never_ends || now.state.is_final(), "a source that works was not loaded: {now:?}");
        self.read_all(now.frontier).await;
        let now = self.handle.progress();
        assert!(now.state != State::Complete || now.loaded == self.setup.size, "{now:?}");
    }

    /// A one-way stream goes on to its end.
    async fn send_the_rest(&mut self) {
        let size = self.setup.size as usize;
        self.server.send(0, &vec![64 * 1024; size.div_ceil(64 * 1024)]);
        match self.setup.ending {
            Ending::Break(how) => self.server.break_off(0, how),
            Ending::Stall => {}
            Ending::Empty => self.server.send(0, &[0; 500]),
        }
        self.settle_with_disk().await;
        self.time().await;
        self.settle_with_disk().await;
        let waits_for_ever = matches!(self.setup.ending, Ending::Stall | Ending::Empty);
        assert!(waits_for_ever || self.is_all_loaded(), "a load in the background has stopped");
        assert!(waits_for_ever || self.asks.iter().all(|ask| !ask.is_asked), "a request was never answered");
        let before = self.handle.progress();
        let what = What::Read { offset: before.start, len: before.loaded };
        self.ask(what.clone());
        self.poll_ask(self.asks.len() - 1);
        self.settle_with_disk().await;
        assert!(
            !self.asks.iter().any(|ask| ask.is_asked && ask.what == what),
            "a read of loaded bytes was not answered"
        );
        // The request above may fail: it gets the error of an earlier write. These may not.
        self.read_all(before.frontier).await;
        let now = self.handle.progress();
        let exists = self.setup.size.min(self.setup.declared.unwrap_or(u64::MAX));
        assert!(now.state != State::Complete || now.loaded == exists, "{now:?}");
    }

    /// Whether unlimited read-ahead has loaded all that there is, or all that there is room for.
    fn is_all_loaded(&self) -> bool {
        let now = self.handle.progress();
        let is_loaded =
            self.setup.read_ahead < u64::MAX || now.state.is_final() || now.size == Some(now.frontier);
        // Memory has no room for one more block, and a block that leaves it has no place in the store.
        let is_full = self.setup.max_disk.is_some() && now.loaded + 3 * BLOCK as u64 >= self.limits.now();
        is_loaded || is_full
    }

    /// Reads all bytes that are not discarded for good, a part at a time. After a failure that is final, reads
    /// all that is kept.
    async fn read_in_parts(&mut self) {
        let (mut at, mut rounds) = (self.handle.progress().start, 0);
        let size = self.setup.size.min(self.setup.declared.unwrap_or(u64::MAX));
        while at < size && !self.handle.progress().state.is_final() {
            at += self.read(at, 300_000.min(size - at)).await;
            at = at.max(self.handle.progress().start);
            // Requests of before may fail a read, and may discard what it needs.
            rounds += 1;
            assert!(rounds < MANY_ROUNDS, "the reads at {at} do not end");
        }
        self.settle_with_disk().await;
        if self.handle.progress().state.is_final() {
            for range in self.kept.iter().cloned().collect::<Vec<_>>() {
                let len = range.end - range.start;
                let is_whole = self.read(range.start, len).await == len;
                // Blocks that were read may make space for others.
                assert!(is_whole || !self.kept.holds(&range), "bytes of {range:?} were lost");
            }
        }
    }

    /// Reads a range while the source and the disk work. Returns how many bytes it gets.
    async fn read(&mut self, offset: u64, len: u64) -> u64 {
        self.ask(What::Read { offset, len });
        self.poll_ask(self.asks.len() - 1);
        let number = self.asked;
        self.work_until_quiet().await;
        if self.answered.0 == number { self.answered.1 } else { 0 }
    }

    /// Loads everything from a source that works. With unlimited read-ahead, a request of one byte does that.
    async fn load(&mut self) {
        let loads_all = self.setup.read_ahead == u64::MAX;
        let next = What::Read { offset: self.handle.progress().frontier, len: 1 };
        self.ask(if loads_all { next } else { What::Load });
        self.poll_ask(self.asks.len() - 1);
        self.work_until_quiet().await;
    }

    /// The disk and the source work until all requests are answered.
    async fn work_until_quiet(&mut self) {
        let loads_all = self.setup.read_ahead == u64::MAX;
        for round in 0..MANY_ROUNDS {
            self.settle_with_disk().await;
            let now = self.handle.progress();
            let is_busy = matches!(now.state, State::Pulling | State::Retrying { .. });
            if self.is_quiet() && !(loads_all && is_busy) {
                break;
            }
            // A stream that is held need not be the one that is waited for.
            if !self.work() || round % 8 == 7 {
                self.time().await;
            }
        }
        let now = self.handle.progress();
        let waiting: Vec<_> = self.asks.iter().filter(|ask| ask.is_asked).map(|ask| &ask.what).collect();
        assert!(self.is_quiet(), "{waiting:?} was never answered, {now:?}");
    }

    /// The source does what its openings and streams wait for. Returns whether any of them waits.
    fn work(&mut self) -> bool {
        let resource = self.setup.size;
        let held: Vec<_> =
            self.server.state().held.iter().map(|held| held.stream.as_ref().map(|s| s.sent)).collect();
        for (at, sent) in held.iter().enumerate() {
            match *sent {
                None => self.server.answer(at, FINE),
                Some(sent) if sent < resource => {
                    self.server.send(at, &[(resource - sent).min(300_000) as usize]);
                }
                Some(_) => self.server.break_off(at, Break::End),
            }
        }
        !held.is_empty()
    }

    /// Reads all that is kept of the bytes before `end`, which are loaded. The disk works. Read-ahead may discard
    /// bytes meanwhile that were read.
    async fn read_all(&mut self, end: u64) {
        let handle = self.handle.clone();
        let mut at = handle.progress().start;
        while at < end {
            let rest = end - at;
            let mut read = Box::pin(handle.read(at, rest as usize));
            let result = loop {
                if let Poll::Ready(result) = poll_once(&mut read) {
                    break result;
                }
                self.settle_with_disk().await;
                tokio::task::yield_now().await;
            };
            let start = handle.progress().start;
            match result {
                Ok(bytes) => {
                    assert!(bytes.len() as u64 == rest && is_data(&bytes, at), "a byte was lost at {at}");
                    at += rest;
                }
                Err(error) => {
                    assert_eq!((error.kind(), start > at), (ErrorKind::Discarded, true), "{error}");
                    at = start;
                }
            }
        }
    }

    /// A buffer that no request waits for holds no stream for long, if it can open the source again.
    async fn pause(&mut self) {
        self.drop_callers();
        self.disk.limit(None);
        self.settle_with_disk().await;
        // A stream that ignores offsets would have to start again.
        let now = self.handle.progress();
        let is_unused = now.state == State::Waiting && !now.store_failing;
        let stays = is_unused
            && self.setup.reopen != Reopen::Anywhere
            && self.server.state().held.iter().any(|held| held.stream.is_some());
        for _ in 0..3 {
            self.time().await;
            self.settle_with_disk().await;
        }
        let state = self.server.state();
        assert!(!stays || !state.held.is_empty(), "an unused stream was closed that cannot be opened there");
        // The rest of a chunk may wait for a write that is not retried without a request.
        let is_failing = self.handle.progress().store_failing;
        let is_bound = state.checks.started_early || self.setup.reopen != Reopen::Anywhere;
        // The rest of a chunk may wait for space, where bytes that no read has got would be discarded for good.
        let is_full = self.setup.max_disk.is_some() && !self.setup.has_versions;
        let is_stuck = is_failing || is_bound || is_full || self.setup.read_ahead == u64::MAX;
        assert!(is_stuck || state.held.is_empty(), "a paused buffer holds a connection");
    }

    /// The buffer has ended: all callers are answered. None but a save waits for the disk.
    async fn settle_closed(&mut self) {
        self.settle().await;
        let waits = self.asks.iter().any(|ask| ask.is_asked && !self.may_outlast(ask));
        let plays = self.players.iter().any(Player::is_waiting);
        assert!(!waits && !plays, "a caller waits, though the buffer is closed");
        if !self.is_quiet() {
            self.settle_with_disk().await;
            assert!(self.is_quiet(), "a save waits, though the disk works");
        }
    }

    /// The end of the buffer. What it leaves behind on the disk is checked by the caller.
    pub async fn end(mut self, end: End) -> (Counts, Vec<String>) {
        match end {
            End::Heal => self.heal().await,
            End::Close => {
                self.is_closed = true;
                self.handle.close();
                self.settle_closed().await;
                self.ask(What::Read { offset: 0, len: 1 });
                self.poll_ask(self.asks.len() - 1);
            }
            End::Abort => {
                self.is_closed = true;
                self.actor = None;
                self.settle_closed().await;
            }
            End::Pause => self.pause().await,
            End::Leave => {}
        }
        let (Progress { state, start: discarded, .. }, error) = (self.handle.progress(), self.handle.error());
        (self.asks, self.players) = Default::default();
        // The last handle of this buffer goes. A closed one takes its place.
        drop(mem::replace(&mut self.handle, closed()));
        self.disk.limit(None);
        if let Some(actor) = self.actor.take() {
            self.disk.run_all_while(actor).await;
        }
        // What the disk does for requests that were dropped ends by itself.
        self.disk.run_all();
        let disk = self.disk.look(Clone::clone);
        let server = self.server.state();
        assert!(!server.is_kept && server.held.is_empty(), "the source is gone, and all its streams");
        assert!(disk.dropped, "the store is gone");
        let Checks { openings, chunks, sent, sent_again, facts, ref wrong, .. } = server.checks;
        assert_eq!((self.disk.wrong().as_slice(), wrong.as_slice()), (&[][..], &[][..]));
        let is_changed = error.is_some_and(|error| error.kind() == ErrorKind::Changed);
        let counts = Counts(vec![
            (1, "runs"),
            (self.steps, "steps"),
            (self.turns, "turns of the actor"),
            (self.answers, "requests answered"),
            (self.cancelled, "dropped"),
            (disk.faults, "faults of the disk"),
            (self.disk.calls(), "calls of the store"),
            (openings, "openings"),
            (facts.faults, "faults of the source"),
            (chunks, "chunks"),
            (sent, "bytes sent"),
            (disk.stored, "spilled"),
            (sent_again, "fetched again"),
            (u64::from(sent_again > 0), "runs that fetched again"),
            (discarded, "bytes discarded for good"),
            (u64::from(discarded > 0), "runs that discarded"),
            (u64::from(is_changed), "changed resources"),
            (u64::from(state == State::Complete), "complete ones"),
        ]);
        drop(server);
        (counts, mem::take(&mut self.log))
    }
}
