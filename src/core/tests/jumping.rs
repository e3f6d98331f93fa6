//! Far reads get streams of their own: rules 25, 26 and 29, without a runtime and with exact times.

use super::*;

/// The distance of a jump before anything was measured.
const FIRST: u64 = 128 * 1024;

/// The new bytes that a stream brings in its turn, if openings are quick.
const TURN: u64 = 512 * 1024;

/// A buffer that has loaded its first `loaded` bytes, with a stream that can be used again.
pub(super) fn started(limits: Limits, loaded: u64) -> World {
    let mut world = World::source(limits);
    world.open_and_read(0, loaded, versioned());
    world
}

fn ranges(world: &World) -> Vec<std::ops::Range<u64>> {
    world.ranges().resident
}

#[test]
fn a_far_read_gets_a_stream_of_its_own_and_a_near_one_waits() {
    // Rule 25.
    let mut near = started(PLAIN, 1000);
    near.read(1000 + FIRST, 10);
    assert_eq!(near.openings(), 1);
    near.send(FIRST + 10);
    assert_eq!(near.next_bytes(), source(1000 + FIRST, 1010 + FIRST));

    let mut far = started(PLAIN, 1000);
    far.read(1001 + FIRST, 10);
    assert_eq!(far.last_opening().offset, 1001 + FIRST);
    far.opened(versioned());
    far.send_of(1, 10);
    assert_eq!(far.next_bytes(), source(1001 + FIRST, 1011 + FIRST));
    assert_eq!(ranges(&far), [0..1000, 1001 + FIRST..1011 + FIRST]);
    assert_eq!((far.published.frontier, far.published.streams, far.published.loaded), (1000, 2, 1010));
    // The first stream goes on where it was.
    far.read(1000, 10);
    assert_eq!(far.openings(), 2);
    far.send_of(0, 10);
    assert_eq!(far.next_bytes(), source(1000, 1010));
}

#[test]
fn a_read_behind_all_streams_gets_one_of_its_own() {
    // Rule 25.
    let mut world = World::source(PLAIN);
    world.read(2_000_000, 10);
    assert_eq!(world.last_opening().offset, 2_000_000, "the first opening is where the byte is");
    world.opened(versioned());
    world.send(10);
    world.next_bytes();
    world.read(1_999_000, 10);
    let at = world.last_opening();
    assert_eq!((at.offset, at.end), (1_999_000, None), "the island is short");
    world.opened(versioned());
    world.send_of(1, 10);
    assert_eq!(world.next_bytes(), source(1_999_000, 1_999_010));
}

#[test]
fn the_distance_is_what_a_stream_brings_while_another_is_opened() {
    // Rule 25: 100 ms to the first byte, and then 64 KiB in 10 ms for as long as that.
    let mut world = World::source(PLAIN);
    world.read(0, 700_000);
    world.now += ms(100);
    world.opened(versioned());
    world.send(1000);
    for _ in 0..10 {
        assert!(world.wants());
        world.now += ms(10);
        world.send(64 * 1024);
    }
    let at = 1000 + 640 * 1024;
    world.read(at + 640 * 1024, 10);
    assert_eq!(world.openings(), 1);
    world.read(at + 641 * 1024, 10);
    assert_eq!(world.openings(), 2);
}

#[test]
fn a_source_without_versions_is_never_jumped_in() {
    // Rule 25.
    let mut world = World::source(PLAIN);
    world.open_and_read(0, 1000, told(None, Some(SIZE)));
    world.read(2_000_000, 10);
    assert_eq!(world.openings(), 1);
    world.send(2_000_000);
    assert_eq!(world.next_bytes(), source(2_000_000, 2_000_010));
}

#[test]
fn a_first_opening_past_the_start_is_repeated_from_the_start_without_a_version() {
    // Rules 22 and 25: nothing would prove the bytes before it.
    let mut world = World::source(PLAIN);
    world.read(2_000_000, 10);
    world.opened(told(None, Some(SIZE)));
    assert_eq!(world.last_opening().offset, 0);
    assert!(matches!(world.published.state, State::Pulling), "it is no failure");
    world.opened(told(None, Some(SIZE)));
    world.send(2_000_010);
    assert_eq!(world.next_bytes(), source(2_000_000, 2_000_010));
    assert_eq!(world.openings(), 2);
    // A stream that cannot be opened again has lost the bytes before it.
    let mut world = World::source(PLAIN);
    world.read(2_000_000, 10);
    world.opened(OpenedStream { reopen: Reopen::Never, ..told(None, None) });
    assert_eq!(world.next_error().kind(), ErrorKind::Source);
    assert_eq!(world.published.state, State::Failed);
}

#[test]
fn an_idle_stream_moves_before_one_that_a_read_waits_for() {
    // Rule 25.
    let mut world = started(PLAIN, 1000);
    world.open_and_read(1_000_000, 10, versioned());
    // Stream 1 is needed, so stream 0 moves.
    world.read(1_000_010, 100);
    world.read(2_000_000, 10);
    assert_eq!(world.openings(), 3);
    assert_eq!(world.the_opening(), 0);
    world.opened(versioned());
    world.send_of(0, 10);
    world.send_of(1, 100);
    assert_eq!(world.next_bytes(), source(2_000_000, 2_000_010));
    assert_eq!(world.next_bytes(), source(1_000_010, 1_000_110));
    // Both are idle. The stream that has not been used for longer moves.
    world.now += ms(1);
    world.read(2_000_010, 1);
    world.send_of(0, 1);
    world.read(200_000, 10);
    assert_eq!(world.the_opening(), 1);
}

#[test]
fn a_stream_that_a_read_waits_for_has_its_turn_before_it_moves() {
    // Rule 25.
    let mut world = World::source(Limits { streams: 1, ..PLAIN });
    world.read(0, 2_000_000);
    world.opened(versioned());
    world.send(1000);
    world.read(2_500_000, 10);
    assert_eq!(world.openings(), 1);
    world.send(TURN - 1001);
    assert_eq!(world.openings(), 1);
    world.send(1);
    assert_eq!(world.last_opening().offset, 2_500_000);
    world.opened(versioned());
    world.send(10);
    assert_eq!(world.next_bytes(), source(2_500_000, 2_500_010));
    // Then it serves the other read again.
    assert_eq!(world.last_opening().offset, TURN);
    world.opened(versioned());
    world.send(2_000_000 - TURN);
    assert_eq!(world.next_bytes(), source(0, 2_000_000));
}

#[test]
fn two_distant_listeners_both_advance() {
    // Rule 25.
    let mut world = World::source(PLAIN);
    let (mut first, mut second) = (0, 1_500_000);
    world.read(first, 1000);
    world.opened(versioned());
    world.read(second, 1000);
    world.opened(versioned());
    for _ in 0..100 {
        world.send_of(1, 1000);
        assert_eq!(world.next_bytes(), source(second, second + 1000));
        second += 1000;
        world.read(second, 1000);
        world.send_of(0, 1000);
        assert_eq!(world.next_bytes(), source(first, first + 1000));
        first += 1000;
        world.read(first, 1000);
    }
    assert_eq!(world.openings(), 2);
}

#[test]
fn a_stream_stops_before_a_long_island_and_passes_a_short_one() {
    // Rule 25.
    for (len, is_long) in [(FIRST, true), (FIRST - 1, false)] {
        let mut world = started(PLAIN, 1000);
        world.open_and_read(1_000_000, len, versioned());
        // Stream 1 leaves the end of the island.
        world.read(2_500_000, 10);
        assert_eq!(world.openings(), 3);
        let moved = world.the_opening();
        world.opened(versioned());
        world.send_of(moved, 10);
        world.next_bytes();
        // The rest of the gap before the island.
        world.load(500_000..1_000_000);
        let at = world.last_opening();
        assert_eq!((at.offset, at.end), (500_000, is_long.then_some(1_000_000)));
        let stream = world.the_opening();
        world.opened(versioned());
        world.send_of(stream, 500_000);
        assert!(world.next_bytes().is_empty(), "loaded");
        assert_eq!(world.has_stream(stream), !is_long);
        if !is_long {
            let sent = world.source.sent;
            world.read(1_000_000 + len, 10);
            world.send_of(stream, len + 10);
            assert_eq!(world.next_bytes(), source(1_000_000 + len, 1_000_010 + len));
            assert_eq!(world.source.sent, sent + len + 10, "the island is sent again");
            assert_eq!(world.published.loaded, 1000 + 500_000 + len + 10 + 10);
        }
    }
}

#[test]
fn a_stream_that_meets_another_one_stops() {
    // Rule 25: they would go on side by side.
    let mut world = started(PLAIN, 1000);
    world.open_and_read(200_000, 10, versioned());
    world.read(100_000, 150_000);
    world.send_of(0, 199_000);
    assert!(!world.has_stream(0), "it has met the other");
    world.send_of(1, 49_990);
    assert_eq!(world.next_bytes(), source(100_000, 250_000));
    assert_eq!(world.openings(), 2);
}

#[test]
fn a_stream_that_is_asked_to_end_before_an_island_ends_there_without_a_failure() {
    // Rule 25.
    let mut world = World::source(PLAIN);
    world.open_and_read(1_000_000, 300_000, versioned());
    world.closes_unused();
    world.read(0, 1_000_000);
    assert_eq!(world.last_opening().end, Some(1_000_000));
    world.opened(versioned());
    world.send(999_999);
    world.ends();
    assert!(matches!(world.published.state, State::Retrying { .. }), "one byte is missing");
    world.wait();
    assert_eq!((world.last_opening().offset, world.last_opening().end), (999_999, Some(1_000_000)));
    world.opened(versioned());
    world.send(1);
    assert_eq!(world.next_bytes(), source(0, 1_000_000));
    assert!(world.ids().is_empty() && world.error.is_none());
}

#[test]
fn an_opening_looks_for_its_end_behind_few_islands_only() {
    // Rule 25: a walk over all islands for each opening would be quadratic.
    for (islands, end) in [(63, Some(1_000_000)), (64, None)] {
        let mut world = World::source(Limits { streams: 1, ..PLAIN });
        world.read(1_000_000, FIRST);
        world.opened(versioned());
        world.send(FIRST);
        for n in 0..islands {
            world.now += Duration::from_secs(3);
            world.read(900_000 - 1000 * n, 1);
            world.opened(versioned());
            world.send(1);
        }
        world.now += Duration::from_secs(3);
        world.read(0, 1);
        assert_eq!((world.last_opening().offset, world.last_opening().end), (0, end), "{islands} islands");
    }
}

#[test]
fn no_demand_means_no_pulling() {
    // Rule 6.
    let mut world = started(PLAIN, 1000);
    assert!(!world.wants());
    let ask = world.read(1_000_000, 10);
    world.opened(versioned());
    assert!(world.wants_of(1) && !world.wants_of(0));
    ask.abandon();
    world.pump();
    assert!(!world.wants_of(1), "the read was dropped");
    assert_eq!(world.published.state, State::Waiting);
}

#[test]
fn memory_full_of_partly_filled_blocks_is_written_back() {
    // Rule 29.
    let limits = Limits { max_memory: 0, streams: 8, ..PLAIN };
    let mut world = World::source(limits);
    let offset = |number: u64| number * 300_000 + 7;
    let reads: Vec<Ask> = (0..8)
        .map(|number| {
            let read = world.read(offset(number), 200_000);
            world.opened(versioned());
            read
        })
        .collect();
    let mut left = 8 * 200_000_u64;
    for round in 0.. {
        assert!(round < 10_000, "memory and disk wait for each other");
        let mut moved = false;
        for stream in 0..8 {
            if world.has_stream(stream) && world.wants_of(stream) {
                world.send_of(stream, 10_000);
                (moved, left) = (true, left - 10_000);
            }
        }
        assert!(world.memory() <= MIB, "{} bytes", world.memory());
        if !moved {
            if !world.disk.is_writing() {
                break;
            }
            world.write_succeeds();
        }
    }
    assert_eq!(left, 0);
    for (number, read) in (0..).zip(reads) {
        let at = offset(number);
        assert!(world.bytes(&read) == source(at, at + 200_000), "read {number}");
    }
}

#[test]
fn a_failed_stream_does_not_disturb_the_other() {
    // Rules 24 and 25.
    let mut world = started(PLAIN, 1000);
    world.read(1_000_000, 100);
    world.opened(versioned());
    world.read(1000, 100);
    world.breaks_of(1);
    assert!(world.wants_of(0), "the other goes on");
    world.send_of(0, 100);
    assert_eq!(world.next_bytes(), source(1000, 1100));
    world.wait();
    assert_eq!(world.last_opening().offset, 1_000_000);
    world.opened(versioned());
    world.send_of(1, 100);
    assert_eq!(world.next_bytes(), source(1_000_000, 1_000_100));
}

#[test]
fn a_second_stream_of_another_version_is_a_changed_resource() {
    // Rule 22: also if no byte of the first stream has arrived.
    for loaded in [0, 1000] {
        let mut world = started(PLAIN, 1000);
        if loaded == 0 {
            world = World::source(PLAIN);
            world.ask_size();
            world.opened(versioned());
            world.next_bytes();
        }
        world.read(1_000_000, 100);
        assert_eq!(world.last_opening().version, Some(crate::source::Version::strong("v1")));
        world.opened(told(Some("v2"), Some(SIZE)));
        assert_eq!(world.next_error().kind(), ErrorKind::Changed);
        assert!(world.ids().is_empty());
    }
}

#[test]
fn an_attempt_that_waits_for_memory_is_no_deadline_that_has_passed() {
    // Rule 24: the driver would report the same deadline again and again.
    let limits = Limits { max_memory: 0, streams: 2, ..PLAIN };
    let mut world = World::source(limits);
    world.read(0, SIZE / 2);
    world.opened(versioned());
    world.send(10);
    world.read(SIZE - 10, 10);
    assert!(world.is_opening());
    // Memory is full, and the disk hangs.
    let first = world.the_stream();
    while world.wants_of(first) {
        world.send_of(first, 50_000);
    }
    world.open_fails(io::ErrorKind::ConnectionRefused.into());
    let openings = world.openings();
    world.pass(Duration::from_secs(1));
    assert_eq!(world.openings(), openings);
    let next = world.deadline();
    assert!(next.is_none_or(|next| next > world.now), "the attempt was due before");
    world.write_succeeds();
    assert_eq!(world.openings(), openings + 1);
}
