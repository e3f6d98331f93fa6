//! The bytes that a read gets, and when: rules 1 to 5.

use super::*;

/// A hundred bytes are loaded, and the stream has not ended.
fn hundred() -> World {
    let mut world = World::one_way(PLAIN);
    world.send(100);
    world
}

#[test]
fn before_the_index_both_reads_are_answered_now() {
    // Rules 1, 2.
    let mut world = hundred();
    let (exact, some) = (world.read(20, 80), world.read_some(20, 80));
    assert_eq!(world.bytes(&exact), source(20, 100));
    assert_eq!(world.bytes(&some), source(20, 100));
}

#[test]
fn across_the_index_an_exact_read_waits_for_the_rest_and_a_read_of_some_is_short() {
    // Rules 1, 2.
    let mut world = hundred();
    let (exact, some) = (world.read(90, 20), world.read_some(90, 20));
    assert_eq!(world.bytes(&some), source(90, 100));
    world.send(9);
    assert!(world.is_waiting(&exact));
    world.send(1);
    assert_eq!(world.bytes(&exact), source(90, 110));
}

#[test]
fn at_the_index_an_exact_read_waits_for_all_and_a_read_of_some_for_one_byte() {
    // Rules 1, 2.
    let mut world = hundred();
    let (exact, some) = (world.read(100, 10), world.read_some(100, 10));
    assert!(world.is_waiting(&exact) && world.is_waiting(&some));
    world.send(1);
    assert!(world.is_waiting(&exact));
    assert_eq!(world.bytes(&some), source(100, 101));
    world.send(20);
    assert_eq!(world.bytes(&exact), source(100, 110));
}

#[test]
fn after_the_index_both_reads_wait_and_all_before_them_is_kept() {
    // Rules 1, 2.
    let mut world = hundred();
    let (exact, some) = (world.read(150, 10), world.read_some(150, 10));
    world.send(50);
    assert!(world.is_waiting(&exact) && world.is_waiting(&some));
    world.send(5);
    assert!(world.is_waiting(&exact));
    assert_eq!(world.bytes(&some), source(150, 155));
    world.send(5);
    assert_eq!(world.bytes(&exact), source(150, 160));
    world.reads(100, 50);
}

#[test]
fn a_read_of_no_bytes_is_answered_at_once_wherever_it_lies() {
    // Rule 3. Also for spilled bytes, where it must not read the store.
    let mut world = hundred();
    world.spill();
    world.write_all();
    world.send(100);
    for offset in [0, 50, 100, 150, 200, 201, u64::MAX] {
        let (exact, some) = (world.read(offset, 0), world.read_some(offset, 0));
        assert_eq!(world.bytes(&exact), "");
        assert_eq!(world.bytes(&some), "");
    }
    assert_eq!(world.disk.reads.get(), 0);
    assert!(!world.wants());
    world.breaks();
    let read = world.read(500, 0);
    assert_eq!(world.bytes(&read), "");
}

#[test]
fn a_range_past_the_last_offset_goes_to_the_end() {
    // Rules 1, 3.
    let mut world = hundred();
    let all = world.read(10, u64::MAX);
    let far = world.read(u64::MAX, u64::MAX);
    let far_some = world.read_some(u64::MAX - 1, 5);
    let end = world.load(ALL);
    world.send(100);
    assert_eq!(world.fresh.len(), 0);
    world.ends();
    assert_eq!(world.bytes(&all), source(10, 200));
    for read in [&far, &far_some, &end] {
        assert_eq!(world.bytes(read), "");
    }
}

#[test]
fn a_read_that_can_be_answered_passes_those_that_wait() {
    // Rule 4.
    let mut world = hundred();
    let far = world.read(0, 1 << 40);
    let late = world.read(300, 1);
    let soon = world.read(100, 1);
    world.reads(99, 1);
    world.send(1);
    assert_eq!(world.bytes(&soon), source(100, 101));
    assert!(world.is_waiting(&far) && world.is_waiting(&late));
}

#[test]
fn reads_that_wait_for_the_same_byte_are_answered_in_order() {
    let mut world = World::one_way(PLAIN);
    let asks = [world.read(0, 10), world.read_some(9, 5), world.read(5, 5), world.read(0, 10)];
    world.send(10);
    assert_eq!(world.fresh, asks.map(|ask| ask.id));
}

#[test]
fn a_read_across_blocks_is_joined_from_pieces() {
    // Rule 5.
    let mut world = World::one_way(PLAIN);
    let (block, to) = (BLOCK as u64, 3 * BLOCK as u64 + 10);
    world.send(to as usize);
    world.reads(block - 1, to - block);
    // The reply to `read_some` is one piece, so it ends with its block.
    let some = world.read_some(block - 1, to);
    assert_eq!(world.bytes(&some), source(block - 1, block));
}

#[test]
fn reads_of_a_full_block_share_its_memory() {
    // Rule 5.
    let mut world = World::one_way(PLAIN);
    world.send(2 * BLOCK);
    for (offset, len) in [(0, BLOCK as u64), (1000, 1025), (BLOCK as u64, 70_000)] {
        let (one, two) = (world.read(offset, len), world.read_some(offset, len));
        assert_eq!(world.bytes(&one), source(offset, offset + len));
        assert_eq!(world.bytes(&one).as_ptr(), world.bytes(&two).as_ptr());
    }
}

#[test]
fn reads_at_the_live_edge_share_memory_from_four_kib_on() {
    // Rule 5. Less than 4 KiB is copied: this costs less than sharing.
    let mut world = World::one_way(PLAIN);
    world.send(BLOCK + 4 * KIB - 1);
    let (one, two) = (world.read(BLOCK as u64, 4095), world.read(BLOCK as u64, 4095));
    assert_eq!(world.bytes(&one), world.bytes(&two));
    assert_ne!(world.bytes(&one).as_ptr(), world.bytes(&two).as_ptr());
    world.send(1);
    let (one, two) = (world.read(BLOCK as u64, 4096), world.read_some(BLOCK as u64, 4096));
    assert_eq!(world.bytes(&one), source(BLOCK as u64, BLOCK as u64 + 4096));
    assert_eq!(world.bytes(&one).as_ptr(), world.bytes(&two).as_ptr());
    // More bytes in the same block do not change the bytes of earlier replies.
    world.send(100_000);
    assert_eq!(world.bytes(&one), source(BLOCK as u64, BLOCK as u64 + 4096));
}

#[test]
fn a_read_across_disk_and_memory_is_joined_without_a_gap() {
    // Rule 1.
    let mut world = World::one_way(PLAIN);
    world.send(300_000);
    world.spill();
    world.write_all();
    world.send(300_000);
    world.reads(299_990, 20);
    world.reads(0, 600_000);
    // The reply to `read_some` ends where the stored bytes end, and after at most one block.
    let some = world.read_some(299_990, 20);
    assert_eq!(world.bytes(&some), source(299_990, 300_000));
    let some = world.read_some(10, u64::MAX);
    assert_eq!(world.bytes(&some), source(10, 10 + BLOCK as u64));
}

#[test]
fn a_short_reply_keeps_no_block_alive() {
    // Rule 9: a thousand one-byte replies must not hold a thousand blocks, full or open.
    let mut world = World::one_way(PLAIN);
    world.send(2 * BLOCK + 100_000);
    for offset in [0, 1000, BLOCK as u64, 2 * BLOCK as u64, 2 * BLOCK as u64 + 90_000] {
        for (len, is_shared) in [(1, false), (100, false), (1024, false), (1025, true)] {
            for reply in [world.read(offset, len), world.read_some(offset, len)] {
                let bytes = world.take_bytes(&reply);
                assert_eq!(bytes, source(offset, offset + len));
                assert_eq!(!bytes.is_unique(), is_shared, "{len} bytes at {offset}");
            }
        }
    }
}

#[test]
fn a_short_reply_that_is_a_large_part_of_its_block_is_shared() {
    // Rule 5: a small stream is in one small block.
    let mut world = World::one_way(PLAIN);
    world.send(100);
    world.ends();
    let (part, more) = (world.read(0, 20), world.read(0, 26));
    assert_ne!(world.bytes(&part).as_ptr(), world.bytes(&more).as_ptr());
    let all = world.read(0, 100);
    assert_eq!(world.bytes(&all).as_ptr(), world.bytes(&more).as_ptr());
}
