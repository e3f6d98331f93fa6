//! Sources at random: they refuse, hang, fall silent, break after any byte, start early or late, send too
//! little or too much, ignore offsets, and change with and without a new version. Reads are far apart, so
//! that several streams are open at once, their openings cross each other, and their bytes meet. Memory is
//! small, and the disk is slow or fails. Rules 21 to 26 and 29.
//!
//! One seed decides one run. `STREAMSPOOL_RUNS=30000 cargo test --lib sources_at_random` makes more runs, and
//! `STREAMSPOOL_SEED=77` repeats one.

mod checks;

use super::failures::{ATTEMPTS, Failures};
use super::server::{Server, bytes_of};
use super::*;
use crate::source::error::SourceError;
use crate::source::version::Version;

/// A request that waits.
struct Asked {
    ask: Ask,
    range: Range<u64>,
    want: Want,
    what: What,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum What {
    Read,
    Load,
    /// A spill, or a change of limits. It waits for no bytes.
    Other,
}

struct Run {
    world: World,
    server: Server,
    reads_backwards: bool,
    /// Whether chunks bring no more than the last request needs, and take no time.
    sends_little: bool,
    asked: Vec<Asked>,
    openings: usize,
    failures: Failures,
    steps: u64,
    /// The most streams that were open at once.
    most_open: usize,
    max_memory: usize,
    /// The limit of memory that holds now: a lower one is met write by write.
    met_memory: usize,
    read_ahead: u64,
    max_disk: u64,
    /// The limit of the disk that holds now.
    met_disk: u64,
    /// The changes of limits that are under way.
    adjusting: Vec<Ask>,
    /// Where streams have ended, or the source said that the resource ends.
    ends: Vec<u64>,
    /// The number of slices of the store that were read too late.
    invalid: usize,
}

impl Run {
    fn new(seed: u64) -> Self {
        let (mut server, mut random) = Server::new(seed);
        let reads_backwards = random.one_in(100);
        let max_memory = [0, BLOCK, usize::MAX][random.below(3) as usize];
        let read_ahead = [0, 10_000, 300_000, u64::MAX][random.below(4) as usize];
        let max_disk = [0, BLOCK as u64, 3 * BLOCK as u64, u64::MAX, u64::MAX][random.below(5) as usize];
        let streams = 1 + random.below(4) as usize;
        let mut limits = Limits { max_memory, max_disk, read_ahead, streams, ..PLAIN };
        if reads_backwards {
            // Each read opens the source again in the same block.
            (server.size, server.tells_version, server.ignores_offsets) = (2_000_000, 4, false);
            (server.is_live, server.is_unsettled) = (false, false);
            (limits.read_ahead, limits.max_memory) = (0, max_memory.min(BLOCK));
        }
        let mut world = World::new(Kind::Source(Retry::default().attempts(ATTEMPTS)), limits);
        world.keeps_slices = true;
        Self {
            world,
            server,
            reads_backwards,
            sends_little: false,
            asked: Vec::new(),
            openings: 0,
            failures: Failures::default(),
            steps: 0,
            most_open: 0,
            max_memory,
            met_memory: max_memory,
            read_ahead: limits.read_ahead,
            max_disk,
            met_disk: max_disk,
            adjusting: Vec::new(),
            ends: Vec::new(),
            invalid: 0,
        }
    }

    fn is_final(&self) -> bool {
        self.world.published.state.is_final()
    }

    fn step(&mut self) {
        self.steps += 1;
        let fault = self.server.random.below(100) < self.server.faults;
        let streams: Vec<usize> = self.world.ids();
        let some = self.server.random.below(streams.len().max(1) as u64) as usize;
        match self.server.random.below(12) {
            0 | 1 => self.ask(),
            2 if fault => self.server.version ^= 1 + self.server.random.below(3) as u8,
            3 if fault || streams.is_empty() || self.server.is_unsettled => self.pass_time(),
            4 => self.write(fault),
            6 => self.read_lent(),
            5 if self.server.random.one_in(3) => self.abandon(),
            5 if self.server.random.one_in(20) => self.set_limits(),
            _ => {
                if let Some(stream) = streams.get(some) {
                    self.go_on(*stream, fault);
                }
            }
        }
        self.check();
    }

    fn ask(&mut self) {
        let server = &mut self.server;
        // Many callers start at offset 0.
        let is_start = server.random.one_in(if server.is_unsettled { 2 } else { 8 });
        let offset = if is_start { 0 } else { server.random.below(server.size + 10) };
        let most = [10, 1000, server.size + 10][server.random.below(3) as usize];
        let range = offset..offset + server.random.below(most);
        let want = [Want::Exact, Want::Exact, Want::Piece, Want::Run][server.random.below(4) as usize];
        let what = match server.random.below(20) {
            0 | 1 => What::Load,
            2 => What::Other,
            _ => What::Read,
        };
        self.request(range, want, what);
    }

    fn request(&mut self, range: Range<u64>, want: Want, what: What) {
        let (offset, len) = (range.start, range.end - range.start);
        let read = Read { offset, len, want };
        let ask = match what {
            What::Read => self.world.ask_once(read),
            What::Load => self.world.load(range.clone()),
            What::Other => self.world.spill(),
        };
        self.asked.push(Asked { ask, range, want, what });
    }

    fn abandon(&mut self) {
        if let Some(Asked { ask, .. }) = self.asked.pop() {
            ask.abandon();
            self.world.forget_slices(&ask);
            self.world.pump();
        }
    }

    fn set_limits(&mut self) {
        let random = &mut self.server.random;
        self.max_memory = [0, BLOCK, 4 * BLOCK][random.below(3) as usize];
        self.met_memory = self.met_memory.max(self.max_memory);
        self.max_disk = [0, 2 * BLOCKS, u64::MAX][random.below(3) as usize];
        let ask = self.world.set_limits(Some(self.max_memory), Some(self.max_disk));
        self.adjusting.push(ask.clone());
        self.asked.push(Asked { ask, range: 0..0, want: Want::Exact, what: What::Other });
    }

    fn pass_time(&mut self) {
        self.world.pass_deadline();
    }

    fn write(&mut self, fault: bool) {
        if self.world.disk.is_writing() {
            if fault { self.world.write_fails() } else { self.world.write_succeeds() }
        }
    }

    /// A caller reads a slice that it was lent, perhaps long ago.
    fn read_lent(&mut self) {
        let lent = self.world.disk.lent() as u64;
        if lent > 0 {
            let number = self.server.random.below(lent) as usize;
            self.invalid += usize::from(!self.world.read_lent(number));
        }
    }

    /// An opening or a stream goes on, if the core wants that.
    fn go_on(&mut self, stream: usize, fault: bool) {
        if !self.sends_little {
            self.world.now += Duration::from_micros(self.server.random.below(2000));
        }
        match self.world.at_of(stream) {
            // Most far openings return late.
            None if self.server.is_unsettled
                && self.server.faults > 0
                && self.world.asked_of(stream).offset > 0
                && !self.server.random.one_in(8) => {}
            None => self.answer_opening(stream, fault),
            Some(at) if self.wants(stream) => self.stream(stream, at, fault),
            Some(_) => {}
        }
    }

    fn answer_opening(&mut self, stream: usize, fault: bool) {
        let asked = self.world.asked_of(stream).clone();
        let server = &mut self.server;
        if fault && server.random.one_in(2) {
            let error = match server.random.below(3) {
                0 => io::ErrorKind::ConnectionRefused.into(),
                1 => SourceError::transient("busy").retry_after(Duration::from_secs(1)).into(),
                _ => io::Error::from(io::ErrorKind::UnexpectedEof),
            };
            return self.world.open_fails_as(stream, error);
        }
        let start = match server.random.below(4) {
            _ if server.ignores_offsets => 0,
            0 if fault => asked.offset + 1 + server.random.below(10),
            1 if !self.reads_backwards && server.random.one_in(5) => server.random.below(asked.offset + 1),
            _ => asked.offset,
        };
        if (server.is_live || server.is_unsettled) && server.faults > 0 {
            server.version ^= server.random.below(3) as u8;
        }
        server.streams.insert(stream, server.version);
        // An unsettled source tells a version until a far opening is under way.
        let tells =
            if server.is_unsettled && server.kept.is_none() { self.world.ids().len() == 1 } else { true };
        let tells = tells && (server.is_unsettled || server.random.below(4) < server.tells_version);
        let version = tells && !(fault && server.random.one_in(4));
        let version = version.then(|| Version::strong(vec![server.version]));
        // A size that differs is a sign of a change too.
        let size = server.tells_size.then_some(server.size + u64::from(server.version));
        let reopen = if server.is_live { Reopen::FromStart } else { Reopen::Anywhere };
        self.world.opened_as(stream, OpenedStream { start: Some(start), size, version, reopen });
    }

    fn stream(&mut self, stream: usize, at: u64, fault: bool) {
        let size = self.server.size;
        let is_settled = !self.server.is_unsettled || self.server.faults == 0 || self.server.kept.is_some();
        let random = &mut self.server.random;
        if !is_settled && !random.one_in(3) {
            return self.world.breaks_of(stream);
        }
        if fault {
            return match random.below(3) {
                0 => self.world.breaks_of(stream),
                1 => self.ends(stream, at),
                _ => self.pass_time(),
            };
        }
        let surplus = if self.server.tells_size && random.one_in(10) { 50 } else { 0 };
        let end = self.world.asked_of(stream).end.filter(|_| random.one_in(2)).unwrap_or(size + surplus);
        let left = end.saturating_sub(at);
        if left == 0 {
            return self.ends(stream, at);
        }
        let most = [10, 3000, 100_000, 600_000][random.below(4) as usize];
        let len = match self.asked.last() {
            Some(last) if self.sends_little => last.range.end.saturating_sub(at).max(1),
            _ => 1 + random.below(most),
        };
        let len = len.min(left);
        let before = self.world.published.loaded;
        let version = self.server.streams[&stream];
        self.world.send_bytes_of(stream, bytes_of(version, at, at + len));
        let is_new = self.world.published.loaded > before;
        if self.server.is_live && at == 0 && self.server.kept.is_some_and(|kept| kept != version) {
            assert_eq!(self.world.published.state, State::Failed, "other first bytes are not seen");
        }
        if self.world.has_bytes() {
            self.world.version = *self.server.kept.get_or_insert(version);
        }
        if is_new {
            assert_eq!(self.server.kept, Some(version), "bytes of two versions");
        }
    }

    fn ends(&mut self, stream: usize, at: u64) {
        self.ends.push(at);
        self.world.ends_of(stream);
    }

    /// The source and the disk work from now on. Then every request gets an answer in bounded time.
    fn heal(&mut self) {
        self.server.faults = 0;
        self.server.version = self.server.kept.unwrap_or(self.server.version);
        self.ask();
        self.work();
    }

    /// The source and the disk work until every request is answered.
    fn work(&mut self) {
        for _ in 0..100_000 {
            self.check();
            if self.asked.is_empty() {
                return;
            }
            let streams: Vec<usize> = self.world.ids();
            let ready = streams.into_iter().find(|at| self.world.at_of(*at).is_none() || self.wants(*at));
            if self.world.disk.lent() > 0 {
                self.read_lent();
            } else if let Some(stream) = ready {
                self.go_on(stream, false);
            } else if self.world.disk.is_writing() {
                self.world.write_succeeds();
            } else {
                let waits = !self.is_final() && self.world.deadline().is_some();
                assert!(waits, "{} requests hang", self.asked.len());
                self.world.wait();
            }
        }
        panic!("the series of attempts does not end");
    }

    /// A caller reads backwards in small steps. The source and the disk work, so a read waits for its turn at most, and
    /// for no timeout.
    fn read_backwards(&mut self) {
        self.sends_little = true;
        let most = self.server.random.below(self.server.size);
        for offset in (0..most).rev().step_by(64).take(1000) {
            let before = self.world.now;
            self.request(offset..offset + 16, Want::Exact, What::Read);
            self.work();
            let waited = self.world.now - before;
            assert!(waited < Duration::from_secs(20), "the read at {offset} has waited for {waited:?}");
        }
        self.sends_little = false;
    }
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|value| value.parse().expect("a number"))
}

#[test]
fn sources_at_random_lose_no_byte_and_mix_no_versions() {
    let seed = number("STREAMSPOOL_SEED");
    let runs = number("STREAMSPOOL_RUNS").unwrap_or(2000);
    let seeds = seed.map_or(1..=runs, |seed| seed..=seed);
    let (mut steps, mut openings, mut changed, mut complete, mut most_open) = (0, 0, 0, 0, 0);
    let mut invalid = 0;
    for seed in seeds {
        let run = || {
            let mut run = Run::new(seed);
            for _ in 0..20 + run.server.random.below(100) {
                run.step();
            }
            run.heal();
            if run.reads_backwards {
                run.read_backwards();
            }
            run.read_all();
            run
        };
        let run = std::panic::catch_unwind(run).unwrap_or_else(|panic| {
            println!("again: STREAMSPOOL_SEED={seed} cargo test --lib sources_at_random");
            std::panic::resume_unwind(panic);
        });
        steps += run.steps;
        openings += run.openings;
        changed += usize::from(run.world.error.as_ref().is_some_and(|e| e.kind() == ErrorKind::Changed));
        complete += usize::from(run.world.published.state == State::Complete);
        most_open = most_open.max(run.most_open);
        invalid += run.invalid;
    }
    println!(
        "{steps} steps, {openings} openings, at most {most_open} streams at once, {changed} changed resources, \
         {complete} complete, {invalid} slices that were read too late"
    );
    assert!(
        seed.is_some() || changed > 0 && complete > 0 && most_open == 4 && invalid > 0,
        "the runs do not reach all ends"
    );
}
