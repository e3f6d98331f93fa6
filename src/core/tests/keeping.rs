//! Which bytes memory holds, and how they are spilled: rules 9, 10 and 16.

use std::collections::BTreeSet;

use super::*;

/// A buffer that pulls everything without a read.
fn holding(max_memory: usize) -> World {
    World::one_way(Limits { max_memory, read_ahead: u64::MAX, ..PLAIN })
}

#[test]
fn memory_is_bounded_however_slow_the_disk() {
    // Rule 9.
    for max_memory in [0, 1, 64 * KIB, BLOCK, MIB, MIB + 1] {
        let mut world = holding(max_memory);
        world.send_while_wanted(8 * MIB);
        assert!(world.source.sent < 8 * MIB as u64, "the disk never answered, and pulling went on");
        assert!(world.allocated() <= max_memory + SLACK);
        // Rule 10: all bytes can be read meanwhile.
        let (sent, read) = (world.source.sent, world.read(0, world.source.sent));
        assert_eq!(world.bytes(&read), source(0, sent));
        // When the disk continues, pulling continues.
        world.write_all();
        assert!(world.wants());
        assert!(world.allocated() <= max_memory.max(BLOCK));
    }
}

#[test]
fn a_chunk_of_any_size_is_taken_in_as_memory_allows() {
    // Rule 9: the bound holds for chunks of any size, and the first bytes of a chunk are readable early.
    let all = generate(64 * MIB);
    let mut world = holding(MIB);
    let read = world.read(0, 1000);
    world.send_bytes(all.clone());
    world.pump();
    assert_eq!(world.bytes(&read), source(0, 1000));
    while world.disk.is_writing() {
        assert!(world.allocated() <= 2 * MIB);
        let absorbed = world.progress().loaded == all.len() as u64;
        assert!(absorbed || !world.wants());
        world.write_succeeds();
    }
    assert_eq!(world.progress().loaded, all.len() as u64);
    assert!(world.wants());
    assert!(world.disk.all() == all[..world.disk.end as usize], "the disk holds other bytes");
    let tail = world.read(60 * MIB as u64, 4 * MIB as u64);
    assert_eq!(world.bytes(&tail), all[60 * MIB..]);
}

#[test]
fn the_oldest_full_blocks_leave_first_in_order() {
    // Rule 9. The world asserts that each write starts where the last one ended.
    let mut world = holding(BLOCK);
    world.send(BLOCK);
    assert!(!world.disk.is_writing(), "within the budget");
    world.send(1);
    world.write_succeeds();
    assert!(!world.disk.is_writing());
    assert_eq!(world.disk.all(), source(0, BLOCKS), "the budget was exceeded");
    assert_eq!(world.progress().spilled, BLOCK as u64);
    world.send(4 * BLOCK);
    world.write_all();
    assert_eq!(world.progress().spilled, 5 * BLOCK as u64);
    assert_eq!(world.disk.all(), source(0, 5 * BLOCK as u64));
}

#[test]
fn the_open_block_leaves_when_the_stream_has_ended() {
    // Rule 9.
    let mut world = holding(0);
    world.send(BLOCK + 10);
    world.write_all();
    assert_eq!(world.progress().spilled, BLOCK as u64);
    world.ends();
    world.write_all();
    assert_eq!(world.allocated(), 0);
    assert_eq!(world.disk.all(), source(0, BLOCK as u64 + 10));
    let read = world.read(0, u64::MAX);
    assert_eq!(world.bytes(&read), world.disk.all());
}

#[test]
fn bytes_are_readable_before_during_and_after_their_write() {
    // Rule 10.
    let mut world = holding(0);
    world.send(2 * BLOCK);
    assert!(world.disk.is_writing());
    let before = world.read(100, BLOCK as u64);
    assert_eq!(world.disk.reads.get(), 0);
    world.write_all();
    let after = world.read(100, BLOCK as u64);
    assert_eq!(world.disk.reads.get(), 1);
    assert_eq!(world.bytes(&before), source(100, 100 + BLOCK as u64));
    assert_eq!(world.bytes(&before), world.bytes(&after));
}

#[test]
fn boundless_memory_never_touches_the_disk() {
    // Rule 9.
    let mut world = holding(usize::MAX);
    world.send_while_wanted(8 * MIB);
    assert_eq!(world.progress().loaded, 8 * MIB as u64);
    world.ends();
    assert!(!world.disk.is_writing());
}

#[test]
fn a_small_stream_allocates_little_more_than_its_size_and_no_file() {
    // Rule 9.
    for (len, chunk) in [(1, 1), (100, 7), (5000, 5000), (30_000, 1), (100_000, 1400), (BLOCK, 4096)] {
        let mut world = holding(BLOCK);
        for sent in (0..len).step_by(chunk) {
            world.send(chunk.min(len - sent));
            let loaded = world.progress().loaded as usize;
            assert!(world.allocated() <= (2 * loaded).max(KIB), "{} for {loaded}", world.allocated());
        }
        world.ends();
        assert!(world.allocated() <= len + len / 8, "{} for {len}", world.allocated());
        assert!(!world.disk.is_writing());
        let read = world.read(0, u64::MAX);
        assert_eq!(world.bytes(&read), source(0, len as u64));
    }
}

#[test]
fn a_failed_write_loses_nothing_and_tells_those_who_need_more() {
    // Rule 16.
    let mut world = holding(0);
    world.send(2 * BLOCK);
    let (exact, some) = (world.read(0, 3 * BLOCK as u64), world.read_some(2 * BLOCK as u64, 1));
    let size = world.ask_size();
    world.write_fails();
    for read in [&exact, &some, &size] {
        assert_eq!(world.error_of(read).kind(), ErrorKind::Spill);
    }
    assert!(!world.wants() && !world.disk.is_writing());
    let expected = progress(2 * BLOCK as u64, 0, None, State::Waiting);
    assert_eq!(world.progress(), Progress { store_failing: true, ..expected });
    // Loaded bytes are readable, and reading them does not retry the write.
    world.reads(0, 2 * BLOCK as u64);
    world.pump();
    assert!(!world.disk.is_writing());
}

#[test]
fn a_read_that_needs_more_has_a_failed_write_tried_again() {
    // Rule 16.
    let mut world = holding(0);
    world.send(2 * BLOCK);
    world.write_fails();
    for _ in 0..3 {
        let read = world.read(0, 2 * BLOCK as u64 + 1);
        world.pump();
        world.write_fails();
        assert_eq!(world.error_of(&read).kind(), ErrorKind::Spill);
    }
    let read = world.read(0, 2 * BLOCK as u64 + 1);
    world.write_all();
    assert!(world.is_waiting(&read) && world.wants());
    assert_eq!(world.disk.all(), source(0, 2 * BLOCK as u64));
    world.send(1);
    assert_eq!(world.bytes(&read), source(0, 2 * BLOCK as u64 + 1));
}

#[test]
fn a_failed_write_stops_a_chunk_half_way_and_healing_takes_in_the_rest() {
    // Rules 9, 16.
    let mut world = holding(0);
    world.send(6 * MIB);
    world.write_fails();
    let loaded = world.progress().loaded;
    assert!(loaded < 6 * MIB as u64);
    let read = world.read(0, 6 * MIB as u64);
    world.write_all();
    assert_eq!(world.bytes(&read), source(0, 6 * MIB as u64));
}

#[test]
fn a_failed_write_leaves_reads_alone_whose_bytes_are_there() {
    // Rules 4, 16: the write fails after the bytes of the read are loaded and before it is answered.
    let mut world = holding(0);
    world.send(2 * BLOCK);
    let (loaded, block) = (2 * BLOCK as u64, BLOCK as u64);
    let (satisfied, needy) = (world.read(0, loaded + block), world.read(0, loaded + block + 1));
    world.before_actions(|world| {
        world.send(BLOCK);
        world.write_fails();
    });
    assert_eq!(world.bytes(&satisfied), source(0, loaded + block));
    assert_eq!(world.error_of(&needy).kind(), ErrorKind::Spill);
}

#[test]
fn a_failed_write_after_the_end_concerns_no_read() {
    // Rules 4, 16: after the end of the stream no read needs more bytes.
    let mut world = holding(0);
    world.send(2 * BLOCK);
    let (all, load) = (world.read(BLOCK as u64, u64::MAX), world.load(ALL));
    world.before_actions(|world| {
        world.ends();
        world.write_fails();
    });
    assert_eq!(world.bytes(&all), source(BLOCK as u64, 2 * BLOCK as u64));
    assert_eq!(world.bytes(&load), "");
}

#[test]
fn a_background_load_retries_a_failed_write_with_growing_delays() {
    // Rule 16.
    let mut world = holding(0);
    world.send(2 * BLOCK);
    let mut last = Duration::ZERO;
    for attempt in 0..20 {
        let failed_at = world.now;
        world.write_fails();
        assert!(world.published.store_failing && !world.disk.is_writing() && !world.wants());
        assert!(world.pass_deadline().is_some(), "attempt {attempt}");
        let delay = world.now - failed_at;
        let most = Duration::from_millis(100 << attempt.min(8)).min(Duration::from_secs(15));
        assert!(delay > most * 49 / 100 && delay <= most, "{delay:?} for attempt {attempt}");
        assert!(attempt > 6 || delay > last / 2);
        last = delay;
        world.pump();
        assert!(world.disk.is_writing(), "the write is retried");
    }
    world.write_all();
    assert!(!world.published.store_failing && world.deadline().is_none());
    assert!(world.wants());
    assert_eq!(world.disk.all(), source(0, 2 * BLOCK as u64));
    // The next series starts with the first delay.
    world.send(2 * BLOCK);
    let failed_at = world.now;
    world.write_fails();
    assert!(world.pass_deadline().is_some());
    assert!(world.now - failed_at <= Duration::from_millis(100));
}

#[test]
fn a_failed_write_is_not_retried_while_no_byte_is_needed() {
    // Rule 16: read-ahead is over, and no read waits.
    let mut world = World::one_way(Limits { max_memory: 0, ..PLAIN });
    let read = world.read(0, 2 * BLOCK as u64);
    world.send(2 * BLOCK);
    assert_eq!(world.bytes(&read).len(), 2 * BLOCK);
    world.write_fails();
    assert!(world.published.store_failing);
    assert_eq!(world.deadline(), None);
}

#[test]
fn without_a_timer_a_failed_write_waits_for_the_next_read() {
    // Rule 16.
    let mut world = holding(0);
    world.send(2 * BLOCK);
    world.write_fails();
    assert!(world.deadline().is_some());
    world.has_no_timer();
    world.pump();
    assert_eq!(world.deadline(), None);
    let read = world.read(0, 2 * BLOCK as u64 + 1);
    world.write_all();
    assert!(world.is_waiting(&read) && world.wants());
}

/// A buffer that has just written two blocks, and writes two more. All of its memory is in its blocks.
fn spilling() -> World {
    let mut world = World::one_way(Limits { max_memory: 0, read_ahead: u64::MAX, ..PLAIN });
    world.pump();
    world.send(2 * BLOCK);
    world
}

#[test]
fn the_next_blocks_use_the_memory_of_those_that_have_left() {
    // Rule 9.
    let mut world = spilling();
    let places = |world: &mut World, from: u64| {
        let places = [from, from + BLOCK as u64].map(|at| {
            let piece = world.read_some(at, BLOCK as u64);
            assert_eq!(world.bytes(&piece), source(at, at + BLOCK as u64));
            world.bytes(&piece).as_ptr() as usize
        });
        // No caller holds a block any more.
        world.drop_answers();
        BTreeSet::from(places)
    };
    let first = places(&mut world, 0);
    world.send(2 * BLOCK);
    while world.progress().spilled < 2 * BLOCK as u64 {
        world.write_succeeds();
    }
    assert_eq!(world.spare(), 2 * BLOCK, "those of one write");
    world.send(2 * BLOCK);
    assert_eq!(places(&mut world, 4 * BLOCK as u64), first);
    assert_eq!(world.spare(), 0);
}

#[test]
fn a_block_that_a_caller_holds_is_not_used_again() {
    // Rule 9.
    let mut world = spilling();
    let held = world.read_some(0, BLOCK as u64);
    world.send(2 * BLOCK);
    while world.progress().spilled < 2 * BLOCK as u64 {
        world.write_succeeds();
    }
    world.send(2 * BLOCK);
    let held = world.bytes(&held);
    for number in 1..6 {
        let piece = world.read_some(number * BLOCK as u64, BLOCK as u64);
        assert_ne!(world.bytes(&piece).as_ptr(), held.as_ptr());
    }
    assert_eq!(held, source(0, BLOCK as u64));
}

#[test]
fn spare_blocks_are_freed_when_all_is_written() {
    // Rule 9: also if a request waits for more bytes.
    let mut world = spilling();
    world.send(2 * BLOCK);
    let mut most = 0;
    while world.disk.is_writing() {
        world.write_succeeds();
        most = most.max(world.spare());
        world.pump();
    }
    assert_eq!((most, world.spare()), (2 * BLOCK, 0), "those of one write at most");
    assert!(world.wants());
}
