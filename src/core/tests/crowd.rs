//! A crowd of readers, the network that they share, and what rule 25 lets each of them expect.
//!
//! All readers start at once, so far apart that no stream serves two of them. Each stream brings its first chunk one
//! opening after it was asked for, and then one chunk after the other at its rate, while the buffer wants them.
//! The limits are derived from these numbers and from the length of a turn alone:
//!
//! - An *opening* is the time to the first chunk.
//! - A *turn* of a stream is at most 8 jump distances, at least 512 KiB (1 MiB before anything was measured), and
//!   lasts at most 2 s or 8 openings. Then a reader that waits gets the stream.
//! - The *ideal* is one opening, and all needed bytes at the rate of all streams together.

#![allow(clippy::cast_precision_loss, clippy::cast_sign_loss, reason = "rates are rounded")]

use super::random::Random;
use super::*;

/// The least and the most bytes of a turn, where its time allows.
const TURN: (u64, u64) = (512 << 10, 1 << 20);
const TURN_TIME: Duration = Duration::from_secs(2);

/// The bytes of an exact read, and of a place that a scrubbing reader looks at.
pub(super) const EXACT: u64 = 64 << 10;

/// How a reader asks for its bytes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Kind {
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
pub(super) struct Crowd {
    pub(super) limits: Limits,
    /// Whether the limits are so tight that bytes are discarded before they are used.
    pub(super) is_tight: bool,
    pub(super) latency: Duration,
    /// Bytes per second of each stream.
    pub(super) rate: u64,
    pub(super) chunk: u64,
    /// The most bytes that a viewer takes at once.
    pub(super) piece: u64,
    pub(super) readers: Vec<Kind>,
    /// The bytes of each reader.
    pub(super) len: u64,
}

impl Crowd {
    pub(super) fn random(random: &mut Random) -> Self {
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
        // Viewers alone have time to show that they never wait.
        let is_long = matches!(readers[..], [Kind::Viewer(_), ..]) && read_ahead == 1 << 20;
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
        let len = random.scaled(64 << 10, 3 << 20) + if is_long { 3 << 20 } else { 0 };
        let piece = random.one_of(&[16 << 10, 64 << 10, BLOCK as u64]);
        Self { limits, is_tight, latency, rate, chunk, piece, readers, len }
    }

    // ---- what the network and rule 25 give ----

    pub(super) fn time(&self, bytes: u64) -> Duration {
        Duration::from_secs_f64(bytes as f64 / self.rate as f64)
    }

    pub(super) fn opening(&self) -> Duration {
        self.latency + self.time(self.chunk)
    }

    fn jump_distance(&self) -> u64 {
        (self.rate as f64 * self.opening().as_secs_f64()) as u64
    }

    pub(super) fn longest_turn(&self) -> Duration {
        self.time(TURN.1.max(9 * self.jump_distance())).min(TURN_TIME.max(self.opening() * 8))
    }

    /// The fewest bytes that a turn brings, if they are needed.
    fn shortest_turn(&self) -> u64 {
        let lasts = TURN_TIME.saturating_sub(self.opening());
        TURN.0.min((self.rate as f64 * lasts.as_secs_f64()) as u64).saturating_sub(self.chunk)
    }

    fn count(&self, kind: impl Fn(&Kind) -> bool) -> u64 {
        self.readers.iter().filter(|reader| kind(reader)).count() as u64
    }

    fn seeks(&self) -> u64 {
        self.count(|kind| matches!(kind, Kind::Scrubber(_))) * self.looks()
    }

    /// How many places a scrubbing reader looks at.
    pub(super) fn looks(&self) -> u64 {
        self.len.div_ceil(EXACT)
    }

    fn streams(&self) -> u32 {
        self.limits.streams.min(self.readers.len()) as u32
    }

    pub(super) fn needed(&self) -> u64 {
        self.len.next_multiple_of(EXACT) * self.readers.len() as u64
    }

    pub(super) fn ideal(&self) -> Duration {
        self.opening() + self.time(self.needed()) / self.streams()
    }

    /// The positions after which bytes may be read ahead.
    pub(super) fn positions(&self) -> u64 {
        self.readers.len() as u64 + self.seeks()
    }

    /// The bytes between two readers.
    pub(super) fn distance(&self) -> u64 {
        let ahead = if self.limits.read_ahead == u64::MAX { 0 } else { self.limits.read_ahead };
        self.len + ahead + 3 * self.jump_distance().max(TURN.1)
    }

    pub(super) fn size(&self) -> u64 {
        self.distance() * self.readers.len() as u64
    }

    // ---- what is asked of a run ----

    /// A reader that is never late by its own fault has its bytes by then: 1.25 times the ideal, two openings for
    /// each turn and each seek, a window that is read ahead in vain for each position, and a turn that began
    /// before.
    pub(super) fn time_limit(&self) -> Duration {
        let turns = self.most_openings() as u32;
        let ahead = self.time(self.limits.read_ahead.min(TURN.1)).min(self.longest_turn());
        let shared = self.opening() * 2 * turns + ahead * self.positions() as u32;
        self.ideal().mul_f64(1.25) + shared / self.streams() + self.longest_turn() + self.opening() * 2
    }

    /// One opening for each shortest turn, one for each reader, and two for each seek: the place may be in the
    /// range of another reader. A viewer has a turn for each half of its window. What it does not read ahead, it
    /// opens for each chunk. It may lose its first turn to a new reader as soon as it plays.
    pub(super) fn most_openings(&self) -> u64 {
        let turn = self.shortest_turn();
        let viewed = turn.min(self.limits.read_ahead / 2).max(self.chunk.min(turn));
        let turns = |kind: &Kind| match kind {
            Kind::Viewer(_) => self.len.div_ceil(viewed) + 2,
            Kind::Scrubber(_) => self.looks() * 2,
            Kind::Chunks | Kind::Exact => self.len.div_ceil(turn) + 1,
        };
        self.readers.iter().map(turns).sum::<u64>() + 2
    }

    /// A request waits for a turn of each reader that shares its stream, and for its own opening. A viewer takes
    /// fewer bytes than a stream can bring, so only time ends its turn. An exact read may need two turns.
    pub(super) fn longest_wait(&self, kind: Kind) -> Duration {
        let has_viewers = self.count(|kind| matches!(kind, Kind::Viewer(_))) > 0;
        let paced = if has_viewers { TURN_TIME.max(self.opening() * 8) } else { Duration::ZERO };
        let turns = (self.readers.len() as u32).div_ceil(self.streams()) + 1;
        let wait = (self.longest_turn().max(paced) + self.opening() * 2) * turns;
        if kind == Kind::Exact { wait * 2 + self.time(EXACT) } else { wait }
    }

    /// A time after which viewers never wait long, if there is one: each of them has had a turn. They are alone. The
    /// bytes of a window after which it is filled again are several pieces and a jump distance, and last while each
    /// reader gets a turn.
    pub(super) fn suits_viewers_after(&self) -> Option<Duration> {
        let left = (self.limits.read_ahead / 2).min(self.shortest_turn());
        let least = 2 * self.piece.max(self.jump_distance()).max(EXACT);
        let lasts = |kind: &Kind| match kind {
            Kind::Viewer(rate) => {
                Duration::from_secs_f64(left.saturating_sub(self.piece) as f64 / *rate as f64)
            }
            _ => Duration::ZERO,
        };
        let turns = (self.readers.len() as u32).div_ceil(self.streams()) + 1;
        // Before anything is measured, a turn is longer.
        let turn = |least: u64| self.time(least.max(9 * self.jump_distance())) + self.opening() * 2;
        let has_window = self.limits.read_ahead < u64::MAX && left > least && turn(TURN.0) <= TURN_TIME;
        let is_paced = self.readers.iter().all(|kind| lasts(kind) > turn(TURN.0) * turns);
        (has_window && is_paced).then(|| turn(TURN.1) * turns)
    }
}
