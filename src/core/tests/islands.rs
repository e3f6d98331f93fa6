//! Many small islands: reads far apart, and reads that go backwards in small steps. Rules 4, 9, 25 and 29.

use super::*;
use crate::core::memory::SEGMENT;

/// Reads `len` bytes at `offset` from a source and a disk that are ready. No time passes.
fn read_at_once(world: &mut World, offset: u64, len: u64) {
    let read = world.read(offset, len);
    world.write_all();
    world.work_for(&read, len);
    assert_eq!(world.next_bytes(), source(offset, offset + len));
}

#[test]
fn reads_that_go_backwards_in_small_steps_wait_for_no_time() {
    // Rules 4 and 27: each read opens the source and fills in the same block.
    for (max_memory, max_disk) in [(0, 0), (0, BLOCK as u64), (BLOCK, 0)] {
        for streams in 1..4 {
            let limits = Limits { max_memory, max_disk, streams, ..PLAIN };
            let mut world = World::source(limits);
            for n in 1..1000 {
                read_at_once(&mut world, 8 * BLOCK as u64 - 64 * n, 16);
                assert!(world.memory() <= max_memory + MIB);
            }
        }
    }
}

#[test]
fn a_block_full_of_tiny_islands_that_streams_fill_can_leave() {
    // Rules 4 and 9: the islands count more than all memory that there is.
    for max_disk in [0, BLOCK as u64] {
        let limits = Limits { max_memory: 0, max_disk, streams: 2, ..PLAIN };
        let mut world = World::source(limits);
        for n in 1..3000 {
            read_at_once(&mut world, 8 * BLOCK as u64 - 16 * n, 1);
            assert!(world.memory() <= MIB);
        }
    }
}

#[test]
fn a_stream_that_stops_gives_back_its_room_while_another_one_fills_the_block() {
    // Rule 9.
    let mut world = World::source(Limits { streams: 2, ..PLAIN });
    read_at_once(&mut world, 200_000, 10);
    for n in 1..100 {
        read_at_once(&mut world, 200_000 - 64 * n, 16);
        let (islands, open) = (n as usize + 1, 2 * KIB);
        assert!(world.memory() <= islands * (16 + SEGMENT) + open, "{} after {n}", world.memory());
    }
}

#[test]
fn a_stream_gets_no_memory_for_bytes_that_are_loaded() {
    // Rule 9: with a whole block for its rest, the block would be in memory twice.
    let mut world = World::source(Limits { streams: 2, ..PLAIN });
    let boundary = 4 * BLOCK as u64;
    read_at_once(&mut world, boundary + 1000, 200_000);
    world.read(boundary - 300_000, 301_000);
    world.opened(versioned());
    world.send_of(1, 300_500);
    let loaded = usize::try_from(world.published.resident).unwrap();
    assert!(world.memory() <= loaded + 500 + 64 * KIB, "{} for {loaded}", world.memory());
    world.send_of(1, 500);
    assert!(world.next_bytes() == source(boundary - 300_000, boundary + 1000));
}

#[test]
fn an_island_of_one_byte_counts_what_it_costs_and_a_full_block_only_its_bytes() {
    // Rule 9.
    let mut world = World::source(PLAIN);
    for n in 0..1000 {
        read_at_once(&mut world, SIZE - 1000 - 2000 * n, 1);
    }
    let held = world.allocated();
    assert!((999 * SEGMENT..=1000 * (SEGMENT + 1) + 4 * KIB).contains(&held), "{held} bytes");
    // The islands leave if they count more than the limit, though they have only 1000 bytes.
    let mut world = World::source(Limits { max_memory: 100 * SEGMENT, ..PLAIN });
    for n in 0..1000 {
        read_at_once(&mut world, SIZE - 1000 - 2000 * n, 1);
        assert!(world.allocated() <= 100 * SEGMENT + 2 * KIB + BLOCK / 2000 * (SEGMENT + 1));
    }
    assert!(world.published.spilled > 700, "{:?}", world.published);
    let mut world = World::source(PLAIN);
    read_at_once(&mut world, 0, 4 * BLOCK as u64);
    assert_eq!(world.allocated(), 4 * BLOCK);
}
