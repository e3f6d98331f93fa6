//! `spill` requests move all resident bytes to the store: rules 7, 9, 12 and 16.

use super::*;

/// 300,000 bytes in memory: a little more than one block.
fn resident() -> World {
    let mut world = World::one_way(PLAIN);
    world.send(300_000);
    world
}

#[test]
fn a_spill_moves_all_that_is_resident_and_is_answered_then() {
    // Rule 12.
    let mut world = resident();
    let spill = world.spill();
    world.pump();
    assert!(world.is_waiting(&spill));
    // Bytes that arrive meanwhile are not part of the request.
    world.send(1000);
    world.write_all();
    assert_eq!(world.bytes(&spill), "");
    assert_eq!(world.disk.all(), source(0, 300_000));
    assert_eq!(world.progress().spilled, 300_000);
    world.reads(0, 301_000);
}

#[test]
fn a_spill_gives_back_all_memory() {
    // Rule 12.
    let mut world = resident();
    world.spill();
    world.write_all();
    assert_eq!(world.allocated(), 0);
    let again = world.spill();
    world.pump();
    assert!(world.bytes(&again).is_empty() && !world.disk.is_writing(), "nothing is left to write");
}

#[test]
fn a_spill_of_nothing_is_answered_at_once() {
    // Rule 12.
    let mut world = World::one_way(PLAIN);
    let spill = world.spill();
    world.pump();
    assert_eq!(world.bytes(&spill), "");
}

#[test]
fn a_large_spill_is_written_in_parts() {
    // Rules 10, 12: memory is given back while the rest is still being written.
    let mut world = World::one_way(PLAIN);
    world.send(5 * MIB + 5);
    let spill = world.spill();
    world.pump();
    world.write_succeeds();
    let part = world.progress().spilled;
    assert!(0 < part && part <= MIB as u64);
    assert!(world.is_waiting(&spill));
    world.write_all();
    assert_eq!(world.bytes(&spill), "");
    assert_eq!(world.disk.all(), source(0, 5 * MIB as u64 + 5));
}

#[test]
fn a_block_can_be_spilled_again_and_again_as_it_fills() {
    // Rules 1, 12: part of a block is on disk and part in memory. Each read finds both.
    let mut world = World::one_way(PLAIN);
    let mut step = 1;
    while world.source.sent + step < 3 * BLOCK as u64 {
        world.send(step as usize);
        let spill = world.spill();
        world.pump();
        // More of the same block arrives while this part is being written.
        world.send(step as usize / 3);
        world.write_succeeds();
        assert_eq!(world.bytes(&spill), "");
        world.reads(0, world.source.sent);
        let near = world.progress().spilled.saturating_sub(2);
        world.reads(near, world.source.sent - near);
        step = step * 7 / 5 + 1;
    }
    world.ends();
    world.spill();
    world.write_all();
    assert_eq!(world.disk.all(), source(0, world.source.sent));
    assert_eq!(world.allocated(), 0);
}

#[test]
fn a_part_spilled_block_keeps_the_memory_bound() {
    // Rule 9.
    let mut world = World::one_way(Limits { max_memory: BLOCK, read_ahead: u64::MAX, ..PLAIN });
    for _ in 0..12 {
        world.send_while_wanted(100_000);
        world.spill();
        world.pump();
        world.send_while_wanted(400_000);
        assert!(world.allocated() <= BLOCK + SLACK);
        world.write_all();
        assert!(world.wants());
        assert!(world.allocated() <= 2 * BLOCK);
    }
}

#[test]
fn a_failed_spill_leaves_reads_alone_while_memory_is_within_its_budget() {
    // Rule 16.
    let mut world = resident();
    let read = world.read(0, 300_001);
    let spills = [world.spill(), world.spill()];
    world.pump();
    world.write_fails();
    for spill in &spills {
        assert_eq!(world.error_of(spill).kind(), ErrorKind::Spill);
    }
    assert!(world.is_waiting(&read) && world.wants());
    assert!(!world.disk.is_writing(), "no request asks for it any more");
    world.send(1);
    assert_eq!(world.bytes(&read), source(0, 300_001));
    let again = world.spill();
    world.write_all();
    assert_eq!(world.bytes(&again), "");
    assert_eq!(world.disk.all(), source(0, 300_001));
}

#[test]
fn a_failed_spill_over_the_budget_stops_pulling_and_the_next_spill_heals_it() {
    // Rule 16.
    let mut world = World::one_way(Limits { max_memory: 0, ..PLAIN });
    let read = world.read(0, 300_001);
    world.send(300_000);
    let spill = world.spill();
    world.pump();
    world.write_fails();
    assert_eq!(world.error_of(&spill).kind(), ErrorKind::Spill);
    assert_eq!(world.error_of(&read).kind(), ErrorKind::Spill);
    let again = world.spill();
    world.write_all();
    assert_eq!(world.bytes(&again), "");
}

#[test]
fn an_abandoned_spill_goes_on() {
    // Rule 12: the handle promises it.
    let mut world = resident();
    world.spill().abandon();
    world.write_all();
    assert_eq!(world.progress().spilled, 300_000);
}

#[test]
fn abandoned_spills_do_not_pile_up_while_the_disk_stalls() {
    // Rule 7. Each request is dropped after the next one is made, as if two tasks took turns.
    let mut world = resident();
    let first = world.spill();
    world.pump();
    let mut last = world.spill();
    for n in 0..200_000 {
        if n % 1000 == 0 {
            world.send(1);
        }
        let next = world.spill();
        last.abandon();
        last = next;
        assert!(world.kept_requests() <= 128);
    }
    last.abandon();
    world.write_all();
    assert_eq!(world.bytes(&first), "");
    // The requests were dropped, but their bytes are spilled.
    assert_eq!(world.progress().spilled, world.source.sent);
}

#[test]
fn many_spills_cost_no_more_each() {
    // Answering one request must not move all others.
    let mut world = resident();
    let spills: Vec<Ask> = (0..100_000).map(|_| world.spill()).collect();
    world.write_all();
    assert_eq!(world.fresh.len(), spills.len());
    assert!(world.fresh.iter().is_sorted(), "first in, first out");
}
