//! The core in a world of its own: a source that never lies about its bytes, a disk that takes its
//! time or fails when told to, and no runtime. The numbers are those of the contract's rules.

#![allow(
    clippy::cast_possible_truncation,
    reason = "a test that panics has found something, and its offsets are small"
)]

mod crowd;
mod crowds;
mod demand;
mod discards;
mod ending;
mod failures;
mod far;
mod holes;
mod islands;
mod jumping;
mod keeping;
mod limits;
mod model;
mod proof;
mod pulling;
mod random;
mod reading;
mod resuming;
mod series;
mod server;
mod sharing;
mod sources;
mod spilling;
mod steps;
mod turns;
mod world;

use std::cell::Cell;
use std::io;
use std::ops::Range;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use bytes::Bytes;

use self::world::{Answer, Ask, Done, Kind, SIZE, Stream, World, looked_at, ms, told, versioned};
use super::memory::BLOCK;
use super::read::{Read, Want};
use super::{Limits, OpenedStream};
use crate::error::{Error, ErrorKind};
use crate::progress::{Progress, State};
use crate::source::Reopen;
use crate::source::retry::Retry;

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;

/// A block, in bytes of the resource.
const BLOCKS: u64 = BLOCK as u64;

/// All bytes of a resource.
const ALL: Range<u64> = 0..u64::MAX;

/// The most that memory may go over its budget, by rule 9.
const SLACK: usize = MIB;

/// In memory, without a declared size and without read-ahead: what most tests start
/// from.
const PLAIN: Limits =
    Limits { declared: None, max_memory: usize::MAX, read_ahead: 0, max_disk: u64::MAX, streams: 2 };

/// The stream of every test.
static SOURCE: LazyLock<Bytes> = LazyLock::new(|| generate(8 * MIB));

/// Bytes that depend on all of their offset: a shift by any distance shows.
fn generate(len: usize) -> Bytes {
    let word = |at: u64| {
        let mixed = (at ^ (at >> 31)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        (mixed ^ (mixed >> 29)).wrapping_mul(0xBF58_476D_1CE4_E5B9).to_be_bytes()
    };
    (1..=len.div_ceil(8) as u64).flat_map(word).collect::<Vec<u8>>().into()
}

/// Bytes `[from, to)` of the stream.
fn source(from: u64, to: u64) -> Bytes {
    SOURCE.slice(from as usize..to as usize)
}

/// The progress of a one-way buffer whose store does not fail.
fn progress(loaded: u64, spilled: u64, size: Option<u64>, state: State) -> Progress {
    let streams = usize::from(!state.is_final());
    let resident = loaded - spilled;
    let (start, frontier, store_failing) = (0, loaded, false);
    Progress { loaded, size, resident, spilled, start, frontier, streams, state, store_failing }
}
