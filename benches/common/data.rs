//! The bytes that everybody streams, and the stream that everybody gets them from.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures::Stream;
use streamspool::Bytes;

use super::{KIB, MIB};

/// What a source sends at a time.
pub(crate) const CHUNK: usize = 64 * KIB;

/// What a reader reads at a time.
pub(crate) const BUFFER: usize = 64 * KIB;

/// What a random read asks for.
pub(crate) const PAGE: usize = 4 * KIB;

/// `len` bytes of which no stretch is like another: one block that all caches hold would flatter
/// everybody.
pub(crate) fn generate(len: usize) -> Bytes {
    let mut bytes = Vec::with_capacity(len + 8);
    let mut state = 0_u64;
    while bytes.len() < len {
        bytes.extend_from_slice(&next(&mut state).to_le_bytes());
    }
    bytes.truncate(len);
    bytes.into()
}

/// What [`generate`] has at `at`, the first eight bytes of it, without a look at what it made: that
/// would cost as much as the read to be checked.
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

/// Offsets at which a [`PAGE`] can be read, any byte of `len` being as likely as another. The same
/// ones for the same `seed`.
pub(crate) fn offsets(len: usize, seed: usize) -> impl Iterator<Item = usize> + Send {
    let mut state = (seed as u64) << 32;
    let most = (len - PAGE) as u64;
    // Multiply and shift: a division would be part of what is measured.
    std::iter::repeat_with(move || ((u128::from(next(&mut state)) * u128::from(most)) >> 64) as usize)
}

/// A source that costs next to nothing: slices of bytes that exist, and always ready.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    all: Bytes,
    rest: Bytes,
    chunk: usize,
    left: u64,
}

impl Source {
    /// `all` once.
    pub(crate) fn of(all: &Bytes) -> Self {
        Self::cycle(all, all.len() as u64)
    }

    /// `all` over and over, `total` bytes.
    pub(crate) fn cycle(all: &Bytes, total: u64) -> Self {
        Self { all: all.clone(), rest: all.clone(), chunk: CHUNK, left: total }
    }

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

/// For a reader that is not async.
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

/// The size of the whole for the rows of the table.
pub(crate) const WHOLE: usize = 256 * MIB;
pub(crate) const TINY: usize = 2 * MIB;
