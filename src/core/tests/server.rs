//! A source at random: what it says of its bytes, and how often it fails.

use std::collections::BTreeMap;

use super::random::Random;
use super::*;

/// The bytes of a version of the resource. Every byte of two versions differs.
pub(super) fn bytes_of(version: u8, from: u64, to: u64) -> Bytes {
    source(from, to).iter().map(|byte| byte ^ version).collect()
}

/// What the source does, by a seed.
#[expect(clippy::struct_excessive_bools, reason = "independent facts about the source")]
pub(super) struct Server {
    pub(super) random: Random,
    pub(super) size: u64,
    /// In how many of 4 openings it tells its version.
    pub(super) tells_version: u64,
    /// It can be opened only from the start, and each stream starts with other bytes.
    pub(super) is_live: bool,
    /// Before the first byte its streams often break, each may be one of another version, and openings return late.
    pub(super) is_unsettled: bool,
    pub(super) tells_size: bool,
    pub(super) ignores_offsets: bool,
    /// How many of 100 steps have a fault.
    pub(super) faults: u64,
    pub(super) version: u8,
    /// The version of each open stream.
    pub(super) streams: BTreeMap<usize, u8>,
    /// The version of the bytes that the buffer keeps, once it has some.
    pub(super) kept: Option<u8>,
}

impl Server {
    /// The source of a seed, and the random numbers for the rest of the run.
    pub(super) fn new(seed: u64) -> (Self, Random) {
        let mut random = Random(seed);
        let most = [10, 5000, 300_000, 2_000_000][random.below(4) as usize];
        let mut server = Server {
            size: 1 + random.below(most),
            tells_version: [0, 0, 2, 4, 4, 4][random.below(6) as usize],
            is_live: false,
            is_unsettled: false,
            tells_size: !random.one_in(3),
            ignores_offsets: random.one_in(6),
            faults: [0, 5, 20, 50][random.below(4) as usize],
            version: 0,
            streams: BTreeMap::new(),
            kept: None,
            random,
        };
        let mut random = Random(seed ^ 1);
        if server.tells_version == 0 && random.one_in(3) {
            (server.is_live, server.ignores_offsets, server.tells_size) = (true, true, false);
        } else if server.tells_version == 2 && server.faults > 0 {
            (server.is_unsettled, server.ignores_offsets, server.tells_size) =
                (true, random.one_in(4), false);
        }
        (server, random)
    }
}
