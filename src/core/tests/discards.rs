//! What limits on disk do to spills, to the end of the resource and to read-ahead: rules 27 and 28.

use super::limits::{cached, fetch, play, window};
use super::*;

#[test]
fn read_ahead_does_not_fetch_discarded_bytes_again() {
    // Rule 27.
    for read_ahead in [MIB as u64, u64::MAX] {
        let limits = Limits { max_memory: BLOCK, max_disk: 2 * BLOCKS, read_ahead, ..PLAIN };
        let mut world = World::source(limits);
        fetch(&mut world, 0, SIZE);
        let openings = world.openings();
        world.read(0, 1000);
        world.opened(versioned());
        world.send(50_000);
        assert_eq!(world.next_bytes(), source(0, 1000));
        assert!(!world.wants(), "all bytes that follow were discarded");
        world.read(50_000, 1000);
        assert!(world.wants(), "a request waits for them");
        world.send(50_000);
        assert_eq!(world.next_bytes(), source(50_000, 51_000));
        world.closes_unused();
        assert_eq!(world.openings(), openings + 1, "the source was opened without a request");
    }
}

#[test]
fn read_ahead_does_not_open_a_source_at_discarded_bytes_because_it_ignores_offsets() {
    // Rule 27.
    let limits = Limits { max_memory: 0, max_disk: 0, read_ahead: u64::MAX, streams: 1, ..PLAIN };
    let mut world = World::source(limits);
    world.opened(versioned());
    world.read(0, BLOCKS);
    world.send(BLOCKS);
    world.next_bytes();
    world.breaks();
    world.wait();
    let ask = world.read(SIZE - 10, 10);
    world.opened(OpenedStream { start: Some(0), ..versioned() });
    world.breaks();
    ask.abandon();
    world.pump();
    let openings = world.openings();
    world.pass(Duration::from_secs(60));
    assert_eq!(world.openings(), openings, "{:?}", world.last_opening());
}

#[test]
fn a_spill_without_room_in_the_store_is_answered_at_once() {
    // Rule 27.
    let mut world = window(8, 0, u64::MAX);
    world.send(1000);
    let spill = world.spill();
    world.pump();
    assert!(world.bytes(&spill).is_empty());
    assert_eq!(world.progress().resident, 1000);
}

#[test]
fn a_spill_of_much_more_than_fits_is_answered() {
    // Rule 27. More blocks have no place than one write takes.
    let mut world = window(16, 2, u64::MAX);
    world.send(10 * BLOCK);
    let spill = world.spill();
    world.write_all();
    assert!(world.bytes(&spill).is_empty());
    assert_eq!((world.progress().spilled, world.progress().resident), (2 * BLOCKS, 8 * BLOCKS));
}

#[test]
fn a_spill_is_answered_although_memory_is_full_of_bytes_that_must_not_be_discarded() {
    // Rule 27.
    for disk in [0, 2] {
        let mut world = window(1, disk, u64::MAX);
        while world.wants() {
            world.send(50_000);
            world.write_all();
        }
        let loaded = world.progress().loaded;
        let spill = world.spill();
        world.write_all();
        assert!(world.bytes(&spill).is_empty());
        assert_eq!((world.progress().spilled, world.progress().loaded), (disk * BLOCKS, loaded));
    }
}

#[test]
fn a_lower_limit_holds_although_the_running_write_fails() {
    // Rule 28: the call gets the error, and the limit is changed all the same.
    let mut world = window(0, 4, u64::MAX);
    world.send(2 * BLOCK);
    let set = world.set_limits(None, Some(0));
    world.write_fails();
    assert_eq!(world.error_of(&set).kind(), ErrorKind::Spill);
    let spill = world.spill();
    world.write_all();
    assert!(world.bytes(&spill).is_empty());
    assert_eq!(world.progress().spilled, 0);
}

#[test]
fn a_spill_does_not_wait_for_bytes_that_are_discarded_meanwhile() {
    // Rule 27. Both bytes of memory that is full, and bytes before those that the store gives up.
    let mut world = window(4, 0, 0);
    play(&mut world, 3 * BLOCKS);
    world.read(4 * BLOCKS, 1);
    world.ends();
    let spill = world.spill();
    world.set_limits(Some(0), None);
    world.pump();
    assert!(world.bytes(&spill).is_empty());

    let mut world = cached(4, 0);
    fetch(&mut world, 0, 3 * BLOCKS);
    world.closes_unused();
    world.before_actions(|world| {
        world.spill();
        world.set_limits(Some(0), None);
    });
    assert_eq!((world.fresh.len(), world.published.loaded), (2, 0), "a spill waits for ever");

    let mut world = cached(0, 1);
    for at in [2 * BLOCKS, 0] {
        world.read(at, 1000);
        let stream = world.the_opening();
        world.opened_as(stream, versioned());
        world.send_of(stream, 50_000);
    }
    // The source turns out to ignore offsets. From now on bytes are discarded for good.
    world.ask_once(Read { offset: 5 * BLOCKS, len: 2 * BLOCKS, want: Want::Exact });
    let stream = world.the_opening();
    world.opened_as(stream, OpenedStream { start: Some(5 * BLOCKS - 1000), ..versioned() });
    world.fresh.clear();
    for _ in 0..2 {
        world.spill();
    }
    world.send_of(stream, BLOCKS + 2000);
    world.write_all();
    assert!(world.published.start >= 2 * BLOCKS + 50_000);
    assert_eq!(world.fresh.len(), 1 + 2, "a spill waits for ever");
}

#[test]
fn the_end_of_the_resource_is_known_although_its_last_bytes_are_discarded() {
    // Rule 27.
    let mut world = cached(0, 0);
    world.open_and_read(0, BLOCKS, told(Some("v1"), None));
    world.read(BLOCKS, 1);
    assert_eq!(world.published.loaded, 0);
    world.ends();
    assert!(world.next_bytes().is_empty());
    assert_eq!(world.published.size, Some(BLOCKS));
    world.ask_size();
    assert!(world.next_bytes().is_empty());
}

#[test]
fn an_end_before_bytes_that_were_discarded_is_early() {
    // Rules 24 and 27.
    let mut world = cached(0, 0);
    world.open_and_read(0, BLOCKS, told(Some("v1"), None));
    world.closes_unused();
    world.read(0, 1000);
    world.opened(told(Some("v1"), None));
    world.send(500);
    world.ends();
    assert!(world.fresh.is_empty());
    assert!(matches!(world.published.state, State::Retrying { .. }));
}

#[test]
fn a_limit_frees_the_space_of_a_write_that_failed_before() {
    // Rules 16 and 28: such a write may have stored a part of its bytes.
    let mut world = World::one_way(Limits { max_memory: 0, ..PLAIN });
    let read = world.read(0, 2 * BLOCKS);
    world.send(BLOCK);
    world.write_fails();
    assert_eq!(world.error_of(&read).kind(), ErrorKind::Spill);
    let set = world.set_limits(Some(usize::MAX), Some(0));
    world.write_all();
    assert!(world.bytes(&set).is_empty());
    assert_eq!(world.disk.discarded, [0..BLOCKS]);
}

#[test]
fn a_complete_buffer_that_may_discard_holds_no_stream() {
    // Rule 27.
    let mut world = cached(16, 4);
    world.open_and_read(0, 4, told(Some("v1"), None));
    world.read(BLOCKS + 1, 1);
    world.opened(told(Some("v1"), Some(4)));
    assert!(world.next_bytes().is_empty());
    assert_eq!((world.published.state, world.published.streams), (State::Complete, 0));
    assert!(world.ids().is_empty());
}

#[test]
fn a_buffer_that_discards_all_missing_bytes_has_ended_and_is_not_complete() {
    // Rule 27.
    let mut world = cached(16, 0);
    world.open_and_read(SIZE - 1000, 1000, versioned());
    // The source turns out to ignore offsets. From now on bytes are discarded for good.
    world.read(5000, 1000);
    world.opened(OpenedStream { start: Some(0), ..versioned() });
    world.send(6000);
    world.next_bytes();
    world.set_limits(Some(0), None);
    assert_eq!((world.published.start, world.published.size), (SIZE, Some(SIZE)));
    assert_eq!((world.published.state, world.published.streams), (State::Ended, 0));
    assert!(world.ids().is_empty());
}

#[test]
fn a_buffer_without_its_first_bytes_is_never_complete() {
    // Rule 27: also if the source can be opened anywhere again after it has ignored offsets.
    let mut world = cached(16, 0);
    world.read(BLOCKS, 1000);
    world.opened(versioned());
    world.send(1000);
    world.closes_unused();
    world.read(5 * BLOCKS + 100, 1000);
    world.opened(OpenedStream { start: Some(5 * BLOCKS), ..versioned() });
    world.send(1100);
    let set = |world: &mut World, bytes: usize| {
        world.set_limits(Some(bytes), None);
    };
    set(&mut world, 0);
    assert_eq!(world.published.start, BLOCKS + 1000);
    set(&mut world, usize::MAX);
    world.read(6 * BLOCKS, 1000);
    world.breaks();
    world.wait();
    assert_eq!(world.last_opening().offset, BLOCKS + 1000);
    world.opened(versioned());
    world.load(BLOCKS + 1000..SIZE);
    while let Some(at) = world.at() {
        world.send(100_000.min(SIZE - at));
    }
    assert_eq!((world.published.loaded, world.published.start), (SIZE - BLOCKS - 1000, BLOCKS + 1000));
    assert_eq!((world.published.state, world.published.streams), (State::Waiting, 0));
}

#[test]
fn a_load_is_not_refused_because_of_an_end_that_is_only_the_latest_possible_one() {
    // Rule 27.
    let mut world = cached(0, 2);
    world.read(2 * BLOCKS + 1, 10);
    world.opened(told(Some("v1"), None));
    world.ends();
    assert!(world.next_bytes().is_empty());
    world.load(0..2 * BLOCKS + 1);
    assert_eq!(world.next_error().kind(), ErrorKind::InvalidInput, "it names its end itself");
    world.load(0..u64::MAX);
    assert!(world.fresh.is_empty());
    world.opened(told(Some("v1"), None));
    world.send(1000);
    world.ends();
    assert!(world.next_bytes().is_empty());
    assert_eq!(world.published.size, Some(1000));
}

#[test]
fn a_load_gets_the_failure_of_the_source_and_not_a_refusal() {
    // Rules 15 and 27. The opening that told the size failed.
    let mut world = cached(0, 2);
    world.read(5000, 10);
    world.opened(OpenedStream { reopen: Reopen::Never, ..told(None, Some(1000)) });
    assert_eq!(world.next_error().kind(), ErrorKind::Source);
    world.load(0..u64::MAX);
    assert_eq!(world.next_error().kind(), ErrorKind::Source);
}

#[test]
fn a_complete_buffer_that_may_discard_knows_its_size() {
    // Rules 18 and 27: a stream at the end was the first to show that the resource ends there or before.
    let mut world = cached(16, 4);
    world.open_and_read(0, 100, told(Some("v1"), None));
    let end = 300_000;
    world.read(end, 1);
    world.opened(told(Some("v1"), None));
    world.ends_of(1);
    assert!(world.next_bytes().is_empty());
    world.load(0..end);
    world.ask_size();
    assert!(world.fresh.is_empty());
    world.send_of(0, end - 100);
    assert_eq!((world.published.state, world.published.size), (State::Complete, Some(end)));
    assert_eq!(world.fresh.len(), 2);
    assert!(world.ids().is_empty());
}

#[test]
fn a_paused_buffer_closes_a_stream_whose_chunk_has_no_room() {
    // Rules 21 and 27: the rest of the chunk can be fetched again.
    let limits = Limits { max_memory: 0, max_disk: BLOCKS, read_ahead: MIB as u64, ..PLAIN };
    let mut world = World::source(limits);
    world.open_and_read(0, 30, versioned());
    world.send(SIZE - 30);
    world.write_all();
    assert!(world.published.loaded < SIZE);
    world.closes_unused();
    fetch(&mut world, 0, SIZE);
}

#[test]
fn a_stream_that_starts_at_0_as_asked_does_not_show_that_the_source_obeys_offsets() {
    // Rule 21: otherwise the buffer would leave it for a jump that fails again, at each attempt.
    let mut world = cached(0, 0);
    world.open_and_read(BLOCKS, BLOCKS, versioned());
    world.closes_unused();
    world.read(5 * BLOCKS, 1000);
    world.opened(OpenedStream { start: Some(0), ..versioned() });
    world.breaks();
    world.wait();
    assert_eq!(world.last_opening().offset, 0);
    let openings = world.openings();
    world.opened(versioned());
    assert_eq!(world.openings(), openings);
    assert!(world.wants());
    // One at another offset shows it.
    world.send(1000);
    world.breaks();
    world.wait();
    assert_eq!(world.last_opening().offset, 1000);
    world.opened(versioned());
    assert_eq!(world.last_opening().offset, 5 * BLOCKS, "it jumps");
}

#[test]
fn a_load_of_unknown_length_fetches_no_byte_twice() {
    // Rule 27: it is refused once the size is known, if that is more than the limits.
    for (memory, disk) in [(0, 0), (1, 0), (0, 2)] {
        let mut world = cached(memory, disk);
        world.load(0..u64::MAX);
        world.opened(told(Some("v1"), None));
        while world.source.sent < SIZE {
            assert_eq!(world.openings(), 1, "bytes are fetched again");
            world.send(50_000.min(SIZE - world.source.sent));
            world.write_all();
        }
        assert!(world.fresh.is_empty());
        world.ends();
        assert_eq!(world.next_error().kind(), ErrorKind::InvalidInput);
        assert_eq!((world.published.size, world.openings()), (Some(SIZE), 1));
    }
}

#[test]
fn a_first_limit_holds_for_requests_that_wait_already() {
    // Rules 27 and 28: a long read is answered in parts from then on, and a load passes bytes once.
    let mut world = World::source(PLAIN);
    let read = world.read(0, SIZE);
    let part = world.ask_once(Read { offset: 0, len: SIZE, want: Want::Exact });
    let load = world.load(ALL);
    world.opened(told(Some("v1"), None));
    world.send(1000);
    assert!(world.fresh.is_empty());
    world.set_limits(Some(0), Some(0));
    while world.source.sent < SIZE {
        assert_eq!(world.openings(), 1, "bytes are fetched again");
        world.send(50_000.min(SIZE - world.source.sent));
    }
    assert!(world.bytes(&read) == source(0, SIZE));
    assert_eq!(world.bytes(&part), source(0, 1000), "what had arrived before");
    world.ends();
    assert_eq!(world.error_of(&load).kind(), ErrorKind::InvalidInput);
}

#[test]
fn a_request_for_the_end_does_not_wait_for_bytes_that_were_discarded_meanwhile() {
    // Rules 4 and 27.
    let mut world = cached(0, 1);
    world.ask_size();
    world.opened(told(Some("v1"), None));
    for _ in 0..20 {
        world.send(100_000);
        world.write_all();
    }
    assert!(world.published.loaded < 1_500_000, "bytes were discarded");
    // It is the stream that is waited for, and no opening is needed.
    assert!(world.wants());
    assert_eq!(world.published.state, State::Pulling);
    world.ends();
    assert!(world.next_bytes().is_empty());
    assert_eq!(world.published.size, Some(2_000_000));
    assert_eq!(world.openings(), 1);
}

#[test]
fn a_block_that_has_no_place_is_discarded_as_soon_as_it_is_read() {
    // Rule 27. The read is answered at once, and no other event follows. In the second round the same bytes have
    // arrived again, so the read does not move the read-ahead.
    let mut world = cached(0, 0);
    for round in 0..2 {
        world.read(0, 10);
        world.opened(versioned());
        world.send(BLOCK + 1000);
        world.next_bytes();
        world.wait();
        assert!(world.ids().is_empty(), "the unused stream is closed");
        assert_eq!(world.published.resident, 1000, "no read has got these bytes");
        let read = world.read(BLOCKS + 10, 10);
        assert_eq!(world.take_bytes(&read), source(BLOCKS + 10, BLOCKS + 20));
        world.drop_answers();
        assert_eq!(world.published.resident, 0, "round {round}");
    }
}
