//! Sources at random: they refuse, hang, fall silent, die after any byte, start early or late, send too
//! little or too much, ignore offsets, and change with and without notice. Rules 21 to 24.
//!
//! One run is one seed. `STREAMSPOOL_RUNS=30000 cargo test --lib sources_at_random` looks harder, and
//! `STREAMSPOOL_SEED=77` repeats one run.

use super::resuming::Remote;
use super::*;
use crate::core::OpenedStream;
use crate::error::ErrorKind;
use crate::source::Reopen;
use crate::source::error::SourceError;
use crate::source::retry::Retry;
use crate::source::version::Version;

/// A seeded generator (`SplitMix64`).
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % limit
    }

    fn one_in(&mut self, chances: u64) -> bool {
        self.below(chances) == 0
    }
}

/// The bytes of a version of the resource. Every byte of two versions differs.
fn bytes_of(version: u8, from: u64, to: u64) -> Bytes {
    source(from, to).iter().map(|byte| byte ^ version).collect()
}

/// What the source does, by a seed.
struct Server {
    random: Random,
    size: u64,
    has_versions: bool,
    tells_size: bool,
    ignores_offsets: bool,
    /// Of 100 steps so many have a fault.
    faults: u64,
    version: u8,
    /// The version of the open stream.
    streams: u8,
    /// The version of the bytes that the buffer keeps, once it has some.
    kept: Option<u8>,
    /// Bytes sent before the first missing byte, by streams that could have started later.
    again: u64,
}

/// A read that waits, or was answered.
struct Asked {
    id: usize,
    offset: u64,
    len: u64,
}

struct Run {
    remote: Remote,
    server: Server,
    asked: Vec<Asked>,
    openings: usize,
    steps: u64,
}

impl Run {
    fn new(seed: u64) -> Self {
        let mut random = Random(seed);
        let most = [10, 5000, 300_000, 1_000_000][random.below(4) as usize];
        let size = 1 + random.below(most);
        let server = Server {
            size,
            has_versions: random.one_in(2),
            tells_size: !random.one_in(3),
            ignores_offsets: random.one_in(4),
            faults: [0, 5, 20, 50][random.below(4) as usize],
            version: 0,
            streams: 0,
            kept: None,
            again: 0,
            random,
        };
        let retry = Retry::default().attempts(4);
        Self { remote: Remote::with(PLAIN, retry), server, asked: Vec::new(), openings: 0, steps: 0 }
    }

    fn loaded(&self) -> u64 {
        self.remote.published.loaded
    }

    fn is_final(&self) -> bool {
        self.remote.published.state.is_final()
    }

    fn step(&mut self) {
        self.steps += 1;
        let fault = self.server.random.below(100) < self.server.faults;
        match self.server.random.below(10) {
            0 | 1 => self.ask(),
            2 if fault => self.server.version ^= 1 + self.server.random.below(3) as u8,
            3 if fault || self.remote.is_idle_source() => self.pass_time(),
            _ if self.remote.opening => self.answer_opening(fault),
            _ if self.remote.wants_chunk() => self.stream(fault),
            _ => {}
        }
        self.check();
    }

    fn ask(&mut self) {
        let offset = self.server.random.below(self.server.size + 10);
        let len = self.server.random.below(self.server.size + 10);
        let id = self.remote.read(offset, len);
        self.asked.push(Asked { id, offset, len });
    }

    fn pass_time(&mut self) {
        if self.remote.core.next_deadline(self.remote.now).is_some() {
            self.remote.wait();
        }
    }

    fn answer_opening(&mut self, fault: bool) {
        let requested = self.remote.last_opening().offset;
        let server = &mut self.server;
        if fault && server.random.one_in(2) {
            let error = match server.random.below(3) {
                0 => io::ErrorKind::ConnectionRefused.into(),
                1 => SourceError::transient("busy").retry_after(Duration::from_secs(1)).into(),
                _ => io::Error::from(io::ErrorKind::UnexpectedEof),
            };
            return self.remote.open_fails(error);
        }
        let start = match server.random.below(4) {
            _ if server.ignores_offsets => 0,
            0 if fault => requested + 1 + server.random.below(10),
            1 => server.random.below(requested + 1),
            _ => requested,
        };
        server.streams = server.version;
        let version = server.has_versions && !(fault && server.random.one_in(4));
        let version = version.then(|| Version::strong(vec![server.version]));
        // A size that differs is a sign of a change too.
        let size = server.tells_size.then_some(server.size + u64::from(server.version));
        let loaded = self.loaded();
        if start == requested {
            self.server.again += loaded - requested.min(loaded);
            assert!(loaded - requested <= 64 * 1024, "{requested} of {loaded}");
            let is_proven = self.remote.last_opening().version.is_some();
            assert!(!is_proven || requested == loaded, "fetches bytes again that a version proves");
        }
        self.remote.opened(OpenedStream { start: Some(start), size, version, reopen: Reopen::Anywhere });
    }

    fn stream(&mut self, fault: bool) {
        let (at, size) = (self.remote.at.unwrap(), self.server.size);
        let random = &mut self.server.random;
        if fault {
            return match random.below(3) {
                0 => self.remote.breaks(),
                1 => self.remote.ends(),
                _ => self.pass_time(),
            };
        }
        let surplus = if self.server.tells_size && random.one_in(10) { 50 } else { 0 };
        let left = (size + surplus).saturating_sub(at);
        if left == 0 {
            return self.remote.ends();
        }
        let most = [10, 3000, 100_000, 600_000][random.below(4) as usize];
        let len = (1 + random.below(most)).min(left);
        let before = self.loaded();
        self.remote.send_bytes(bytes_of(self.server.streams, at, at + len));
        if self.loaded() > before && before == 0 {
            self.server.kept = Some(self.server.streams);
        }
        if self.loaded() > before {
            assert_eq!(self.server.kept, Some(self.server.streams), "bytes of two versions");
        }
    }

    fn check(&mut self) {
        let remote = &mut self.remote;
        if remote.openings.len() > self.openings {
            self.openings = remote.openings.len();
            let loaded = remote.published.loaded;
            let answered = |asked: &Asked| remote.answers.iter().any(|(id, _)| *id == asked.id);
            let needed = |asked: &&Asked| asked.offset.saturating_add(asked.len) > loaded && asked.len > 0;
            let waits = self.asked.iter().filter(needed).any(|asked| !answered(asked));
            assert!(waits, "the source was opened without a waiting request");
        }
        while let Some((id, answer)) = remote.answers.pop_front() {
            let at = self.asked.iter().position(|asked| asked.id == id).expect("asked once");
            let Asked { offset, len, .. } = self.asked.swap_remove(at);
            match answer {
                Ok(bytes) => {
                    let from = offset.min(remote.published.loaded);
                    let end = from + bytes.len() as u64;
                    // A part of an exact read, or all of it; without bytes it is at the end.
                    let is_end =
                        remote.published.state == State::Complete && offset >= remote.published.loaded;
                    assert!(!bytes.is_empty() || len == 0 || is_end, "no bytes at {offset}");
                    let kept = self.server.kept.unwrap_or(0);
                    assert!(bytes == bytes_of(kept, from, end), "wrong bytes at {offset}");
                }
                Err(error) => {
                    assert!(offset + len > error.offset(), "{error} for {len} bytes at {offset}");
                    let kinds = [ErrorKind::Changed, ErrorKind::Truncated, ErrorKind::Source];
                    assert!(kinds.contains(&error.kind()), "{error}");
                }
            }
        }
    }

    /// The source works from now on. Then every request gets an answer in bounded time.
    fn heal(&mut self) {
        self.server.faults = 0;
        self.server.version = self.server.kept.unwrap_or(self.server.version);
        self.ask();
        for _ in 0..100_000 {
            self.check();
            if self.asked.is_empty() {
                return;
            }
            let (loaded, size) = (self.loaded(), self.server.size);
            if self.remote.opening {
                self.answer_opening(false);
            } else if self.remote.wants_chunk() {
                self.stream(false);
            } else {
                let waits = !self.is_final() && self.remote.core.next_deadline(self.remote.now).is_some();
                assert!(waits, "{} requests hang at {loaded} of {size}", self.asked.len());
                self.remote.wait();
            }
        }
        panic!("the series of attempts does not end");
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
    let (mut steps, mut openings, mut changed, mut complete) = (0, 0, 0, 0);
    for seed in seeds {
        let run = || {
            let mut run = Run::new(seed);
            for _ in 0..20 + run.server.random.below(80) {
                run.step();
            }
            run.heal();
            run
        };
        let run = std::panic::catch_unwind(run).unwrap_or_else(|panic| {
            println!("again: STREAMSPOOL_SEED={seed} cargo test --lib sources_at_random");
            std::panic::resume_unwind(panic);
        });
        steps += run.steps;
        openings += run.openings;
        changed += usize::from(run.remote.error.as_ref().is_some_and(|e| e.kind() == ErrorKind::Changed));
        complete += usize::from(run.remote.published.state == State::Complete);
    }
    println!("{steps} steps, {openings} openings, {changed} changed resources, {complete} complete");
    assert!(seed.is_some() || changed > 0 && complete > 0, "the runs reach neither end");
}
