//! More readers than streams: rules 25 and 26, without a runtime and with exact times.

use super::jumping::started;
use super::*;

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
fn open(world: &mut World) {
    world.now += OPENING;
    world.opened(told(Some("v1"), Some(SIZE)));
}

/// Asks for the next piece, as chunks and readers do.
fn ask(world: &mut World, offset: u64) {
    world.ask(Read { offset, len: SIZE, want: Want::Piece });
}

/// Asks for bytes at a new offset, which a new opening brings.
fn jump(world: &mut World, offset: u64) {
    ask(world, offset);
    open(world);
    let stream = world.stream_at(offset);
    world.send_of(stream, CHUNK);
    assert_eq!(world.next_bytes(), source(offset, offset + CHUNK));
}

/// A reader gets bytes from its stream, chunk by chunk, up to `to`.
fn stream(world: &mut World, from: u64, to: u64) {
    for offset in (from..to).step_by(CHUNK as usize) {
        ask(world, offset);
        let stream = world.stream_at(offset);
        world.now += ms(8);
        world.send_of(stream, CHUNK);
        assert_eq!(world.next_bytes(), source(offset, offset + CHUNK));
    }
}

#[test]
fn a_stream_stays_with_its_reader_between_two_requests_until_its_turn_is_over() {
    // Rule 25.
    let mut world = World::source(limits(1, 0));
    jump(&mut world, 0);
    ask(&mut world, 4 * MIB as u64);
    stream(&mut world, CHUNK, TURN - CHUNK);
    assert_eq!(world.openings(), 1);
    stream(&mut world, TURN - CHUNK, TURN);
    assert_eq!(world.openings(), 2);
    assert_eq!(world.last_opening().offset, 4 * MIB as u64);
    // The first reader waits until the other one has had its turn.
    ask(&mut world, TURN);
    open(&mut world);
    let far = 4 * MIB as u64;
    world.send_of(0, CHUNK);
    assert_eq!(world.next_bytes(), source(far, far + CHUNK));
    stream(&mut world, far + CHUNK, far + TURN - CHUNK);
    assert_eq!(world.openings(), 2);
    stream(&mut world, far + TURN - CHUNK, far + TURN);
    assert_eq!(world.last_opening().offset, TURN);
}

#[test]
fn a_reader_that_has_stopped_keeps_its_stream_for_half_the_time_of_an_opening() {
    // Rule 25.
    let mut world = World::source(limits(1, 0));
    jump(&mut world, 0);
    stream(&mut world, CHUNK, 4 * CHUNK);
    ask(&mut world, 4 * MIB as u64);
    assert_eq!(world.openings(), 1);
    assert_eq!(world.wait(), OPENING / 2);
    assert_eq!(world.last_opening().offset, 4 * MIB as u64);
}

#[test]
fn a_turn_ends_after_some_time_even_if_the_stream_is_slow() {
    // Rule 25.
    let mut world = World::source(limits(1, 0));
    jump(&mut world, 0);
    ask(&mut world, CHUNK);
    ask(&mut world, 4 * MIB as u64);
    assert_eq!(world.wait(), OPENING / 2, "the time of a possible move");
    assert_eq!(world.openings(), 1);
    assert_eq!(world.wait() + OPENING / 2, Duration::from_secs(2));
    assert_eq!(world.last_opening().offset, 4 * MIB as u64);
}

#[test]
fn a_new_reader_takes_a_stream_that_only_reads_ahead() {
    // Rule 25: a user who seeks does not wait until read-ahead for the old position has had its turn.
    let mut world = World::source(limits(1, MIB as u64));
    jump(&mut world, 0);
    world.now += OPENING;
    assert!(world.wants());
    ask(&mut world, 4 * MIB as u64);
    assert_eq!(world.last_opening().offset, 4 * MIB as u64);
}

#[test]
fn a_reader_that_was_served_before_waits_until_the_window_of_another_one_is_filled() {
    // Rule 25: an opening brings a window of read-ahead, and not a chunk.
    let (far, window) = (4 * MIB as u64, 256 * KIB as u64);
    let mut world = World::source(limits(1, window));
    jump(&mut world, 0);
    world.now += OPENING;
    jump(&mut world, far);
    ask(&mut world, CHUNK);
    world.now += OPENING;
    for _ in 0..window / CHUNK {
        assert_eq!(world.openings(), 2);
        world.send_of(0, CHUNK);
    }
    assert_eq!(world.last_opening().offset, CHUNK);
}

#[test]
fn the_request_that_has_waited_longest_gets_the_next_turn() {
    // Rule 25.
    let mut world = World::source(limits(1, 0));
    jump(&mut world, 0);
    for offset in [6, 2, 4] {
        ask(&mut world, offset * MIB as u64);
    }
    for offset in [6, 2, 4] {
        world.wait();
        open(&mut world);
        assert_eq!(world.last_opening().offset, offset * MIB as u64);
        world.send_of(0, CHUNK);
        assert_eq!(world.next_bytes(), source(offset * MIB as u64, offset * MIB as u64 + CHUNK));
    }
}

/// Two readers in order with full windows, and then a third one has the stream of the first.
fn three_viewers() -> World {
    let (far, window) = (3 * MIB as u64, MIB as u64);
    let mut world = World::source(limits(2, window));
    for start in [0, far] {
        jump(&mut world, start);
        stream(&mut world, start + CHUNK, start + 16 * CHUNK);
        let id = world.stream_at(start + 16 * CHUNK);
        while world.wants_of(id) {
            world.send_of(id, CHUNK);
        }
        world.now += OPENING;
    }
    jump(&mut world, 6 * MIB as u64);
    assert_eq!(world.openings(), 3);
    world
}

/// The first viewer of these has loaded bytes up to here, and its window was full here.
const LOADED: u64 = (256 + 1024) * KIB as u64;

#[test]
fn read_ahead_goes_on_for_a_reader_in_order_before_it_has_to_wait() {
    // Rules 25 and 26.
    let mut world = three_viewers();
    let mut offset = 16 * CHUNK;
    while LOADED - offset >= TURN {
        assert_eq!(world.openings(), 3);
        ask(&mut world, offset);
        offset += world.next_bytes().len() as u64;
    }
    world.now += OPENING;
    ask(&mut world, offset);
    let bytes = world.next_bytes();
    assert_eq!(bytes, source(offset, offset + bytes.len() as u64));
    assert_eq!(world.last_opening().offset, LOADED, "half of the window is left");
    // The stream of the reader with the fullest window has moved.
    assert!(world.ids().iter().all(|id| world.at_of(*id) != Some(3 * MIB as u64 + LOADED)));
}

#[test]
fn read_ahead_opens_nothing_for_single_reads() {
    // Rule 26: their callers may never go on.
    let mut world = three_viewers();
    for offset in [40, 50, 60, 70, 75] {
        world.now += OPENING;
        world.read(offset * CHUNK, 1000);
        assert_eq!(world.next_bytes(), source(offset * CHUNK, offset * CHUNK + 1000));
    }
    assert_eq!(world.openings(), 3);
}

#[test]
fn read_ahead_opens_nothing_for_a_reader_that_was_faster_than_its_stream() {
    // Rule 26: such a reader asks again at once. It has stopped if it does not.
    let mut world = World::source(limits(2, MIB as u64));
    jump(&mut world, 0);
    stream(&mut world, CHUNK, 20 * CHUNK);
    world.now += OPENING;
    jump(&mut world, 3 * MIB as u64);
    world.now += OPENING;
    jump(&mut world, 6 * MIB as u64);
    assert_eq!(world.openings(), 3);
    // All windows are filled, so the streams are free.
    for id in 0..2 {
        while world.wants_of(id) {
            world.send_of(id, CHUNK);
        }
    }
    assert_eq!(world.openings(), 3);
}

#[test]
fn a_stream_in_constant_use_is_not_closed() {
    // Rule 21: its chunks are ready at the first poll, so the buffer never waits for it.
    let mut world = World::source(limits(2, 0));
    jump(&mut world, 0);
    for offset in (CHUNK..SIZE / 2).step_by(CHUNK as usize) {
        let next = world.deadline().expect("the stream is closed if it is unused");
        world.now += ms(1000);
        if next <= world.now {
            world.tell_time();
        }
        ask(&mut world, offset);
        world.send_of(0, CHUNK);
        assert_eq!(world.next_bytes(), source(offset, offset + CHUNK));
    }
    assert_eq!(world.openings(), 1);
    world.closes_unused();
}

#[test]
fn distant_requests_that_wait_cost_the_same_work_each() {
    // Rule 4: the walks over requests that wait keep others waiting.
    let work = |requests: u64| {
        let mut world = World::source(limits(2, 0));
        for number in 0..requests {
            world.read(number * 16 * MIB as u64, 1);
        }
        let before = looked_at();
        for _ in 0..requests {
            if !world.is_opening() {
                world.wait();
            }
            let size = requests * 16 * MIB as u64;
            let id = world.the_opening();
            world.opened_as(id, told(Some("v1"), Some(size)));
            world.send_bytes_of(id, Bytes::from_static(b"x"));
            assert_eq!(world.next_bytes(), "x");
        }
        looked_at() - before
    };
    let (few, many) = (work(100), work(800));
    assert!(many < 10 * few, "{few} and {many} looks at requests");
}

#[test]
fn a_reader_of_loaded_bytes_takes_no_read_ahead_from_another_one() {
    // Rule 26: two streams may be open, so two positions count.
    let mut world = started(Limits { read_ahead: 100_000, streams: 2, ..PLAIN }, 1_500_000);
    world.spill();
    world.write_all();
    // The other reader is far ahead.
    world.read(2_500_000, 1000);
    world.opened(versioned());
    world.send_of(1, 1000);
    assert!(world.wants_of(1), "its stream reads ahead");
    // This one reads at the start, and then near the first missing byte.
    for offset in [0, 1_450_000] {
        let read = world.ask(Read { offset, len: 1000, want: Want::Piece });
        assert_eq!(world.bytes(&read), source(offset, offset + 1000));
        assert!(world.wants_of(1), "after the read at {offset}");
    }
    assert!(world.wants_of(0));
}
