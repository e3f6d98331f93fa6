//! Cases at random: the same seed, the same case. Each step is drawn with a look at the run, because most of what is
//! worth trying is near to where things happen.

use std::mem;

use streamspool::{Progress, Reopen};

use crate::asks::{Ask, What};
use crate::disk::{AtOnce, Fault};
use crate::run::Run;
use crate::source::SURPLUS;
use crate::steps::{Answer, Break, End, Ending, Kind, Op, Refusal, Setup, Start, Step, Trouble};
use crate::support::{BLOCK, KIB, MIB, Random};

/// Sizes of chunks.
#[derive(Clone, Copy, Debug)]
enum Chunking {
    OneByte,
    Small,
    Network,
    Blocks,
    Ragged,
    /// All at once: 64 MiB.
    Huge,
}

pub struct Generator {
    random: Random,
    kind: Kind,
    chunking: Chunking,
    /// How many of 100 answers and streams go wrong.
    faults: u64,
    /// How many of 100 calls of the store go wrong.
    disk_faults: u64,
    /// In how many of 4 answers the source tells its size.
    tells_size: u64,
    /// How many steps are left before the end.
    left: u64,
    /// The disk does all that it has to do, one job at a time.
    draining: bool,
    drains_at_end: bool,
    /// The actor has had a turn, and its answers are not polled yet.
    has_turned: bool,
    /// The next step, where one follows from another.
    next: Option<Step>,
}

impl Generator {
    pub fn new(kind: Kind, seed: u64) -> (Self, Setup) {
        let mut random = Random(seed);
        // A source that can be opened again sends large chunks mostly, or its buffer would never be full.
        let chunking = match random.below(if kind == Kind::Reopenable { 400 } else { 200 }) {
            0 => Chunking::Huge,
            1..=20 => Chunking::OneByte,
            21..=50 => Chunking::Small,
            51..=100 => Chunking::Network,
            101..=140 => Chunking::Blocks,
            _ => Chunking::Ragged,
        };
        let faults = if kind == Kind::Reopenable { *pick(&mut random, &[0, 5, 20, 50]) } else { 0 };
        let disk_faults = *pick(&mut random, &[0, 0, 10, 40]);
        let tells_size = *pick(&mut random, &[0, 2, 4, 4]);
        let left = 1 + random.below(if kind == Kind::Reopenable { 120 } else { 100 });
        let drains_at_end = random.below(2) == 0;
        let (draining, has_turned, next) = (false, false, None);
        let mut generator = Self {
            random,
            kind,
            chunking,
            faults,
            disk_faults,
            tells_size,
            left,
            draining,
            drains_at_end,
            has_turned,
            next,
        };
        let setup = generator.setup();
        (generator, setup)
    }

    fn setup(&mut self) -> Setup {
        let (random, is_reopenable) = (&mut self.random, self.kind == Kind::Reopenable);
        let (max_memory, max_disk) = limits(random);
        // More of it is discarded and fetched again if it is large and can be opened anywhere.
        let is_cached = is_reopenable && max_disk.is_some() && random.below(2) == 0;
        if is_cached && matches!(self.chunking, Chunking::OneByte | Chunking::Small) {
            self.chunking = Chunking::Ragged;
        }
        let size = match self.chunking {
            Chunking::Huge => 65 * MIB as u64,
            Chunking::OneByte => random.below(200),
            Chunking::Small => random.below(5000),
            _ => {
                let most = *pick(random, &[10, 3000, 400_000, 3_000_000, 3_000_000]);
                let edge = pick(random, &[1, 2, 4]) * BLOCK as u64 - 1 + random.below(3);
                if random.below(5) == 0 {
                    edge
                } else {
                    random.below(if is_cached { 3_000_000 } else { most })
                }
            }
        };
        let declared = match random.below(8) {
            0..=3 => None,
            4 | 5 => Some(size),
            6 => Some(size + 1 + random.below(100)),
            _ => Some(size.saturating_sub(1 + random.below(100))),
        };
        let setup = Setup {
            kind: self.kind,
            size,
            declared,
            max_memory,
            max_disk,
            read_ahead: *pick(random, &[0, 0, 1000, 64 * KIB as u64, MIB as u64, u64::MAX]),
            at_once: AtOnce::Seeded { seed: random.next(), panics: self.disk_faults > 0 },
            ending: match random.below(20) {
                0..=10 => Ending::Break(Break::End),
                11 | 12 => Ending::Break(Break::Reset),
                13 => Ending::Break(Break::Permanent),
                14 | 15 => Ending::Break(Break::Panic),
                16..=18 => Ending::Stall,
                _ => Ending::Empty,
            },
            has_versions: false,
            ignores_offsets: false,
            reopen: Reopen::Never,
            streams: 1,
            attempts: 0,
        };
        if !is_reopenable {
            return setup;
        }
        Setup {
            has_versions: is_cached || random.below(2) == 0,
            ignores_offsets: !is_cached && random.below(5) == 0,
            reopen: if is_cached { Reopen::Anywhere } else { *pick(random, &REOPENS) },
            streams: 1 + random.below(3) as usize,
            attempts: *pick(random, &[0, 1, 3, 4]),
            ..setup
        }
    }

    pub fn trouble(&mut self) -> Trouble {
        let some = [Trouble::Refuses, Trouble::Hangs, Trouble::IsSilent, Trouble::Breaks];
        if self.kind == Kind::OneWay || self.random.below(2) == 0 {
            return Trouble::None;
        }
        *pick(&mut self.random, &some)
    }

    pub fn end(&mut self) -> End {
        match self.random.below(10) {
            0..=4 => End::Heal,
            5 => End::Close,
            6 => End::Abort,
            7 | 8 => End::Pause,
            _ => End::Leave,
        }
    }

    /// What happens next. Half of the runs end when the disk has done all that it had to do.
    pub fn next_step(&mut self, run: &Run) -> Option<Step> {
        let is_over = self.left == 0;
        self.left = self.left.saturating_sub(1);
        if is_over && !self.drains_at_end {
            return None;
        }
        if let Some(step) = self.next.take() {
            return Some(step);
        }
        let woken = |ask: &Ask| ask.is_asked && ask.flag.is_raised();
        if mem::take(&mut self.has_turned) && run.disk.waiting() > 0 && run.asks.iter().any(woken) {
            // A job runs while the caller takes its answer.
            return Some(self.disk(run));
        }
        if self.draining || is_over {
            let step = self.drain(run);
            if step.is_some() || is_over {
                return step;
            }
        }
        loop {
            if let Some(step) = self.any(run) {
                return Some(step);
            }
        }
    }

    fn any(&mut self, run: &Run) -> Option<Step> {
        let random = &mut self.random;
        match random.below(100) {
            0..=15 => {
                let what = match random.below(12) {
                    0 => limit(random, run.setup.max_disk.is_some()),
                    _ => request(random, run),
                };
                // Some are dropped before they were polled at all.
                self.next = (random.below(10) > 0).then_some(Step::Poll(run.asks.len()));
                Some(Step::Ask(what))
            }
            16..=23 => one_of(random, run.asks.len()).map(Step::Poll),
            24..=29 => one_of(random, run.asks.len()).map(Step::Cancel),
            30..=40 => self.play(run),
            41..=62 => self.source(run),
            63..=73 => {
                self.has_turned = random.below(2) == 0;
                Some(Step::Turn)
            }
            74..=81 => (run.disk.waiting() > 0).then(|| self.disk(run)),
            82..=89 => Some(Step::Settle),
            90 => Some(Step::Look),
            91 | 92 => {
                self.draining = true;
                Some(Step::Settle)
            }
            93 | 94 => {
                // Twice, so that silence fails.
                self.next = (random.below(3) > 0).then_some(Step::Settle);
                Some(Step::Time)
            }
            95..=98 if random.below(100) < self.faults => Some(Step::Change(1 + random.below(3) as u8)),
            99 => {
                let stored = run.disk.look(|seen| seen.held.len());
                let capacity = (random.below(3) > 0).then(|| stored + random.below(300_000));
                Some(Step::Space(capacity))
            }
            _ => None,
        }
    }

    // ---- callers ----

    /// A reader comes, goes on, stops or leaves.
    fn play(&mut self, run: &Run) -> Option<Step> {
        let (random, size) = (&mut self.random, run.setup.size);
        let reader = one_of(random, run.players.len());
        match random.below(12) {
            0 | 1 if run.players.len() >= 5 => None,
            0 => Some(Step::OpenReader),
            1 => {
                let at = random.below(size + 10);
                let len = random.below(600_000);
                Some(Step::OpenChunks(at, if random.below(3) == 0 { u64::MAX } else { at + len }))
            }
            2 => reader.map(Step::DropReader),
            3 => reader.map(Step::StopReader),
            _ => reader.map(|at| {
                let (player, start) = (&run.players[at], run.handle.progress().start);
                let skips = player.position < start && random.below(2) == 0;
                Step::Read(
                    at,
                    match () {
                        () if player.is_chunks() => Op::Piece,
                        () if skips => Op::Skip,
                        () => op(random, player.position, size),
                    },
                )
            }),
        }
    }

    // ---- the source ----

    /// An opening gets its answer, or a stream goes on.
    fn source(&mut self, run: &Run) -> Option<Step> {
        let state = run.server.state();
        let at = one_of(&mut self.random, state.held.len())?;
        let held = &state.held[at];
        let fault = self.random.below(100) < self.faults;
        let Some(stream) = &held.stream else {
            return held.is_opening().then(|| Step::Answer(at, self.answer(held.asked, fault)));
        };
        if fault {
            return Some(Step::Break(at, *pick(&mut self.random, &BREAKS)));
        }
        // The buffer cuts what comes after the size.
        let random = &mut self.random;
        let surplus = if stream.told_size.is_some() && random.below(10) == 0 { SURPLUS } else { 0 };
        let left = (run.setup.size + surplus).saturating_sub(stream.sent);
        if left > 0 {
            return Some(Step::Send(at, self.chunks(at, left, run.setup.ending)));
        }
        self.last(at, run.setup.ending)
    }

    /// A stream has sent all of its bytes.
    fn last(&self, at: usize, ending: Ending) -> Option<Step> {
        match ending {
            _ if self.kind == Kind::Reopenable => Some(Step::Break(at, Break::End)),
            Ending::Break(how) => Some(Step::Break(at, how)),
            Ending::Stall => None,
            Ending::Empty => Some(Step::Send(at, vec![0])),
        }
    }

    /// Some chunks, or many. Its end may follow the last byte at once.
    fn chunks(&mut self, at: usize, mut left: u64, ending: Ending) -> Vec<usize> {
        let count = if self.random.below(20) == 0 { 1000 } else { 1 + self.random.below(5) };
        let mut sizes = Vec::new();
        for _ in 0..count {
            let size = self.size().min(left);
            left -= size;
            sizes.push(size as usize);
            if left == 0 {
                self.next = if self.random.below(2) == 0 { self.last(at, ending) } else { None };
                break;
            }
        }
        sizes
    }

    fn size(&mut self) -> u64 {
        let random = &mut self.random;
        match self.chunking {
            Chunking::OneByte => 1,
            Chunking::Small => random.below(50),
            Chunking::Network => *pick(random, &[0, 1460, 16 * KIB as u64, 65_536]),
            Chunking::Blocks => BLOCK as u64 - 1 + random.below(3),
            Chunking::Ragged => {
                let most = *pick(random, &[2, 100, 5000, 70_000, 600_000]);
                random.below(most)
            }
            Chunking::Huge => 64 * MIB as u64,
        }
    }

    fn answer(&mut self, asked: u64, fault: bool) -> Answer {
        let random = &mut self.random;
        if fault && random.below(2) == 0 {
            return Answer::Refuse(*pick(random, &REFUSALS));
        }
        let start = match random.below(10) {
            0 if fault => Start::Late(1 + random.below(10)),
            1 => Start::Early(random.below(asked.saturating_add(1))),
            _ => Start::AsAsked,
        };
        let version = !(fault && random.below(3) == 0);
        Answer::Stream { start, version, size: random.below(4) < self.tells_size }
    }

    // ---- the disk ----

    /// The disk does one more of the jobs that wait, and everything goes on.
    fn drain(&mut self, run: &Run) -> Option<Step> {
        self.draining = run.disk.waiting() > 0;
        if !self.draining {
            return None;
        }
        // After one turn, requests are answered that were not polled yet.
        self.next = Some(if self.random.below(2) == 0 { Step::Turn } else { Step::Settle });
        Some(self.disk(run))
    }

    /// The disk does one of the jobs that wait.
    fn disk(&mut self, run: &Run) -> Step {
        let random = &mut self.random;
        let job = one_of(random, run.disk.waiting()).unwrap_or(0);
        let mut faults = Vec::new();
        while random.below(100) < self.disk_faults {
            faults.push(match random.below(8) {
                0 | 1 => {
                    let most = *pick(random, &[1, 100, 5000, 300_000]);
                    Fault::Short(1 + random.below(most) as usize)
                }
                2 => Fault::Interrupted,
                3 => Fault::Panic,
                4 => Fault::Nothing,
                _ => Fault::NoSpace,
            });
        }
        let woken = |ask: &Ask| ask.is_asked && ask.flag.is_raised();
        Step::Disk(job, faults, run.asks.iter().position(woken))
    }
}

/// What a reader at `position` does.
fn op(random: &mut Random, position: u64, size: u64) -> Op {
    match random.below(10) {
        0..=3 => Op::Read(*pick(random, &[1, 10, 5000, 700_000])),
        4..=6 => Op::Fill,
        7 => Op::Seek(random.below(size + 3)),
        8 if random.below(2) == 0 => Op::Seek(position.saturating_sub(random.below(1000))),
        8 => Op::Seek(position.saturating_add(random.below(1000))),
        _ => Op::SeekEnd(random.below(2 * size + 2) as i64 - size as i64),
    }
}

/// The limits of memory and of the store, if it ever has one.
fn limits(random: &mut Random) -> (usize, Option<u64>) {
    if random.below(2) == 0 {
        return (*pick(random, &[0, 64 * KIB, BLOCK, MIB, usize::MAX]), None);
    }
    // Mostly less than the resource has.
    (*pick(random, &[0, 0, 64 * KIB, BLOCK, 2 * BLOCK, usize::MAX]), Some(disk_limit(random)))
}

/// A limit of the store.
fn disk_limit(random: &mut Random) -> u64 {
    let block = BLOCK as u64;
    *pick(random, &[0, block - 1, block, block, 2 * block + 5, 3 * block, 6 * block, u64::MAX])
}

/// A change of a limit.
fn limit(random: &mut Random, limits_disk: bool) -> What {
    if limits_disk && random.below(3) > 0 {
        return What::MaxDisk(disk_limit(random));
    }
    What::MaxMemory(*pick(random, &[0, 64 * KIB, BLOCK, MIB, usize::MAX]))
}

/// A request, mostly near to where things happen.
fn request(random: &mut Random, run: &Run) -> What {
    let (Progress { start, frontier, .. }, size) = (run.handle.progress(), run.setup.size);
    let offset = match random.below(12) {
        0..=3 => frontier.saturating_sub(random.below(5000)),
        4 if start > 0 => start + random.below(5000) - random.below(5000).min(start),
        4 => frontier + random.below(5000),
        5 => random.below(4) * BLOCK as u64 + random.below(3),
        6 => u64::MAX - random.below(3),
        7 => size.saturating_sub(2) + random.below(4),
        _ => random.below(size + 1),
    };
    let most = *pick(random, &[2, 50, 5000, 300_000, 3_000_000]);
    let len = if random.below(40) == 0 { u64::MAX } else { random.below(most) };
    match random.below(40) {
        0..=17 => What::Read { offset, len },
        18..=31 => What::Some { offset, len },
        32..=34 => What::Slice { offset, end: offset.saturating_add(len) },
        35 => What::Size,
        // Only small ones are saved: it takes long.
        37 if size < 100_000 => What::Save,
        36 | 37 => What::Load,
        _ => What::Spill,
    }
}

fn pick<'a, T>(random: &mut Random, of: &'a [T]) -> &'a T {
    &of[random.below(of.len() as u64) as usize]
}

fn one_of(random: &mut Random, len: usize) -> Option<usize> {
    (len > 0).then(|| random.below(len as u64) as usize)
}

/// Mostly harmless: after the last two the source is not opened again.
const BREAKS: [Break; 12] = {
    let mut breaks = [Break::Reset; 12];
    (breaks[0], breaks[1], breaks[2], breaks[3]) = (Break::End, Break::End, Break::End, Break::End);
    (breaks[10], breaks[11]) = (Break::Permanent, Break::Panic);
    breaks
};

const REFUSALS: [Refusal; 12] = {
    let mut refusals = [Refusal::Transient; 12];
    (refusals[0], refusals[1], refusals[2]) = (Refusal::Busy, Refusal::Busy, Refusal::Busy);
    (refusals[10], refusals[11]) = (Refusal::Permanent, Refusal::Panic);
    refusals
};

const REOPENS: [Reopen; 8] = {
    let mut reopens = [Reopen::Anywhere; 8];
    (reopens[0], reopens[1], reopens[2]) = (Reopen::FromStart, Reopen::FromStart, Reopen::Never);
    reopens
};
