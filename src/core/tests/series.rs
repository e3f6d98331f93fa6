//! Failures of several streams at once, and of one while the others work: rule 24.

use super::remote::{Remote, SIZE, ms, told};
use super::*;
use crate::core::OpenedStream;
use crate::error::ErrorKind;
use crate::source::error::SourceError;
use crate::source::retry::Retry;

/// Streams that are open at different offsets, each with a read that waits for its next bytes.
fn many(open: u64, streams: usize, retry: Retry) -> Remote {
    let mut remote = Remote::with(Limits { streams, ..PLAIN }, retry);
    for stream in 0..open {
        remote.read(stream * 300_000, 100_000);
        remote.opened(told(Some("v1"), Some(8 * MIB as u64)));
        remote.send_of(remote.last_opened(), 1000);
    }
    assert_eq!(remote.published.streams as u64, open);
    remote
}

fn refused() -> io::Error {
    io::ErrorKind::ConnectionRefused.into()
}

/// Each opening fails.
fn fail_openings(remote: &mut Remote) {
    let opening = |remote: &Remote| remote.streams.iter().find(|(_, at)| at.is_none()).map(|(id, _)| *id);
    while let Some(id) = opening(remote) {
        remote.open_fails_as(id, refused());
    }
}

fn attempt(remote: &Remote) -> u32 {
    let State::Retrying { attempt, .. } = remote.published.state else { panic!("{:?}", remote.published) };
    assert!(remote.error.is_some(), "a failure that is retried lasts");
    attempt
}

#[test]
fn streams_that_break_together_wait_for_one_first_delay() {
    // Rule 24.
    for streams in [2, 8, 11] {
        let mut remote = many(streams, streams as usize, Retry::default());
        for id in remote.streams.keys().copied().collect::<Vec<_>>() {
            remote.breaks_of(id);
            assert_eq!(attempt(&remote), 1);
        }
        assert!(remote.answers.is_empty(), "{streams} streams");
        let (openings, waited) = (remote.openings.len(), remote.wait());
        assert!(waited <= ms(100), "{streams} streams: {waited:?}");
        assert_eq!(remote.openings.len() - openings, streams as usize, "all are opened again");
    }
}

#[test]
fn openings_that_fail_together_are_one_attempt() {
    // Rule 24.
    for streams in [1, 2, 8] {
        let mut remote = many(streams, streams as usize, Retry::default());
        for id in remote.streams.keys().copied().collect::<Vec<_>>() {
            remote.breaks_of(id);
        }
        for number in 1..=10 {
            assert_eq!(attempt(&remote), number);
            assert!(remote.answers.is_empty());
            remote.wait();
            fail_openings(&mut remote);
        }
        let failed: Vec<_> = remote.answers.drain(..).map(|(_, answer)| answer.unwrap_err().kind()).collect();
        assert_eq!(failed, vec![ErrorKind::Source; streams as usize]);
        assert_eq!(remote.published.state, State::Waiting);
        assert_eq!(remote.core.next_deadline(remote.now), None, "no attempt without a request");
    }
}

/// A stream at the start, for which a read waits, and a far read whose opening runs.
fn near_and_far(retry: Retry) -> (Remote, usize, usize) {
    let mut remote = many(1, 2, retry);
    remote.read(0, 2_000_000);
    let far = remote.read(5_000_000, 10);
    assert_eq!(remote.last_opening().offset, 5_000_000);
    (remote, 0, far)
}

#[test]
fn bytes_of_a_stream_that_works_do_not_end_the_series_of_another() {
    // Rule 24: ten attempts in 300 s, and not one each 100 ms.
    let (mut remote, near, far) = near_and_far(Retry::default());
    let start = remote.now;
    for number in 1..=10 {
        remote.open_fails(refused());
        remote.send_of(near, 10);
        assert_eq!(attempt(&remote), number, "{:?}", remote.published);
        let retry = remote.core.next_deadline(remote.now).unwrap();
        remote.send_of(near, 10);
        assert!(remote.answers.is_empty() && remote.error.is_some());
        remote.now = retry;
        remote.event(Event::DeadlinePassed);
    }
    remote.open_fails(refused());
    // Only the far read fails: an open stream serves the others.
    let (failed, error) = remote.answer();
    assert_eq!((failed, error.unwrap_err().kind()), (far, ErrorKind::Source));
    assert!(remote.answers.is_empty());
    assert!(remote.error.is_some() && remote.published.state == State::Pulling);
    assert!(remote.now - start > Duration::from_secs(30));
    remote.finish_openings(12);
    remote.send_of(near, 100_000);
    assert!(remote.error.is_none(), "no failure is retried");
    assert_eq!(remote.bytes(), source(0, 100_000));
}

#[test]
fn a_stream_that_breaks_and_resumes_does_not_wait_for_a_range_that_always_fails() {
    // Rule 24: and the range that fails gets its ten attempts, and no more.
    let (mut remote, near, far) = near_and_far(Retry::default());
    let mut openings = remote.openings.len();
    for number in 1..=10 {
        remote.open_fails(refused());
        assert_eq!(attempt(&remote), number);
        remote.send_of(near, 10);
        remote.breaks_of(near);
        assert!(remote.wait() <= ms(100), "attempt {number}");
        assert_eq!(remote.openings.len() - openings, 2, "both are opened");
        openings += 2;
        remote.opened_as(near, versioned_of_all());
        remote.send_of(near, 10);
    }
    remote.open_fails(refused());
    assert_eq!(remote.answer().0, far);
    remote.send_of(near, 100_000);
    assert_eq!(remote.bytes(), source(0, 100_000), "{:?}", remote.answers);
}

fn versioned_of_all() -> OpenedStream {
    told(Some("v1"), Some(8 * MIB as u64))
}

#[test]
fn a_series_ends_when_each_stream_of_its_last_round_has_brought_a_new_byte() {
    // Rule 24.
    let (mut remote, near, _) = near_and_far(Retry::default());
    remote.breaks_of(near);
    assert_eq!(attempt(&remote), 1);
    let far = remote.last_opened();
    assert!(remote.wait() <= ms(100));
    remote.opened_as(near, versioned_of_all());
    remote.send_of(near, 10);
    // The far opening is one of the round before: it may still succeed or fail.
    assert!(remote.error.is_none());
    remote.open_fails_as(far, refused());
    assert_ne!(remote.published.state, State::Waiting);
    assert_eq!(remote.last_opening().offset, 5_000_000, "no delay has begun since it was opened");
    remote.open_fails(refused());
    assert_eq!(attempt(&remote), 1);
    remote.wait_for_retry();
    remote.opened_as(remote.last_opened(), versioned_of_all());
    remote.send_of(near, 10);
    assert!(remote.error.is_some(), "it has brought no byte");
    remote.send_of(remote.last_opened(), 10);
    assert!(remote.error.is_none());
}

#[test]
fn a_failure_of_an_earlier_round_is_not_counted() {
    // Rule 24: the opening hung while others failed.
    let retry = Retry::default().stall_timeout(Duration::from_secs(3600));
    let (mut remote, near, _) = near_and_far(retry);
    let far = remote.last_opened();
    remote.breaks_of(near);
    for number in 1..=5 {
        assert_eq!(attempt(&remote), number);
        remote.wait();
        remote.open_fails_as(near, refused());
    }
    let before = remote.core.next_deadline(remote.now);
    remote.open_fails_as(far, refused());
    assert_eq!(attempt(&remote), 6);
    assert_eq!(remote.core.next_deadline(remote.now), before, "nor does it change the delay");
}

#[test]
fn a_delay_that_the_source_asks_for_holds_for_streams_that_work_too() {
    // Rule 24.
    let (mut remote, near, _) = near_and_far(Retry::default());
    let delay = Duration::from_secs(20);
    remote.open_fails(SourceError::transient("busy").retry_after(delay).into());
    remote.now += Duration::from_secs(5);
    remote.breaks_of(near);
    assert_eq!(attempt(&remote), 1);
    assert_eq!(remote.wait(), Duration::from_secs(15));
    assert_eq!(remote.streams.len(), 2);
}

#[test]
fn a_delay_beyond_all_time_is_never_over() {
    // Rule 24.
    let retry = Retry::default().first_delay(Duration::MAX).max_delay(Duration::MAX);
    let mut later = [Remote::with(PLAIN, retry), Remote::new()];
    let asked = SourceError::transient("busy").retry_after(Duration::MAX);
    for (remote, error) in later.iter_mut().zip([refused(), asked.into()]) {
        remote.read(0, 10);
        remote.open_fails(error);
        let State::Retrying { attempt: 1, delay } = remote.published.state else { panic!() };
        assert!(delay > Duration::MAX / 3);
        assert_eq!(remote.core.next_deadline(remote.now), None);
        remote.now += Duration::from_secs(1 << 40);
        remote.event(Event::DeadlinePassed);
        remote.finish_openings(1);
    }
}

#[test]
fn without_attempts_the_first_failure_fails_only_the_requests_that_no_stream_serves() {
    // Rule 24.
    let (mut remote, near, far) = near_and_far(Retry::never());
    remote.open_fails(refused());
    assert_eq!(remote.answer().0, far);
    assert!(remote.answers.is_empty());
    remote.send_of(near, 99_000);
    assert_eq!(remote.bytes(), source(0, 100_000));
    remote.breaks_of(near);
    assert_eq!(remote.error().kind(), ErrorKind::Source);
    // The next request starts a new series, and its own opening decides.
    remote.read(0, SIZE);
    remote.finish_openings(3);
    remote.opened(versioned_of_all());
    remote.send(SIZE - 100_000);
    assert_eq!(remote.bytes().len() as u64, SIZE);
}

#[test]
fn a_byte_does_not_end_a_series_while_another_stream_waits_for_its_delay() {
    // Rule 24: else that stream would be opened without a delay.
    let mut remote = many(2, 2, Retry::default());
    remote.breaks_of(0);
    remote.breaks_of(1);
    remote.wait();
    remote.opened_as(0, versioned_of_all());
    remote.send_of(0, 10);
    remote.breaks_of(0);
    remote.opened_as(1, versioned_of_all());
    let openings = remote.openings.len();
    remote.send_of(1, 10);
    assert_eq!((attempt(&remote), remote.openings.len()), (1, openings));
    remote.wait_for_retry();
    assert_eq!(remote.openings.len(), openings + 1);
}
