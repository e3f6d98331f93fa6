//! Loads, sizes and read-ahead with holes: rules 1, 21, 23 and 26, without a runtime.

use super::jumping::started;
use super::remote::{Remote, SIZE, told, versioned};
use super::*;
use crate::core::OpenedStream;

#[test]
fn reads_at_and_past_the_end_do_not_wait_for_the_holes() {
    // Rule 1, with holes.
    let mut remote = started(PLAIN, 1000);
    remote.read(SIZE, 10);
    assert!(remote.bytes().is_empty());
    remote.read(SIZE - 10, 100);
    remote.opened(versioned());
    remote.send_of(1, 10);
    assert_eq!(remote.bytes(), source(SIZE - 10, SIZE));
    assert!(!remote.streams.contains_key(&1), "it has no more bytes");
    assert_ne!(remote.published.state, State::Complete, "there is a hole");
    // All bytes are loaded: nothing is opened any more.
    remote.load(0..u64::MAX);
    remote.send_of(0, SIZE - 1010);
    assert!(remote.bytes().is_empty());
    assert_eq!((remote.published.state, remote.published.loaded), (State::Complete, SIZE));
    assert!(remote.streams.is_empty());
}

#[test]
fn a_load_fills_all_holes_of_its_range_and_no_others() {
    // Rule 26.
    let mut remote = started(PLAIN, 1000);
    for offset in [1_000_000, 2_000_000] {
        remote.read(offset, 200_000);
        let stream = *remote.streams.iter().find(|(_, at)| at.is_none()).unwrap().0;
        remote.opened(versioned());
        remote.send_of(stream, 200_000);
        remote.bytes();
    }
    remote.load(500..2_100_000);
    while remote.answers.is_empty() {
        if remote.is_opening() {
            remote.opened(versioned());
            continue;
        }
        let streams: Vec<usize> = remote.streams.keys().copied().collect();
        let stream = streams.into_iter().find(|stream| remote.wants_of(*stream)).expect("progress");
        remote.send_of(stream, 10_000);
    }
    assert!(remote.bytes().is_empty());
    assert_eq!(remote.published.frontier, 2_200_000);
}

#[test]
fn read_ahead_counts_from_the_last_deliveries_and_never_opens() {
    // Rule 26.
    let mut remote = started(Limits { read_ahead: 10_000, ..PLAIN }, 1000);
    remote.read(1_000_000, 1000);
    remote.opened(versioned());
    remote.send_of(1, 1000);
    remote.bytes();
    for stream in [0, 1] {
        assert!(remote.wants_of(stream), "both are ahead of a delivery");
        remote.send_of(stream, 9_999);
        assert!(remote.wants_of(stream));
        remote.send_of(stream, 1);
        assert!(!remote.wants_of(stream), "10,000 bytes ahead");
    }
    // Three positions, two streams: the oldest delivery does not count any more.
    remote.read(2_000_000, 1000);
    let moved = *remote.streams.iter().find(|(_, at)| at.is_none()).unwrap().0;
    remote.opened(versioned());
    remote.send_of(moved, 1000);
    remote.bytes();
    assert!(remote.wants_of(moved));
    remote.breaks_of(moved);
    assert_eq!(remote.published.state, State::Waiting, "read-ahead alone does not open it again");
    remote.finish_openings(3);
}

#[test]
fn without_a_known_size_the_furthest_stream_finds_it() {
    // Rule 26: the holes are not filled for it.
    let mut remote = Remote::new();
    remote.read(0, 1000);
    remote.opened(told(Some("v1"), None));
    remote.send(1000);
    remote.bytes();
    remote.read(2_000_000, 10);
    remote.opened(told(Some("v1"), None));
    remote.send_of(1, 10);
    remote.bytes();
    let token = remote.ticket();
    remote.event(Event::Size { token });
    assert!(!remote.wants_of(0) && remote.wants_of(1));
    remote.send_of(1, SIZE - 2_000_010);
    remote.ends_of(1);
    assert!(remote.bytes().is_empty());
    assert_eq!((remote.published.size, remote.published.state), (Some(SIZE), State::Waiting));
    remote.finish_openings(2);
}

#[test]
fn a_request_for_the_size_does_not_fill_a_hole_that_a_later_read_makes() {
    // Rule 26.
    let mut remote = Remote::new();
    remote.read(0, 1000);
    remote.opened(told(Some("v1"), None));
    remote.send(1000);
    remote.bytes();
    let token = remote.ticket();
    remote.event(Event::Size { token });
    assert!(remote.wants_of(0));
    remote.read(2_000_000, 10);
    remote.opened(told(Some("v1"), None));
    remote.send_of(1, 10);
    remote.bytes();
    assert!(!remote.wants_of(0) && remote.wants_of(1));
}

#[test]
fn a_source_that_turns_out_to_ignore_ranges_fills_the_holes_from_its_start() {
    // Rules 21 and 23.
    let mut remote = started(PLAIN, 1000);
    remote.read(2_000_000, 10);
    remote.opened(OpenedStream { start: Some(0), ..versioned() });
    // The stream from the start passes everything, so the other is not needed.
    remote.load(0..u64::MAX);
    let mut rounds = 0;
    while remote.published.state != State::Complete {
        let streams: Vec<usize> = remote.streams.keys().copied().collect();
        let stream = streams.into_iter().find(|stream| remote.wants_of(*stream)).expect("progress");
        let left = SIZE - remote.streams[&stream].unwrap();
        remote.send_of(stream, left.min(100_000));
        rounds += 1;
        assert!(rounds < 100, "no end");
    }
    remote.finish_openings(2);
    assert_eq!(remote.bytes(), source(2_000_000, 2_000_010));
}

#[test]
fn an_empty_resource_without_a_version_is_complete_though_it_was_opened_past_its_end() {
    // "Complete means that the size is known and nothing is missing."
    let mut remote = Remote::new();
    remote.read(1000, 10);
    remote.opened(told(None, Some(0)));
    assert!(remote.bytes().is_empty());
    assert_eq!((remote.published.size, remote.published.state), (Some(0), State::Complete));
    assert!(remote.streams.is_empty());
}

#[test]
fn a_size_that_was_told_before_any_byte_is_forgotten_with_its_stream() {
    // Rule 22: the next stream may be of another version.
    let mut remote = Remote::new();
    remote.read(0, SIZE);
    remote.opened(told(Some("v1"), Some(1000)));
    remote.breaks();
    remote.wait();
    remote.opened(told(Some("v2"), None));
    remote.send(1000);
    assert_ne!(remote.published.state, State::Complete);
    remote.send(SIZE - 1000);
    assert!(remote.bytes() == source(0, SIZE), "the read gets all of its range");
    remote.load(0..u64::MAX);
    remote.ends();
    assert_eq!((remote.published.loaded, remote.published.state), (SIZE, State::Complete));
}

#[test]
fn the_size_is_told_to_its_caller_though_an_earlier_stream_told_the_same() {
    let mut remote = Remote::new();
    remote.read(0, SIZE);
    for size in [Some(SIZE), None] {
        remote.opened(told(Some("v1"), size));
        remote.breaks();
        remote.wait();
    }
    let token = remote.ticket();
    remote.event(Event::Size { token });
    remote.opened(versioned());
    assert!(remote.bytes().is_empty());
}

#[test]
fn the_size_is_told_to_its_caller_though_its_offset_is_known_before() {
    // Rule 18. A stream that was opened at the end shows only that the resource ends there or before.
    let end = 300_000;
    for is_told in [true, false] {
        let mut remote = Remote::new();
        remote.read(0, 1000);
        remote.opened(told(Some("v1"), None));
        remote.send(1000);
        remote.bytes();
        remote.read(end, 1);
        remote.opened(told(Some("v1"), None));
        remote.ends_of(1);
        assert!(remote.bytes().is_empty());
        let token = remote.ticket();
        remote.event(Event::Size { token });
        assert!(remote.answers.is_empty());
        if is_told {
            remote.breaks_of(0);
            remote.wait();
            remote.opened(told(Some("v1"), Some(end)));
        } else {
            // All bytes before the end arrive.
            remote.read(200_000, 1);
            remote.opened(told(Some("v1"), None));
            remote.send_of(1, end - 200_000);
            remote.answers.rotate_left(1);
        }
        assert!(remote.bytes().is_empty());
        assert_eq!(remote.published.size, Some(end));
    }
}
