//! Viewers that play at a constant rate, and a user that scrubs.

use std::io;
use std::time::Duration;

use futures::TryStreamExt;
use futures::future::try_join_all;
use streamspool::{BufferHandle, BufferReader, Bytes, Chunks};
use tokio::io::AsyncReadExt;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until, timeout_at};

use crate::READ;
use crate::common::KIB;
use crate::common::data::next;
use crate::crowds::compare;

/// Bytes per second that a viewer plays.
const RATE: u64 = 200_000;

/// A viewer takes the next piece when it has fewer bytes than this left to play.
const AHEAD: u64 = 64 * KIB as u64;

/// Waits that begin earlier do not count: the first bytes of each viewer cost an opening.
const FIRST: Duration = Duration::from_secs(1);

/// The time between two seeks of a scrubbing user.
const SCRUB: Duration = Duration::from_millis(400);

/// Viewers that start at once, far apart.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Audience {
    pub(crate) name: &'static str,
    viewers: u64,
    /// Whether they use `chunks`, and not a `BufferReader`.
    has_chunks: bool,
    /// Whether a user scrubs beside them.
    scrubs: bool,
    time: Duration,
}

/// What an audience saw.
#[derive(Debug)]
pub(crate) struct Watched {
    /// The fewest bytes that a viewer got, as a share of what it plays.
    pub(crate) share: f64,
    /// The longest wait of a viewer, and when it began.
    pub(crate) longest: (Duration, Duration),
    /// How long each seek waited for its first byte.
    pub(crate) scrubs: Vec<Duration>,
}

/// The audiences, each for `time`.
pub(crate) fn audiences(time: Duration) -> Vec<Audience> {
    let audience = |name, viewers, has_chunks, scrubs| Audience { name, viewers, has_chunks, scrubs, time };
    vec![
        audience("3 viewers, chunks", 3, true, false),
        audience("8 viewers, chunks", 8, true, false),
        audience("3 viewers, 16 KiB at a time", 3, false, false),
        audience("8 viewers, 16 KiB at a time", 8, false, false),
        audience("2 viewers, chunks, beside a scrubbing user", 2, true, true),
    ]
}

impl Audience {
    pub(crate) async fn watch(self, buffer: BufferHandle, all: Bytes) -> io::Result<Watched> {
        let end = Instant::now() + self.time;
        let viewers = (0..self.viewers).map(|viewer| {
            let place = viewer * (all.len() as u64 / self.viewers);
            let viewer = tokio::spawn(view(
                Play::new(&buffer, place, self.has_chunks),
                end,
                all.slice(place as usize..),
            ));
            async { viewer.await.expect("a viewer ends") }
        });
        let scrubber: Option<JoinHandle<_>> =
            self.scrubs.then(|| tokio::spawn(scrub(buffer.clone(), end, all.clone())));
        let viewed = try_join_all(viewers).await?;
        let scrubs = match scrubber {
            Some(scrubber) => scrubber.await.expect("the user ends")?,
            None => Vec::new(),
        };
        let plays = (RATE as f64 * self.time.as_secs_f64()).floor();
        let fewest = viewed.iter().map(|(taken, _)| *taken).min().unwrap_or_default();
        let longest = viewed.iter().map(|(_, longest)| *longest).max().unwrap_or_default();
        Ok(Watched { share: (fewest as f64 / plays).min(1.0), longest, scrubs })
    }
}

/// Where a viewer gets its bytes.
enum Play {
    Chunks(Chunks),
    Reader(BufferReader),
}

impl Play {
    fn new(buffer: &BufferHandle, place: u64, has_chunks: bool) -> Self {
        if has_chunks {
            return Self::Chunks(buffer.chunks(place..));
        }
        let mut reader = buffer.reader();
        reader.set_position(place);
        Self::Reader(reader)
    }

    async fn next(&mut self) -> io::Result<Bytes> {
        match self {
            Self::Chunks(chunks) => Ok(chunks.try_next().await?.unwrap_or_default()),
            Self::Reader(reader) => {
                let mut piece = vec![0; 16 * KIB];
                let len = reader.read(&mut piece).await?;
                Ok(Bytes::from(piece).slice(..len))
            }
        }
    }
}

/// One viewer. Returns how many bytes it got, and its longest wait. A wait that lasts at the end counts too.
async fn view(mut play: Play, end: Instant, mut expected: Bytes) -> io::Result<(u64, (Duration, Duration))> {
    let start = Instant::now();
    let (mut taken, mut longest) = (0_u64, <(Duration, Duration)>::default());
    loop {
        // When so many bytes are played that fewer than `AHEAD` are left.
        let due = Duration::from_secs_f64(taken.saturating_sub(AHEAD) as f64 / RATE as f64);
        if start + due >= end {
            return Ok((taken, longest));
        }
        sleep_until(start + due).await;
        let asked = Instant::now();
        let piece = timeout_at(end, play.next()).await;
        if asked - start >= FIRST {
            longest = longest.max((asked.elapsed(), asked - start));
        }
        let Ok(piece) = piece else { return Ok((taken, longest)) };
        let piece = piece?;
        compare(&mut expected, &piece)?;
        taken += piece.len() as u64;
    }
}

/// A user that scrubs. Returns how long each seek waited for its first byte, or until the next seek.
async fn scrub(buffer: BufferHandle, end: Instant, all: Bytes) -> io::Result<Vec<Duration>> {
    let mut reader = buffer.reader();
    let mut piece = vec![0; READ];
    let (mut waits, mut random) = (Vec::new(), 21);
    while Instant::now() < end {
        let place = (next(&mut random) % (all.len() - READ) as u64) as usize;
        let mut expected = all.slice(place..place + READ);
        let (asked, mut first) = (Instant::now(), None);
        reader.set_position(place as u64);
        let read = async {
            while !expected.is_empty() {
                let len = reader.read(&mut piece[..expected.len()]).await?;
                first.get_or_insert_with(|| asked.elapsed());
                compare(&mut expected, &piece[..len])?;
            }
            io::Result::Ok(())
        };
        timeout_at(asked + SCRUB, read).await.unwrap_or(Ok(()))?;
        waits.push(first.unwrap_or(SCRUB));
        sleep_until(asked + SCRUB).await;
    }
    Ok(waits)
}
