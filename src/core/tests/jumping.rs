//! Far reads get streams of their own: rules 25, 26 and 29, without a runtime and with exact times.

use super::remote::{Remote, SIZE, ms, told, versioned};
use super::*;
use crate::core::OpenedStream;
use crate::error::ErrorKind;
use crate::source::Reopen;
use crate::source::retry::Retry;

/// The distance of a jump before anything was measured.
const FIRST: u64 = 128 * 1024;

/// The new bytes that a stream brings in its turn, if openings are quick.
const TURN: u64 = 512 * 1024;

/// A buffer that has loaded its first `loaded` bytes, with a stream that can be used again.
pub(super) fn started(limits: Limits, loaded: u64) -> Remote {
    let mut remote = Remote::with(limits, Retry::default());
    remote.read(0, loaded);
    remote.opened(versioned());
    remote.send(loaded);
    assert_eq!(remote.bytes(), source(0, loaded));
    remote
}

fn ranges(remote: &Remote) -> Vec<std::ops::Range<u64>> {
    remote.core.ranges().resident
}

#[test]
fn a_far_read_gets_a_stream_of_its_own_and_a_near_one_waits() {
    // Rule 25.
    let mut near = started(PLAIN, 1000);
    near.read(1000 + FIRST, 10);
    near.finish_openings(1);
    near.send(FIRST + 10);
    assert_eq!(near.bytes(), source(1000 + FIRST, 1010 + FIRST));

    let mut far = started(PLAIN, 1000);
    far.read(1001 + FIRST, 10);
    assert_eq!(far.last_opening().offset, 1001 + FIRST);
    far.opened(versioned());
    far.send_of(1, 10);
    assert_eq!(far.bytes(), source(1001 + FIRST, 1011 + FIRST));
    assert_eq!(ranges(&far), [0..1000, 1001 + FIRST..1011 + FIRST]);
    assert_eq!((far.published.frontier, far.published.streams, far.published.loaded), (1000, 2, 1010));
    // The first stream goes on where it was.
    far.read(1000, 10);
    far.finish_openings(2);
    far.send_of(0, 10);
    assert_eq!(far.bytes(), source(1000, 1010));
}

#[test]
fn a_read_behind_all_streams_gets_one_of_its_own() {
    // Rule 25.
    let mut remote = Remote::new();
    remote.read(2_000_000, 10);
    assert_eq!(remote.last_opening().offset, 2_000_000, "the first opening is where the byte is");
    remote.opened(versioned());
    remote.send(10);
    remote.bytes();
    remote.read(1_999_000, 10);
    let at = remote.last_opening();
    assert_eq!((at.offset, at.end), (1_999_000, None), "the island is short");
    remote.opened(versioned());
    remote.send_of(1, 10);
    assert_eq!(remote.bytes(), source(1_999_000, 1_999_010));
}

#[test]
fn the_distance_is_what_a_stream_brings_while_another_is_opened() {
    // Rule 25: 100 ms to the first byte, and then 64 KiB in 10 ms for as long as that.
    let mut remote = Remote::new();
    remote.read(0, 700_000);
    remote.now += ms(100);
    remote.opened(versioned());
    remote.send(1000);
    for _ in 0..10 {
        assert!(remote.wants());
        remote.now += ms(10);
        remote.send(64 * 1024);
    }
    let at = 1000 + 640 * 1024;
    remote.read(at + 640 * 1024, 10);
    remote.finish_openings(1);
    remote.read(at + 641 * 1024, 10);
    remote.finish_openings(2);
}

#[test]
fn a_source_without_versions_is_never_jumped_in() {
    // Rule 25.
    let mut remote = Remote::new();
    remote.read(0, 1000);
    remote.opened(told(None, Some(SIZE)));
    remote.send(1000);
    remote.bytes();
    remote.read(2_000_000, 10);
    remote.finish_openings(1);
    remote.send(2_000_000);
    assert_eq!(remote.bytes(), source(2_000_000, 2_000_010));
}

#[test]
fn a_first_opening_past_the_start_is_repeated_from_the_start_without_a_version() {
    // Rules 22 and 25: nothing would prove the bytes before it.
    let mut remote = Remote::new();
    remote.read(2_000_000, 10);
    remote.opened(told(None, Some(SIZE)));
    assert_eq!(remote.last_opening().offset, 0);
    assert!(matches!(remote.published.state, State::Pulling), "it is no failure");
    remote.opened(told(None, Some(SIZE)));
    remote.send(2_000_010);
    assert_eq!(remote.bytes(), source(2_000_000, 2_000_010));
    remote.finish_openings(2);
    // A stream that cannot be opened again has lost the bytes before it.
    let mut remote = Remote::new();
    remote.read(2_000_000, 10);
    remote.opened(OpenedStream { reopen: Reopen::Never, ..told(None, None) });
    assert_eq!(remote.error().kind(), ErrorKind::Source);
    assert_eq!(remote.published.state, State::Failed);
}

#[test]
fn an_idle_stream_moves_before_one_that_a_read_waits_for() {
    // Rule 25.
    let mut remote = started(PLAIN, 1000);
    remote.read(1_000_000, 10);
    remote.opened(versioned());
    remote.send_of(1, 10);
    remote.bytes();
    // Stream 1 is needed, so stream 0 moves.
    remote.read(1_000_010, 100);
    remote.read(2_000_000, 10);
    remote.finish_openings(3);
    assert_eq!(remote.streams.get(&0), Some(&None));
    remote.opened(versioned());
    remote.send_of(0, 10);
    remote.send_of(1, 100);
    assert_eq!(remote.bytes(), source(2_000_000, 2_000_010));
    assert_eq!(remote.bytes(), source(1_000_010, 1_000_110));
    // Both are idle. The stream that has not been used for longer moves.
    remote.now += ms(1);
    remote.read(2_000_010, 1);
    remote.send_of(0, 1);
    remote.read(200_000, 10);
    assert_eq!(remote.streams.get(&1), Some(&None));
}

#[test]
fn a_stream_that_a_read_waits_for_has_its_turn_before_it_moves() {
    // Rule 25.
    let mut remote = Remote::with(Limits { streams: 1, ..PLAIN }, Retry::default());
    remote.read(0, 2_000_000);
    remote.opened(versioned());
    remote.send(1000);
    remote.read(2_500_000, 10);
    remote.finish_openings(1);
    remote.send(TURN - 1001);
    remote.finish_openings(1);
    remote.send(1);
    assert_eq!(remote.last_opening().offset, 2_500_000);
    remote.opened(versioned());
    remote.send(10);
    assert_eq!(remote.bytes(), source(2_500_000, 2_500_010));
    // Then it serves the other read again.
    assert_eq!(remote.last_opening().offset, TURN);
    remote.opened(versioned());
    remote.send(2_000_000 - TURN);
    assert_eq!(remote.bytes(), source(0, 2_000_000));
}

#[test]
fn two_distant_listeners_both_advance() {
    // Rule 25.
    let mut remote = Remote::new();
    let (mut first, mut second) = (0, 1_500_000);
    remote.read(first, 1000);
    remote.opened(versioned());
    remote.read(second, 1000);
    remote.opened(versioned());
    for _ in 0..100 {
        remote.send_of(1, 1000);
        assert_eq!(remote.bytes(), source(second, second + 1000));
        second += 1000;
        remote.read(second, 1000);
        remote.send_of(0, 1000);
        assert_eq!(remote.bytes(), source(first, first + 1000));
        first += 1000;
        remote.read(first, 1000);
    }
    remote.finish_openings(2);
}

#[test]
fn a_stream_stops_before_a_long_island_and_passes_a_short_one() {
    // Rule 25.
    for (len, is_long) in [(FIRST, true), (FIRST - 1, false)] {
        let mut remote = started(PLAIN, 1000);
        remote.read(1_000_000, len);
        remote.opened(versioned());
        remote.send_of(1, len);
        assert_eq!(remote.bytes(), source(1_000_000, 1_000_000 + len));
        // Stream 1 leaves the end of the island.
        remote.read(2_500_000, 10);
        assert_eq!(remote.openings.len(), 3);
        let moved = *remote.streams.iter().find(|(_, at)| at.is_none()).unwrap().0;
        remote.opened(versioned());
        remote.send_of(moved, 10);
        remote.bytes();
        // The rest of the gap before the island.
        remote.load(500_000..1_000_000);
        let at = remote.last_opening();
        assert_eq!((at.offset, at.end), (500_000, is_long.then_some(1_000_000)));
        let stream = *remote.streams.iter().find(|(_, at)| at.is_none()).unwrap().0;
        remote.opened(versioned());
        remote.send_of(stream, 500_000);
        assert!(remote.bytes().is_empty(), "loaded");
        assert_eq!(remote.streams.contains_key(&stream), !is_long);
        if !is_long {
            let sent = remote.sent;
            remote.read(1_000_000 + len, 10);
            remote.send_of(stream, len + 10);
            assert_eq!(remote.bytes(), source(1_000_000 + len, 1_000_010 + len));
            assert_eq!(remote.sent, sent + len + 10, "the island is sent again");
            assert_eq!(remote.published.loaded, 1000 + 500_000 + len + 10 + 10);
        }
    }
}

#[test]
fn a_stream_that_meets_another_one_stops() {
    // Rule 25: they would go on side by side.
    let mut remote = started(PLAIN, 1000);
    remote.read(200_000, 10);
    remote.opened(versioned());
    remote.send_of(1, 10);
    remote.bytes();
    remote.read(100_000, 150_000);
    remote.send_of(0, 199_000);
    assert!(!remote.streams.contains_key(&0), "it has met the other");
    remote.send_of(1, 49_990);
    assert_eq!(remote.bytes(), source(100_000, 250_000));
    remote.finish_openings(2);
}

#[test]
fn a_stream_that_is_asked_to_end_before_an_island_ends_there_without_a_failure() {
    // Rule 25.
    let mut remote = Remote::new();
    remote.read(1_000_000, 300_000);
    remote.opened(versioned());
    remote.send(300_000);
    remote.bytes();
    remote.breaks_idle();
    remote.read(0, 1_000_000);
    assert_eq!(remote.last_opening().end, Some(1_000_000));
    remote.opened(versioned());
    remote.send(999_999);
    remote.ends();
    assert!(matches!(remote.published.state, State::Retrying { .. }), "one byte is missing");
    remote.wait();
    assert_eq!((remote.last_opening().offset, remote.last_opening().end), (999_999, Some(1_000_000)));
    remote.opened(versioned());
    remote.send(1);
    assert_eq!(remote.bytes(), source(0, 1_000_000));
    assert!(remote.streams.is_empty() && remote.error.is_none());
}

#[test]
fn an_opening_looks_for_its_end_behind_few_islands_only() {
    // Rule 25: a walk over all islands for each opening would be quadratic.
    for (islands, end) in [(63, Some(1_000_000)), (64, None)] {
        let mut remote = Remote::with(Limits { streams: 1, ..PLAIN }, Retry::default());
        remote.read(1_000_000, FIRST);
        remote.opened(versioned());
        remote.send(FIRST);
        for n in 0..islands {
            remote.now += Duration::from_secs(3);
            remote.read(900_000 - 1000 * n, 1);
            remote.opened(versioned());
            remote.send(1);
        }
        remote.now += Duration::from_secs(3);
        remote.read(0, 1);
        assert_eq!((remote.last_opening().offset, remote.last_opening().end), (0, end), "{islands} islands");
    }
}

#[test]
fn no_demand_means_no_pulling() {
    // Rule 6.
    let mut remote = started(PLAIN, 1000);
    assert!(!remote.wants());
    let read = Read { offset: 1_000_000, len: 10, want: Want::Exact, borrow: false };
    let token = remote.ticket();
    let gone = Rc::clone(&token.gone);
    remote.event(Event::Read { read, token });
    remote.opened(versioned());
    assert!(remote.wants_of(1) && !remote.wants_of(0));
    gone.set(true);
    remote.event(Event::Withdrawn);
    assert!(!remote.wants_of(1), "the read was dropped");
    assert_eq!(remote.published.state, State::Waiting);
}

#[test]
fn memory_full_of_partly_filled_blocks_is_written_back() {
    // Rule 29.
    let limits = Limits { max_memory: 0, streams: 8, ..PLAIN };
    let mut remote = Remote::with(limits, Retry::default());
    let offset = |number: u64| number * 300_000 + 7;
    for number in 0..8 {
        remote.read(offset(number), 200_000);
        remote.opened(versioned());
    }
    let mut left = 8 * 200_000_u64;
    for round in 0.. {
        assert!(round < 10_000, "memory and disk wait for each other");
        let mut moved = false;
        for stream in 0..8 {
            if remote.streams.contains_key(&stream) && remote.wants_of(stream) {
                remote.send_of(stream, 10_000);
                (moved, left) = (true, left - 10_000);
            }
        }
        assert!(remote.core.held() <= MIB, "{} bytes", remote.core.held());
        if !moved {
            if remote.writing.is_none() {
                break;
            }
            remote.write_succeeds();
        }
    }
    assert_eq!(left, 0);
    let mut answers = std::mem::take(&mut remote.answers).into_iter().collect::<Vec<_>>();
    answers.sort_by_key(|(id, _)| *id);
    let mut got = vec![Vec::new(); 8];
    for (id, answer) in answers {
        got[id - 1].extend_from_slice(&answer.unwrap());
    }
    for number in 0..8 {
        // An exact read across two places gets the first part.
        let at = offset(number);
        let part = got[number as usize].len() as u64;
        assert!(part > 0 && got[number as usize][..] == source(at, at + part), "read {number}");
        remote.read(at, 200_000);
    }
}

#[test]
fn a_failed_stream_does_not_disturb_the_other() {
    // Rules 24 and 25.
    let mut remote = started(PLAIN, 1000);
    remote.read(1_000_000, 100);
    remote.opened(versioned());
    remote.read(1000, 100);
    remote.breaks_of(1);
    assert!(remote.wants_of(0), "the other goes on");
    remote.send_of(0, 100);
    assert_eq!(remote.bytes(), source(1000, 1100));
    remote.wait();
    assert_eq!(remote.last_opening().offset, 1_000_000);
    remote.opened(versioned());
    remote.send_of(1, 100);
    assert_eq!(remote.bytes(), source(1_000_000, 1_000_100));
}

#[test]
fn a_second_stream_of_another_version_is_a_changed_resource() {
    // Rule 22: also if no byte of the first stream has arrived.
    for loaded in [0, 1000] {
        let mut remote = started(PLAIN, 1000);
        if loaded == 0 {
            remote = Remote::new();
            let token = remote.ticket();
            remote.event(Event::Size { token });
            remote.opened(versioned());
            remote.bytes();
        }
        remote.read(1_000_000, 100);
        assert_eq!(remote.last_opening().version, Some(crate::source::Version::strong("v1")));
        remote.opened(told(Some("v2"), Some(SIZE)));
        assert_eq!(remote.error().kind(), ErrorKind::Changed);
        assert!(remote.streams.is_empty());
    }
}

#[test]
fn an_attempt_that_waits_for_memory_is_no_deadline_that_has_passed() {
    // Rule 24: the driver would report the same deadline again and again.
    let limits = Limits { max_memory: 0, streams: 2, ..PLAIN };
    let mut remote = Remote::with(limits, Retry::default());
    remote.read(0, SIZE / 2);
    remote.opened(versioned());
    remote.send(10);
    remote.read(SIZE - 10, 10);
    assert!(remote.is_opening());
    // Memory is full, and the disk hangs.
    let first = *remote.streams.iter().find(|(_, at)| at.is_some()).unwrap().0;
    while remote.wants_of(first) {
        remote.send_of(first, 50_000);
    }
    remote.open_fails(io::ErrorKind::ConnectionRefused.into());
    let openings = remote.openings.len();
    remote.now += Duration::from_secs(1);
    remote.event(Event::DeadlinePassed);
    remote.finish_openings(openings);
    let next = remote.core.next_deadline(remote.now);
    assert!(next.is_none_or(|next| next > remote.now), "the attempt was due before");
    remote.write_succeeds();
    remote.finish_openings(openings + 1);
}
