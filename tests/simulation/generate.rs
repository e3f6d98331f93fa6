//! Cases at random: the same seed, the same case.

use streamspool::{BufferHandle, Progress};

use crate::asks::What;
use crate::run::Run;
use crate::steps::{End, Ending, Op, Setup, Step};
use crate::support::store::{AtOnce, Fault};
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
    chunking: Chunking,
    /// How many of 100 calls of the store go wrong.
    fault_rate: u64,
    /// The disk does all that it has to do, one call at a time.
    draining: bool,
    drains_at_end: bool,
    /// The next step, where one follows from another.
    next: Option<Step>,
}

impl Generator {
    pub fn new(seed: u64) -> (Self, Setup) {
        let mut random = Random(seed);
        let chunking = match random.below(200) {
            0 => Chunking::Huge,
            1..=20 => Chunking::OneByte,
            21..=50 => Chunking::Small,
            51..=100 => Chunking::Network,
            101..=140 => Chunking::Blocks,
            _ => Chunking::Ragged,
        };
        let fault_rate = *pick(&mut random, &[0, 0, 10, 40]);
        let drains_at_end = random.below(2) == 0;
        let mut generator = Self { random, chunking, fault_rate, draining: false, drains_at_end, next: None };
        let setup = generator.setup();
        (generator, setup)
    }

    fn setup(&mut self) -> Setup {
        let random = &mut self.random;
        let total = match self.chunking {
            Chunking::Huge => 65 * MIB as u64,
            Chunking::OneByte => random.below(200),
            Chunking::Small => random.below(5000),
            _ => {
                let most = *pick(random, &[10, 3000, 600_000, 3_000_000, 3_000_000]);
                let edge = pick(random, &[1, 2, 4]) * BLOCK as u64 - 1 + random.below(3);
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
        let (max_memory, max_disk) = limits(random);
        let read_ahead = *pick(random, &[0, 0, 1000, 64 * KIB as u64, MIB as u64, u64::MAX]);
        let at_once = AtOnce::Seeded { seed: random.next(), panics: self.fault_rate > 0 };
        Setup { total, ending, declared, max_memory, max_disk, read_ahead, at_once }
    }

    /// How many steps there are before the end.
    pub fn steps(&mut self) -> u64 {
        1 + self.random.below(100)
    }

    /// Half of the runs end when the disk has done all that it had to do. These are their last steps.
    pub fn last_step(&mut self, run: &Run) -> Option<Step> {
        if !self.drains_at_end {
            return None;
        }
        self.next.take().or_else(|| self.drain(run))
    }

    pub fn end(&mut self) -> End {
        match self.random.below(10) {
            0..=4 => End::Heal,
            5 | 6 => End::Close,
            7 => End::Abort,
            _ => End::Leave,
        }
    }

    /// What happens next. Most of it is near to where things happen, so it looks at the run.
    pub fn step(&mut self, run: &Run) -> Step {
        if let Some(step) = self.next.take() {
            return step;
        }
        if self.draining
            && let Some(step) = self.drain(run)
        {
            return step;
        }
        loop {
            if let Some(step) = self.any(run) {
                return step;
            }
        }
    }

    fn any(&mut self, run: &Run) -> Option<Step> {
        let random = &mut self.random;
        match random.below(100) {
            0..=19 => {
                let what = match random.below(20) {
                    0 => limit(random, run.setup.max_disk.is_some()),
                    _ => anything(random, &run.handle, run.setup.total),
                };
                // Some are dropped before they were polled at all.
                self.next = (random.below(10) > 0).then_some(Step::Poll(run.asks.len()));
                Some(Step::Ask(what))
            }
            20..=29 => one_of(random, run.asks.len()).map(Step::Poll),
            30..=37 => one_of(random, run.asks.len()).map(Step::Cancel),
            38..=50 => self.play(run),
            51..=67 => Some(self.feed(run)),
            68..=79 => Some(Step::Turn),
            80..=88 => (run.disk.calls_waiting() > 0).then(|| self.disk(run)),
            89..=94 => Some(Step::Settle),
            95..=97 => {
                self.draining = true;
                Some(Step::Settle)
            }
            98 if random.below(2) == 0 => Some(Step::Time),
            _ => {
                let stored = run.disk.look(|seen| seen.held.len());
                let capacity = (random.below(3) > 0).then(|| stored + random.below(300_000));
                Some(Step::Space(capacity))
            }
        }
    }

    /// The disk does one more of the calls that wait, and everything goes on.
    fn drain(&mut self, run: &Run) -> Option<Step> {
        self.draining = run.disk.calls_waiting() > 0;
        if !self.draining {
            return None;
        }
        self.next = Some(Step::Settle);
        Some(self.disk(run))
    }

    /// A reader or a body comes, goes on, stops or leaves.
    fn play(&mut self, run: &Run) -> Option<Step> {
        let (random, total) = (&mut self.random, run.setup.total);
        let (reader, body) = (one_of(random, run.players.len()), one_of(random, run.bodies.len()));
        match random.below(12) {
            0 => (run.players.len() < 4).then_some(Step::OpenReader),
            1 if run.bodies.len() < 3 => {
                let at = random.below(total + 10);
                let len = random.below(600_000);
                let end = if random.below(3) == 0 { u64::MAX } else { at + len };
                Some(Step::OpenBody(at, end))
            }
            2 => reader.map(Step::DropReader).or(body.map(Step::DropBody)),
            3 => reader.map(Step::StopReader),
            4..=6 => body.map(Step::NextPiece),
            _ => reader.map(|reader| {
                let (position, start) = (run.players[reader].position, run.handle.progress().start);
                let skips = position < start && random.below(2) == 0;
                Step::Read(reader, if skips { Op::Skip } else { op(random, position, total) })
            }),
        }
    }

    /// The source has some chunks more, or many, or its end.
    fn feed(&mut self, run: &Run) -> Step {
        let mut left = run.setup.total - run.feed.fed();
        let chunks = if self.random.below(20) == 0 { 1000 } else { 1 + self.random.below(5) };
        if left == 0 {
            return Step::EndSource;
        }
        let mut sizes = Vec::new();
        for _ in 0..chunks {
            let size = self.size().min(left);
            left -= size;
            sizes.push(size as usize);
            if left == 0 {
                self.next = (self.random.below(2) == 0).then_some(Step::EndSource);
                break;
            }
        }
        Step::Feed(sizes)
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

    /// The disk does one of the calls that wait.
    fn disk(&mut self, run: &Run) -> Step {
        let random = &mut self.random;
        let call = one_of(random, run.disk.calls_waiting()).unwrap_or(0);
        if random.below(100) >= self.fault_rate {
            return Step::Disk(call, None);
        }
        let fault = match random.below(8) {
            0 | 1 => {
                let most = *pick(random, &[1, 100, 5000, 300_000]);
                Fault::Short(1 + random.below(most) as usize)
            }
            2 => Fault::Interrupted,
            3 => Fault::Panic,
            4 => Fault::Nothing,
            _ => Fault::NoSpace,
        };
        Step::Disk(call, Some(fault))
    }
}

/// What a reader at `position` does.
pub fn op(random: &mut Random, position: u64, total: u64) -> Op {
    match random.below(10) {
        0..=3 => Op::Read(*pick(random, &[1, 10, 5000, 700_000])),
        4..=6 => Op::Fill,
        7 => Op::Seek(random.below(total + 3)),
        8 if random.below(2) == 0 => Op::Seek(position.saturating_sub(random.below(1000))),
        8 => Op::Seek(position.saturating_add(random.below(1000))),
        _ => Op::SeekEnd(random.below(2 * total + 2) as i64 - total as i64),
    }
}

/// The limits of memory and of the store, if it ever has one.
pub fn limits(random: &mut Random) -> (usize, Option<u64>) {
    if random.below(2) == 0 {
        return (*pick(random, &[0, 64 * KIB, BLOCK, MIB, usize::MAX]), None);
    }
    // Mostly less than the resource has.
    (*pick(random, &[0, 0, 64 * KIB, BLOCK, 2 * BLOCK, usize::MAX]), Some(disk(random)))
}

/// A limit of the store.
pub fn disk(random: &mut Random) -> u64 {
    let block = BLOCK as u64;
    *pick(random, &[0, block - 1, block, block, 2 * block + 5, 3 * block, 6 * block, u64::MAX])
}

/// A change of a limit.
pub fn limit(random: &mut Random, limits_disk: bool) -> What {
    if limits_disk && random.below(3) > 0 {
        return What::MaxDisk(disk(random));
    }
    What::MaxMemory(*pick(random, &[0, 64 * KIB, BLOCK, MIB, usize::MAX]))
}

/// A request, mostly near to where things happen.
pub fn anything(random: &mut Random, handle: &BufferHandle, total: u64) -> What {
    let Progress { start, frontier, .. } = handle.progress();
    let offset = match random.below(12) {
        0..=3 => frontier.saturating_sub(random.below(5000)),
        4 if start > 0 => start + random.below(5000) - random.below(5000).min(start),
        4 => frontier + random.below(5000),
        5 => random.below(4) * BLOCK as u64 + random.below(3),
        6 => u64::MAX - random.below(3),
        7 => total.saturating_sub(2) + random.below(4),
        _ => random.below(total + 1),
    };
    let most = *pick(random, &[2, 50, 5000, 300_000, 3_000_000]);
    let len = if random.below(40) == 0 { u64::MAX } else { random.below(most) };
    match random.below(40) {
        0..=17 => What::Read { offset, len },
        18..=31 => What::Some { offset, len },
        32..=34 => What::Slice { offset, end: offset.saturating_add(len) },
        35 => What::Size,
        // Only small ones are saved: it takes long.
        37 if total < 100_000 => What::Save,
        36 | 37 => What::Load,
        _ => What::Spill,
    }
}

pub fn pick<'a, T>(random: &mut Random, of: &'a [T]) -> &'a T {
    &of[random.below(of.len() as u64) as usize]
}

pub fn one_of(random: &mut Random, len: usize) -> Option<usize> {
    (len > 0).then(|| random.below(len as u64) as usize)
}
