//! A buffer with its source, its disk and its users, each of them moved by hand.

use std::future::Future;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use streamspool::{BufferHandle, Progress, State, StreamBuffer};

use crate::asks::{Answer, Ask, Facts, Flag, Outcome, Since, What};
use crate::players::{Pieces, Player};
use crate::support::faults::{Chunking, Disk, Ending, Tap};
use crate::support::jobs::Origin;
use crate::support::{BLOCK, KIB, MIB, Random};

/// What memory may hold over its budget.
const SLACK: u64 = MIB as u64;

/// More turns than anything takes that comes to an end.
const MANY_TURNS: usize = 100_000;

pub struct World {
    pub random: Random,
    pub disk: Disk,
    pub tap: Tap,
    /// `None` once it has ended or was dropped.
    pub actor: Option<Pin<Box<dyn Future<Output = ()>>>>,
    actor_flag: Arc<Flag>,
    pub handle: BufferHandle,
    pub asks: Vec<Ask>,
    pub players: Vec<Player>,
    pub pieces: Vec<Pieces>,
    pub declared: Option<u64>,
    pub max_memory: usize,
    pub read_ahead: u64,
    pub total: u64,
    pub is_closed: bool,
    /// The furthest that anybody waited for, and was delivered.
    furthest_need: u64,
    delivered: u64,
    /// The disk work of this run.
    pub jobs: Origin,
    /// Failures of the disk that have been told to whom they concern.
    told_failures: u64,
    last: Progress,
    pub turns: u64,
    pub answered: u64,
    pub cancelled: u64,
    save_to: PathBuf,
}

impl World {
    pub fn new(seed: u64, dir: &Path) -> Self {
        let mut random = Random(seed);
        let pick = |random: &mut Random, of: &[u64]| of[random.below(of.len() as u64) as usize];
        let chunking = match random.below(200) {
            0 => Chunking::Huge,
            1..=20 => Chunking::OneByte,
            21..=50 => Chunking::Small,
            51..=100 => Chunking::Network,
            101..=140 => Chunking::Blocks,
            _ => Chunking::Ragged,
        };
        let total = match chunking {
            Chunking::Huge => 65 * MIB as u64,
            Chunking::OneByte => random.below(200),
            Chunking::Small => random.below(5000),
            _ => {
                let most = pick(&mut random, &[10, 3000, 600_000, 3_000_000]);
                let edge = pick(&mut random, &[1, 2, 4]) * BLOCK as u64 - 1 + random.below(3);
                if random.below(5) == 0 { edge } else { random.below(most) }
            }
        };
        let ending = match random.below(20) {
            0..=10 => Ending::End,
            11..=13 => Ending::Fail,
            14 | 15 => Ending::Panic,
            16..=18 => Ending::Stall,
            _ => Ending::Empty,
        };
        let declared = match random.below(8) {
            0..=3 => None,
            4 | 5 => Some(total),
            6 => Some(total + 1 + random.below(100)),
            _ => Some(total.saturating_sub(1 + random.below(100))),
        };
        let max_memory = pick(&mut random, &[0, 64 * KIB as u64, BLOCK as u64, MIB as u64, u64::MAX]);
        let max_memory = usize::try_from(max_memory).unwrap_or(usize::MAX);
        let read_ahead = pick(&mut random, &[0, 0, 1000, 64 * KIB as u64, MIB as u64, u64::MAX]);
        let rate = pick(&mut random, &[0, 0, 10, 40]);
        let jobs = Origin::here();
        jobs.step(true);
        let disk = Disk::new(seed, rate);
        disk.state().gated = true;
        let tap = Tap::new(seed, chunking, ending, total, read_ahead);
        let builder = StreamBuffer::builder().size(declared).max_memory(max_memory).read_ahead(read_ahead);
        let (handle, actor) = builder.store(disk.store()).build(tap.source());
        let last = handle.progress();
        Self {
            random,
            disk,
            tap,
            actor: Some(Box::pin(actor.run())),
            actor_flag: Flag::raised(),
            handle,
            asks: Vec::new(),
            players: Vec::new(),
            pieces: Vec::new(),
            declared,
            max_memory,
            read_ahead,
            total,
            is_closed: false,
            furthest_need: 0,
            delivered: 0,
            jobs,
            told_failures: 0,
            last,
            turns: 0,
            answered: 0,
            cancelled: 0,
            save_to: dir.join("saved"),
        }
    }

    pub fn facts(&self) -> Facts {
        let (tap, disk) = (self.tap.state(), self.disk.state());
        Facts {
            total: self.total,
            declared: self.declared,
            pulled: tap.pulled,
            source_ended: tap.ended,
            source_failed: tap.failed,
            disk_failures: disk.failures,
            is_closed: self.is_closed,
        }
    }

    pub fn since(&self) -> Since {
        Since { loaded: self.handle.progress().loaded, failures: self.told_failures }
    }

    // ---- users ----

    pub fn ask(&mut self, what: What) {
        let ask = Ask::new(what, self.handle.clone(), self.since());
        self.asks.push(ask);
    }

    /// Something for a new request, which is sometimes to save.
    pub fn anything(&mut self) -> What {
        let small = self.total < 100_000;
        let save_to = small.then(|| self.save_to.clone());
        What::any(&mut self.random, self.handle.progress().loaded, self.total, save_to)
    }

    /// Polls a request; it is gone once it is answered.
    pub fn poll_ask(&mut self, at: usize) {
        if !self.asks[at].is_asked {
            self.asks[at].since = self.since();
        }
        self.asks[at].is_asked = true;
        self.demand();
        if let Poll::Ready(outcome) = self.asks[at].poll() {
            let ask = self.asks.swap_remove(at);
            ask.what.judge(&outcome, ask.since, &self.facts());
            self.note_delivery(&ask.what, &outcome);
            self.answered += 1;
            self.demand();
        }
        self.rest();
    }

    fn note_delivery(&mut self, what: &What, outcome: &Outcome) {
        let offset = match what {
            What::Read { offset, .. } | What::Some { offset, .. } | What::Slice { offset, .. } => *offset,
            What::Save(_) => 0,
            _ => return,
        };
        match outcome {
            Ok(Answer::Bytes(bytes)) if !bytes.is_empty() => {
                self.delivered = self.delivered.max(offset + bytes.len() as u64);
            }
            Ok(Answer::Number(size)) => self.delivered = self.delivered.max(*size),
            // A long one may have got a part before it failed.
            _ => self.delivered_perhaps(what.demand(false)),
        }
    }

    /// Somebody leaves who may have been answered already.
    fn delivered_perhaps(&mut self, demand: Option<(u64, u64)>) {
        if let Some((_, end)) = demand {
            self.delivered = self.delivered.max(end.min(self.tap.state().pulled));
        }
    }

    /// Drops a request, wherever it has come to.
    pub fn cancel(&mut self, at: usize) {
        let ask = self.asks.swap_remove(at);
        if ask.is_asked {
            self.delivered_perhaps(ask.what.demand(false));
        }
        self.cancelled += 1;
        self.leave();
    }

    pub fn drop_player(&mut self, at: usize) {
        let player = self.players.swap_remove(at);
        self.delivered = self.delivered.max(player.delivered);
        self.delivered_perhaps(player.demand());
        self.leave();
    }

    pub fn drop_pieces(&mut self, at: usize) {
        let pieces = self.pieces.swap_remove(at);
        self.delivered = self.delivered.max(pieces.delivered());
        self.delivered_perhaps(pieces.demand());
        self.leave();
    }

    /// A player begins something, which takes back what it was at.
    pub fn begin_player(&mut self, at: usize) -> String {
        let (since, known) = (self.since(), self.handle.progress().size.is_some());
        let before = self.players[at].demand();
        self.delivered_perhaps(before);
        let said = self.players[at].begin(&mut self.random, self.total, known, since);
        self.leave();
        self.poll_player(at);
        said
    }

    pub fn poll_player(&mut self, at: usize) {
        let (facts, before) = (self.facts(), self.players[at].demand());
        self.players[at].poll(&facts);
        if self.players[at].demand().is_none() {
            // A reader is delivered a piece, and hands out a part of it.
            self.delivered_perhaps(before);
        }
        self.delivered = self.delivered.max(self.players[at].delivered);
        self.demand();
    }

    pub fn begin_pieces(&mut self, at: usize) {
        let since = self.since();
        self.pieces[at].begin(since);
        self.demand();
        self.poll_pieces(at);
    }

    pub fn poll_pieces(&mut self, at: usize) {
        let facts = self.facts();
        self.pieces[at].poll(&facts);
        self.delivered = self.delivered.max(self.pieces[at].delivered());
        self.demand();
    }

    /// Somebody has left: what is being pulled for them at this moment still comes.
    fn leave(&mut self) {
        self.demand();
        self.tap.state().excuse = true;
    }

    /// Tells the source what the living need.
    fn demand(&mut self) {
        let known = self.handle.progress().size.is_some();
        let asked = self.asks.iter().filter(|ask| ask.is_asked).filter_map(|ask| ask.what.demand(known));
        let players = self.players.iter().filter_map(Player::demand);
        let demands: Vec<_> =
            asked.chain(players).chain(self.pieces.iter().filter_map(Pieces::demand)).collect();
        self.furthest_need = demands.iter().fold(self.furthest_need, |most, demand| most.max(demand.0));
        let mut tap = self.tap.state();
        tap.demands = demands;
        tap.ahead = if self.delivered == 0 { 0 } else { self.delivered.saturating_add(self.read_ahead) };
    }

    // ---- turns ----

    /// One poll of the actor, if it was woken; then the disk comes to rest.
    pub async fn turn(&mut self) -> bool {
        let Some(actor) = &mut self.actor else { return false };
        if !self.actor_flag.take() {
            return false;
        }
        // With a fresh budget each time, as a task of its own has.
        tokio::task::yield_now().await;
        let waker = Arc::clone(&self.actor_flag).into();
        self.turns += 1;
        if actor.as_mut().poll(&mut Context::from_waker(&waker)).is_ready() {
            self.actor = None;
        }
        {
            let mut tap = self.tap.state();
            tap.excuse = std::mem::take(&mut tap.is_awaited);
        }
        self.rest();
        true
    }

    /// Disk work goes on until all of it is done, or waits for the test to let it pass.
    pub fn rest(&mut self) {
        self.jobs.rest();
    }

    /// Everything that is woken gets its turn, until nothing is: all that is left waits for the
    /// source, the disk or us.
    pub async fn settle(&mut self) {
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
            for at in 0..self.pieces.len() {
                if self.pieces[at].demand().is_some() && self.pieces[at].flag.is_raised() {
                    moved = true;
                    self.poll_pieces(at);
                }
            }
            if !moved {
                self.check_settled();
                return;
            }
        }
        panic!("no end to it");
    }

    /// The disk does one of the calls that wait.
    pub fn pass(&mut self) {
        self.disk.pass(self.random.next());
        self.rest();
    }

    /// The disk does all that it has to do, and everybody the rest.
    pub async fn settle_with_disk(&mut self) {
        self.settle().await;
        while self.disk.is_parked() {
            self.pass();
            self.settle().await;
        }
    }

    // ---- what must hold ----

    /// Whatever has happened.
    pub fn check(&mut self) {
        let (now, last) = (self.handle.progress(), self.last);
        let (tap, disk) = (self.tap.state(), self.disk.state());
        assert_eq!(tap.wrong, [""; 0], "the source saw");
        assert_eq!(disk.wrong, [""; 0], "the store saw");
        assert_eq!(now.resident + now.spilled, now.loaded, "every byte is in one place");
        assert!(now.loaded <= tap.pulled && now.spilled <= disk.stored, "{now:?}");
        assert!(now.loaded >= last.loaded && now.spilled >= last.spilled, "{last:?}, then {now:?}");
        let most = (self.max_memory as u64).saturating_add(SLACK);
        assert!(now.resident <= most, "{} bytes in memory, {most} allowed", now.resident);
        if let Some(declared) = self.declared {
            assert!(now.loaded <= declared, "{now:?}, though {declared} were declared");
        }
        self.last = now;
    }

    /// When nobody is woken.
    fn check_settled(&mut self) {
        self.check();
        let parked = self.disk.is_parked();
        let now = self.handle.progress();
        let tap = self.tap.state();
        if !parked {
            self.told_failures = self.disk.state().failures;
        }
        let waiting = |ask: &&Ask| ask.is_asked;
        for ask in self.asks.iter().filter(waiting) {
            assert!(self.actor.is_some(), "{:?} was never answered", ask.what);
            let (offset, need) = match ask.what {
                What::Read { offset, len } => (offset, offset.saturating_add(len)),
                What::Some { offset, .. } => (offset, offset.saturating_add(1)),
                _ => (0, u64::MAX),
            };
            let here = need <= now.loaded && offset >= now.spilled;
            assert!(!here, "rule 4: {:?} waits for what is there, {now:?}", ask.what);
            if !parked {
                assert!(tap.stalled, "{:?} waits for nothing, {now:?}, {tap:?}", ask.what);
            }
        }
        let waits =
            self.players.iter().any(Player::is_waiting) || self.pieces.iter().any(|p| p.demand().is_some());
        assert!(parked || !waits || tap.stalled, "somebody waits for nothing, {now:?}");
        if self.actor.is_none() || self.is_closed {
            return;
        }
        if tap.ended {
            assert!(parked || tap.dropped, "the source is done, and kept");
        }
        // Nothing was pulled that nobody asked for.
        let on_their_way = tap.demands.iter().filter(|(need, _)| *need <= tap.pulled);
        let delivered =
            on_their_way.map(|(_, end)| *end.min(&tap.pulled)).max().unwrap_or(0).max(self.delivered);
        let ahead = if delivered == 0 { 0 } else { delivered.saturating_add(self.read_ahead) };
        let needed = if self.read_ahead == u64::MAX { u64::MAX } else { self.furthest_need.max(ahead) };
        assert!(tap.last_start < needed || tap.chunks == 0, "pulled at {}, needed {needed}", tap.last_start);
        // Who leaves wakes the actor, so it knows.
        let nobody = tap.demands.is_empty() && self.read_ahead != u64::MAX && now.loaded >= ahead;
        assert!(!nobody || now.state != State::Pulling, "pulling for nobody, {now:?}");
    }
}
