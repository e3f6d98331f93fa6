//! More readers than streams: what they read, and what the streams can do.

use std::io;
use std::ops::Range;
use std::time::Duration;

use futures::TryStreamExt;
use futures::future::try_join_all;
use streamspool::{BufferHandle, Bytes};
use tokio::io::{AsyncReadExt, AsyncSeekExt};
use tokio::time::Instant;

use crate::common::{KIB, MIB};
use crate::link::Link;
use crate::{BLOCK, READ, READ_AHEAD, wrong_bytes};

/// How a reader asks for its bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Way {
    /// One piece after the other, as the body of an HTTP response.
    Chunks,
    /// A `BufferReader`.
    Reader,
    /// One exact read of 64 KiB after the other.
    Exact,
}

/// Readers that start at once, far apart.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Crowd {
    pub(crate) name: &'static str,
    way: Way,
    readers: u64,
    /// The bytes of each reader.
    len: u64,
}

/// The crowds. Their lengths are divided by `divisor`.
pub(crate) fn crowds(divisor: u64) -> Vec<Crowd> {
    let crowd = |name, way, readers, kib: u64| Crowd { name, way, readers, len: kib * KIB as u64 / divisor };
    vec![
        crowd("2 chunks, 2 MiB each", Way::Chunks, 2, 2048),
        crowd("3 chunks, 2 MiB each", Way::Chunks, 3, 2048),
        crowd("5 readers, 1 MiB each", Way::Reader, 5, 1024),
        crowd("8 chunks, 1 MiB each", Way::Chunks, 8, 1024),
        crowd("12 read(64 KiB), 512 KiB each", Way::Exact, 12, 512),
        crowd("20 chunks, 2 MiB each", Way::Chunks, 20, 2048),
    ]
}

impl Crowd {
    pub(crate) fn needed(&self) -> u64 {
        self.readers * self.len
    }

    /// All streams bring needed bytes all the time, after one round trip. No reader has more than one stream.
    pub(crate) fn ideal(&self, link: Link, streams: usize) -> Duration {
        let streams = (streams as u64).min(self.readers);
        link.latency + link.time(self.needed().div_ceil(streams))
    }

    /// The goal for the number of requests.
    pub(crate) fn requests(&self) -> u64 {
        self.needed() / (MIB as u64 / 2) + self.readers
    }

    /// The goal for the bytes.
    pub(crate) fn bytes(&self) -> u64 {
        self.needed() + self.readers * (READ_AHEAD + BLOCK)
    }

    /// Reads all bytes of all readers, and compares them.
    pub(crate) async fn read(self, buffer: BufferHandle, all: Bytes) -> io::Result<Duration> {
        let start = Instant::now();
        let readers = (0..self.readers).map(|reader| {
            let start = reader * (all.len() as u64 / self.readers);
            let reader = read(self.way, buffer.clone(), start..start + self.len, all.clone());
            async { tokio::spawn(reader).await.expect("a reader ends") }
        });
        try_join_all(readers).await?;
        Ok(start.elapsed())
    }
}

async fn read(way: Way, buffer: BufferHandle, range: Range<u64>, all: Bytes) -> io::Result<()> {
    let mut expected = all.slice(range.start as usize..range.end as usize);
    match way {
        Way::Chunks => {
            let mut chunks = buffer.chunks(range);
            while let Some(piece) = chunks.try_next().await? {
                compare(&mut expected, &piece)?;
            }
        }
        Way::Reader => {
            let mut reader = buffer.reader();
            reader.seek(io::SeekFrom::Start(range.start)).await?;
            let mut piece = vec![0; READ];
            while !expected.is_empty() {
                let most = expected.len().min(READ);
                let len = reader.read(&mut piece[..most]).await?;
                compare(&mut expected, &piece[..len])?;
            }
        }
        Way::Exact => {
            for offset in range.clone().step_by(READ) {
                let len = (range.end - offset).min(READ as u64) as usize;
                compare(&mut expected, &buffer.read(offset, len).await?)?;
            }
        }
    }
    if expected.is_empty() { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
}

/// Takes the piece off the front of the bytes that are expected.
pub(crate) fn compare(expected: &mut Bytes, piece: &[u8]) -> io::Result<()> {
    let is_right =
        !piece.is_empty() && piece.len() <= expected.len() && expected.split_to(piece.len()) == piece;
    if is_right { Ok(()) } else { Err(wrong_bytes()) }
}
