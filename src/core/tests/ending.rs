//! The end of the stream and failures of the source: rules 8, 14 and 15, and the progress of rule 20.

use bytes::Buf;

use super::*;

fn declared(size: u64) -> World {
    World::one_way(Limits { declared: Some(size), ..PLAIN })
}

#[test]
fn the_end_answers_everybody_with_what_there_is() {
    // Rule 1.
    let mut world = World::one_way(PLAIN);
    let reads = [world.read(0, 20), world.read(10, 5), world.read(25, 5), world.read_some(10, 5)];
    world.send(10);
    world.ends();
    let expected = [source(0, 10), source(10, 10), source(10, 10), source(10, 10)];
    assert_eq!(reads.map(|read| world.bytes(&read)), expected);
    // Later reads get the same.
    let (short, past) = (world.read(8, 20), world.read_some(11, 1));
    assert_eq!(world.bytes(&short), source(8, 10));
    assert_eq!(world.bytes(&past), "");
}

#[test]
fn nothing_is_pulled_after_the_end_or_an_error() {
    // Rule 8.
    let everything = Limits { read_ahead: u64::MAX, ..PLAIN };
    for ending in [World::ends, World::breaks] {
        let mut world = World::one_way(everything);
        assert!(world.wants());
        ending(&mut world);
        world.read(0, 10);
        assert!(world.ids().is_empty() && !world.wants());
    }
}

#[test]
fn the_first_end_is_the_last() {
    // Rule 15: an error is never turned into an end of file.
    let mut world = World::one_way(PLAIN);
    world.breaks();
    // No driver polls a stream that has failed: what the core does then is not carried out.
    world.is_slow = true;
    world.ends();
    let read = world.read(0, 1);
    world.act();
    assert_eq!(world.error_of(&read).kind(), ErrorKind::Source);
}

#[test]
fn an_empty_chunk_changes_nothing() {
    // Rule 8.
    let mut world = World::one_way(Limits { declared: Some(10), ..PLAIN });
    let read = world.read(0, 10);
    for _ in 0..3 {
        world.send(0);
        assert!(world.is_waiting(&read) && world.wants());
    }
    world.send(10);
    world.send(0);
    assert_eq!(world.bytes(&read), source(0, 10));
    world.ends();
    assert_eq!(world.progress().state, State::Complete);
}

#[test]
fn an_empty_stream_is_complete() {
    for declared in [None, Some(0)] {
        let mut world = World::one_way(Limits { declared, ..PLAIN });
        let read = world.read(0, 1);
        world.ends();
        assert_eq!(world.bytes(&read), "");
        assert_eq!(world.progress(), progress(0, 0, Some(0), State::Complete));
    }
}

#[test]
fn a_source_error_is_told_to_each_read_that_needs_more_and_to_no_other() {
    // Rule 15.
    let mut world = World::one_way(PLAIN);
    let waiting = [world.read(0, 101), world.read(100, 1), world.read_some(100, 1), world.load(ALL)];
    world.send(100);
    world.breaks();
    let later = [world.read(99, 2), world.read_some(100, 5), world.read(1000, 1), world.load(ALL)];
    for read in waiting.iter().chain(&later) {
        let error = world.error_of(read);
        assert_eq!((error.kind(), error.offset()), (ErrorKind::Source, 100));
        assert_eq!(io::Error::from(error).kind(), io::ErrorKind::ConnectionReset);
    }
    let (exact, some) = (world.read(0, 100), world.read_some(90, 20));
    assert_eq!(world.bytes(&exact), source(0, 100));
    assert_eq!(world.bytes(&some), source(90, 100));
}

#[test]
fn a_stream_that_ends_early_is_truncated_and_stays_readable() {
    // Rule 14.
    let mut world = declared(100);
    let read = world.read(0, 100);
    world.send(99);
    world.ends();
    let error = world.error_of(&read);
    assert_eq!((error.kind(), error.offset()), (ErrorKind::Truncated, 99));
    world.reads(0, 99);
    assert_eq!(world.progress(), progress(99, 0, None, State::Failed));
}

#[test]
fn a_stream_that_goes_on_is_oversized_and_its_declared_part_stays_readable() {
    // Rule 14: the excess is in the same chunk, in a chunk of its own, or the whole stream.
    for (size, chunks) in [(100, &[150][..]), (100, &[100, 1]), (0, &[5])] {
        let mut world = declared(size);
        let load = world.load(ALL);
        for chunk in chunks {
            world.send(*chunk);
        }
        let error = world.error_of(&load);
        assert_eq!((error.kind(), error.offset()), (ErrorKind::Oversized, size));
        world.reads(0, size);
        assert_eq!(world.progress(), progress(size, 0, None, State::Failed));
        assert!(!world.wants());
    }
}

#[test]
fn an_oversized_chunk_is_absorbed_up_to_the_declared_size_before_it_fails() {
    // Rules 14, 15: bytes within the declared size are delivered first.
    let size = 3 * BLOCK as u64 + 7;
    let mut world = declared(size);
    let (within, across) = (world.read(0, size), world.read(size - 1, 2));
    world.before_actions(|world| {
        world.send(4 * BLOCK);
        // The stream is not polled again, although the chunk is not absorbed yet.
        assert!(!world.wants() && world.is_waiting(&across));
    });
    assert_eq!(world.bytes(&within), source(0, size));
    assert_eq!(world.error_of(&across).kind(), ErrorKind::Oversized);
}

#[test]
fn a_stream_of_its_declared_size_is_complete() {
    // Rule 14.
    let mut world = declared(100);
    let read = world.read(0, 100);
    world.send(100);
    assert_eq!(world.bytes(&read), source(0, 100));
    // No request needs the end, so the source is not pulled to it.
    assert!(!world.wants());
    let load = world.load(ALL);
    assert!(world.wants());
    world.ends();
    assert_eq!(world.bytes(&load), "");
    assert_eq!(world.progress().size, Some(100));
}

#[test]
fn nothing_is_allocated_from_a_declared_size() {
    // Rule 14.
    let mut world = declared(u64::MAX);
    world.read(0, u64::MAX);
    assert_eq!(world.allocated(), 0);
    world.send(10);
    assert!(world.allocated() <= KIB);
}

#[test]
fn a_chunk_is_let_go_once_it_is_absorbed_or_refused() {
    // Rule 9: an empty slice would keep the whole chunk alive.
    for declared in [None, Some(100), Some(0)] {
        let mut world = World::one_way(Limits { declared, ..PLAIN });
        let chunk = Bytes::from(source(0, 150).to_vec());
        world.send_bytes(chunk.clone());
        world.pump();
        assert!(chunk.is_unique(), "declared {declared:?}");
        let mut empty = chunk.clone();
        empty.advance(150);
        if declared.is_none() {
            world.send_bytes(empty);
            assert!(chunk.is_unique());
        }
    }
}

#[test]
fn the_state_is_told_in_words_that_hold() {
    // Rule 20.
    let mut world = declared(100);
    let told = |world: &mut World| (world.progress().state, world.progress().size);
    assert_eq!(told(&mut world), (State::Waiting, Some(100)));
    let read = world.read(0, 50);
    assert_eq!(told(&mut world), (State::Pulling, Some(100)));
    world.send(50);
    assert_eq!(world.bytes(&read).len(), 50);
    assert_eq!(told(&mut world), (State::Waiting, Some(100)));
    // A failed source does not disprove the size.
    world.breaks();
    assert_eq!(told(&mut world), (State::Failed, Some(100)));
}
