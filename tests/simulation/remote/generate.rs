//! Cases at random: the same seed, the same case.

use streamspool::Reopen;

use super::run::Run;
use super::server::SURPLUS;
use super::steps::{Answer, Break, Refusal, Setup, Start, Step, Trouble};
use crate::generate::{anything, limit, limits, one_of, op, pick};
use crate::steps::{End, Op};
use crate::support::store::{AtOnce, Fault};
use crate::support::{BLOCK, KIB, MIB, Random};

pub struct Generator {
    random: Random,
    /// How many of 100 answers and streams go wrong.
    faults: u64,
    /// How many of 100 calls of the store go wrong.
    disk_faults: u64,
    /// Whether the source tells its size: in how many of 4 answers.
    tells_size: u64,
    /// The next step, where one follows from another.
    next: Option<Step>,
}

impl Generator {
    pub fn new(seed: u64) -> (Self, Setup) {
        let mut random = Random(seed ^ 0x5EED_0000_0000);
        let faults = *pick(&mut random, &[0, 5, 20, 50]);
        let disk_faults = *pick(&mut random, &[0, 0, 10, 40]);
        let tells_size = *pick(&mut random, &[0, 2, 4, 4]);
        let mut generator = Self { random, faults, disk_faults, tells_size, next: None };
        let setup = generator.setup();
        (generator, setup)
    }

    fn setup(&mut self) -> Setup {
        let random = &mut self.random;
        let (max_memory, max_disk) = limits(random);
        // More of it is discarded and fetched again if it is large and can be opened anywhere.
        let is_cached = max_disk.is_some() && random.below(2) == 0;
        let most = if is_cached { 3_000_000 } else { *pick(random, &[10, 3000, 300_000, 2_000_000]) };
        let edge = pick(random, &[1, 2, 4]) * BLOCK as u64 - 1 + random.below(3);
        let size = if random.below(5) == 0 { edge } else { random.below(most) };
        let declared = match random.below(8) {
            0..=4 => None,
            5 | 6 => Some(size),
            _ if random.below(2) == 0 => Some(size + 1 + random.below(100)),
            _ => Some(size.saturating_sub(1 + random.below(100))),
        };
        Setup {
            size,
            has_versions: is_cached || random.below(2) == 0,
            ignores_offsets: !is_cached && random.below(5) == 0,
            reopen: if is_cached { Reopen::Anywhere } else { *pick(random, &REOPENS) },
            declared,
            max_memory,
            max_disk,
            read_ahead: *pick(random, &[0, 0, 1000, 64 * KIB as u64, MIB as u64, u64::MAX]),
            streams: 1 + random.below(3) as usize,
            attempts: *pick(random, &[0, 1, 3, 4]),
            at_once: AtOnce::Seeded { seed: random.next(), panics: self.disk_faults > 0 },
        }
    }

    /// How many steps there are before the end.
    pub fn steps(&mut self) -> u64 {
        1 + self.random.below(120)
    }

    pub fn trouble(&mut self) -> Trouble {
        let some = [Trouble::Refuses, Trouble::Hangs, Trouble::IsSilent, Trouble::Breaks];
        if self.random.below(2) == 0 { Trouble::None } else { *pick(&mut self.random, &some) }
    }

    pub fn end(&mut self) -> End {
        match self.random.below(10) {
            0..=5 => End::Heal,
            6 => End::Close,
            7 => End::Abort,
            _ => End::Leave,
        }
    }

    /// What happens next. Most of it is near to where things happen, so it looks at the run.
    pub fn step(&mut self, run: &Run) -> Step {
        if let Some(step) = self.next.take() {
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
            0..=13 => {
                let what = match random.below(20) {
                    0 => limit(random, run.setup.max_disk.is_some()),
                    _ => anything(random, &run.handle, run.setup.size),
                };
                // Some are dropped before they were polled at all.
                self.next = (random.below(10) > 0).then_some(Step::Poll(run.asks.len()));
                Some(Step::Ask(what))
            }
            14..=19 => one_of(random, run.asks.len()).map(Step::Poll),
            20..=24 => one_of(random, run.asks.len()).map(Step::Cancel),
            25..=34 => self.play(run),
            35..=62 => self.source(run),
            63..=73 => Some(Step::Turn),
            74..=81 => (run.disk.calls_waiting() > 0).then(|| self.disk(run)),
            82..=92 => Some(Step::Settle),
            93 | 94 => {
                // Twice, so that silence fails.
                self.next = (random.below(3) > 0).then_some(Step::Settle);
                Some(Step::Time)
            }
            95..=98 if random.below(100) < self.faults => Some(Step::Change(1 + random.below(3) as u8)),
            99 if random.below(2) == 0 => {
                let stored = run.disk.look(|seen| seen.held.len());
                let capacity = (random.below(3) > 0).then(|| stored + random.below(300_000));
                Some(Step::Space(capacity))
            }
            _ => None,
        }
    }

    /// A reader comes, goes on, stops or leaves.
    fn play(&mut self, run: &Run) -> Option<Step> {
        let random = &mut self.random;
        let reader = one_of(random, run.players.len());
        match random.below(10) {
            0 => (run.players.len() < 3).then_some(Step::OpenReader),
            1 => reader.map(Step::DropReader),
            2 => reader.map(Step::StopReader),
            _ => reader.map(|at| {
                let (position, start) = (run.players[at].position, run.handle.progress().start);
                let skips = position < start && random.below(2) == 0;
                Step::Read(at, if skips { Op::Skip } else { op(random, position, run.setup.size) })
            }),
        }
    }

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
        if left == 0 {
            return Some(Step::Break(at, Break::End));
        }
        Some(Step::Send(at, self.chunks(left)))
    }

    fn chunks(&mut self, mut left: u64) -> Vec<usize> {
        let random = &mut self.random;
        let mut sizes = Vec::new();
        for _ in 0..=random.below(5) {
            let most = *pick(random, &[2, 100, 5000, 70_000, 600_000]);
            let size = random.below(most).min(left);
            left -= size;
            sizes.push(size as usize);
        }
        sizes
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

    /// The disk does one of the calls that wait.
    fn disk(&mut self, run: &Run) -> Step {
        let random = &mut self.random;
        let call = one_of(random, run.disk.calls_waiting()).unwrap_or(0);
        if random.below(100) >= self.disk_faults {
            return Step::Disk(call, None);
        }
        let faults =
            [Fault::Short(1), Fault::Short(5000), Fault::Interrupted, Fault::Nothing, Fault::NoSpace];
        let fault = if random.below(8) == 0 { Fault::Panic } else { *pick(random, &faults) };
        Step::Disk(call, Some(fault))
    }
}

/// Mostly harmless: after the others the source is not opened again.
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
