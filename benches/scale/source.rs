//! The live streams.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures::Stream;
use streamspool::Bytes;
use tokio::time::{Instant, Interval, interval_at};

use crate::common::KIB;
use crate::common::data::generate;

/// A chunk each eighth of a second is 16 KiB/s. Audio of 128 kbit/s comes in packets of about this size.
pub(crate) const CHUNK: usize = 2 * KIB;
pub(crate) const PERIOD: Duration = Duration::from_millis(125);

/// The readers of each stream.
pub(crate) const READERS: usize = 3;

/// The block of a buffer.
pub(crate) const BLOCK: usize = 256 * KIB;

/// The bytes of all streams repeat after this many. It is a prime: bytes of another chunk or block are never
/// equal. It is small: a chunk is in the processor's caches, as one that a socket has just brought.
const REPEAT: usize = 65_521;

/// The bytes of all streams. Each stream starts at a place of its own.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pattern(&'static [u8]);

impl Pattern {
    /// The bytes are static memory, so their chunks have no reference counts.
    pub(crate) fn new() -> Self {
        Self(generate(REPEAT).repeat(3 * BLOCK / REPEAT + 2).leak())
    }

    /// The `len` bytes of a stream from `offset` on: at most three blocks.
    pub(crate) fn bytes(self, stream: usize, offset: u64, len: usize) -> &'static [u8] {
        let start = (stream as u64 * 97 + offset) % REPEAT as u64;
        &self.0[start as usize..][..len]
    }

    /// Fails if these are not the bytes of the stream from `offset` on.
    pub(crate) fn verify(self, stream: usize, offset: u64, bytes: &[u8]) {
        assert_eq!(bytes, self.bytes(stream, offset, bytes.len()), "stream {stream}, offset {offset}");
    }
}

/// The length of the first chunk of a stream. No reader reads it. With it each buffer is where it would be after
/// half a minute or more: it has filled two blocks, and a part of the third. This part is another one for each
/// stream.
pub(crate) fn first_len(stream: usize) -> usize {
    2 * BLOCK + stream * 37 % (BLOCK / CHUNK) * CHUNK
}

/// A live stream: [`first_len`] bytes at once, then a chunk in each period.
#[derive(Debug)]
pub(crate) struct Live {
    pattern: Pattern,
    stream: usize,
    ticks: Interval,
    offset: u64,
}

impl Live {
    /// The ticks of `streams` streams are spread over the period.
    pub(crate) fn new(pattern: Pattern, stream: usize, streams: usize, start: Instant) -> Self {
        let first = start + PERIOD.mul_f64(stream as f64 / streams as f64);
        Self { pattern, stream, ticks: interval_at(first, PERIOD), offset: 0 }
    }
}

impl Stream for Live {
    type Item = io::Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let len = if self.offset == 0 {
            first_len(self.stream)
        } else {
            ready!(self.ticks.poll_tick(cx));
            CHUNK
        };
        let bytes = self.pattern.bytes(self.stream, self.offset, len);
        self.offset += len as u64;
        Poll::Ready(Some(Ok(Bytes::from_static(bytes))))
    }
}
