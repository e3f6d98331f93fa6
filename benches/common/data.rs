//! The bytes that all sides stream, and the source that sends them.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures::Stream;
use streamspool::Bytes;

use super::{KIB, MIB};

/// The size of the source's chunks.
pub(crate) const CHUNK: usize = 64 * KIB;

/// The size of a reader's buffer.
pub(crate) const BUFFER: usize = 64 * KIB;

/// The length of a random read.
pub(crate) const PAGE: usize = 4 * KIB;

/// `len` bytes that do not repeat. A repeated block would stay in the processor's caches and make every side
/// look faster.
pub(crate) fn generate(len: usize) -> Bytes {
    let mut bytes = Vec::with_capacity(len + 8);
    let mut state = 0_u64;
    while bytes.len() < len {
        bytes.extend_from_slice(&next(&mut state).to_le_bytes());
    }
    bytes.truncate(len);
    bytes.into()
}

/// The eight bytes that [`generate`] has at `at`. They are computed, because loading them from memory would
/// cost as much as the read that they check.
pub(crate) fn expected(at: usize) -> [u8; 8] {
    let mut state = STEP.wrapping_mul(at as u64 / 8);
    let (low, high) = (next(&mut state), next(&mut state));
    let both = u128::from(low) | u128::from(high) << 64;
    ((both >> (at % 8 * 8)) as u64).to_le_bytes()
}

const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

/// The splitmix64 generator.
pub(crate) fn next(state: &mut u64) -> u64 {
    *state = state.wrapping_add(STEP);
    let mut word = *state;
    word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

/// Random offsets at which a [`PAGE`] of `len` bytes can be read, all equally likely. The same `seed` gives
/// the same offsets.
pub(crate) fn offsets(len: usize, seed: usize) -> impl Iterator<Item = usize> + Send {
    let mut state = (seed as u64) << 32;
    let most = (len - PAGE) as u64;
    // Multiply and shift, because the time of a division would be measured too.
    std::iter::repeat_with(move || ((u128::from(next(&mut state)) * u128::from(most)) >> 64) as usize)
}

/// A source that costs nearly nothing: it is always ready and sends slices of existing bytes.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    all: Bytes,
    rest: Bytes,
    chunk: usize,
    left: u64,
}

impl Source {
    /// Sends `all` once.
    pub(crate) fn of(all: &Bytes) -> Self {
        Self::cycle(all, all.len() as u64)
    }

    /// Sends `all` again and again, `total` bytes in all.
    pub(crate) fn cycle(all: &Bytes, total: u64) -> Self {
        Self { all: all.clone(), rest: all.clone(), chunk: CHUNK, left: total }
    }

    /// The next chunk.
    pub(crate) fn pull(&mut self) -> Option<Bytes> {
        if self.left == 0 {
            return None;
        }
        if self.rest.is_empty() {
            self.rest = self.all.clone();
        }
        let left = usize::try_from(self.left).unwrap_or(usize::MAX);
        let chunk = self.rest.split_to(self.chunk.min(self.rest.len()).min(left));
        self.left -= chunk.len() as u64;
        Some(chunk)
    }
}

impl Stream for Source {
    type Item = io::Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        Poll::Ready(self.pull().map(Ok))
    }
}

/// For synchronous readers.
impl io::Read for Source {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let chunk = self.chunk;
        self.chunk = chunk.min(buf.len());
        let pulled = self.pull().unwrap_or_default();
        self.chunk = chunk;
        buf[..pulled.len()].copy_from_slice(&pulled);
        Ok(pulled.len())
    }
}

/// The size of the stream in a measurement.
pub(crate) const WHOLE: usize = 256 * MIB;
/// The size of the stream in a brief run.
pub(crate) const TINY: usize = 2 * MIB;
