//! Failures of several streams at once, and of one while the others work: rule 24.

use super::*;
use crate::source::error::SourceError;

/// Streams that are open at different offsets, each with a read that waits for its next bytes.
fn many(open: u64, streams: usize, retry: Retry) -> World {
    let mut world = World::new(Kind::Source(retry), Limits { streams, ..PLAIN });
    for stream in 0..open {
        world.read(stream * 300_000, 100_000);
        world.opened(told(Some("v1"), Some(8 * MIB as u64)));
        world.send_of(world.last_opened(), 1000);
    }
    assert_eq!(world.published.streams as u64, open);
    world
}

fn refused() -> io::Error {
    io::ErrorKind::ConnectionRefused.into()
}

/// Each opening fails.
fn fail_openings(world: &mut World) {
    while world.is_opening() {
        world.open_fails(refused());
    }
}

fn attempt(world: &World) -> u32 {
    let State::Retrying { attempt, .. } = world.published.state else { panic!("{:?}", world.published) };
    assert!(world.error.is_some(), "a failure that is retried lasts");
    attempt
}

#[test]
fn streams_that_break_together_wait_for_one_first_delay() {
    // Rule 24.
    for streams in [2, 8, 11] {
        let mut world = many(streams, streams as usize, Retry::default());
        for id in world.ids() {
            world.breaks_of(id);
            assert_eq!(attempt(&world), 1);
        }
        assert!(world.fresh.is_empty(), "{streams} streams");
        let (openings, waited) = (world.openings(), world.wait());
        assert!(waited <= ms(100), "{streams} streams: {waited:?}");
        assert_eq!(world.openings() - openings, streams as usize, "all are opened again");
    }
}

#[test]
fn openings_that_fail_together_are_one_attempt() {
    // Rule 24.
    for streams in [1, 2, 8] {
        let mut world = many(streams, streams as usize, Retry::default());
        for id in world.ids() {
            world.breaks_of(id);
        }
        for number in 1..=10 {
            assert_eq!(attempt(&world), number);
            assert!(world.fresh.is_empty());
            world.wait();
            fail_openings(&mut world);
        }
        for _ in 0..streams {
            assert_eq!(world.next_error().kind(), ErrorKind::Source);
        }
        assert!(world.fresh.is_empty());
        assert_eq!(world.published.state, State::Waiting);
        assert_eq!(world.deadline(), None, "no attempt without a request");
    }
}

/// A stream at the start, for which a read waits, and a far read whose opening runs.
fn near_and_far(retry: Retry) -> (World, usize, usize) {
    let mut world = many(1, 2, retry);
    world.read(0, 2_000_000);
    let far = world.read(5_000_000, 10);
    assert_eq!(world.last_opening().offset, 5_000_000);
    (world, 0, far.id)
}

#[test]
fn bytes_of_a_stream_that_works_do_not_end_the_series_of_another() {
    // Rule 24: ten attempts in 300 s, and not one each 100 ms.
    let (mut world, near, far) = near_and_far(Retry::default());
    let start = world.now;
    for number in 1..=10 {
        world.open_fails(refused());
        world.send_of(near, 10);
        assert_eq!(attempt(&world), number, "{:?}", world.published);
        let retry = world.deadline().unwrap();
        world.send_of(near, 10);
        assert!(world.fresh.is_empty() && world.error.is_some());
        world.pass(retry - world.now);
    }
    world.open_fails(refused());
    // Only the far read fails: an open stream serves the others.
    let (failed, error) = world.next_answer();
    assert_eq!((failed, error.unwrap_err().kind()), (far, ErrorKind::Source));
    assert!(world.fresh.is_empty());
    assert!(world.error.is_some() && world.published.state == State::Pulling);
    assert!(world.now - start > Duration::from_secs(30));
    assert_eq!(world.openings(), 12);
    world.send_of(near, 100_000);
    assert!(world.error.is_none(), "no failure is retried");
    assert_eq!(world.next_bytes(), source(0, 100_000));
}

#[test]
fn a_stream_that_breaks_and_resumes_does_not_wait_for_a_range_that_always_fails() {
    // Rule 24: and the range that fails gets its ten attempts, and no more.
    let (mut world, near, far) = near_and_far(Retry::default());
    let mut openings = world.openings();
    for number in 1..=10 {
        world.open_fails(refused());
        assert_eq!(attempt(&world), number);
        world.send_of(near, 10);
        world.breaks_of(near);
        assert!(world.wait() <= ms(100), "attempt {number}");
        assert_eq!(world.openings() - openings, 2, "both are opened");
        openings += 2;
        world.opened_as(near, versioned_of_all());
        world.send_of(near, 10);
    }
    world.open_fails(refused());
    assert_eq!(world.next_answer().0, far);
    world.send_of(near, 100_000);
    assert_eq!(world.next_bytes(), source(0, 100_000));
}

fn versioned_of_all() -> OpenedStream {
    told(Some("v1"), Some(8 * MIB as u64))
}

#[test]
fn a_series_ends_when_each_stream_of_its_last_round_has_brought_a_new_byte() {
    // Rule 24.
    let (mut world, near, _) = near_and_far(Retry::default());
    world.breaks_of(near);
    assert_eq!(attempt(&world), 1);
    let far = world.last_opened();
    assert!(world.wait() <= ms(100));
    world.opened_as(near, versioned_of_all());
    world.send_of(near, 10);
    // The far opening is one of the round before: it may still succeed or fail.
    assert!(world.error.is_none());
    world.open_fails_as(far, refused());
    assert_ne!(world.published.state, State::Waiting);
    assert_eq!(world.last_opening().offset, 5_000_000, "no delay has begun since it was opened");
    world.open_fails(refused());
    assert_eq!(attempt(&world), 1);
    world.wait_for_opening();
    world.opened_as(world.last_opened(), versioned_of_all());
    world.send_of(near, 10);
    assert!(world.error.is_some(), "it has brought no byte");
    world.send_of(world.last_opened(), 10);
    assert!(world.error.is_none());
}

#[test]
fn a_failure_of_an_earlier_round_is_not_counted() {
    // Rule 24: the opening hung while others failed.
    let retry = Retry::default().stall_timeout(Duration::from_secs(3600));
    let (mut world, near, _) = near_and_far(retry);
    let far = world.last_opened();
    world.breaks_of(near);
    for number in 1..=5 {
        assert_eq!(attempt(&world), number);
        world.wait();
        world.open_fails_as(near, refused());
    }
    let before = world.deadline();
    world.open_fails_as(far, refused());
    assert_eq!(attempt(&world), 6);
    assert_eq!(world.deadline(), before, "nor does it change the delay");
}

#[test]
fn a_delay_that_the_source_asks_for_holds_for_streams_that_work_too() {
    // Rule 24.
    let (mut world, near, _) = near_and_far(Retry::default());
    let delay = Duration::from_secs(20);
    world.open_fails(SourceError::transient("busy").retry_after(delay).into());
    world.now += Duration::from_secs(5);
    world.breaks_of(near);
    assert_eq!(attempt(&world), 1);
    assert_eq!(world.wait(), Duration::from_secs(15));
    assert_eq!(world.ids().len(), 2);
}

#[test]
fn a_delay_beyond_all_time_is_never_over() {
    // Rule 24.
    let retry = Retry::default().first_delay(Duration::MAX).max_delay(Duration::MAX);
    let mut later = [World::new(Kind::Source(retry), PLAIN), World::source(PLAIN)];
    let asked = SourceError::transient("busy").retry_after(Duration::MAX);
    for (world, error) in later.iter_mut().zip([refused(), asked.into()]) {
        world.read(0, 10);
        world.open_fails(error);
        let State::Retrying { attempt: 1, delay } = world.published.state else { panic!() };
        assert!(delay > Duration::MAX / 3);
        assert_eq!(world.deadline(), None);
        world.pass(Duration::from_secs(1 << 40));
        assert_eq!(world.openings(), 1);
    }
}

#[test]
fn without_attempts_the_first_failure_fails_only_the_requests_that_no_stream_serves() {
    // Rule 24.
    let (mut world, near, far) = near_and_far(Retry::never());
    world.open_fails(refused());
    assert_eq!(world.next_answer().0, far);
    assert!(world.fresh.is_empty());
    world.send_of(near, 99_000);
    assert_eq!(world.next_bytes(), source(0, 100_000));
    world.breaks_of(near);
    assert_eq!(world.next_error().kind(), ErrorKind::Source);
    // The next request starts a new series, and its own opening decides.
    world.read(0, SIZE);
    assert_eq!(world.openings(), 3);
    world.opened(versioned_of_all());
    world.send(SIZE - 100_000);
    assert_eq!(world.next_bytes().len() as u64, SIZE);
}

#[test]
fn a_byte_does_not_end_a_series_while_another_stream_waits_for_its_delay() {
    // Rule 24: else that stream would be opened without a delay.
    let mut world = many(2, 2, Retry::default());
    world.breaks_of(0);
    world.breaks_of(1);
    world.wait();
    world.opened_as(0, versioned_of_all());
    world.send_of(0, 10);
    world.breaks_of(0);
    world.opened_as(1, versioned_of_all());
    let openings = world.openings();
    world.send_of(1, 10);
    assert_eq!((attempt(&world), world.openings()), (1, openings));
    world.wait_for_opening();
    assert_eq!(world.openings(), openings + 1);
}
