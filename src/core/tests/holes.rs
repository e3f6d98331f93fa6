//! Loads, sizes and read-ahead with holes: rules 1, 21, 23 and 26, without a runtime.

use super::jumping::started;
use super::*;

#[test]
fn reads_at_and_past_the_end_do_not_wait_for_the_holes() {
    // Rule 1, with holes.
    let mut world = started(PLAIN, 1000);
    world.read(SIZE, 10);
    assert!(world.next_bytes().is_empty());
    world.read(SIZE - 10, 100);
    world.opened(versioned());
    world.send_of(1, 10);
    assert_eq!(world.next_bytes(), source(SIZE - 10, SIZE));
    assert!(!world.has_stream(1), "it has no more bytes");
    assert_ne!(world.published.state, State::Complete, "there is a hole");
    // All bytes are loaded: nothing is opened any more.
    world.load(0..u64::MAX);
    world.send_of(0, SIZE - 1010);
    assert!(world.next_bytes().is_empty());
    assert_eq!((world.published.state, world.published.loaded), (State::Complete, SIZE));
    assert!(world.ids().is_empty());
}

#[test]
fn a_load_fills_all_holes_of_its_range_and_no_others() {
    // Rule 26.
    let mut world = started(PLAIN, 1000);
    for offset in [1_000_000, 2_000_000] {
        world.read(offset, 200_000);
        let stream = world.the_opening();
        world.opened(versioned());
        world.send_of(stream, 200_000);
        world.next_bytes();
    }
    let load = world.load(500..2_100_000);
    world.work_for(&load, 10_000);
    assert!(world.next_bytes().is_empty());
    assert_eq!(world.published.frontier, 2_200_000);
}

#[test]
fn read_ahead_counts_from_the_last_deliveries_and_never_opens() {
    // Rule 26.
    let mut world = started(Limits { read_ahead: 10_000, ..PLAIN }, 1000);
    world.open_and_read(1_000_000, 1000, versioned());
    for stream in [0, 1] {
        assert!(world.wants_of(stream), "both are ahead of a delivery");
        world.send_of(stream, 9_999);
        assert!(world.wants_of(stream));
        world.send_of(stream, 1);
        assert!(!world.wants_of(stream), "10,000 bytes ahead");
    }
    // Three positions, two streams: the oldest delivery does not count any more.
    world.read(2_000_000, 1000);
    let moved = world.the_opening();
    world.opened(versioned());
    world.send_of(moved, 1000);
    world.next_bytes();
    assert!(world.wants_of(moved));
    world.breaks_of(moved);
    assert_eq!(world.published.state, State::Waiting, "read-ahead alone does not open it again");
    assert_eq!(world.openings(), 3);
}

#[test]
fn without_a_known_size_the_furthest_stream_finds_it() {
    // Rule 26: the holes are not filled for it.
    let mut world = World::source(PLAIN);
    world.open_and_read(0, 1000, told(Some("v1"), None));
    world.open_and_read(2_000_000, 10, told(Some("v1"), None));
    world.ask_size();
    assert!(!world.wants_of(0) && world.wants_of(1));
    world.send_of(1, SIZE - 2_000_010);
    world.ends_of(1);
    assert!(world.next_bytes().is_empty());
    assert_eq!((world.published.size, world.published.state), (Some(SIZE), State::Waiting));
    assert_eq!(world.openings(), 2);
}

#[test]
fn a_request_for_the_size_does_not_fill_a_hole_that_a_later_read_makes() {
    // Rule 26.
    let mut world = World::source(PLAIN);
    world.open_and_read(0, 1000, told(Some("v1"), None));
    world.ask_size();
    assert!(world.wants_of(0));
    world.open_and_read(2_000_000, 10, told(Some("v1"), None));
    assert!(!world.wants_of(0) && world.wants_of(1));
}

#[test]
fn a_source_that_turns_out_to_ignore_ranges_fills_the_holes_from_its_start() {
    // Rules 21 and 23.
    let mut world = started(PLAIN, 1000);
    world.read(2_000_000, 10);
    world.opened(OpenedStream { start: Some(0), ..versioned() });
    // The stream from the start passes everything, so the other is not needed.
    world.load(0..u64::MAX);
    let mut rounds = 0;
    while world.published.state != State::Complete {
        assert!(world.work(100_000));
        rounds += 1;
        assert!(rounds < 100, "no end");
    }
    assert_eq!(world.openings(), 2);
    assert_eq!(world.next_bytes(), source(2_000_000, 2_000_010));
}

#[test]
fn an_empty_resource_without_a_version_is_complete_though_it_was_opened_past_its_end() {
    // "Complete means that the size is known and nothing is missing."
    let mut world = World::source(PLAIN);
    world.read(1000, 10);
    world.opened(told(None, Some(0)));
    assert!(world.next_bytes().is_empty());
    assert_eq!((world.published.size, world.published.state), (Some(0), State::Complete));
    assert!(world.ids().is_empty());
}

#[test]
fn a_size_that_was_told_before_any_byte_is_forgotten_with_its_stream() {
    // Rule 22: the next stream may be of another version.
    let mut world = World::source(PLAIN);
    world.read(0, SIZE);
    world.opened(told(Some("v1"), Some(1000)));
    world.breaks();
    world.wait();
    world.opened(told(Some("v2"), None));
    world.send(1000);
    assert_ne!(world.published.state, State::Complete);
    world.send(SIZE - 1000);
    assert!(world.next_bytes() == source(0, SIZE), "the read gets all of its range");
    world.load(0..u64::MAX);
    world.ends();
    assert_eq!((world.published.loaded, world.published.state), (SIZE, State::Complete));
}

#[test]
fn the_size_is_told_to_its_caller_though_an_earlier_stream_told_the_same() {
    let mut world = World::source(PLAIN);
    world.read(0, SIZE);
    for size in [Some(SIZE), None] {
        world.opened(told(Some("v1"), size));
        world.breaks();
        world.wait();
    }
    world.ask_size();
    world.opened(versioned());
    assert!(world.next_bytes().is_empty());
}

#[test]
fn the_size_is_told_to_its_caller_though_its_offset_is_known_before() {
    // Rule 18. A stream that was opened at the end shows only that the resource ends there or before.
    let end = 300_000;
    for is_told in [true, false] {
        let mut world = World::source(PLAIN);
        world.open_and_read(0, 1000, told(Some("v1"), None));
        world.read(end, 1);
        world.opened(told(Some("v1"), None));
        world.ends_of(1);
        assert!(world.next_bytes().is_empty());
        world.ask_size();
        assert!(world.fresh.is_empty());
        if is_told {
            world.breaks_of(0);
            world.wait();
            world.opened(told(Some("v1"), Some(end)));
        } else {
            // All bytes before the end arrive.
            world.read(200_000, 1);
            world.opened(told(Some("v1"), None));
            world.send_of(1, end - 200_000);
            world.fresh.rotate_left(1);
        }
        assert!(world.next_bytes().is_empty());
        assert_eq!(world.published.size, Some(end));
    }
}
