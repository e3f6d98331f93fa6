//! More readers than streams: rules 25 and 26, without a runtime and with exact times.

use super::remote::{Remote, ms, told};
use super::*;
use crate::source::retry::Retry;

const SIZE: u64 = 8 * MIB as u64;

/// The new bytes that a stream brings in its turn, if openings are quick.
const TURN: u64 = 512 * KIB as u64;

/// Chunks of this size.
const CHUNK: u64 = 16 * KIB as u64;

/// The time that an opening takes.
const OPENING: Duration = Duration::from_millis(30);

fn limits(streams: usize, read_ahead: u64) -> Limits {
    Limits { read_ahead, streams, ..PLAIN }
}

/// The only opening takes its time and succeeds.
fn open(remote: &mut Remote) {
    remote.now += OPENING;
    remote.opened(told(Some("v1"), Some(SIZE)));
}

/// Asks for the next piece, as chunks and readers do.
fn ask(remote: &mut Remote, offset: u64) {
    remote.ask(Read { offset, len: SIZE, want: Want::Piece, borrow: false });
}

/// Asks for bytes at a new offset, which a new opening brings.
fn jump(remote: &mut Remote, offset: u64) {
    ask(remote, offset);
    open(remote);
    let stream = remote.stream_at(offset);
    remote.send_of(stream, CHUNK);
    assert_eq!(remote.bytes(), source(offset, offset + CHUNK));
}

/// A reader gets bytes from its stream, chunk by chunk, up to `to`.
fn stream(remote: &mut Remote, from: u64, to: u64) {
    for offset in (from..to).step_by(CHUNK as usize) {
        ask(remote, offset);
        let stream = remote.stream_at(offset);
        remote.now += ms(8);
        remote.send_of(stream, CHUNK);
        assert_eq!(remote.bytes(), source(offset, offset + CHUNK));
    }
}

#[test]
fn a_stream_stays_with_its_reader_between_two_requests_until_its_turn_is_over() {
    // Rule 25.
    let mut remote = Remote::with(limits(1, 0), Retry::default());
    jump(&mut remote, 0);
    ask(&mut remote, 4 * MIB as u64);
    stream(&mut remote, CHUNK, TURN - CHUNK);
    remote.finish_openings(1);
    stream(&mut remote, TURN - CHUNK, TURN);
    remote.finish_openings(2);
    assert_eq!(remote.last_opening().offset, 4 * MIB as u64);
    // The first reader waits until the other one has had its turn.
    ask(&mut remote, TURN);
    open(&mut remote);
    let far = 4 * MIB as u64;
    remote.send_of(0, CHUNK);
    assert_eq!(remote.bytes(), source(far, far + CHUNK));
    stream(&mut remote, far + CHUNK, far + TURN - CHUNK);
    remote.finish_openings(2);
    stream(&mut remote, far + TURN - CHUNK, far + TURN);
    assert_eq!(remote.last_opening().offset, TURN);
}

#[test]
fn a_reader_that_has_stopped_keeps_its_stream_for_half_the_time_of_an_opening() {
    // Rule 25.
    let mut remote = Remote::with(limits(1, 0), Retry::default());
    jump(&mut remote, 0);
    stream(&mut remote, CHUNK, 4 * CHUNK);
    ask(&mut remote, 4 * MIB as u64);
    remote.finish_openings(1);
    assert_eq!(remote.wait(), OPENING / 2);
    assert_eq!(remote.last_opening().offset, 4 * MIB as u64);
}

#[test]
fn a_turn_ends_after_some_time_even_if_the_stream_is_slow() {
    // Rule 25.
    let mut remote = Remote::with(limits(1, 0), Retry::default());
    jump(&mut remote, 0);
    ask(&mut remote, CHUNK);
    ask(&mut remote, 4 * MIB as u64);
    assert_eq!(remote.wait(), OPENING / 2, "the time of a possible move");
    remote.finish_openings(1);
    assert_eq!(remote.wait() + OPENING / 2, Duration::from_secs(2));
    assert_eq!(remote.last_opening().offset, 4 * MIB as u64);
}

#[test]
fn a_new_reader_takes_a_stream_that_only_reads_ahead() {
    // Rule 25: a user who seeks does not wait until read-ahead for the old position has had its turn.
    let mut remote = Remote::with(limits(1, MIB as u64), Retry::default());
    jump(&mut remote, 0);
    remote.now += OPENING;
    assert!(remote.wants());
    ask(&mut remote, 4 * MIB as u64);
    assert_eq!(remote.last_opening().offset, 4 * MIB as u64);
}

#[test]
fn a_reader_that_was_served_before_waits_until_the_window_of_another_one_is_filled() {
    // Rule 25: an opening brings a window of read-ahead, and not a chunk.
    let (far, window) = (4 * MIB as u64, 256 * KIB as u64);
    let mut remote = Remote::with(limits(1, window), Retry::default());
    jump(&mut remote, 0);
    remote.now += OPENING;
    jump(&mut remote, far);
    ask(&mut remote, CHUNK);
    remote.now += OPENING;
    for _ in 0..window / CHUNK {
        remote.finish_openings(2);
        remote.send_of(0, CHUNK);
    }
    assert_eq!(remote.last_opening().offset, CHUNK);
}

#[test]
fn the_request_that_has_waited_longest_gets_the_next_turn() {
    // Rule 25.
    let mut remote = Remote::with(limits(1, 0), Retry::default());
    jump(&mut remote, 0);
    for offset in [6, 2, 4] {
        ask(&mut remote, offset * MIB as u64);
    }
    for offset in [6, 2, 4] {
        remote.wait();
        open(&mut remote);
        assert_eq!(remote.last_opening().offset, offset * MIB as u64);
        remote.send_of(0, CHUNK);
        assert_eq!(remote.bytes(), source(offset * MIB as u64, offset * MIB as u64 + CHUNK));
    }
}

/// Two readers in order with full windows, and then a third one has the stream of the first.
fn three_viewers() -> Remote {
    let (far, window) = (3 * MIB as u64, MIB as u64);
    let mut remote = Remote::with(limits(2, window), Retry::default());
    for start in [0, far] {
        jump(&mut remote, start);
        stream(&mut remote, start + CHUNK, start + 16 * CHUNK);
        let id = remote.stream_at(start + 16 * CHUNK);
        while remote.wants_of(id) {
            remote.send_of(id, CHUNK);
        }
        remote.now += OPENING;
    }
    jump(&mut remote, 6 * MIB as u64);
    remote.finish_openings(3);
    remote
}

/// The first viewer of these has loaded bytes up to here, and its window was full here.
const LOADED: u64 = (256 + 1024) * KIB as u64;

#[test]
fn read_ahead_goes_on_for_a_reader_in_order_before_it_has_to_wait() {
    // Rules 25 and 26.
    let mut remote = three_viewers();
    let mut offset = 16 * CHUNK;
    while LOADED - offset >= TURN {
        remote.finish_openings(3);
        ask(&mut remote, offset);
        offset += remote.bytes().len() as u64;
    }
    remote.now += OPENING;
    ask(&mut remote, offset);
    let bytes = remote.bytes();
    assert_eq!(bytes, source(offset, offset + bytes.len() as u64));
    assert_eq!(remote.last_opening().offset, LOADED, "half of the window is left");
    // The stream of the reader with the fullest window has moved.
    assert!(remote.streams.values().all(|at| *at != Some(3 * MIB as u64 + LOADED)));
}

#[test]
fn read_ahead_opens_nothing_for_single_reads() {
    // Rule 26: their callers may never go on.
    let mut remote = three_viewers();
    for offset in [40, 50, 60, 70, 75] {
        remote.now += OPENING;
        remote.read(offset * CHUNK, 1000);
        assert_eq!(remote.bytes(), source(offset * CHUNK, offset * CHUNK + 1000));
    }
    remote.finish_openings(3);
}

#[test]
fn read_ahead_opens_nothing_for_a_reader_that_was_faster_than_its_stream() {
    // Rule 26: such a reader asks again at once. It has stopped if it does not.
    let mut remote = Remote::with(limits(2, MIB as u64), Retry::default());
    jump(&mut remote, 0);
    stream(&mut remote, CHUNK, 20 * CHUNK);
    remote.now += OPENING;
    jump(&mut remote, 3 * MIB as u64);
    remote.now += OPENING;
    jump(&mut remote, 6 * MIB as u64);
    remote.finish_openings(3);
    // All windows are filled, so the streams are free.
    for id in 0..2 {
        while remote.wants_of(id) {
            remote.send_of(id, CHUNK);
        }
    }
    remote.finish_openings(3);
}

#[test]
fn a_stream_in_constant_use_is_not_closed() {
    // Rule 21: its chunks are ready at the first poll, so the buffer never waits for it.
    let mut remote = Remote::with(limits(2, 0), Retry::default());
    jump(&mut remote, 0);
    for offset in (CHUNK..SIZE / 2).step_by(CHUNK as usize) {
        let next = remote.core.next_deadline(remote.now).expect("the stream is closed if it is unused");
        remote.now += ms(1000);
        if next <= remote.now {
            remote.event(Event::DeadlinePassed);
        }
        ask(&mut remote, offset);
        remote.send_of(0, CHUNK);
        assert_eq!(remote.bytes(), source(offset, offset + CHUNK));
    }
    remote.finish_openings(1);
    remote.breaks_idle();
}

#[test]
fn distant_requests_that_wait_cost_the_same_work_each() {
    // Rule 4: the walks over requests that wait keep others waiting.
    let work = |requests: u64| {
        let mut remote = Remote::with(limits(2, 0), Retry::default());
        for number in 0..requests {
            remote.read(number * 16 * MIB as u64, 1);
        }
        let before = LOOKED_AT.get();
        for _ in 0..requests {
            if !remote.is_opening() {
                remote.wait();
            }
            let size = requests * 16 * MIB as u64;
            let id = *remote.streams.iter().find(|(_, at)| at.is_none()).unwrap().0;
            remote.opened_as(id, told(Some("v1"), Some(size)));
            remote.send_bytes_of(id, Bytes::from_static(b"x"));
            assert_eq!(remote.bytes(), "x");
        }
        LOOKED_AT.get() - before
    };
    let (few, many) = (work(100), work(800));
    assert!(many < 10 * few, "{few} and {many} looks at requests");
}
