//! One run: a buffer with its source, its disk and its callers, each of them moved by hand.

mod checks;
mod end;

use std::future::Future;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use streamspool::{BufferHandle, Progress, StreamBuffer};

use crate::asks::{Answer, Ask, Facts, Flag, Outcome, Since, What, Window};
use crate::limits::Limits;
use crate::players::{Body, Player};
use crate::steps::{Ending, Op, Setup, Step};
use crate::support::jobs::Origin;
use crate::support::source::{Feed, Need, source};
use crate::support::store::{Control, Fault};

/// No delay between two tries is longer. A shorter time might pass a deadline or not: delays differ from
/// buffer to buffer.
const RETRIED: Duration = Duration::from_secs(15);

/// More turns than anything takes that comes to an end.
const MANY_TURNS: usize = 100_000;

/// What a run came to.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    pub turns: u64,
    pub answered: u64,
    pub cancelled: u64,
    pub chunks: u64,
    pub pulled: u64,
    pub disk_calls: u64,
    pub disk_faults: u64,
    pub source_faults: u64,
    pub spilled: u64,
    pub discarded: u64,
}

pub struct Run {
    pub setup: Setup,
    pub disk: Control,
    pub feed: Feed,
    /// `None` once it has ended or was dropped.
    actor: Option<Pin<Box<dyn Future<Output = ()>>>>,
    actor_flag: Arc<Flag>,
    pub handle: BufferHandle,
    pub asks: Vec<Ask>,
    pub players: Vec<Player>,
    pub bodies: Vec<Body>,
    /// What happened, in order: a run that is done again has the same.
    pub log: Vec<String>,
    /// The disk work of this run. It goes on only while the run waits for it.
    jobs: Origin,
    is_closed: bool,
    limits: Limits,
    /// The number of the last request.
    asked: u64,
    /// The end of the furthest range delivered, as far as the callers know.
    delivered: Option<u64>,
    /// Failures of the disk that the callers they concern have been told of.
    told_failures: u64,
    last: Progress,
    counts: Counts,
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
        disk.hold_writes(true);
        disk.hold_reads(true);
        let (feed, source) = source();
        feed.watch(Need::new(setup.read_ahead));
        feed.need(|need| need.in_parts = setup.max_disk.is_some());
        let mut builder = StreamBuffer::builder().size(setup.declared).max_memory(setup.max_memory);
        if let Some(bytes) = setup.max_disk {
            disk.reuse_places();
            builder = builder.max_disk(bytes);
        }
        let (handle, actor) = builder.read_ahead(setup.read_ahead).store(disk.store()).build(source);
        let last = handle.progress();
        Self {
            setup,
            disk,
            feed,
            actor: Some(Box::pin(actor.run())),
            actor_flag: Flag::raised(),
            handle,
            asks: Vec::new(),
            players: Vec::new(),
            bodies: Vec::new(),
            log: Vec::new(),
            jobs,
            is_closed: false,
            limits: Limits::new(setup.max_memory, setup.max_disk),
            asked: 0,
            delivered: None,
            told_failures: 0,
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
            Step::OpenBody(at, end) => self.bodies.push(Body::new(&self.handle, at, end)),
            Step::NextPiece(at) if at < self.bodies.len() => self.begin_body(at),
            Step::DropBody(at) if at < self.bodies.len() => self.drop_body(at),
            Step::Feed(ref sizes) => sizes.iter().for_each(|size| self.send(*size)),
            Step::EndSource => self.end_source(),
            Step::Turn => {
                self.turn().await;
            }
            Step::Settle => self.settle().await,
            Step::Disk(call, fault) => self.pass(call, fault),
            Step::Time => tokio::time::advance(RETRIED).await,
            Step::Space(capacity) => self.disk.limit(capacity),
            _ => {}
        }
        self.check();
    }

    fn since(&self) -> Since {
        let now = self.handle.progress();
        Since { frontier: now.frontier, start: now.start, failures: self.told_failures, series: 0 }
    }

    fn facts(&self) -> Facts {
        let source = self.feed.seen();
        Facts {
            total: self.setup.total,
            declared: self.setup.declared,
            pulled: source.pulled,
            source_ended: source.ended,
            source_failed: source.failed,
            disk_failures: self.disk.look(|seen| seen.failures),
            is_closed: self.is_closed,
            window: self.setup.max_disk.map(|_| Window {
                start: self.handle.progress().start,
                is_for_good: true,
                least: self.limits.least(),
            }),
            again: None,
        }
    }

    // ---- callers ----

    fn ask(&mut self, what: What) {
        let ask = Ask::new(what, self.handle.clone(), &self.save_to, self.since());
        self.asks.push(ask);
    }

    /// Polls a request; it is gone once it is answered.
    fn poll_ask(&mut self, at: usize) {
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
            self.note_delivery(&ask.what, &outcome);
            self.counts.answered += 1;
            self.demand();
        }
        self.rest();
    }

    fn note_delivery(&mut self, what: &What, outcome: &Outcome) {
        let offset = match what {
            What::Read { offset, .. } | What::Some { offset, .. } | What::Slice { offset, .. } => *offset,
            What::Save => 0,
            _ => return,
        };
        match outcome {
            Ok(Answer::Bytes(bytes)) if !bytes.is_empty() => self.deliver(offset + bytes.len() as u64),
            Ok(Answer::Number(size)) => self.deliver(*size),
            // A long one may have got a part before it failed.
            _ => self.may_deliver(what.demand(false)),
        }
    }

    fn deliver(&mut self, end: u64) {
        if end > 0 {
            self.delivered = self.delivered.max(Some(end));
        }
    }

    /// A caller leaves that may have been answered already.
    fn may_deliver(&mut self, demand: Option<(u64, u64)>) {
        if let Some((_, end)) = demand {
            self.deliver(end.min(self.feed.seen().pulled));
        }
    }

    /// Drops a request at any point.
    fn cancel(&mut self, at: usize) {
        let ask = self.asks.swap_remove(at);
        if ask.is_asked {
            self.may_deliver(ask.what.demand(false));
        }
        self.counts.cancelled += 1;
        drop(ask);
        self.leave();
    }

    fn drop_player(&mut self, at: usize) {
        let player = self.players.swap_remove(at);
        self.deliver(player.delivered);
        self.may_deliver(player.demand());
        drop(player);
        self.leave();
    }

    fn drop_body(&mut self, at: usize) {
        let body = self.bodies.swap_remove(at);
        self.deliver(body.delivered());
        self.may_deliver(body.demand());
        drop(body);
        self.leave();
    }

    /// A reader begins something, which withdraws what it asked for before.
    fn begin_player(&mut self, at: usize, op: Op) {
        let (since, known) = (self.since(), self.handle.progress().size.is_some());
        self.may_deliver(self.players[at].demand());
        self.players[at].begin(op, known, since);
        self.leave();
        self.poll_player(at);
    }

    fn poll_player(&mut self, at: usize) {
        let (facts, before) = (self.facts(), self.players[at].demand());
        self.players[at].poll(&facts);
        if self.players[at].demand().is_none() {
            // A reader is delivered a piece, and hands out a part of it.
            self.may_deliver(before);
        }
        self.deliver(self.players[at].delivered);
        self.demand();
    }

    fn begin_body(&mut self, at: usize) {
        let since = self.since();
        self.bodies[at].begin(since);
        self.demand();
        self.poll_body(at);
    }

    fn poll_body(&mut self, at: usize) {
        let facts = self.facts();
        self.bodies[at].poll(&facts);
        self.deliver(self.bodies[at].delivered());
        self.demand();
    }

    /// A caller has left: what is being pulled for it at this moment may still come.
    fn leave(&mut self) {
        self.demand();
        self.feed.need(|need| need.excuse = true);
    }

    /// Tells the source what the callers need.
    fn demand(&mut self) {
        let known = self.handle.progress().size.is_some();
        let asked = self.asks.iter().filter(|ask| ask.is_asked).filter_map(|ask| ask.what.demand(known));
        let players = self.players.iter().filter_map(Player::demand);
        let callers = asked.chain(players).chain(self.bodies.iter().filter_map(Body::demand)).collect();
        self.feed.need(|need| (need.callers, need.delivered) = (callers, self.delivered));
    }

    // ---- the source ----

    fn send(&mut self, size: usize) {
        let left = self.setup.total - self.feed.fed();
        self.feed.chunk(usize::try_from(left).unwrap_or(usize::MAX).min(size));
    }

    fn end_source(&mut self) {
        if self.feed.fed() < self.setup.total {
            return;
        }
        match self.setup.ending {
            Ending::End => self.feed.end(),
            Ending::Fail => self.feed.fail(std::io::ErrorKind::ConnectionReset.into()),
            Ending::Panic => self.feed.panic(),
            Ending::Stall => {}
            Ending::Empty => self.feed.chunk(0),
        }
    }

    // ---- turns ----

    /// One poll of the actor, if it was woken. Then the disk comes to rest.
    async fn turn(&mut self) -> bool {
        let Some(actor) = &mut self.actor else { return false };
        if !self.actor_flag.take() {
            return false;
        }
        // With a fresh budget each time, as a task of its own has.
        tokio::task::yield_now().await;
        let waker = Arc::clone(&self.actor_flag).into();
        self.counts.turns += 1;
        if actor.as_mut().poll(&mut Context::from_waker(&waker)).is_ready() {
            self.actor = None;
        }
        self.feed.need(Need::looked);
        self.rest();
        true
    }

    /// Disk work goes on until all of it is done, or waits for the run to let it pass.
    fn rest(&mut self) {
        self.jobs.rest();
    }

    /// The disk does one of the calls that wait.
    fn pass(&mut self, call: usize, fault: Option<Fault>) {
        if let Some(call) = self.disk.pass(call, fault) {
            self.log.push(format!("{call:?}: {fault:?}"));
        }
        self.rest();
    }

    /// Polls everything that is woken, until nothing is: all that is left waits for the source, the disk
    /// or the next step.
    async fn settle(&mut self) {
        for _ in 0..MANY_TURNS {
            // A task that has used up its budget is woken only now.
            tokio::task::yield_now().await;
            self.rest();
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
            for at in 0..self.bodies.len() {
                if self.bodies[at].demand().is_some() && self.bodies[at].flag.is_raised() {
                    moved = true;
                    self.poll_body(at);
                }
            }
            if !moved {
                self.check_settled();
                return;
            }
        }
        panic!("tasks are still woken after {MANY_TURNS} turns");
    }

    /// The disk does all that it has to do, and all callers go on.
    async fn settle_with_disk(&mut self) {
        self.settle().await;
        while self.disk.calls_waiting() > 0 {
            self.pass(0, None);
            self.settle().await;
        }
    }
}

/// A handle of a buffer that is gone.
pub fn closed() -> BufferHandle {
    StreamBuffer::builder().build(futures::stream::empty()).0
}

/// An outcome in short.
pub fn shown(outcome: &Outcome) -> String {
    match outcome {
        Ok(Answer::Bytes(bytes)) => format!("{} bytes", bytes.len()),
        other => format!("{other:?}"),
    }
}
