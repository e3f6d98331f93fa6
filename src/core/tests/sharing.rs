//! Readers and streams that share a store with a limit: rules 4 and 27.

use super::*;

#[test]
fn exact_reads_that_share_a_small_store_all_end() {
    // Rules 4 and 27: bytes that one read has waited for are not lost to another one.
    for (memory, disk, readers) in [(0, 0, 8), (0, 1, 8), (0, 3, 16), (2, 1, 30)] {
        let limits = Limits {
            max_memory: memory * BLOCK,
            max_disk: disk * BLOCKS,
            streams: readers as usize,
            read_ahead: 0,
            ..PLAIN
        };
        let mut world = World::source(limits);
        let reads: Vec<_> = (0..readers).map(|number| world.read(number * BLOCKS, BLOCKS)).collect();
        for round in 0.. {
            assert!(round < 10_000, "no end after {} bytes", world.source.sent);
            for stream in world.ids() {
                if !world.has_stream(stream) {
                } else if world.at_of(stream).is_none() {
                    world.opened_as(stream, told(Some("v1"), Some(8 * MIB as u64)));
                } else if world.wants_of(stream) {
                    world.send_of(stream, 16_384);
                }
            }
            world.write_all();
            if world.fresh.len() == reads.len() {
                break;
            }
            if !world.is_opening() && world.wanted().is_none() {
                world.wait();
            }
        }
        for (number, read) in (0..).zip(&reads) {
            assert!(world.bytes(read) == source(number * BLOCKS, (number + 1) * BLOCKS), "wrong bytes");
        }
        assert!(
            world.source.sent <= 2 * readers * BLOCKS,
            "{} bytes for {readers} blocks",
            world.source.sent
        );
    }
}

#[test]
fn read_ahead_does_not_discard_unread_bytes_because_a_request_waits_elsewhere() {
    // Rule 27: which bytes may be discarded is decided for each stream.
    for (memory, disk) in [(0, 2), (2, 0), (2, 4)] {
        let limits =
            Limits { max_memory: memory * BLOCK, max_disk: disk * BLOCKS, read_ahead: u64::MAX, ..PLAIN };
        let mut world = World::source(limits);
        world.opened(told(Some("v1"), Some(8 * MIB as u64)));
        // An opening far away hangs.
        world.read(7 * MIB as u64, 1000);
        assert!(world.is_opening());
        while world.wants_of(0) {
            world.send_of(0, 16_384);
            world.write_all();
            assert_eq!(world.first_missing(0), world.source.sent, "discarded unread");
        }
        let held = (memory as u64 + disk) * BLOCKS;
        assert!(
            (held..=held + 5 * BLOCKS).contains(&world.source.sent),
            "{} bytes of {held}",
            world.source.sent
        );
        // Its request gets its bytes.
        world.opened(told(Some("v1"), Some(8 * MIB as u64)));
        let far = world.stream_at(7 * MIB as u64);
        assert!(world.wants_of(far));
        world.send_of(far, 1000);
        world.write_all();
        assert_eq!(world.next_bytes(), source(7 * MIB as u64, 7 * MIB as u64 + 1000));
    }
}
