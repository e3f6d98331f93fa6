//! Many small islands: reads far apart, and reads that go backwards in small steps. Rules 4, 9, 25 and 29.

use super::remote::{Remote, SIZE, versioned};
use super::*;
use crate::core::memory::SEGMENT;
use crate::source::retry::Retry;

/// Reads `len` bytes at `offset` from a source and a disk that are ready. No time passes.
fn read_at_once(remote: &mut Remote, offset: u64, len: u64) {
    remote.read(offset, len);
    while remote.answers.is_empty() {
        let streams: Vec<usize> = remote.streams.keys().copied().collect();
        if remote.is_opening() {
            remote.opened(versioned());
        } else if remote.writing.is_some() {
            remote.write_succeeds();
        } else {
            let wanted = streams.into_iter().find(|stream| remote.wants_of(*stream));
            remote.send_of(wanted.unwrap_or_else(|| panic!("the read at {offset} waits for time")), len);
        }
    }
    assert_eq!(remote.bytes(), source(offset, offset + len));
}

#[test]
fn reads_that_go_backwards_in_small_steps_wait_for_no_time() {
    // Rules 4 and 27: each read opens the source and fills in the same block.
    for (max_memory, max_disk) in [(0, 0), (0, BLOCK as u64), (BLOCK, 0)] {
        for streams in 1..4 {
            let limits = Limits { max_memory, max_disk, streams, ..PLAIN };
            let mut remote = Remote::with(limits, Retry::default());
            for n in 1..1000 {
                read_at_once(&mut remote, 8 * BLOCK as u64 - 64 * n, 16);
                assert!(remote.core.held() <= max_memory + MIB);
            }
        }
    }
}

#[test]
fn a_block_full_of_tiny_islands_that_streams_fill_can_leave() {
    // Rules 4 and 9: the islands count more than all memory that there is.
    for max_disk in [0, BLOCK as u64] {
        let limits = Limits { max_memory: 0, max_disk, streams: 2, ..PLAIN };
        let mut remote = Remote::with(limits, Retry::default());
        for n in 1..3000 {
            read_at_once(&mut remote, 8 * BLOCK as u64 - 16 * n, 1);
            assert!(remote.core.held() <= MIB);
        }
    }
}

#[test]
fn a_stream_that_stops_gives_back_its_room_while_another_one_fills_the_block() {
    // Rule 9.
    let mut remote = Remote::with(Limits { streams: 2, ..PLAIN }, Retry::default());
    read_at_once(&mut remote, 200_000, 10);
    for n in 1..100 {
        read_at_once(&mut remote, 200_000 - 64 * n, 16);
        let (islands, open) = (n as usize + 1, 2 * KIB);
        assert!(remote.core.held() <= islands * (16 + SEGMENT) + open, "{} after {n}", remote.core.held());
    }
}

#[test]
fn a_stream_gets_no_memory_for_bytes_that_are_loaded() {
    // Rule 9: with a whole block for its rest, the block would be in memory twice.
    let mut remote = Remote::with(Limits { streams: 2, ..PLAIN }, Retry::default());
    let boundary = 4 * BLOCK as u64;
    read_at_once(&mut remote, boundary + 1000, 200_000);
    remote.read(boundary - 300_000, 301_000);
    remote.opened(versioned());
    remote.send_of(1, 300_500);
    let loaded = usize::try_from(remote.published.resident).unwrap();
    assert!(remote.core.held() <= loaded + 500 + 64 * KIB, "{} for {loaded}", remote.core.held());
    remote.send_of(1, 500);
    let answer: Vec<u8> = remote.answers.drain(..).flat_map(|(_, bytes)| bytes.unwrap().to_vec()).collect();
    assert!(answer.starts_with(&source(boundary - 300_000, boundary - 300_000 + answer.len() as u64)));
}

#[test]
fn an_island_of_one_byte_counts_what_it_costs_and_a_full_block_only_its_bytes() {
    // Rule 9.
    let mut remote = Remote::with(PLAIN, Retry::default());
    for n in 0..1000 {
        read_at_once(&mut remote, SIZE - 1000 - 2000 * n, 1);
    }
    let held = remote.core.layout.allocated();
    assert!((999 * SEGMENT..=1000 * (SEGMENT + 1) + 4 * KIB).contains(&held), "{held} bytes");
    // The islands leave if they count more than the limit, though they have only 1000 bytes.
    let mut remote = Remote::with(Limits { max_memory: 100 * SEGMENT, ..PLAIN }, Retry::default());
    for n in 0..1000 {
        read_at_once(&mut remote, SIZE - 1000 - 2000 * n, 1);
        assert!(remote.core.layout.allocated() <= 100 * SEGMENT + 2 * KIB + BLOCK / 2000 * (SEGMENT + 1));
    }
    assert!(remote.published.spilled > 700, "{:?}", remote.published);
    let mut remote = Remote::new();
    read_at_once(&mut remote, 0, 4 * BLOCK as u64);
    assert_eq!(remote.core.layout.allocated(), 4 * BLOCK);
}
