//! Settled bytes: callers read them without a request, so nothing may depend on these reads. Rules 1, 6, 26 and 27.

use super::jumping::started;
use super::*;

/// A stream of which these bytes are spilled, and a slice of the store that was lent then.
fn spilled(read_ahead: u64, len: usize) -> World {
    let mut world = World::one_way(Limits { read_ahead, ..PLAIN });
    world.borrow = true;
    world.send(len);
    world.spill();
    world.write_all();
    lend(&mut world, 0);
    world
}

/// A caller reads a slice at `offset`. The result is the end of the settled bytes that it reports.
fn lend(world: &mut World, offset: u64) -> u64 {
    let read = world.read_some(offset, 100);
    assert_eq!(world.bytes(&read), source(offset, offset + 100));
    world.disk.settled
}

#[test]
fn bytes_from_the_start_are_settled_as_far_as_they_are_stored() {
    // Rule 1.
    let mut world = spilled(0, 2 * BLOCK + 10);
    assert_eq!(world.disk.settled, 2 * BLOCKS + 10);
    world.send(BLOCK);
    assert_eq!(lend(&mut world, 0), 2 * BLOCKS + 10, "bytes in memory are not settled");
    world.spill();
    world.write_all();
    assert_eq!(lend(&mut world, 0), 3 * BLOCKS + 10);
}

#[test]
fn bytes_are_not_settled_if_their_reads_move_the_read_ahead() {
    // Rule 6: a read at the end of the settled bytes pulls nothing, and a read after it may.
    let ahead = 2 * BLOCKS;
    let mut world = spilled(ahead, 5 * BLOCK);
    assert_eq!(world.disk.settled, 3 * BLOCKS);
    world.read_some(3 * BLOCKS - 100, 100);
    assert!(!world.wants());
    world.read_some(3 * BLOCKS - 99, 100);
    assert!(world.wants());

    let world = spilled(9 * BLOCKS, 5 * BLOCK);
    assert_eq!(world.disk.settled, 0, "read-ahead is longer than the loaded bytes");
}

#[test]
fn all_stored_bytes_are_settled_if_read_ahead_needs_no_reads() {
    // Rule 6: it is unlimited, or the stream has ended.
    assert_eq!(spilled(u64::MAX, 5 * BLOCK).disk.settled, 5 * BLOCKS);
    let mut world = spilled(2 * BLOCKS, 5 * BLOCK);
    world.ends();
    assert_eq!(lend(&mut world, 0), 5 * BLOCKS);
    let mut world = spilled(2 * BLOCKS, 5 * BLOCK);
    world.breaks();
    assert_eq!(lend(&mut world, 0), 5 * BLOCKS);
}

#[test]
fn no_bytes_are_settled_once_the_store_has_a_limit() {
    // Rule 27: each read counts, and bytes may leave.
    let mut world = spilled(0, 5 * BLOCK);
    assert_eq!(world.disk.settled, 5 * BLOCKS);
    world.set_limits(None, Some(9 * BLOCKS));
    world.pump();
    assert_eq!(lend(&mut world, 0), 0);
}

#[test]
fn bytes_after_a_hole_are_not_settled() {
    // Rule 1: a jump has loaded the end of the resource only.
    let mut world = World::source(Limits { max_memory: 0, ..PLAIN });
    world.read(SIZE - 10, 10);
    world.opened(versioned());
    world.send(10);
    world.spill();
    world.write_all();
    let read = world.ask(Read { offset: SIZE - 10, len: 10, want: Want::Piece, borrow: true });
    assert_eq!(world.bytes(&read), source(SIZE - 10, SIZE));
    assert_eq!(world.disk.read_settled(0), None);
    assert_eq!(world.disk.read_settled(SIZE - 10), None);
}

#[test]
fn a_reader_that_leaves_the_settled_bytes_takes_no_read_ahead_from_another_one() {
    // Rule 26: two streams may be open, so two positions count.
    let mut world = started(Limits { read_ahead: 100_000, streams: 2, ..PLAIN }, 1_500_000);
    world.spill();
    world.write_all();
    // The other reader is far ahead.
    world.read(2_500_000, 1000);
    world.opened(versioned());
    world.send_of(1, 1000);
    assert!(world.wants_of(1), "its stream reads ahead");
    // This one reads at the start, goes on without requests, and asks again near the first missing byte.
    for offset in [0, 1_450_000] {
        let read = world.ask(Read { offset, len: 1000, want: Want::Piece, borrow: true });
        assert_eq!(world.bytes(&read), source(offset, offset + 1000));
        assert!(world.wants_of(1), "after the read at {offset}");
    }
    assert!(world.wants_of(0));
}

#[test]
fn settled_bytes_count_as_read_when_the_store_gets_a_limit() {
    // Rule 27: otherwise read-ahead would wait until they are read once more.
    let mut world = World::one_way(Limits { max_memory: 0, read_ahead: u64::MAX, ..PLAIN });
    world.borrow = true;
    while world.source.sent < 8 * BLOCKS {
        world.send_while_wanted(BLOCK);
        world.write_all();
    }
    assert_eq!(lend(&mut world, 0), 8 * BLOCKS);
    world.set_limits(None, Some(8 * BLOCKS));
    world.write_all();
    while world.source.sent < 12 * BLOCKS {
        assert!(world.wants(), "nothing is pulled at {}", world.source.sent);
        world.send_while_wanted(BLOCK);
        world.write_all();
    }
    // Bytes after them do not count as read.
    for _ in 0..100 {
        world.send_while_wanted(BLOCK);
        world.write_all();
    }
    assert!(!world.wants());
}
