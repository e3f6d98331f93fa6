//! More readers than streams: random crowds on a simulated network, with every byte compared.
//!
//! `STREAMSPOOL_SEED=7 cargo test -p streamspool --lib crowds` repeats one run; `STREAMSPOOL_RUNS=100000` makes more.

#![allow(clippy::cast_precision_loss, reason = "times are rounded")]

use std::collections::BTreeMap;

use super::crowd::{Crowd, EXACT, Kind};
use super::random::Random;
use super::*;

/// The bytes of the resource repeat after this many. It is a prime, so no two blocks are equal.
const PERIOD: u64 = 8_388_593;

/// What a viewer has left to play when it asks again.
const AHEAD: u64 = 64 << 10;

fn data(offset: u64, len: u64) -> Bytes {
    let at = offset % PERIOD;
    if at + len <= PERIOD {
        return source(at, at + len);
    }
    [source(at, PERIOD), data(0, at + len - PERIOD)].concat().into()
}

struct Reader {
    kind: Kind,
    at: u64,
    end: u64,
    /// The bytes that it got.
    taken: u64,
    /// The request that it waits for, and its start.
    asked: Option<(Ask, Instant)>,
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
    world: World,
    network: BTreeMap<usize, Due>,
    readers: Vec<Reader>,
    start: Instant,
    random: Random,
    openings: usize,
    /// When viewers begin to wait for two openings at most, if they do.
    viewed_after: Option<Duration>,
    /// What went wrong.
    wrong: Vec<String>,
}

impl<'a> Run<'a> {
    fn new(crowd: &'a Crowd, random: Random) -> Self {
        let world = World::source(crowd.limits);
        let start = world.now;
        let reader = |(number, kind): (u64, &Kind)| {
            let at = number * crowd.distance();
            let (due, asked) = (Some(start), None);
            Reader { kind: *kind, at, end: at + crowd.len, taken: 0, asked, due, looks: 0 }
        };
        let readers = (0..).zip(&crowd.readers).map(reader).collect();
        let (network, wrong) = (BTreeMap::new(), Vec::new());
        let viewed_after = crowd.suits_viewers_after();
        Self { crowd, world, network, readers, start, random, openings: 0, viewed_after, wrong }
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
        let most = match kind {
            Kind::Exact | Kind::Scrubber(_) => EXACT,
            Kind::Chunks => BLOCK as u64,
            Kind::Viewer(_) => self.crowd.piece,
        };
        let read = Read { offset: at, len: most.min(end - at), want };
        let ask = self.world.ask_once(read);
        self.readers[number].asked = Some((ask, self.world.now));
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
                reader.due = Some(self.world.now + period);
            } else {
                reader.at = reader.end;
            }
            if let Some((ask, since)) = left {
                self.waited(number, since);
                ask.abandon();
                self.world.pump();
            }
        }
        if self.readers[number].at < self.readers[number].end {
            self.ask(number);
        }
    }

    fn answered(&mut self, id: usize, answer: Answer) {
        let waits = |reader: &Reader| reader.asked.as_ref().is_some_and(|asked| asked.0.id == id);
        let Some(number) = self.readers.iter().position(waits) else { return };
        let reader = &mut self.readers[number];
        let (_, since) = reader.asked.take().expect("it waits");
        let bytes = answer.unwrap_or_else(|error| panic!("{error}"));
        assert!(!bytes.is_empty(), "no bytes at {}", reader.at);
        assert!(bytes == data(reader.at, bytes.len() as u64), "wrong bytes at {}", reader.at);
        reader.at += bytes.len() as u64;
        reader.taken += bytes.len() as u64;
        let is_done = reader.at >= reader.end;
        if let Kind::Viewer(rate) = reader.kind {
            let played = Duration::from_secs_f64(reader.taken.saturating_sub(AHEAD) as f64 / rate as f64);
            reader.due = (!is_done).then_some((self.start + played).max(self.world.now));
        }
        let is_paced = matches!(reader.kind, Kind::Viewer(_));
        self.waited(number, since);
        if !is_done && !is_paced {
            self.ask(number);
        }
    }

    /// A request has waited since then.
    fn waited(&mut self, number: usize, since: Instant) {
        let (crowd, kind) = (self.crowd, self.readers[number].kind);
        let (wait, began) = (self.world.now - since, since - self.start);
        // A reader is known to read in order after some blocks.
        let is_known = self.readers[number].taken >= 2 * BLOCK as u64;
        let is_viewed = is_known && self.viewed_after.is_some_and(|start| began >= start);
        let most = if is_viewed { crowd.opening() * 2 } else { crowd.longest_wait(kind) };
        if wait > most && !crowd.is_tight {
            self.fail(format!("reader {number} waited {wait:?} from {began:?} on, more than {most:?}"));
        }
    }

    // ---- the network ----

    /// Takes in which streams the core has opened and closed, and which of them it wants.
    fn look(&mut self) {
        let now = self.world.now;
        let needs = self.readers.iter().any(|reader| reader.asked.is_some());
        if self.world.openings() > self.openings && !needs && self.crowd.limits.read_ahead == 0 {
            self.fail(format!("an opening at {:?} that nothing needs", now - self.start));
        }
        self.openings = self.world.openings();
        self.network.retain(|stream, _| self.world.has_stream(*stream));
        for stream in self.world.ids() {
            let is_open = self.world.at_of(stream).is_some();
            let opened_at = self.world.asked_of(stream).offset;
            let known = self.network.get(&stream).copied().filter(|due| due.opened_at == opened_at);
            let at = match known.and_then(|due| due.at) {
                None if !is_open => Some(now + self.crowd.latency),
                known if !is_open => known,
                _ if !self.world.wants_of(stream) => None,
                known => known.or_else(|| Some(now + self.crowd.time(self.crowd.chunk))),
            };
            self.network.insert(stream, Due { opened_at, at });
        }
    }

    /// The network does what is due for this stream.
    fn arrives(&mut self, stream: usize) {
        self.network.get_mut(&stream).expect("it is known").at = None;
        let Some(at) = self.world.at_of(stream) else {
            return self.world.opened_as(stream, told(Some("v1"), Some(self.crowd.size())));
        };
        let end = self.world.asked_of(stream).end.unwrap_or(u64::MAX).min(self.crowd.size());
        if at < end {
            self.world.send_bytes_of(stream, data(at, self.crowd.chunk.min(end - at)));
        } else {
            self.world.ends_of(stream);
        }
    }

    // ---- time ----

    /// Does all that can happen now.
    fn settle(&mut self) {
        loop {
            while !self.world.fresh.is_empty() {
                let (id, answer) = self.world.next_answer();
                self.answered(id, answer);
            }
            let now = self.world.now;
            let is_due = |at: Option<Instant>| at.is_some_and(|at| at <= now);
            if self.world.disk.is_writing() {
                self.world.write_succeeds();
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
        let deadline = self.world.deadline();
        let network = self.network.values().filter_map(|due| due.at);
        let readers = self.readers.iter().filter_map(|reader| reader.due);
        let Some(next) = network.chain(readers).chain(deadline).min().filter(|next| *next <= until) else {
            return false;
        };
        self.world.now = next;
        if deadline.is_some_and(|deadline| deadline <= next) {
            self.world.tell_time();
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
        let time = self.world.now - self.start;
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
            let end = self.world.now + rest;
            while self.advance(end) {
                self.settle();
            }
            let last = self.world.source.openings.last();
            if last.is_some_and(|(_, at)| *at + Duration::from_secs(25) > end) {
                self.fail("an opening long after the last reader has ended".to_owned());
            }
            let (sent, ahead) =
                (self.world.source.sent, crowd.limits.read_ahead + BLOCK as u64 + crowd.chunk);
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
            failed.push(format!("seed {seed}: {crowd:?}\n    {}", wrong.join("\n    ")));
        }
    }
    let shown = failed.iter().take(5).cloned().collect::<Vec<_>>().join("\n");
    assert!(failed.is_empty(), "{} of {runs} runs:\n{shown}", failed.len());
}

#[test]
fn eight_viewers_on_two_streams_never_wait_long() {
    // Rules 25 and 26.
    for piece in [16 << 10, 64 << 10, BLOCK as u64] {
        let crowd = Crowd {
            limits: Limits { read_ahead: MIB as u64, ..PLAIN },
            is_tight: false,
            latency: Duration::from_millis(30),
            rate: 2_000_000,
            chunk: 16 << 10,
            piece,
            readers: vec![Kind::Viewer(200_000); 8],
            len: 4_000_000,
        };
        let mut run = Run::new(&crowd, Random(8));
        run.viewed_after = Some(Duration::from_secs(1));
        assert_eq!(run.run(), Vec::<String>::new(), "pieces of {piece}");
    }
}
