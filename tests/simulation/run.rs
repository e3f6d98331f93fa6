//! One run: a buffer with its source, its disk and its callers, each of them moved by hand, one step at a time.

use std::fmt;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use streamspool::{BufferHandle, Progress, Retry, State, StreamBuffer};

use crate::asks::{Again, Answer, Ask, Facts, Flag, Outcome, Since, What, Window};
use crate::disk::{Disk, Fault};
use crate::limits::Limits;
use crate::players::Player;
use crate::source::Server;
use crate::steps::{Kind, Op, Setup, Step};
use crate::support::BLOCK;
use crate::support::ranges::Ranges;

/// Longer than the longest delay before an attempt, of which a part is random, and before a write is retried. Two of
/// them are longer than the times after which silence is a failure and an unused stream is closed.
pub const STEP: Duration = Duration::from_secs(16);

/// More turns than anything takes that comes to an end.
pub const MANY_TURNS: usize = 100_000;

/// What runs came to: numbers, and what each of them counts.
#[derive(Clone, Debug, Default)]
pub struct Counts(pub Vec<(u64, &'static str)>);

impl Counts {
    pub fn add(&mut self, run: &Self) {
        if self.0.is_empty() {
            self.0.clone_from(&run.0);
        } else {
            self.0.iter_mut().zip(&run.0).for_each(|(all, one)| all.0 += one.0);
        }
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts: Vec<_> = self.0.iter().map(|(number, what)| format!("{number} {what}")).collect();
        write!(f, "{}", counts.join(", "))
    }
}

pub struct Run {
    pub setup: Setup,
    pub disk: Disk,
    pub server: Server,
    /// `None` once it has ended or was dropped.
    pub actor: Option<Pin<Box<dyn Future<Output = ()>>>>,
    actor_flag: Arc<Flag>,
    pub handle: BufferHandle,
    pub asks: Vec<Ask>,
    pub players: Vec<Player>,
    /// What happened, in order: a run that is done again has the same.
    pub log: Vec<String>,
    pub is_closed: bool,
    pub limits: Limits,
    /// The number of the last request.
    pub asked: u64,
    /// The number of the last request that was answered, and of the bytes that it got.
    pub answered: (u64, u64),
    /// The bytes in memory when nothing was left to do.
    pub resident: Ranges,
    /// All bytes that the buffer had then.
    pub kept: Ranges,
    /// Failures of the disk that the callers they concern have been told of.
    pub told_failures: u64,
    /// How often time has passed.
    times: u64,
    pub last: Progress,
    pub steps: u64,
    pub turns: u64,
    pub cancelled: u64,
    pub answers: u64,
    save_to: PathBuf,
}

impl Run {
    pub fn new(setup: Setup, dir: &Path) -> Self {
        let (disk, server) = (Disk::new(&setup), Server::new(setup));
        let mut builder = StreamBuffer::builder().size(setup.declared).max_memory(setup.max_memory);
        if let Some(bytes) = setup.max_disk {
            builder = builder.max_disk(bytes);
        }
        let builder = disk.serve(builder.read_ahead(setup.read_ahead));
        let (handle, actor) = if setup.kind == Kind::OneWay {
            builder.build(server.stream())
        } else {
            let retry = Retry::default().attempts(setup.attempts);
            builder.retry(retry).streams(setup.streams).build_source(server.resource())
        };
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
            is_closed: false,
            limits: Limits::new(setup.max_memory, setup.max_disk),
            asked: 0,
            answered: (0, 0),
            resident: Ranges::default(),
            kept: Ranges::default(),
            told_failures: 0,
            times: 0,
            last,
            steps: 0,
            turns: 0,
            cancelled: 0,
            answers: 0,
            save_to: dir.join("saved"),
        }
    }

    // ---- steps ----

    pub async fn step(&mut self, step: &Step) {
        self.steps += 1;
        match *step {
            Step::Ask(ref what) => self.ask(what.clone()),
            Step::Poll(at) if at < self.asks.len() => self.poll_ask(at),
            Step::Cancel(at) if at < self.asks.len() => self.cancel(at),
            Step::OpenReader => self.players.push(Player::reader(&self.handle)),
            Step::OpenChunks(at, end) => self.players.push(Player::chunks(&self.handle, at, end)),
            Step::Read(at, op) if self.players.get(at).is_some_and(|player| player.can(op)) => {
                self.begin_player(at, op);
            }
            Step::StopReader(at) if at < self.players.len() => self.players[at].stop(),
            Step::DropReader(at) if at < self.players.len() => self.drop_player(at),
            Step::Answer(at, answer) => self.server.answer(at, answer),
            Step::Send(at, ref sizes) => self.server.send(at, sizes),
            Step::Break(at, how) => self.server.break_off(at, how),
            Step::Change(by) => self.server.change(by),
            Step::Turn => {
                self.turn().await;
            }
            Step::Settle => self.settle().await,
            Step::Look => self.settle_and_look(true).await,
            Step::Disk(job, ref faults, polled) => self.run_job(job, faults, polled),
            Step::Time => self.time().await,
            Step::Space(capacity) => self.disk.limit(capacity),
            _ => {}
        }
        self.check();
    }

    pub async fn time(&mut self) {
        self.times += 1;
        tokio::time::advance(STEP).await;
    }

    /// What is known when something is asked.
    fn since(&self) -> Since {
        let now = self.handle.progress();
        let (series, may_refetch) = self.server.checks(|checks| (checks.facts.series, checks.may_refetch()));
        let frontier = if may_refetch { 0 } else { now.frontier };
        Since { frontier, start: now.start, failures: self.told_failures, series }
    }

    /// What is true now.
    fn facts(&self) -> Facts {
        let (now, disk_failures) = (self.handle.progress(), self.disk.look(|seen| seen.failures));
        self.server.checks(|checks| {
            let mut facts = Facts {
                total: self.setup.size,
                declared: self.setup.declared,
                pulled: checks.furthest,
                source_ended: checks.size.is_some() || checks.has_ended,
                source_failed: false,
                disk_failures,
                is_closed: self.is_closed,
                window: self.setup.max_disk.map(|_| Window {
                    start: now.start,
                    is_for_good: checks.was_bound,
                    least: self.limits.least(),
                }),
                again: None,
            };
            if self.setup.kind == Kind::OneWay {
                (facts.source_ended, facts.source_failed) = checks.first_end();
            } else {
                // Silence is a failure too.
                let faults = checks.facts.faults + self.times;
                facts.again = Some(Again { faults, has_failed: now.state == State::Failed, ..checks.facts });
            }
            facts
        })
    }

    // ---- requests ----

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
            let bytes = if let Ok(Answer::Bytes(bytes)) = &outcome { bytes.len() as u64 } else { 0 };
            self.answered = (ask.number, bytes);
            self.note_delivery(&ask.what, &outcome);
            self.answers += 1;
            self.demand();
        }
    }

    /// Drops a request at any point.
    fn cancel(&mut self, at: usize) {
        let ask = self.asks.swap_remove(at);
        let demand = ask.what.demand(false).filter(|_| ask.is_asked);
        self.may_deliver(demand.map(|(_, end)| (ask.what.start(), end)));
        self.cancelled += 1;
        drop(ask);
        self.leave(demand);
    }

    fn note_delivery(&mut self, what: &What, outcome: &Outcome) {
        let offset = match what {
            What::Read { offset, .. } | What::Some { offset, .. } | What::Slice { offset, .. } => *offset,
            What::Save => 0,
            _ => return,
        };
        match outcome {
            Ok(Answer::Bytes(bytes)) if !bytes.is_empty() => {
                // A long one gets its bytes in parts.
                self.deliver(offset + 1, offset + bytes.len() as u64);
                if let What::Some { len, .. } = *what {
                    // It may have been lent a slice of the store, and have read a part of it.
                    self.may_deliver(Some((offset, offset.saturating_add(len.min(BLOCK as u64)))));
                }
            }
            Ok(Answer::Number(size)) => self.deliver(0, *size),
            // A long one may have got a part before it failed.
            _ => self.may_deliver(what.demand(false).map(|(_, end)| (offset, end))),
        }
    }

    // ---- readers ----

    /// A reader begins something, which withdraws what it asked for before.
    fn begin_player(&mut self, at: usize, op: Op) {
        let (since, known) = (self.since(), self.handle.progress().size.is_some());
        let before = self.players[at].demand();
        self.players[at].begin(op, known, since);
        if op == Op::Piece {
            self.demand();
        } else {
            self.may_deliver(before.map(next_byte));
            self.leave(before);
        }
        self.poll_player(at);
    }

    fn poll_player(&mut self, at: usize) {
        let (facts, before) = (self.facts(), self.players[at].demand());
        self.players[at].poll(&facts);
        let (delivered, after) = (self.players[at].delivered, self.players[at].demand());
        if after.is_none() {
            // A reader is delivered a piece or a slice of the store, and hands out a part of it.
            self.may_deliver(before.map(next_byte));
        }
        self.deliver(delivered, delivered);
        self.demand();
    }

    fn drop_player(&mut self, at: usize) {
        let player = self.players.swap_remove(at);
        let demand = player.demand();
        self.deliver(player.delivered, player.delivered);
        self.may_deliver(demand.map(next_byte));
        drop(player);
        self.leave(demand);
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

    /// Whether no caller waits for anything.
    pub fn is_quiet(&self) -> bool {
        !self.asks.iter().any(|ask| ask.is_asked) && !self.players.iter().any(Player::is_waiting)
    }

    /// Whether this request may wait for a disk job, even if the buffer has ended: a save, which writes a file.
    pub fn may_outlast(&self, ask: &Ask) -> bool {
        ask.what == What::Save && self.disk.waiting() > 0
    }

    // ---- what the source may be asked for ----

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

    /// One poll of the actor, if it was woken.
    pub async fn turn(&mut self) -> bool {
        let Some(actor) = &mut self.actor else { return false };
        if !self.actor_flag.take() {
            return false;
        }
        // With a fresh budget each time, as a task of its own has.
        tokio::task::yield_now().await;
        let waker = Arc::clone(&self.actor_flag).into();
        self.turns += 1;
        let is_final = self.handle.progress().state.is_final();
        self.server.checks(|checks| checks.turn_begins(is_final));
        if actor.as_mut().poll(&mut Context::from_waker(&waker)).is_ready() {
            self.actor = None;
        }
        self.server.checks(|checks| checks.need.looked());
        true
    }

    /// One of the disk jobs that wait runs. In the middle of its first write, a request is polled.
    fn run_job(&mut self, number: usize, faults: &[Fault], polled: Option<usize>) {
        let polled = polled.filter(|at| self.asks.get(*at).is_some_and(|ask| ask.is_asked));
        let poll = polled.map(|at| self.asks[at].poll_later());
        if let Some(done) = self.disk.run(number, faults, poll) {
            self.log.push(format!("{done}, {faults:?}"));
        }
        if let Some(at) = polled
            && self.asks[at].is_answered()
        {
            self.poll_ask(at);
        }
    }

    /// Polls everything that is woken, until nothing is: all that is left waits for the source, the disk, the time or
    /// the next step. What a source that can be opened again may be asked for depends on the ranges that are loaded.
    pub async fn settle(&mut self) {
        self.settle_and_look(self.setup.kind == Kind::Reopenable).await;
    }

    async fn settle_and_look(&mut self, looks: bool) {
        let mut looked = !looks;
        for _ in 0..MANY_TURNS {
            // A task that has used up its budget is woken only now.
            tokio::task::yield_now().await;
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
                looked = !looks;
                continue;
            }
            // A look wakes the actor, so this is checked before it.
            self.check_cause();
            if looked {
                return self.check_settled();
            }
            self.look().await;
            looked = true;
        }
        panic!("tasks are still woken after {MANY_TURNS} turns");
    }

    /// The disk does all that it has to do, and all callers go on.
    pub async fn settle_with_disk(&mut self) {
        self.settle().await;
        while self.disk.waiting() > 0 {
            self.run_job(0, &[], None);
            self.settle().await;
        }
    }
}

/// A handle of a buffer that is gone.
pub fn closed() -> BufferHandle {
    StreamBuffer::builder().build(futures::stream::empty()).0
}

/// An outcome in short.
fn shown(outcome: &Outcome) -> String {
    match outcome {
        Ok(Answer::Bytes(bytes)) => format!("{} bytes", bytes.len()),
        other => format!("{other:?}"),
    }
}

/// What a player may be delivered that waits for the byte before `until`.
fn next_byte((until, end): (u64, u64)) -> (u64, u64) {
    (until.saturating_sub(1), end)
}
