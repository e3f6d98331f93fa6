//! Sources that can be opened again: rules 21 to 24, without a runtime and with exact times.

use super::remote::{Remote, SIZE, ms, told, versioned};
use super::*;
use crate::core::OpenedStream;
use crate::error::ErrorKind;
use crate::source::error::SourceError;
use crate::source::retry::Retry;
use crate::source::version::Version;
use crate::source::{OpenAt, Reopen};

/// The bytes that are compared after an opening without a version.
const OVERLAP: u64 = 64 * 1024;

#[test]
fn a_source_is_opened_when_a_byte_is_needed_and_at_that_byte() {
    // Rule 21.
    let mut remote = Remote::with(Limits { read_ahead: MIB as u64, ..PLAIN }, Retry::default());
    remote.pump();
    remote.read(0, 0);
    assert!(remote.openings.is_empty(), "no byte is needed");
    remote.read(10, 5);
    assert_eq!(remote.last_opening(), OpenAt::new(10));
    remote.opened(versioned());
    assert_eq!(remote.published.size, Some(SIZE));
    remote.send(100);
    // Read-ahead pulls the open stream.
    assert!(remote.wants());
    remote.finish_openings(1);
}

#[test]
fn unlimited_read_ahead_opens_a_source_without_a_request() {
    // Rule 26.
    let mut remote = Remote::with(Limits { read_ahead: u64::MAX, ..PLAIN }, Retry::default());
    remote.pump();
    assert_eq!(remote.last_opening(), OpenAt::new(0));
}

#[test]
fn a_broken_stream_with_a_version_goes_on_at_the_first_missing_byte() {
    // Rule 22: no byte is fetched again.
    let mut remote = Remote::halfway(versioned(), 1_000_000);
    remote.breaks();
    assert!(matches!(remote.published.state, State::Retrying { attempt: 1, .. }));
    assert_eq!(remote.error.as_ref().unwrap().kind(), ErrorKind::Source);
    let waited = remote.wait();
    assert!(waited > ms(49) && waited <= ms(100), "{waited:?}");
    let at = remote.last_opening();
    assert_eq!((at.offset, at.version), (1_000_000, Some(Version::strong("v1"))));
    assert_eq!(remote.published.state, State::Pulling);
    remote.opened(versioned());
    remote.finish();
    assert_eq!(remote.sent, SIZE);
    assert!(remote.error.is_none(), "the failure is over");
}

#[test]
fn a_broken_stream_without_a_version_is_proven_by_its_last_64_kib() {
    // Rule 22.
    for loaded in [10, OVERLAP - 1, OVERLAP, OVERLAP + 1, 1_000_000] {
        let mut remote = Remote::halfway(told(None, Some(SIZE)), loaded);
        remote.breaks();
        remote.wait();
        let overlap = loaded.min(OVERLAP);
        assert_eq!(remote.last_opening(), OpenAt::new(loaded - overlap));
        remote.opened(told(None, Some(SIZE)));
        // In pieces, and across the border to the new bytes.
        remote.send(overlap / 2);
        assert_eq!(remote.published.loaded, loaded, "no new byte before the proof");
        remote.send(overlap - overlap / 2 + 10);
        assert_eq!(remote.published.loaded, loaded + 10);
        remote.finish();
        assert_eq!(remote.sent, SIZE + overlap);
    }
}

#[test]
fn an_overlap_that_differs_in_any_byte_is_a_changed_resource() {
    // Rule 22.
    let loaded = 1_000_000;
    for wrong in [0, 1, OVERLAP / 2, OVERLAP - 1] {
        let mut remote = Remote::halfway(told(None, None), loaded);
        remote.breaks();
        remote.wait();
        remote.opened(told(None, None));
        let mut bytes = source(loaded - OVERLAP, loaded + 100).to_vec();
        bytes[wrong as usize] ^= 1;
        remote.send_bytes(bytes.into());
        let error = remote.error();
        assert_eq!((error.kind(), error.offset()), (ErrorKind::Changed, loaded));
        assert_eq!((remote.published.loaded, remote.published.state), (loaded, State::Failed));
        assert!(remote.at().is_none(), "the stream is closed");
        // Loaded bytes stay readable, and missing ones stay an error. Nothing is opened any more.
        remote.read(0, loaded);
        assert!(remote.bytes() == source(0, loaded));
        remote.read(loaded, 1);
        assert_eq!(remote.error().kind(), ErrorKind::Changed);
        remote.finish_openings(2);
    }
}

#[test]
fn a_stream_of_another_version_size_or_start_is_a_changed_resource() {
    // Rules 22 and 23.
    let late = OpenedStream { start: Some(1_000_001), ..versioned() };
    for (first, second) in [
        (versioned(), told(Some("v2"), Some(SIZE))),
        (versioned(), told(Some("v1"), Some(SIZE + 1))),
        (told(None, Some(SIZE)), told(None, Some(SIZE - 1))),
        (told(None, None), told(None, Some(999_999))),
        (versioned(), late),
    ] {
        let mut remote = Remote::halfway(first, 1_000_000);
        remote.breaks();
        remote.wait();
        remote.opened(second.clone());
        assert_eq!(remote.error().kind(), ErrorKind::Changed, "{second:?}");
        assert_eq!(remote.published.loaded, 1_000_000);
        assert!(!remote.wants());
    }
}

#[test]
fn a_stream_that_starts_early_is_skipped_to_the_first_missing_byte() {
    // Rule 23.
    let loaded = 200_000;
    for version in [Some("v1"), None] {
        let mut remote = Remote::halfway(told(version, Some(SIZE)), loaded);
        remote.breaks();
        remote.wait();
        remote.opened(OpenedStream { start: Some(0), ..told(version, Some(SIZE)) });
        for _ in 0..2 {
            remote.send(loaded / 2);
            assert_eq!(remote.published.loaded, loaded);
        }
        remote.send(1);
        assert_eq!(remote.published.loaded, loaded + 1);
        // It ignores ranges, so it is never closed because it is unused, and no more than needed is sent.
        remote.finish();
        assert_eq!(remote.sent, SIZE + loaded);
    }
}

#[test]
fn surplus_bytes_after_the_size_that_the_source_told_are_cut() {
    // Rule 23.
    let mut remote = Remote::new();
    remote.read(0, u64::MAX);
    remote.opened(told(Some("v1"), Some(1000)));
    remote.send(1500);
    assert_eq!(remote.bytes(), source(0, 1000));
    assert_eq!((remote.published.state, remote.published.loaded), (State::Complete, 1000));
    assert!(remote.at().is_none(), "the stream is closed");
}

#[test]
fn delays_double_and_after_ten_attempts_the_waiting_reads_fail() {
    // Rule 24.
    let mut remote = Remote::halfway(versioned(), 1000);
    remote.breaks();
    for attempt in 1..=10_u32 {
        let State::Retrying { attempt: shown, delay } = remote.published.state else { panic!() };
        assert_eq!(shown, attempt);
        assert_eq!(remote.wait(), delay);
        let full = ms(100 << (attempt - 1)).min(ms(15_000));
        assert!(delay > full * 49 / 100 && delay <= full, "{delay:?}");
        assert!(remote.answers.is_empty());
        remote.open_fails(io::ErrorKind::ConnectionRefused.into());
    }
    let error = remote.error();
    assert_eq!((error.kind(), error.offset()), (ErrorKind::Source, 1000));
    assert_eq!(error.io_error().unwrap().kind(), io::ErrorKind::ConnectionRefused);
    assert_eq!(remote.published.state, State::Waiting);
    assert_eq!(remote.core.next_deadline(remote.now), None, "no attempt without a request");
    assert!(remote.error.is_some(), "the failure lasts");
    // The next read starts a new series, at once.
    remote.finish_openings(11);
    remote.read(0, SIZE);
    remote.finish_openings(12);
    remote.open_fails(io::ErrorKind::ConnectionRefused.into());
    assert!(remote.wait() <= ms(100));
    remote.opened(versioned());
    remote.finish();
}

#[test]
fn only_new_bytes_start_the_count_again() {
    // Rule 24.
    let mut remote = Remote::halfway(versioned(), 1000);
    let attempts = |remote: &Remote| match remote.published.state {
        State::Retrying { attempt, .. } => attempt,
        state => panic!("{state:?}"),
    };
    remote.breaks();
    remote.wait();
    remote.opened(versioned());
    remote.breaks();
    assert_eq!(attempts(&remote), 2, "an opening alone brings nothing");
    remote.wait();
    remote.opened(OpenedStream { start: Some(0), ..versioned() });
    remote.send(1000);
    remote.breaks();
    assert_eq!(attempts(&remote), 3, "bytes that are there already bring nothing");
    remote.wait();
    remote.opened(versioned());
    remote.send(1);
    remote.breaks();
    assert_eq!(attempts(&remote), 1);
}

#[test]
fn a_series_of_early_ends_is_truncated_and_others_are_not() {
    // Rule 24.
    for others in [0, 1] {
        let retry = Retry::default().attempts(3);
        let mut remote = Remote::with(PLAIN, retry);
        remote.read(0, SIZE);
        remote.opened(versioned());
        remote.send(1000);
        remote.ends();
        for attempt in 0..3 {
            remote.wait();
            remote.opened(versioned());
            if attempt < others { remote.breaks() } else { remote.ends() }
        }
        let error = remote.error();
        let kind = if others == 0 { ErrorKind::Truncated } else { ErrorKind::Source };
        assert_eq!((error.kind(), error.offset()), (kind, 1000));
        assert_ne!(remote.published.state, State::Failed, "it is not final");
    }
}

#[test]
fn permanent_failures_are_final_at_once() {
    // Rule 24.
    for error in [
        io::ErrorKind::NotFound.into(),
        io::Error::new(io::ErrorKind::PermissionDenied, "no"),
        SourceError::permanent(io::Error::from(io::ErrorKind::ConnectionReset)).into(),
    ] {
        let mut remote = Remote::halfway(versioned(), 1000);
        remote.breaks();
        remote.wait();
        remote.open_fails(error);
        assert_eq!(remote.error().kind(), ErrorKind::Source);
        assert_eq!(remote.published.state, State::Failed);
        remote.read(1000, 1);
        assert_eq!(remote.error().kind(), ErrorKind::Source);
        remote.finish_openings(2);
    }
}

#[test]
fn a_delay_that_the_source_asks_for_is_kept() {
    // Rule 24.
    let mut remote = Remote::new();
    remote.read(0, 10);
    let delay = Duration::from_secs(20);
    remote.open_fails(SourceError::transient("busy").retry_after(delay).into());
    assert_eq!(remote.published.state, State::Retrying { attempt: 1, delay });
    assert_eq!(remote.wait(), delay);
    remote.finish_openings(2);
}

#[test]
fn a_failure_is_not_retried_while_no_request_waits() {
    // Rules 24 and 26: read-ahead never opens a source again.
    let mut remote = Remote::with(Limits { read_ahead: MIB as u64, ..PLAIN }, Retry::default());
    remote.read(0, 10);
    remote.opened(versioned());
    remote.send(10);
    assert!(remote.wants(), "read-ahead");
    remote.breaks();
    assert_eq!(remote.published.state, State::Waiting);
    assert_eq!(remote.core.next_deadline(remote.now), None);
    remote.now += Duration::from_secs(60);
    remote.read(10, 10);
    assert_eq!(remote.last_opening().offset, 10, "the delay is over, so it is opened at once");
}

#[test]
fn silence_of_an_opening_or_a_needed_stream_is_a_transient_failure() {
    // Rule 24.
    let mut remote = Remote::new();
    remote.read(0, SIZE);
    assert_eq!(remote.wait(), Duration::from_secs(30));
    assert!(!remote.is_opening(), "the opening is dropped");
    remote.wait();
    remote.opened(versioned());
    remote.send(1000);
    assert_eq!(remote.wait(), Duration::from_secs(30));
    assert!(remote.at().is_none());
    let error = remote.error.clone().unwrap();
    assert_eq!(error.io_error().unwrap().kind(), io::ErrorKind::TimedOut);
    remote.wait();
    assert_eq!(remote.last_opening().offset, 1000);
    remote.opened(versioned());
    // A byte now and then is no silence.
    for _ in 0..10 {
        assert!(remote.core.next_deadline(remote.now).is_some());
        remote.now += Duration::from_secs(29);
        remote.send(1);
    }
    remote.finish();
}

#[test]
fn a_stream_that_is_unused_for_30_s_is_closed_and_the_next_read_opens_it_again() {
    // Rule 21.
    let mut remote = Remote::new();
    remote.read(0, 1000);
    remote.opened(versioned());
    remote.send(1000);
    assert_eq!(remote.bytes().len(), 1000);
    assert_eq!(remote.wait(), Duration::from_secs(30));
    assert!(remote.at().is_none() && remote.error.is_none());
    assert_eq!(remote.published.state, State::Waiting);
    remote.read(0, SIZE);
    assert_eq!(remote.last_opening().offset, 1000);
    remote.opened(versioned());
    remote.finish();
}

#[test]
fn a_stream_that_cannot_be_opened_anywhere_is_not_closed_because_it_is_unused() {
    // Rule 21.
    for reopen in [Reopen::Never, Reopen::FromStart] {
        let mut remote = Remote::new();
        remote.read(0, 1000);
        remote.opened(OpenedStream { reopen, ..versioned() });
        remote.send(1000);
        assert_eq!(remote.core.next_deadline(remote.now), None, "{reopen:?}");
        // The deadline of something else, such as a failed write.
        remote.now += Duration::from_secs(60);
        remote.event(Event::DeadlinePassed);
        assert!(remote.at().is_some(), "{reopen:?}");
    }
}

#[test]
fn a_source_that_can_never_be_opened_again_fails_for_good() {
    // Rule 21.
    let mut remote = Remote::halfway(OpenedStream { reopen: Reopen::Never, ..versioned() }, 1000);
    remote.breaks();
    assert_eq!(remote.error().kind(), ErrorKind::Source);
    assert_eq!(remote.published.state, State::Failed);
}

#[test]
fn a_size_that_differs_from_the_declared_one_fails_at_once() {
    // Rule 24.
    for (declared, kind) in [(SIZE + 1, ErrorKind::Truncated), (SIZE - 1, ErrorKind::Oversized)] {
        let mut remote = Remote::with(Limits { declared: Some(declared), ..PLAIN }, Retry::default());
        remote.read(0, 1);
        remote.opened(versioned());
        assert_eq!(remote.error().kind(), kind);
        assert_eq!((remote.published.state, remote.published.size), (State::Failed, None));
    }
}

#[test]
fn without_a_timer_the_first_failure_fails_the_waiting_reads() {
    // Section "Structure" of the design: operations that need a timer return an error.
    let mut remote = Remote::halfway(versioned(), 1000);
    remote.breaks();
    remote.event(Event::NoTimer);
    assert_eq!(remote.error().kind(), ErrorKind::Source);
    assert_eq!(remote.core.next_deadline(remote.now), None);
    remote.read(0, SIZE);
    remote.opened(versioned());
    remote.breaks();
    assert_eq!(remote.error().kind(), ErrorKind::Source);
    remote.read(0, SIZE);
    remote.opened(versioned());
    remote.finish();
}

#[test]
fn unlimited_read_ahead_stops_after_a_series_and_goes_on_with_the_next_request() {
    // Rules 24 and 26.
    let limits = Limits { read_ahead: u64::MAX, ..PLAIN };
    let mut remote = Remote::with(limits, Retry::default().attempts(2));
    remote.pump();
    for _ in 0..2 {
        remote.open_fails(io::ErrorKind::ConnectionRefused.into());
        remote.wait();
    }
    remote.open_fails(io::ErrorKind::ConnectionRefused.into());
    assert!(!remote.is_opening() && remote.core.next_deadline(remote.now).is_none());
    assert_eq!(remote.published.state, State::Waiting);
    remote.read(0, SIZE);
    remote.opened(versioned());
    remote.finish();
}

#[test]
fn the_size_is_published_as_soon_as_the_source_tells_it() {
    let mut remote = Remote::new();
    let token = remote.ticket();
    remote.event(Event::Size { token });
    assert_eq!(remote.last_opening(), OpenAt::new(0), "it opens the source to look");
    remote.opened(versioned());
    assert!(remote.bytes().is_empty());
    assert_eq!((remote.published.size, remote.published.loaded), (Some(SIZE), 0));
    assert!(!remote.wants(), "the size needs no byte");
    // A source that tells no size is pulled to its end.
    let mut remote = Remote::new();
    let token = remote.ticket();
    remote.event(Event::Size { token });
    remote.opened(told(None, None));
    assert!(remote.answers.is_empty());
    remote.send(1000);
    remote.ends();
    assert!(remote.bytes().is_empty());
    assert_eq!(remote.published.size, Some(1000));
}

#[test]
fn a_new_version_counts_only_after_the_overlap_has_compared_equal() {
    // Rule 22: else the next opening would take an unproven version for a proof.
    let loaded = 1_000_000;
    let mut remote = Remote::halfway(told(None, None), loaded);
    remote.breaks();
    remote.wait();
    remote.opened(told(Some("v2"), Some(loaded)));
    assert_ne!(remote.published.state, State::Complete, "nor does a size");
    remote.breaks();
    remote.wait();
    assert_eq!(remote.last_opening(), OpenAt::new(loaded - OVERLAP));
    remote.opened(told(Some("v2"), Some(SIZE)));
    remote.send(OVERLAP + 1);
    remote.breaks();
    remote.wait();
    let at = remote.last_opening();
    assert_eq!((at.offset, at.version), (loaded + 1, Some(Version::strong("v2"))));
    remote.opened(versioned_as("v2"));
    remote.finish();
}

#[test]
fn a_size_that_a_proven_stream_tells_counts_before_its_first_new_byte() {
    // Rules 22 and 24: else an early end of that stream would be the end of the resource.
    for version in [Some("v1"), None] {
        let mut remote = Remote::halfway(told(version, None), 1000);
        remote.breaks();
        remote.wait();
        remote.opened(told(version, Some(SIZE)));
        if version.is_none() {
            // The overlap is the proof.
            remote.send(1000);
        }
        remote.ends();
        assert!(matches!(remote.published.state, State::Retrying { .. }), "{:?}", remote.published);
        remote.wait();
        remote.opened(told(version, Some(SIZE)));
        remote.finish();
    }
}

#[test]
fn a_source_is_not_opened_at_its_end_after_a_stream_with_the_known_version_told_its_size() {
    // Rule 21: no byte is missing.
    let mut remote = Remote::new();
    remote.read(0, u64::MAX);
    remote.opened(told(Some("v1"), None));
    remote.send(SIZE);
    remote.breaks();
    remote.wait();
    remote.opened(versioned());
    assert_eq!(remote.published.state, State::Complete);
    assert!(remote.at().is_none(), "the stream is closed");
}

fn versioned_as(version: &'static str) -> OpenedStream {
    told(Some(version), Some(SIZE))
}
