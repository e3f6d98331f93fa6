//! What limits on disk do to spills, to the end of the resource and to read-ahead: rules 27 and 28.

use super::limits::{BLOCKS, cached, fetch, play, window};
use super::remote::{Remote, SIZE, told, versioned};
use super::*;
use crate::core::OpenedStream;
use crate::error::ErrorKind;
use crate::source::Reopen;
use crate::source::retry::Retry;

#[test]
fn read_ahead_does_not_fetch_discarded_bytes_again() {
    // Rule 27.
    for read_ahead in [MIB as u64, u64::MAX] {
        let limits = Limits { max_memory: BLOCK, max_disk: 2 * BLOCKS, read_ahead, ..PLAIN };
        let mut remote = Remote::with(limits, Retry::default());
        remote.pump();
        fetch(&mut remote, 0, SIZE);
        let openings = remote.openings.len();
        remote.read(0, 1000);
        remote.opened(versioned());
        remote.send(50_000);
        assert_eq!(remote.bytes(), source(0, 1000));
        assert!(!remote.wants(), "all bytes that follow were discarded");
        remote.read(50_000, 1000);
        assert!(remote.wants(), "a request waits for them");
        remote.send(50_000);
        assert_eq!(remote.bytes(), source(50_000, 51_000));
        remote.breaks_idle();
        assert_eq!(remote.openings.len(), openings + 1, "the source was opened without a request");
    }
}

#[test]
fn read_ahead_does_not_open_a_source_at_discarded_bytes_because_it_ignores_offsets() {
    // Rule 27.
    let limits = Limits { max_memory: 0, max_disk: 0, read_ahead: u64::MAX, streams: 1, ..PLAIN };
    let mut remote = Remote::with(limits, Retry::default());
    remote.pump();
    remote.opened(versioned());
    remote.read(0, BLOCKS);
    remote.send(BLOCKS);
    remote.bytes();
    remote.breaks();
    remote.wait();
    let token = remote.ticket();
    let gone = Rc::clone(&token.gone);
    let read = Read { offset: SIZE - 10, len: 10, want: Want::Exact, borrow: false };
    remote.event(Event::Read { read, token });
    remote.opened(OpenedStream { start: Some(0), ..versioned() });
    let stream = *remote.streams.keys().next().unwrap();
    remote.breaks_of(stream);
    gone.set(true);
    remote.event(Event::Withdrawn);
    let openings = remote.openings.len();
    remote.now += Duration::from_secs(60);
    remote.event(Event::DeadlinePassed);
    assert_eq!(remote.openings.len(), openings, "{:?}", remote.last_opening());
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
        while world.wants_chunk() {
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
    world.pump();
    assert_eq!(world.error(&set).kind(), ErrorKind::Spill);
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
    world.end();
    let spill = world.spill();
    world.set_limits(Some(0), None);
    world.pump();
    assert!(world.bytes(&spill).is_empty());

    let mut remote = cached(4, 0);
    fetch(&mut remote, 0, 3 * BLOCKS);
    remote.breaks_idle();
    let (first, second) = (remote.ticket(), remote.ticket());
    remote.core.handle_event(remote.now, Event::Spill { token: first });
    remote.event(Event::SetLimits { max_memory: Some(0), max_disk: None, token: second });
    assert_eq!((remote.answers.len(), remote.published.loaded), (2, 0), "a spill waits for ever");

    let mut remote = cached(0, 1);
    for at in [2 * BLOCKS, 0] {
        remote.read(at, 1000);
        let stream = *remote.streams.iter().find(|(_, at)| at.is_none()).unwrap().0;
        remote.opened_as(stream, versioned());
        remote.send_of(stream, 50_000);
    }
    // The source turns out to ignore offsets. From now on bytes are discarded for good.
    remote.read(5 * BLOCKS, 2 * BLOCKS);
    let stream = *remote.streams.iter().find(|(_, at)| at.is_none()).unwrap().0;
    remote.opened_as(stream, OpenedStream { start: Some(5 * BLOCKS - 1000), ..versioned() });
    remote.answers.clear();
    for _ in 0..2 {
        let token = remote.ticket();
        remote.event(Event::Spill { token });
    }
    remote.send_of(stream, BLOCKS + 2000);
    while remote.writing.is_some() {
        remote.write_succeeds();
    }
    assert!(remote.published.start >= 2 * BLOCKS + 50_000);
    assert_eq!(remote.answers.len(), 1 + 2, "a spill waits for ever");
}

#[test]
fn the_end_of_the_resource_is_known_although_its_last_bytes_are_discarded() {
    // Rule 27.
    let mut remote = cached(0, 0);
    remote.read(0, BLOCKS);
    remote.opened(told(Some("v1"), None));
    remote.send(BLOCKS);
    assert_eq!(remote.bytes(), source(0, BLOCKS));
    remote.read(BLOCKS, 1);
    assert_eq!(remote.published.loaded, 0);
    remote.ends();
    assert!(remote.bytes().is_empty());
    assert_eq!(remote.published.size, Some(BLOCKS));
    let token = remote.ticket();
    remote.event(Event::Size { token });
    assert!(remote.bytes().is_empty());
}

#[test]
fn an_end_before_bytes_that_were_discarded_is_early() {
    // Rules 24 and 27.
    let mut remote = cached(0, 0);
    remote.read(0, BLOCKS);
    remote.opened(told(Some("v1"), None));
    remote.send(BLOCKS);
    assert_eq!(remote.bytes(), source(0, BLOCKS));
    remote.breaks_idle();
    remote.read(0, 1000);
    remote.opened(told(Some("v1"), None));
    remote.send(500);
    assert_eq!(remote.bytes(), source(0, 500));
    remote.read(500, 500);
    remote.ends();
    assert!(remote.answers.is_empty(), "{:?}", remote.answers);
    assert!(matches!(remote.published.state, State::Retrying { .. }));
}

#[test]
fn a_limit_frees_the_space_of_a_write_that_failed_before() {
    // Rules 16 and 28: such a write may have stored a part of its bytes.
    let mut world = World::new(Limits { max_memory: 0, ..PLAIN });
    let read = world.read(0, 2 * BLOCKS);
    world.send(BLOCK);
    world.write_fails();
    world.pump();
    assert_eq!(world.error(&read).kind(), ErrorKind::Spill);
    let set = world.set_limits(Some(usize::MAX), Some(0));
    world.write_all();
    assert!(world.bytes(&set).is_empty());
    assert_eq!(world.discarded, [0..BLOCKS]);
}

#[test]
fn a_complete_buffer_that_may_discard_holds_no_stream() {
    // Rule 27.
    let mut remote = cached(16, 4);
    remote.read(0, 4);
    remote.opened(told(Some("v1"), None));
    remote.send(4);
    assert_eq!(remote.bytes(), source(0, 4));
    remote.read(BLOCKS + 1, 1);
    remote.opened(told(Some("v1"), Some(4)));
    assert!(remote.bytes().is_empty());
    assert_eq!((remote.published.state, remote.published.streams), (State::Complete, 0));
    assert!(remote.streams.is_empty());
}

#[test]
fn a_buffer_that_discards_all_missing_bytes_has_ended_and_is_not_complete() {
    // Rule 27.
    let mut remote = cached(16, 0);
    remote.read(SIZE - 1000, 1000);
    remote.opened(versioned());
    remote.send(1000);
    remote.bytes();
    // The source turns out to ignore offsets. From now on bytes are discarded for good.
    remote.read(5000, 1000);
    remote.opened(OpenedStream { start: Some(0), ..versioned() });
    remote.send(6000);
    remote.bytes();
    let token = remote.ticket();
    remote.event(Event::SetLimits { max_memory: Some(0), max_disk: None, token });
    assert_eq!((remote.published.start, remote.published.size), (SIZE, Some(SIZE)));
    assert_eq!((remote.published.state, remote.published.streams), (State::Waiting, 0));
    assert!(remote.streams.is_empty());
}

#[test]
fn a_buffer_without_its_first_bytes_is_never_complete() {
    // Rule 27: also if the source can be opened anywhere again after it has ignored offsets.
    let mut remote = cached(16, 0);
    remote.read(BLOCKS, 1000);
    remote.opened(versioned());
    remote.send(1000);
    remote.breaks_idle();
    remote.read(5 * BLOCKS + 100, 1000);
    remote.opened(OpenedStream { start: Some(5 * BLOCKS), ..versioned() });
    remote.send(1100);
    let set = |remote: &mut Remote, bytes: usize| {
        let token = remote.ticket();
        remote.event(Event::SetLimits { max_memory: Some(bytes), max_disk: None, token });
    };
    set(&mut remote, 0);
    assert_eq!(remote.published.start, BLOCKS + 1000);
    set(&mut remote, usize::MAX);
    remote.read(6 * BLOCKS, 1000);
    remote.breaks();
    remote.wait();
    assert_eq!(remote.last_opening().offset, BLOCKS + 1000);
    remote.opened(versioned());
    remote.load(BLOCKS + 1000..SIZE);
    while let Some(at) = remote.at() {
        remote.send(100_000.min(SIZE - at));
    }
    assert_eq!((remote.published.loaded, remote.published.start), (SIZE - BLOCKS - 1000, BLOCKS + 1000));
    assert_eq!((remote.published.state, remote.published.streams), (State::Waiting, 0));
}

#[test]
fn a_load_is_not_refused_because_of_an_end_that_is_only_the_latest_possible_one() {
    // Rule 27.
    let mut remote = cached(0, 2);
    remote.read(2 * BLOCKS + 1, 10);
    remote.opened(told(Some("v1"), None));
    remote.ends();
    assert!(remote.bytes().is_empty());
    remote.load(0..2 * BLOCKS + 1);
    assert_eq!(remote.error().kind(), ErrorKind::InvalidInput, "it names its end itself");
    remote.load(0..u64::MAX);
    assert!(remote.answers.is_empty(), "{:?}", remote.answers);
    remote.opened(told(Some("v1"), None));
    remote.send(1000);
    remote.ends();
    assert!(remote.bytes().is_empty());
    assert_eq!(remote.published.size, Some(1000));
}

#[test]
fn a_load_gets_the_failure_of_the_source_and_not_a_refusal() {
    // Rules 15 and 27. The opening that told the size failed.
    let mut remote = cached(0, 2);
    remote.read(5000, 10);
    remote.opened(OpenedStream { reopen: Reopen::Never, ..told(None, Some(1000)) });
    assert_eq!(remote.error().kind(), ErrorKind::Source);
    remote.load(0..u64::MAX);
    assert_eq!(remote.error().kind(), ErrorKind::Source);
}

#[test]
fn a_complete_buffer_that_may_discard_knows_its_size() {
    // Rules 18 and 27: a stream at the end was the first to show that the resource ends there or before.
    let mut remote = cached(16, 4);
    remote.read(0, 100);
    remote.opened(told(Some("v1"), None));
    remote.send(100);
    remote.bytes();
    let end = 300_000;
    remote.read(end, 1);
    remote.opened(told(Some("v1"), None));
    remote.ends_of(1);
    assert!(remote.bytes().is_empty());
    remote.load(0..end);
    let token = remote.ticket();
    remote.event(Event::Size { token });
    assert!(remote.answers.is_empty());
    remote.send_of(0, end - 100);
    assert_eq!((remote.published.state, remote.published.size), (State::Complete, Some(end)));
    assert_eq!(remote.answers.len(), 2);
    assert!(remote.streams.is_empty());
}

#[test]
fn a_paused_buffer_closes_a_stream_whose_chunk_has_no_room() {
    // Rules 21 and 27: the rest of the chunk can be fetched again.
    let limits = Limits { max_memory: 0, max_disk: BLOCKS, read_ahead: MIB as u64, ..PLAIN };
    let mut remote = Remote::with(limits, Retry::default());
    remote.read(0, 30);
    remote.opened(versioned());
    remote.send(30);
    remote.bytes();
    remote.send(SIZE - 30);
    while remote.writing.is_some() {
        remote.write_succeeds();
    }
    assert!(remote.published.loaded < SIZE);
    remote.breaks_idle();
    fetch(&mut remote, 0, SIZE);
}

#[test]
fn a_stream_that_starts_at_0_as_asked_does_not_show_that_the_source_obeys_offsets() {
    // Rule 21: otherwise the buffer would leave it for a jump that fails again, at each attempt.
    let mut remote = cached(0, 0);
    remote.read(BLOCKS, BLOCKS);
    remote.opened(versioned());
    remote.send(BLOCKS);
    remote.bytes();
    remote.breaks_idle();
    remote.read(5 * BLOCKS, 1000);
    remote.opened(OpenedStream { start: Some(0), ..versioned() });
    remote.breaks();
    remote.wait();
    assert_eq!(remote.last_opening().offset, 0);
    let openings = remote.openings.len();
    remote.opened(versioned());
    remote.finish_openings(openings);
    assert!(remote.wants());
    // One at another offset shows it.
    remote.send(1000);
    remote.breaks();
    remote.wait();
    assert_eq!(remote.last_opening().offset, 1000);
    remote.opened(versioned());
    assert_eq!(remote.last_opening().offset, 5 * BLOCKS, "it jumps");
}

#[test]
fn a_load_of_unknown_length_fetches_no_byte_twice() {
    // Rule 27: it is refused once the size is known, if that is more than the limits.
    for (memory, disk) in [(0, 0), (1, 0), (0, 2)] {
        let mut remote = cached(memory, disk);
        remote.load(0..u64::MAX);
        remote.opened(told(Some("v1"), None));
        while remote.sent < SIZE {
            assert_eq!(remote.openings.len(), 1, "bytes are fetched again");
            remote.send(50_000.min(SIZE - remote.sent));
            while remote.writing.is_some() {
                remote.write_succeeds();
            }
        }
        assert!(remote.answers.is_empty());
        remote.ends();
        assert_eq!(remote.error().kind(), ErrorKind::InvalidInput);
        assert_eq!((remote.published.size, remote.openings.len()), (Some(SIZE), 1));
    }
}

#[test]
fn a_first_limit_holds_for_requests_that_wait_already() {
    // Rules 27 and 28: a long read is answered in parts from then on, and a load passes bytes once.
    let mut remote = Remote::new();
    remote.read(0, SIZE);
    let load = remote.load(0..u64::MAX);
    remote.opened(told(Some("v1"), None));
    remote.send(1000);
    assert!(remote.answers.is_empty());
    let token = remote.ticket();
    remote.event(Event::SetLimits { max_memory: Some(0), max_disk: Some(0), token });
    while remote.sent < SIZE {
        assert_eq!(remote.openings.len(), 1, "bytes are fetched again");
        remote.send(50_000.min(SIZE - remote.sent));
    }
    let first = remote.answers.iter().find(|(id, _)| *id == 1).expect("an answer");
    assert_eq!(first.1.as_ref().unwrap(), &source(0, 1000), "what had arrived before");
    remote.ends();
    let (id, refused) = remote.answers.pop_back().unwrap();
    assert_eq!((id, refused.unwrap_err().kind()), (load, ErrorKind::InvalidInput));
}

#[test]
fn a_request_for_the_end_does_not_wait_for_bytes_that_were_discarded_meanwhile() {
    // Rules 4 and 27.
    let mut remote = cached(0, 1);
    let token = remote.ticket();
    remote.event(Event::Size { token });
    remote.opened(told(Some("v1"), None));
    for _ in 0..20 {
        remote.send(100_000);
        while remote.writing.is_some() {
            remote.write_succeeds();
        }
    }
    assert!(remote.published.loaded < 1_500_000, "bytes were discarded");
    // It is the stream that is waited for, and no opening is needed.
    assert!(remote.wants());
    assert_eq!(remote.published.state, State::Pulling);
    remote.ends();
    assert!(remote.bytes().is_empty());
    assert_eq!(remote.published.size, Some(2_000_000));
    remote.finish_openings(1);
}
