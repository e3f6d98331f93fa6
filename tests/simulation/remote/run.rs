//! One run: a buffer with a source that can be opened again, its disk and its callers, each moved by hand.

use std::future::Future;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use streamspool::{BufferHandle, Progress, Retry, State, StreamBuffer};

use super::server::Server;
use super::steps::{Setup, Step};
use crate::asks::{Answer as Reply, Ask, Facts, Flag, Outcome, Since, What, Window};
use crate::limits::Limits;
use crate::players::Player;
use crate::run::shown;
use crate::steps::Op;
use crate::support::jobs::Origin;
use crate::support::ranges::Ranges;
use crate::support::store::{Control, Fault};

/// Longer than the longest delay before an attempt, of which a part is random. Two of them are longer than
/// the times after which silence is a failure and an unused stream is closed.
pub const STEP: Duration = Duration::from_secs(16);

/// More turns than anything takes that comes to an end.
pub(super) const MANY_TURNS: usize = 100_000;

/// What a run came to, but for what its source knows.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    pub turns: u64,
    pub answered: u64,
    pub cancelled: u64,
}

pub struct Run {
    pub setup: Setup,
    pub disk: Control,
    pub server: Server,
    /// `None` once it has ended or was dropped.
    pub actor: Option<Pin<Box<dyn Future<Output = ()>>>>,
    actor_flag: Arc<Flag>,
    pub handle: BufferHandle,
    pub asks: Vec<Ask>,
    pub players: Vec<Player>,
    /// What happened, in order: a run that is done again has the same.
    pub log: Vec<String>,
    /// The disk work of this run. It goes on only while the run waits for it.
    pub jobs: Origin,
    pub is_closed: bool,
    pub(super) limits: Limits,
    /// The number of the last request.
    pub(super) asked: u64,
    /// The number of the last request that was answered, and of the bytes that it got.
    pub(super) answered: (u64, u64),
    /// The bytes in memory when nothing was left to do.
    pub(super) resident: Ranges,
    /// All bytes that the buffer had then.
    pub(super) kept: Ranges,
    /// Failures of the disk that the callers they concern have been told of.
    pub(super) told_failures: u64,
    /// How often time has passed.
    times: u64,
    pub(super) last: Progress,
    pub counts: Counts,
    save_to: PathBuf,
}

impl Drop for Run {
    /// Lets the disk do its work when a run has found something, or its threads would wait for ever.
    fn drop(&mut self) {
        self.disk.heal();
        self.jobs.step(false);
    }
}

impl Run {
    pub fn new(setup: Setup, dir: &Path) -> Self {
        let jobs = Origin::here();
        // The disk work of the run before, if that has found something.
        jobs.rest();
        jobs.step(true);
        let disk = Control::new(setup.at_once);
        disk.take_any_order();
        disk.hold_writes(true);
        disk.hold_reads(true);
        let server = Server::new(setup);
        let retry = Retry::default().attempts(setup.attempts);
        let builder = StreamBuffer::builder().size(setup.declared).max_memory(setup.max_memory).retry(retry);
        let mut builder = builder.streams(setup.streams).read_ahead(setup.read_ahead);
        if let Some(bytes) = setup.max_disk {
            disk.reuse_places();
            builder = builder.max_disk(bytes);
        }
        let builder = builder.store(disk.store());
        let (handle, actor) = builder.build_source(server.resource());
        let last = handle.progress();
        Self {
            setup,
            disk,
            server,
            actor: Some(Box::pin(actor.run())),
            actor_flag: Flag::raised(),
            handle,
            asks: Vec::new(),
            players: Vec::new(),
            log: Vec::new(),
            jobs,
            is_closed: false,
            limits: Limits::new(setup.max_memory, setup.max_disk),
            asked: 0,
            answered: (0, 0),
            resident: Ranges::default(),
            kept: Ranges::default(),
            told_failures: 0,
            times: 0,
            last,
            counts: Counts::default(),
            save_to: dir.join("saved"),
        }
    }

    // ---- steps ----

    pub async fn step(&mut self, step: &Step) {
        match *step {
            Step::Ask(ref what) => self.ask(what.clone()),
            Step::Poll(at) if at < self.asks.len() => self.poll_ask(at),
            Step::Cancel(at) if at < self.asks.len() => self.cancel(at),
            Step::OpenReader => self.players.push(Player::new(&self.handle)),
            Step::Read(at, op) if at < self.players.len() => self.begin_player(at, op),
            Step::StopReader(at) if at < self.players.len() => self.players[at].leave(),
            Step::DropReader(at) if at < self.players.len() => self.drop_player(at),
            Step::Answer(at, answer) => self.server.answer(at, answer),
            Step::Send(at, ref sizes) => self.server.send(at, sizes),
            Step::Break(at, how) => self.server.break_off(at, how),
            Step::Change(by) => self.server.change(by),
            Step::Time => self.time().await,
            Step::Turn => {
                self.turn().await;
            }
            Step::Settle => self.settle().await,
            Step::Disk(call, fault) => self.pass(call, fault),
            Step::Space(capacity) => self.disk.limit(capacity),
            _ => {}
        }
        self.check();
    }

    pub async fn time(&mut self) {
        self.times += 1;
        tokio::time::advance(STEP).await;
    }

    fn since(&self) -> Since {
        let series = self.server.checks(|checks| checks.facts.series);
        let (now, may_refetch) = (self.handle.progress(), self.server.checks(|checks| checks.may_refetch()));
        let frontier = if may_refetch { 0 } else { now.frontier };
        Since { frontier, start: now.start, failures: self.told_failures, series }
    }

    fn facts(&self) -> Facts {
        let mut facts = self.server.checks(|checks| Facts {
            total: self.setup.size,
            declared: self.setup.declared,
            pulled: checks.furthest,
            source_ended: checks.size.is_some() || checks.has_ended,
            source_failed: false,
            disk_failures: 0,
            is_closed: self.is_closed,
            window: self.setup.max_disk.map(|_| Window {
                start: self.handle.progress().start,
                is_for_good: checks.was_bound,
                least: self.limits.least(),
            }),
            again: Some(checks.facts),
        });
        facts.disk_failures = self.disk.look(|seen| seen.failures);
        if let Some(again) = &mut facts.again {
            // Silence is a failure too.
            again.faults += self.times;
            again.has_failed = self.handle.progress().state == State::Failed;
        }
        facts
    }

    // ---- callers ----

    pub fn ask(&mut self, what: What) {
        let ask = Ask::new(what, self.handle.clone(), &self.save_to, self.since());
        self.asks.push(ask);
    }

    /// Polls a request; it is gone once it is answered.
    pub fn poll_ask(&mut self, at: usize) {
        if !self.asks[at].is_asked {
            self.asks[at].since = self.since();
            self.asked += 1;
            self.asks[at].number = self.asked;
            self.limits.note(&self.asks[at]);
        }
        self.asks[at].is_asked = true;
        self.demand();
        if let Poll::Ready(outcome) = self.asks[at].poll() {
            let ask = self.asks.swap_remove(at);
            self.log.push(format!("{:?}: {}", ask.what, shown(&outcome)));
            ask.judge(&outcome, &self.facts());
            if outcome.is_ok() {
                self.limits.meet(ask.number);
            }
            let bytes = if let Ok(Reply::Bytes(bytes)) = &outcome { bytes.len() as u64 } else { 0 };
            self.answered = (ask.number, bytes);
            self.note_delivery(&ask.what, &outcome);
            self.counts.answered += 1;
            self.demand();
        }
        self.jobs.rest();
    }

    fn note_delivery(&mut self, what: &What, outcome: &Outcome) {
        let offset = match what {
            What::Read { offset, .. } | What::Some { offset, .. } | What::Slice { offset, .. } => *offset,
            What::Save => 0,
            _ => return,
        };
        match outcome {
            Ok(Reply::Bytes(bytes)) if !bytes.is_empty() => {
                // A long one gets its bytes in parts.
                self.deliver(offset + 1, offset + bytes.len() as u64);
            }
            Ok(Reply::Number(size)) => self.deliver(0, *size),
            // A long one may have got a part before it failed.
            _ => self.may_deliver(what.demand(false).map(|(_, end)| (offset, end))),
        }
    }

    /// A range was delivered that ended between these offsets.
    fn deliver(&mut self, first: u64, last: u64) {
        self.server.checks(|checks| checks.need.deliver(first, last));
    }

    /// A caller leaves that may have been answered already, with bytes between these offsets.
    fn may_deliver(&mut self, range: Option<(u64, u64)>) {
        if let Some((start, end)) = range {
            let arrived = self.server.checks(|checks| checks.end());
            if start < arrived {
                self.deliver(start, end.min(arrived));
            }
        }
    }

    /// Drops a request at any point.
    fn cancel(&mut self, at: usize) {
        let ask = self.asks.swap_remove(at);
        let demand = ask.what.demand(false).filter(|_| ask.is_asked);
        self.may_deliver(demand.map(|(_, end)| (ask.what.start(), end)));
        self.counts.cancelled += 1;
        drop(ask);
        self.leave(demand);
    }

    fn drop_player(&mut self, at: usize) {
        let player = self.players.swap_remove(at);
        let demand = player.demand();
        self.deliver(player.delivered, player.delivered);
        self.may_deliver(demand);
        drop(player);
        self.leave(demand);
    }

    /// A reader begins something, which withdraws what it asked for before.
    fn begin_player(&mut self, at: usize, op: Op) {
        let (since, known) = (self.since(), self.handle.progress().size.is_some());
        let before = self.players[at].demand();
        self.may_deliver(before);
        self.players[at].begin(op, known, since);
        self.leave(before);
        self.poll_player(at);
    }

    fn poll_player(&mut self, at: usize) {
        let (facts, before) = (self.facts(), self.players[at].demand());
        self.players[at].poll(&facts);
        if self.players[at].demand().is_none() {
            // A reader is delivered a piece, and hands out a part of it.
            self.may_deliver(before);
        }
        let delivered = self.players[at].delivered;
        self.deliver(delivered, delivered);
        self.demand();
    }

    /// A caller has left: what is done for it at this moment may still go on.
    fn leave(&mut self, demand: Option<(u64, u64)>) {
        self.demand();
        self.server.checks(|checks| checks.need.leave(demand.map(|(until, _)| until)));
    }

    /// Tells the source what the callers need.
    fn demand(&mut self) {
        let known = self.handle.progress().size.is_some();
        let asked = self.asks.iter().filter(|ask| ask.is_asked);
        let demand = asked.clone().filter_map(|ask| ask.what.demand(known));
        // With a limit, a caller may have got a part already.
        let parts = asked.filter(|_| self.setup.max_disk.is_some()).filter_map(|ask| ask.what.range());
        let callers = demand.chain(parts).chain(self.players.iter().filter_map(Player::demand)).collect();
        self.server.checks(|checks| checks.need.callers = callers);
    }

    // ---- turns ----

    /// One poll of the actor, if it was woken. Then the disk comes to rest.
    pub(super) async fn turn(&mut self) -> bool {
        let Some(actor) = &mut self.actor else { return false };
        if !self.actor_flag.take() {
            return false;
        }
        // With a fresh budget each time, as a task of its own has.
        tokio::task::yield_now().await;
        let waker = Arc::clone(&self.actor_flag).into();
        self.counts.turns += 1;
        let is_final = self.handle.progress().state.is_final();
        self.server.checks(|checks| checks.turn_begins(is_final));
        if actor.as_mut().poll(&mut Context::from_waker(&waker)).is_ready() {
            self.actor = None;
        }
        self.server.checks(|checks| checks.need.looked());
        self.jobs.rest();
        true
    }

    /// The disk does one of the calls that wait.
    fn pass(&mut self, call: usize, fault: Option<Fault>) {
        if let Some(call) = self.disk.pass(call, fault) {
            self.log.push(format!("{call:?}: {fault:?}"));
        }
        self.jobs.rest();
    }

    /// Polls everything that is woken, until nothing is: all that is left waits for the source, the disk,
    /// the time or the next step.
    pub async fn settle(&mut self) {
        let mut looked = false;
        for _ in 0..MANY_TURNS {
            // A task that has used up its budget is woken only now.
            tokio::task::yield_now().await;
            self.jobs.rest();
            let mut moved = self.turn().await;
            for at in (0..self.asks.len()).rev() {
                if self.asks[at].is_asked && self.asks[at].flag.is_raised() {
                    moved = true;
                    tokio::task::yield_now().await;
                    self.poll_ask(at);
                }
            }
            for at in 0..self.players.len() {
                if self.players[at].is_waiting() && self.players[at].flag.is_raised() {
                    moved = true;
                    self.poll_player(at);
                }
            }
            if moved {
                looked = false;
            } else if looked {
                self.check_settled();
                return;
            } else {
                self.look().await;
                looked = true;
            }
        }
        panic!("no end to it");
    }

    /// The disk does all that it has to do, and all callers go on.
    pub async fn settle_with_disk(&mut self) {
        self.settle().await;
        while self.disk.calls_waiting() > 0 {
            self.pass(0, None);
            self.settle().await;
        }
    }

    /// Whether no caller waits for anything.
    pub fn is_quiet(&self) -> bool {
        !self.asks.iter().any(|ask| ask.is_asked) && !self.players.iter().any(Player::is_waiting)
    }

    /// All callers leave.
    pub fn drop_callers(&mut self) {
        while !self.asks.is_empty() {
            self.cancel(0);
        }
        while !self.players.is_empty() {
            self.drop_player(0);
        }
    }
}
