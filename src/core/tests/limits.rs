//! Limits on disk: rules 27 and 28, without a runtime.

use super::*;

/// A one-way buffer whose whole window is this many blocks of memory and of disk.
pub(super) fn window(memory: usize, disk: u64, read_ahead: u64) -> World {
    World::one_way(Limits { max_memory: memory * BLOCK, max_disk: disk * BLOCKS, read_ahead, ..PLAIN })
}

/// Reads all bytes in order, a few at a time, while the stream sends `len` bytes.
pub(super) fn play(world: &mut World, len: u64) {
    let mut at = world.source.sent;
    let end = at + len;
    while at < end {
        let read = world.read_some(at, 100_000);
        while world.is_waiting(&read) {
            assert!(world.wants(), "the read waits for ever at {at}");
            world.send(50_000);
            world.write_all();
        }
        let bytes = world.bytes(&read);
        assert!(bytes == source(at, at + bytes.len() as u64), "wrong bytes at {at}");
        at += bytes.len() as u64;
    }
}

#[test]
fn the_last_bytes_of_a_stream_are_kept_and_the_file_stays_within_its_limit() {
    // Rule 27.
    let mut world = window(1, 4, 0);
    play(&mut world, 4 * MIB as u64);
    let progress = world.progress();
    assert!(progress.spilled <= 4 * BLOCKS && world.disk.end <= 4 * BLOCKS);
    assert!(progress.loaded >= 4 * BLOCKS, "{progress:?}");
    assert_eq!(progress.start + progress.loaded, world.source.sent);
    assert_eq!(progress.frontier, world.source.sent);
    // What is kept is readable, block by block.
    let (mut at, end) = (progress.start, world.source.sent);
    while at < end {
        let read = world.read_some(at, end - at);
        let bytes = world.bytes(&read);
        assert!(bytes == source(at, at + bytes.len() as u64), "wrong bytes at {at}");
        at += bytes.len() as u64;
    }
    // What is not kept is an error that names the first byte that is.
    for (offset, len) in [(0, 1), (progress.start - 1, 1), (0, MIB as u64), (progress.start - 1, MIB as u64)]
    {
        let read = world.read(offset, len);
        let error = world.error_of(&read);
        assert_eq!((error.kind(), error.offset()), (ErrorKind::Discarded, offset));
        assert_eq!(error.kept_from(), Some(progress.start));
        assert!(error.to_string().contains(&progress.start.to_string()), "{error}");
    }
}

#[test]
fn without_a_disk_bytes_are_discarded_from_memory() {
    // Rule 27: `max_disk(0)` makes no file.
    for less in [0, 100] {
        let limits = Limits { max_memory: 2 * BLOCK, max_disk: less, ..PLAIN };
        let mut world = World::one_way(limits);
        play(&mut world, 4 * MIB as u64);
        assert!((world.disk.end == 0));
        let progress = world.progress();
        assert!(progress.loaded >= BLOCKS && progress.loaded <= 3 * BLOCKS, "{progress:?}");
    }
}

#[test]
fn read_ahead_pauses_rather_than_discard_bytes_that_were_never_delivered() {
    // Rule 27.
    for disk in [0, 4] {
        let mut world = window(1, disk, u64::MAX);
        for _ in 0..1000 {
            if world.wants() {
                world.send(50_000);
            }
            world.write_all();
        }
        let progress = world.progress();
        assert_eq!(progress.start, 0, "nothing was read");
        assert!(progress.loaded >= (1 + disk) * BLOCKS && !world.wants());
        // A read makes room for as much as it has got.
        let mut at = 0;
        while at < 2 * BLOCKS {
            let read = world.read_some(at, BLOCKS);
            if world.is_waiting(&read) {
                world.send(50_000);
            }
            at += world.bytes(&read).len() as u64;
        }
        for _ in 0..1000 {
            if world.wants() {
                world.send(50_000);
            }
            world.write_all();
        }
        assert!(world.progress().start <= at && world.progress().start >= BLOCKS);
    }
}

#[test]
fn a_load_of_more_than_the_limits_fails_and_a_read_is_answered_in_parts() {
    // Rule 27.
    let mut world = window(1, 2, 0);
    let load = world.load(ALL);
    for _ in 0..100 {
        if world.wants() {
            world.send(50_000);
            world.write_all();
        }
    }
    assert_eq!(world.error_of(&load).kind(), ErrorKind::Discarded, "the size is not known");
    assert!(world.progress().loaded <= 6 * BLOCKS, "the load has stopped");
    let start = world.progress().start;
    let read = world.read(start, 2 * MIB as u64);
    while world.is_waiting(&read) {
        assert!(world.wants(), "the read waits for ever");
        world.send(50_000);
        world.write_all();
    }
    assert!(world.bytes(&read) == source(start, start + 2 * MIB as u64), "wrong bytes");
}

#[test]
fn a_spill_moves_as_much_as_fits() {
    // Rule 27. The last block that fits is the only one of its write, or not.
    for disk in [1, 2] {
        let mut world = window(8, disk, u64::MAX);
        world.send(4 * BLOCK);
        let spill = world.spill();
        world.pump();
        assert!(world.is_waiting(&spill), "the write runs");
        world.write_all();
        assert!(world.bytes(&spill).is_empty());
        assert_eq!((world.progress().spilled, world.progress().start), (disk * BLOCKS, 0));
    }
}

#[test]
fn new_limits_hold_when_the_call_resolves() {
    // Rule 28.
    let mut world = window(16, 64, u64::MAX);
    world.send(16 * BLOCK);
    let set = world.set_limits(Some(4 * BLOCK), None);
    world.pump();
    assert!(world.is_waiting(&set), "the disk works");
    world.write_all();
    assert!(world.bytes(&set).is_empty());
    assert!(world.allocated() <= 4 * BLOCK && world.progress().spilled >= 12 * BLOCKS);
    assert_eq!(world.progress().start, 0);
    // Less disk: bytes are discarded, although none was read.
    let set = world.set_limits(None, Some(3 * BLOCKS));
    world.write_all();
    assert!(world.bytes(&set).is_empty());
    assert_eq!(world.progress().spilled, 3 * BLOCKS);
    assert_eq!(world.disk.discarded.len(), 9, "the store discards each block");
    assert!(world.progress().start > 0);
    // More disk: the stream goes on.
    let set = world.set_limits(None, Some(u64::MAX));
    world.write_all();
    assert!(world.bytes(&set).is_empty());
    world.send(4 * BLOCK);
    world.write_all();
    assert_eq!(world.progress().spilled, 7 * BLOCKS);
}

#[test]
fn a_limit_that_cannot_be_met_because_the_disk_fails_is_an_error() {
    // Rule 28.
    let mut world = window(16, 64, u64::MAX);
    world.send(16 * BLOCK);
    let set = world.set_limits(Some(0), None);
    world.pump();
    world.write_fails();
    assert_eq!(world.error_of(&set).kind(), ErrorKind::Spill);
}

/// A source that can be fetched again, with this much memory and disk.
pub(super) fn cached(memory: usize, disk: u64) -> World {
    let limits = Limits { max_memory: memory * BLOCK, max_disk: disk * BLOCKS, ..PLAIN };
    World::source(limits)
}

/// A caller reads a range. The source and the disk work until it is answered.
pub(super) fn fetch(world: &mut World, from: u64, to: u64) {
    let read = world.read(from, to - from);
    world.work_for(&read, 50_000);
    assert!(world.next_bytes() == source(from, to), "wrong bytes from {from} to {to}");
    world.write_all();
}

#[test]
fn a_source_with_versions_gives_up_the_blocks_that_were_not_read_and_fetches_them_again() {
    // Rule 27.
    for (memory, disk) in [(1, 4), (0, 4), (4, 0), (0, 0)] {
        let mut world = cached(memory, disk);
        for _ in 0..2 {
            fetch(&mut world, 0, SIZE);
            assert!(world.disk.end <= disk * BLOCKS);
            assert!(world.published.spilled <= disk * BLOCKS);
            assert_eq!(world.published.start, 0, "no byte is gone for good");
            assert_ne!(world.published.state, State::Failed);
        }
        assert!(world.published.loaded < SIZE && world.source.sent > SIZE + SIZE / 2);
    }
}

#[test]
fn a_block_that_is_read_again_and_again_stays() {
    // Rule 27.
    let mut world = cached(1, 4);
    fetch(&mut world, 0, BLOCKS);
    let mut sent = world.source.sent;
    for block in 1..10 {
        fetch(&mut world, block * BLOCKS, (block + 1) * BLOCKS);
        let before = world.source.sent;
        fetch(&mut world, 0, BLOCKS);
        assert_eq!(world.source.sent, before, "block 0 was fetched again after block {block}");
        sent += BLOCKS;
        assert!(world.source.sent <= sent + 50_000);
    }
}

#[test]
fn a_complete_buffer_that_discards_is_waiting_again_and_can_fetch() {
    // Rules 27 and 28.
    let mut world = World::source(PLAIN);
    fetch(&mut world, 0, SIZE);
    assert_eq!(world.published.state, State::Complete);
    world.set_limits(Some(0), Some(2 * BLOCKS));
    world.write_all();
    assert!(world.next_bytes().is_empty());
    assert!(world.published.loaded <= 3 * BLOCKS, "{:?}", world.published);
    assert_eq!((world.published.state, world.published.size), (State::Waiting, Some(SIZE)));
    fetch(&mut world, 0, SIZE);
}

#[test]
fn a_load_that_fits_ends_although_other_reads_discard_its_bytes() {
    // Rule 27: two loads that do not fit together do not wait for each other for ever.
    let mut world = cached(1, 4);
    let first = world.load(0..5 * BLOCKS);
    let second = world.load(6 * BLOCKS..11 * BLOCKS);
    for _ in 0..1000 {
        if world.is_opening() {
            let stream = world.the_opening();
            world.opened_as(stream, versioned());
        }
        let streams: Vec<usize> = world.ids();
        for stream in streams {
            if world.wants_of(stream) {
                world.send_of(stream, 50_000);
            }
        }
        if world.disk.is_writing() {
            world.write_succeeds();
        }
    }
    assert!(world.bytes(&first).is_empty() && world.bytes(&second).is_empty());
    world.fresh.clear();
    // A load of more is refused at once.
    for end in [SIZE, u64::MAX] {
        world.load(0..end);
        let error = world.next_error();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert!(error.to_string().contains("max_disk"), "{error}");
    }
}

#[test]
fn read_ahead_discards_no_bytes_that_were_lent_and_not_read_yet() {
    // Rule 27.
    let limits = Limits { max_memory: 0, max_disk: 4 * BLOCKS, read_ahead: 8 * BLOCKS, ..PLAIN };
    let mut world = World::source(limits);
    let go_on = |world: &mut World| {
        while world.wants() || world.disk.is_writing() {
            if world.wants() { world.send(BLOCKS / 4) } else { world.write_succeeds() }
        }
    };
    world.keeps_slices = true;
    world.load(0..4 * BLOCKS);
    world.opened(versioned());
    go_on(&mut world);
    assert!(world.next_answer().1.is_ok());
    let mut read = Read { offset: 0, len: 1000, want: Want::Piece };
    for _ in 0..6 {
        world.ask(read);
        go_on(&mut world);
        assert!(world.read_lent(0), "the slice at {} is not valid any more", read.offset);
        assert_eq!(world.next_bytes(), source(read.offset, read.offset + 1000));
        read.offset += BLOCKS;
    }
    assert_eq!(world.openings(), 1);
    assert!(world.published.frontier == 0, "the first blocks were discarded, because they were read");
}

#[test]
fn an_exact_read_of_stored_bytes_counts_as_read_where_they_can_be_fetched_again() {
    // Rule 27. A read of some bytes gets a slice that its caller may read later, so read-ahead goes on waiting.
    for is_exact in [false, true] {
        let limits = Limits { max_memory: 0, max_disk: 2 * BLOCKS, read_ahead: 8 * BLOCKS, ..PLAIN };
        let mut world = World::source(limits);
        world.read(0, 10);
        world.opened(versioned());
        while world.wants() {
            world.send_while_wanted(64 * 1024);
            world.write_all();
        }
        let stored = world.ranges().spilled;
        let offset = stored.last().expect("blocks are stored").start + 1000;
        let read = if is_exact { world.read(offset, 10) } else { world.read_some(offset, 10) };
        assert_eq!(world.bytes(&read), source(offset, offset + 10));
        assert_eq!(world.wants(), is_exact);
    }
}
