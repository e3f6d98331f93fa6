//! More readers than streams: random crowds on a simulated network, and what each of them may expect of rule 25.
//!
//! All readers start at once, so far apart that no stream serves two of them. Each stream brings its first chunk one
//! opening after it was asked for, and then one chunk after the other at its rate, while the buffer wants them.
//! The limits of a run are derived from these numbers and from the length of a turn alone:
//!
//! - An *opening* is the time to the first chunk.
//! - A *turn* of a stream is at most 8 jump distances, at least 512 KiB (1 MiB before anything was measured), and
//!   lasts at most 2 s or 8 openings. Then a reader that waits gets the stream.
//! - The *ideal* is one opening, and all needed bytes at the rate of all streams together. No reader is faster
//!   than one stream.
//!
//! `STREAMSPOOL_SEED=7 cargo test -p streamspool --lib crowds` repeats one run; `STREAMSPOOL_RUNS=100000` makes more.

use std::collections::BTreeMap;
use std::fmt;

use super::remote::{Remote, told};
use super::*;
use crate::source::retry::Retry;

/// The bytes of the resource repeat after this many. It is a prime, so no two blocks are equal.
const PERIOD: u64 = 8_388_593;

/// The least and the most bytes of a turn, where its time allows.
const TURN: (u64, u64) = (512 << 10, 1 << 20);
const TURN_TIME: Duration = Duration::from_secs(2);

/// The bytes of an exact read, and of a place that a scrubbing reader looks at.
const EXACT: u64 = 64 << 10;

/// What a viewer has left to play when it asks again.
const AHEAD: u64 = 64 << 10;

fn data(offset: u64, len: u64) -> Bytes {
    let at = offset % PERIOD;
    if at + len <= PERIOD {
        return source(at, at + len);
    }
    [source(at, PERIOD), data(0, at + len - PERIOD)].concat().into()
}

/// The splitmix64 generator.
struct Random(u64);

impl Random {
    fn below(&mut self, most: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed ^ (mixed >> 31)) % most
    }

    fn between(&mut self, least: u64, most: u64) -> u64 {
        least + self.below(most - least + 1)
    }

    /// Each order of magnitude is equally likely.
    fn scaled(&mut self, least: u64, most: u64) -> u64 {
        let scale = (most as f64 / least as f64).powf(self.below(1001) as f64 / 1000.0);
        (least as f64 * scale) as u64
    }

    fn one_of<V: Copy>(&mut self, values: &[V]) -> V {
        values[self.below(values.len() as u64) as usize]
    }
}

/// How a reader asks for its bytes.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    /// It asks for the next piece when it has the last one.
    Chunks,
    /// One exact read after the other.
    Exact,
    /// It plays so many bytes per second, and asks for a piece when it has little left to play.
    Viewer(u64),
    /// It looks at a random place after each of these times, whether it got the last one or not.
    Scrubber(Duration),
}

/// One run.
#[derive(Clone, Debug)]
struct Crowd {
    limits: Limits,
    /// Whether the limits are so tight that bytes are discarded before they are used.
    is_tight: bool,
    latency: Duration,
    /// Bytes per second of each stream.
    rate: u64,
    chunk: u64,
    readers: Vec<Kind>,
    /// The bytes of each reader.
    len: u64,
}

impl Crowd {
    fn random(random: &mut Random) -> Self {
        let streams = random.between(1, 6) as usize;
        let readers = random.between(1, 20);
        let read_ahead = random.one_of(&[0, 64 << 10, 1 << 20, u64::MAX]);
        let latency = Duration::from_millis(random.scaled(1, 300));
        let rate = random.scaled(50_000, 50_000_000);
        let chunk = random.scaled(1 << 10, 64 << 10).min(rate / 20);
        // One kind, or all kinds. Viewers play a part of what the streams can bring.
        let played = rate * streams as u64 / readers * random.between(5, 40) / 100;
        let scrubs = Duration::from_millis(random.scaled(20, 2000));
        let kinds = [Kind::Chunks, Kind::Exact, Kind::Viewer(played.min(rate / 4)), Kind::Scrubber(scrubs)];
        let mut first = random.below(6) as usize;
        let readers: Vec<_> = (0..readers)
            .map(|_| match first {
                0..3 => kinds[first],
                3 => random.one_of(&kinds[..3]),
                4 => {
                    first = 2;
                    kinds[3]
                }
                _ => {
                    first = 0;
                    kinds[3]
                }
            })
            .collect();
        let mut limits = Limits { read_ahead, streams, ..PLAIN };
        let is_tight = random.below(8) == 0 && read_ahead < u64::MAX;
        if is_tight {
            limits.max_memory = random.below(2 * MIB as u64) as usize;
            limits.max_disk = random.one_of(&[1, 4, 16]) * MIB as u64;
        } else if random.below(4) == 0 && read_ahead < u64::MAX {
            // Room for a window of each reader, and more.
            limits.max_memory = MIB;
            limits.max_disk = (readers.len() + 64) as u64 * (read_ahead + 4 * MIB as u64);
        }
        let len = random.scaled(64 << 10, 3 << 20);
        Self { limits, is_tight, latency, rate, chunk, readers, len }
    }

    // ---- what the network and rule 25 give ----

    fn time(&self, bytes: u64) -> Duration {
        Duration::from_secs_f64(bytes as f64 / self.rate as f64)
    }

    fn opening(&self) -> Duration {
        self.latency + self.time(self.chunk)
    }

    fn jump_distance(&self) -> u64 {
        (self.rate as f64 * self.opening().as_secs_f64()) as u64
    }

    fn longest_turn(&self) -> Duration {
        self.time(TURN.1.max(9 * self.jump_distance())).min(TURN_TIME.max(self.opening() * 8))
    }

    /// The fewest bytes that a turn brings, if they are needed.
    fn shortest_turn(&self) -> u64 {
        TURN.0.min((self.rate as f64 * TURN_TIME.as_secs_f64()) as u64).saturating_sub(self.chunk)
    }

    fn count(&self, kind: impl Fn(&Kind) -> bool) -> u64 {
        self.readers.iter().filter(|reader| kind(reader)).count() as u64
    }

    fn seeks(&self) -> u64 {
        self.count(|kind| matches!(kind, Kind::Scrubber(_))) * self.looks()
    }

    /// How many places a scrubbing reader looks at.
    fn looks(&self) -> u64 {
        self.len.div_ceil(EXACT)
    }

    fn streams(&self) -> u32 {
        self.limits.streams.min(self.readers.len()) as u32
    }

    fn needed(&self) -> u64 {
        self.len.next_multiple_of(EXACT) * self.readers.len() as u64
    }

    fn ideal(&self) -> Duration {
        self.opening() + self.time(self.needed()) / self.streams()
    }

    /// The positions after which bytes may be read ahead.
    fn positions(&self) -> u64 {
        self.readers.len() as u64 + self.seeks()
    }

    /// The bytes between two readers.
    fn distance(&self) -> u64 {
        let ahead = if self.limits.read_ahead == u64::MAX { 0 } else { self.limits.read_ahead };
        self.len + ahead + 3 * self.jump_distance().max(TURN.1)
    }

    fn size(&self) -> u64 {
        self.distance() * self.readers.len() as u64
    }

    // ---- what is asked of a run ----

    /// A reader that is never late by its own fault has its bytes by then: 1.25 times the ideal, two openings for
    /// each turn and each seek, a window that is read ahead in vain for each position, and a turn that began
    /// before.
    fn time_limit(&self) -> Duration {
        let turns = self.most_openings() as u32;
        let ahead = self.time(self.limits.read_ahead.min(TURN.1)).min(self.longest_turn());
        let shared = self.opening() * 2 * turns + ahead * self.positions() as u32;
        self.ideal().mul_f64(1.25) + shared / self.streams() + self.longest_turn() + self.opening() * 2
    }

    /// One opening for each shortest turn, one for each reader, and two for each seek: the place may be in the
    /// range of another reader. A viewer has a turn for each half of its window. What it does not read ahead, it
    /// opens for each chunk.
    fn most_openings(&self) -> u64 {
        let turn = self.shortest_turn();
        let viewed = turn.min(self.limits.read_ahead / 2).max(self.chunk.min(turn));
        let turns = |kind: &Kind| match kind {
            Kind::Viewer(_) => self.len.div_ceil(viewed) + 1,
            Kind::Scrubber(_) => self.looks() * 2,
            Kind::Chunks | Kind::Exact => self.len.div_ceil(turn) + 1,
        };
        self.readers.iter().map(turns).sum::<u64>() + 2
    }

    /// A request waits for a turn of each reader that shares its stream, and for its own opening. An exact read
    /// may need two turns.
    fn longest_wait(&self, kind: Kind) -> Duration {
        let turns = (self.readers.len() as u32).div_ceil(self.streams()) + 1;
        let wait = (self.longest_turn() + self.opening() * 2) * turns;
        if kind == Kind::Exact { wait * 2 + self.time(EXACT) } else { wait }
    }

    /// Whether viewers never wait long: they are alone, and half of a window lasts while all others get a turn.
    fn suits_viewers(&self) -> bool {
        let half = self.limits.read_ahead.min(TURN.0) / 2;
        let lasts = |kind: &Kind| match kind {
            Kind::Viewer(rate) => Duration::from_secs_f64(half as f64 / *rate as f64),
            _ => Duration::ZERO,
        };
        let turn =
            self.time(self.limits.read_ahead.min(TURN.1)).min(self.longest_turn()) + self.opening() * 2;
        let turns = (self.readers.len() as u32).div_ceil(self.streams()) + 1;
        self.limits.read_ahead < u64::MAX && self.readers.iter().all(|kind| lasts(kind) > turn * turns)
    }
}

impl fmt::Display for Crowd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Limits { read_ahead, streams, max_memory, max_disk, .. } = self.limits;
        let Self { latency, rate, chunk, len, readers, .. } = self;
        write!(
            f,
            "{streams} streams, {latency:?}, {rate} B/s, chunks of {chunk}, read_ahead {read_ahead}, "
        )?;
        write!(f, "max_memory {max_memory}, max_disk {max_disk}, {len} bytes each: {readers:?}")
    }
}

struct Reader {
    kind: Kind,
    at: u64,
    end: u64,
    /// The bytes that it got.
    taken: u64,
    /// The request that it waits for: its number, its start, and the caller's half of its ticket.
    asked: Option<(usize, Instant, Rc<Cell<bool>>)>,
    /// When it asks next.
    due: Option<Instant>,
    looks: u64,
}

/// When the network does something for a stream.
#[derive(Clone, Copy)]
struct Due {
    /// The offset that its opening asked for.
    opened_at: u64,
    /// The answer of an opening, or the next chunk of a stream. `None` while its bytes are not wanted.
    at: Option<Instant>,
}

/// A running crowd.
struct Run<'a> {
    crowd: &'a Crowd,
    remote: Remote,
    network: BTreeMap<usize, Due>,
    readers: Vec<Reader>,
    start: Instant,
    random: Random,
    openings: usize,
    /// What went wrong.
    wrong: Vec<String>,
}

impl<'a> Run<'a> {
    fn new(crowd: &'a Crowd, random: Random) -> Self {
        let remote = Remote::with(crowd.limits, Retry::default());
        let start = remote.now;
        let reader = |(number, kind): (u64, &Kind)| {
            let at = number * crowd.distance();
            let (due, asked) = (Some(start), None);
            Reader { kind: *kind, at, end: at + crowd.len, taken: 0, asked, due, looks: 0 }
        };
        let readers = (0..).zip(&crowd.readers).map(reader).collect();
        let (network, wrong) = (BTreeMap::new(), Vec::new());
        Self { crowd, remote, network, readers, start, random, openings: 0, wrong }
    }

    fn fail(&mut self, wrong: String) {
        if self.wrong.len() < 4 {
            self.wrong.push(wrong);
        }
    }

    fn is_over(&self) -> bool {
        self.readers.iter().all(|reader| reader.due.is_none() && reader.asked.is_none())
    }

    // ---- readers ----

    fn ask(&mut self, number: usize) {
        let Reader { kind, at, end, .. } = self.readers[number];
        let want = if kind == Kind::Exact { Want::Exact } else { Want::Piece };
        let most = if kind == Kind::Exact { EXACT } else { BLOCK as u64 };
        let read = Read { offset: at, len: most.min(end - at), want, borrow: false };
        let token = self.remote.ticket();
        self.readers[number].asked = Some((token.id, self.remote.now, Rc::clone(&token.gone)));
        self.remote.event(Event::Read { read, token });
    }

    /// The time of this reader has come.
    fn act(&mut self, number: usize) {
        let reader = &mut self.readers[number];
        reader.due = None;
        if let Kind::Scrubber(period) = reader.kind {
            let left = reader.asked.take();
            if reader.looks < self.crowd.looks() {
                reader.looks += 1;
                reader.at = self.random.below(self.crowd.size() - EXACT);
                reader.end = reader.at + EXACT;
                reader.due = Some(self.remote.now + period);
            } else {
                reader.at = reader.end;
            }
            if let Some((_, since, gone)) = left {
                self.waited(number, since);
                gone.set(true);
                self.remote.event(Event::Withdrawn);
            }
        }
        if self.readers[number].at < self.readers[number].end {
            self.ask(number);
        }
    }

    fn answered(&mut self, id: usize, answer: Answer) {
        let waits = |reader: &Reader| reader.asked.as_ref().is_some_and(|asked| asked.0 == id);
        let Some(number) = self.readers.iter().position(waits) else { return };
        let reader = &mut self.readers[number];
        let (_, since, _) = reader.asked.take().expect("it waits");
        let bytes = answer.unwrap_or_else(|error| panic!("{error}"));
        assert!(!bytes.is_empty(), "no bytes at {}", reader.at);
        assert!(bytes == data(reader.at, bytes.len() as u64), "wrong bytes at {}", reader.at);
        reader.at += bytes.len() as u64;
        reader.taken += bytes.len() as u64;
        let is_done = reader.at >= reader.end;
        if let Kind::Viewer(rate) = reader.kind {
            let played = Duration::from_secs_f64(reader.taken.saturating_sub(AHEAD) as f64 / rate as f64);
            reader.due = (!is_done).then_some((self.start + played).max(self.remote.now));
        }
        let is_paced = !matches!(reader.kind, Kind::Chunks | Kind::Exact | Kind::Scrubber(_));
        self.waited(number, since);
        if !is_done && !is_paced {
            self.ask(number);
        }
    }

    /// A request has waited since then.
    fn waited(&mut self, number: usize, since: Instant) {
        let (crowd, kind) = (self.crowd, self.readers[number].kind);
        let (wait, began) = (self.remote.now - since, since - self.start);
        let starts = crowd.longest_wait(kind);
        let is_viewed = began >= starts && crowd.suits_viewers();
        let most = if is_viewed { crowd.opening() * 2 } else { starts };
        if wait > most && !crowd.is_tight {
            self.fail(format!("reader {number} waited {wait:?} from {began:?} on, more than {most:?}"));
        }
    }

    // ---- the network ----

    /// Takes in which streams the core has opened and closed, and which of them it wants.
    fn look(&mut self) {
        let now = self.remote.now;
        let needs = self.readers.iter().any(|reader| reader.asked.is_some());
        if self.remote.openings.len() > self.openings && !needs && self.crowd.limits.read_ahead == 0 {
            self.fail(format!("an opening at {:?} that nothing needs", now - self.start));
        }
        self.openings = self.remote.openings.len();
        self.network.retain(|stream, _| self.remote.streams.contains_key(stream));
        let streams: Vec<_> =
            self.remote.streams.iter().map(|(stream, at)| (*stream, at.is_some())).collect();
        for (stream, is_open) in streams {
            let opened_at = self.remote.asked[&stream].offset;
            let known = self.network.get(&stream).copied().filter(|due| due.opened_at == opened_at);
            let at = match known.and_then(|due| due.at) {
                None if !is_open => Some(now + self.crowd.latency),
                known if !is_open => known,
                _ if !self.remote.wants_of(stream) => None,
                known => known.or_else(|| Some(now + self.crowd.time(self.crowd.chunk))),
            };
            self.network.insert(stream, Due { opened_at, at });
        }
    }

    /// The network does what is due for this stream.
    fn arrives(&mut self, stream: usize) {
        self.network.get_mut(&stream).expect("it is known").at = None;
        let Some(at) = self.remote.streams[&stream] else {
            return self.remote.opened_as(stream, told(Some("v1"), Some(self.crowd.size())));
        };
        let end = self.remote.asked[&stream].end.unwrap_or(u64::MAX).min(self.crowd.size());
        if at < end {
            self.remote.send_bytes_of(stream, data(at, self.crowd.chunk.min(end - at)));
        } else {
            self.remote.ends_of(stream);
        }
    }

    // ---- time ----

    /// Does all that can happen now.
    fn settle(&mut self) {
        loop {
            while let Some((id, answer)) = self.remote.answers.pop_front() {
                self.answered(id, answer);
            }
            let now = self.remote.now;
            let is_due = |at: Option<Instant>| at.is_some_and(|at| at <= now);
            if self.remote.writing.is_some() {
                self.remote.write_succeeds();
            } else if let Some(number) = self.readers.iter().position(|reader| is_due(reader.due)) {
                self.act(number);
            } else {
                self.look();
                let due = self.network.iter().find(|(_, due)| is_due(due.at)).map(|(stream, _)| *stream);
                let Some(stream) = due else { return };
                self.arrives(stream);
            }
        }
    }

    /// Goes to the next time at which something happens, and not past `until`. Returns whether there is one.
    fn advance(&mut self, until: Instant) -> bool {
        let deadline = self.remote.core.next_deadline(self.remote.now);
        let network = self.network.values().filter_map(|due| due.at);
        let readers = self.readers.iter().filter_map(|reader| reader.due);
        let Some(next) = network.chain(readers).chain(deadline).min().filter(|next| *next <= until) else {
            return false;
        };
        self.remote.now = next;
        if deadline.is_some_and(|deadline| deadline <= next) {
            self.remote.event(Event::DeadlinePassed);
        }
        true
    }

    /// Runs until all readers have their bytes, and then until nothing happens any more.
    fn run(mut self) -> Vec<String> {
        let crowd = self.crowd;
        let paces = crowd.readers.iter().map(|kind| match kind {
            Kind::Viewer(rate) => Duration::from_secs_f64(crowd.len as f64 / *rate as f64),
            Kind::Scrubber(period) => *period * crowd.looks() as u32,
            Kind::Chunks | Kind::Exact => Duration::ZERO,
        });
        let most = crowd.time_limit() + paces.max().unwrap_or_default();
        let patience = if crowd.is_tight { 50 } else { 20 };
        self.settle();
        while !self.is_over() && self.advance(self.start + most * patience) {
            self.settle();
        }
        let time = self.remote.now - self.start;
        if !self.is_over() {
            self.fail(format!("no end after {time:?}"));
        }
        let (openings, positions) = (self.openings as u64, crowd.positions());
        let loads_all = crowd.limits.read_ahead == u64::MAX;
        if !crowd.is_tight {
            let ideal = crowd.ideal();
            if time > most {
                self.fail(format!("{time:?}, more than {most:?}, where the ideal is {ideal:?}"));
            }
            if openings > crowd.most_openings() && !loads_all {
                self.fail(format!("{openings} openings, more than {}", crowd.most_openings()));
            }
        }
        if !loads_all {
            // What is read ahead in vain comes to its end.
            let rest = (crowd.opening() + crowd.longest_turn()) * positions as u32 + Duration::from_secs(60);
            while self.advance(self.start + time + rest) {
                self.settle();
            }
            if self
                .remote
                .openings
                .last()
                .is_some_and(|(_, at)| self.remote.now - *at < Duration::from_secs(25))
            {
                self.fail("an opening long after the last reader has ended".to_owned());
            }
            let (sent, ahead) = (self.remote.sent, crowd.limits.read_ahead + BLOCK as u64 + crowd.chunk);
            let bytes = crowd.needed() + positions * ahead;
            if sent > bytes && !crowd.is_tight {
                self.fail(format!("{sent} bytes were sent, more than {bytes}"));
            }
        }
        self.wrong
    }
}

#[test]
fn crowds_of_readers_share_their_streams() {
    // Rules 21, 25 and 26.
    let from_env = |name| std::env::var(name).ok().and_then(|number| number.parse::<u64>().ok());
    let first = from_env("STREAMSPOOL_SEED").unwrap_or(1);
    let usual = if from_env("STREAMSPOOL_SEED").is_some() { 1 } else { 300 };
    let runs = from_env("STREAMSPOOL_RUNS").unwrap_or(usual);
    let mut failed = Vec::new();
    for seed in first..first + runs {
        let mut random = Random(seed);
        let crowd = Crowd::random(&mut random);
        let wrong = Run::new(&crowd, random).run();
        if !wrong.is_empty() {
            failed.push(format!("seed {seed}: {crowd}\n    {}", wrong.join("\n    ")));
        }
    }
    let shown = failed.iter().take(5).cloned().collect::<Vec<_>>().join("\n");
    assert!(failed.is_empty(), "{} of {runs} runs:\n{shown}", failed.len());
}
