//! Sources that can be opened again: rules 21 to 24, without a runtime and with exact times.

use super::*;
use crate::source::OpenAt;
use crate::source::error::SourceError;
use crate::source::version::Version;

/// The bytes that are compared after an opening without a version.
const OVERLAP: u64 = 64 * 1024;

/// Loads the first `loaded` bytes for a read, and has a second read wait for the rest.
pub(super) fn halfway(told: OpenedStream, loaded: u64) -> World {
    let mut world = World::source(PLAIN);
    world.open_and_read(0, loaded, told);
    world.read(0, SIZE);
    assert!(world.fresh.is_empty());
    world
}

/// Loads the rest of the resource with one stream, and compares all of it.
fn finish(world: &mut World) {
    while world.published.state != State::Complete {
        let at = world.at().expect("a stream is open");
        world.send(100_000.min(SIZE - at));
    }
    assert!(world.next_bytes() == source(0, SIZE), "wrong bytes");
    assert!(world.fresh.is_empty());
}

#[test]
fn a_source_is_opened_when_a_byte_is_needed_and_at_that_byte() {
    // Rule 21.
    let mut world = World::source(Limits { read_ahead: MIB as u64, ..PLAIN });
    world.read(0, 0);
    assert!(world.openings() == 0, "no byte is needed");
    world.read(10, 5);
    assert_eq!(world.last_opening(), OpenAt::new(10));
    world.opened(versioned());
    assert_eq!(world.published.size, Some(SIZE));
    world.send(100);
    // Read-ahead pulls the open stream.
    assert!(world.wants());
    assert_eq!(world.openings(), 1);
}

#[test]
fn unlimited_read_ahead_opens_a_source_without_a_request() {
    // Rule 26.
    let world = World::source(Limits { read_ahead: u64::MAX, ..PLAIN });
    assert_eq!(world.last_opening(), OpenAt::new(0));
}

#[test]
fn a_broken_stream_with_a_version_goes_on_at_the_first_missing_byte() {
    // Rule 22: no byte is fetched again.
    let mut world = halfway(versioned(), 1_000_000);
    world.breaks();
    assert!(matches!(world.published.state, State::Retrying { attempt: 1, .. }));
    assert_eq!(world.error.as_ref().unwrap().kind(), ErrorKind::Source);
    let waited = world.wait();
    assert!(waited > ms(49) && waited <= ms(100), "{waited:?}");
    let at = world.last_opening();
    assert_eq!((at.offset, at.version), (1_000_000, Some(Version::strong("v1"))));
    assert_eq!(world.published.state, State::Pulling);
    world.opened(versioned());
    finish(&mut world);
    assert_eq!(world.source.sent, SIZE);
    assert!(world.error.is_none(), "the failure is over");
}

#[test]
fn a_broken_stream_without_a_version_is_proven_by_its_last_64_kib() {
    // Rule 22.
    for loaded in [10, OVERLAP - 1, OVERLAP, OVERLAP + 1, 1_000_000] {
        let mut world = halfway(told(None, Some(SIZE)), loaded);
        world.breaks();
        world.wait();
        let overlap = loaded.min(OVERLAP);
        assert_eq!(world.last_opening(), OpenAt::new(loaded - overlap));
        world.opened(told(None, Some(SIZE)));
        // In pieces, and across the border to the new bytes.
        world.send(overlap / 2);
        assert_eq!(world.published.loaded, loaded, "no new byte before the proof");
        world.send(overlap - overlap / 2 + 10);
        assert_eq!(world.published.loaded, loaded + 10);
        finish(&mut world);
        assert_eq!(world.source.sent, SIZE + overlap);
    }
}

#[test]
fn an_overlap_that_differs_in_any_byte_is_a_changed_resource() {
    // Rule 22.
    let loaded = 1_000_000;
    for wrong in [0, 1, OVERLAP / 2, OVERLAP - 1] {
        let mut world = halfway(told(None, None), loaded);
        world.breaks();
        world.wait();
        world.opened(told(None, None));
        let mut bytes = source(loaded - OVERLAP, loaded + 100).to_vec();
        bytes[wrong as usize] ^= 1;
        world.send_bytes(bytes.into());
        let error = world.next_error();
        assert_eq!((error.kind(), error.offset()), (ErrorKind::Changed, loaded));
        assert_eq!((world.published.loaded, world.published.state), (loaded, State::Failed));
        assert!(world.at().is_none(), "the stream is closed");
        // Loaded bytes stay readable, and missing ones stay an error. Nothing is opened any more.
        world.read(0, loaded);
        assert!(world.next_bytes() == source(0, loaded));
        world.read(loaded, 1);
        assert_eq!(world.next_error().kind(), ErrorKind::Changed);
        assert_eq!(world.openings(), 2);
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
        let mut world = halfway(first, 1_000_000);
        world.breaks();
        world.wait();
        world.opened(second.clone());
        assert_eq!(world.next_error().kind(), ErrorKind::Changed, "{second:?}");
        assert_eq!(world.published.loaded, 1_000_000);
        assert!(!world.wants());
    }
}

#[test]
fn a_stream_that_starts_early_is_skipped_to_the_first_missing_byte() {
    // Rule 23.
    let loaded = 200_000;
    for version in [Some("v1"), None] {
        let mut world = halfway(told(version, Some(SIZE)), loaded);
        world.breaks();
        world.wait();
        world.opened(OpenedStream { start: Some(0), ..told(version, Some(SIZE)) });
        for _ in 0..2 {
            world.send(loaded / 2);
            assert_eq!(world.published.loaded, loaded);
        }
        world.send(1);
        assert_eq!(world.published.loaded, loaded + 1);
        // It ignores ranges, so it is never closed because it is unused, and no more than needed is sent.
        finish(&mut world);
        assert_eq!(world.source.sent, SIZE + loaded);
    }
}

#[test]
fn surplus_bytes_after_the_size_that_the_source_told_are_cut() {
    // Rule 23.
    let mut world = World::source(PLAIN);
    world.read(0, u64::MAX);
    world.opened(told(Some("v1"), Some(1000)));
    world.send(1500);
    assert_eq!(world.next_bytes(), source(0, 1000));
    assert_eq!((world.published.state, world.published.loaded), (State::Complete, 1000));
    assert!(world.at().is_none(), "the stream is closed");
}

#[test]
fn delays_double_and_after_ten_attempts_the_waiting_reads_fail() {
    // Rule 24.
    let mut world = halfway(versioned(), 1000);
    world.breaks();
    for attempt in 1..=10_u32 {
        let State::Retrying { attempt: shown, delay } = world.published.state else { panic!() };
        assert_eq!(shown, attempt);
        assert_eq!(world.wait(), delay);
        let full = ms(100 << (attempt - 1)).min(ms(15_000));
        assert!(delay > full * 49 / 100 && delay <= full, "{delay:?}");
        assert!(world.fresh.is_empty());
        world.open_fails(io::ErrorKind::ConnectionRefused.into());
    }
    let error = world.next_error();
    assert_eq!((error.kind(), error.offset()), (ErrorKind::Source, 1000));
    assert_eq!(error.io_error().unwrap().kind(), io::ErrorKind::ConnectionRefused);
    assert_eq!(world.published.state, State::Waiting);
    assert_eq!(world.deadline(), None, "no attempt without a request");
    assert!(world.error.is_some(), "the failure lasts");
    // The next read starts a new series, at once.
    assert_eq!(world.openings(), 11);
    world.read(0, SIZE);
    assert_eq!(world.openings(), 12);
    world.open_fails(io::ErrorKind::ConnectionRefused.into());
    assert!(world.wait() <= ms(100));
    world.opened(versioned());
    finish(&mut world);
}

#[test]
fn only_new_bytes_start_the_count_again() {
    // Rule 24.
    let mut world = halfway(versioned(), 1000);
    let attempts = |world: &World| match world.published.state {
        State::Retrying { attempt, .. } => attempt,
        state => panic!("{state:?}"),
    };
    world.breaks();
    world.wait();
    world.opened(versioned());
    world.breaks();
    assert_eq!(attempts(&world), 2, "an opening alone brings nothing");
    world.wait();
    world.opened(OpenedStream { start: Some(0), ..versioned() });
    world.send(1000);
    world.breaks();
    assert_eq!(attempts(&world), 3, "bytes that are there already bring nothing");
    world.wait();
    world.opened(versioned());
    world.send(1);
    world.breaks();
    assert_eq!(attempts(&world), 1);
}

#[test]
fn a_series_of_early_ends_is_truncated_and_others_are_not() {
    // Rule 24.
    for others in [0, 1] {
        let retry = Retry::default().attempts(3);
        let mut world = World::new(Kind::Source(retry), PLAIN);
        world.read(0, SIZE);
        world.opened(versioned());
        world.send(1000);
        world.ends();
        for attempt in 0..3 {
            world.wait();
            world.opened(versioned());
            if attempt < others { world.breaks() } else { world.ends() }
        }
        let error = world.next_error();
        let kind = if others == 0 { ErrorKind::Truncated } else { ErrorKind::Source };
        assert_eq!((error.kind(), error.offset()), (kind, 1000));
        assert_ne!(world.published.state, State::Failed, "it is not final");
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
        let mut world = halfway(versioned(), 1000);
        world.breaks();
        world.wait();
        world.open_fails(error);
        assert_eq!(world.next_error().kind(), ErrorKind::Source);
        assert_eq!(world.published.state, State::Failed);
        world.read(1000, 1);
        assert_eq!(world.next_error().kind(), ErrorKind::Source);
        assert_eq!(world.openings(), 2);
    }
}

#[test]
fn a_delay_that_the_source_asks_for_is_kept() {
    // Rule 24.
    let (mut world, delay) = (World::source(PLAIN), Duration::from_secs(20));
    world.read(0, 10);
    world.open_fails(SourceError::transient("busy").retry_after(delay).into());
    assert_eq!(world.published.state, State::Retrying { attempt: 1, delay });
    assert_eq!(world.wait(), delay);
    assert_eq!(world.openings(), 2);
}

#[test]
fn a_failure_is_not_retried_while_no_request_waits() {
    // Rules 24 and 26: read-ahead never opens a source again.
    let mut world = World::source(Limits { read_ahead: MIB as u64, ..PLAIN });
    world.read(0, 10);
    world.opened(versioned());
    world.send(10);
    assert!(world.wants(), "read-ahead");
    world.breaks();
    assert_eq!(world.published.state, State::Waiting);
    assert_eq!(world.deadline(), None);
    world.now += Duration::from_secs(60);
    world.read(10, 10);
    assert_eq!(world.last_opening().offset, 10, "the delay is over, so it is opened at once");
}

#[test]
fn silence_of_an_opening_or_a_needed_stream_is_a_transient_failure() {
    // Rule 24.
    let mut world = World::source(PLAIN);
    world.read(0, SIZE);
    assert_eq!(world.wait(), Duration::from_secs(30));
    assert!(!world.is_opening(), "the opening is dropped");
    world.wait();
    world.opened(versioned());
    world.send(1000);
    assert_eq!(world.wait(), Duration::from_secs(30));
    assert!(world.at().is_none());
    let error = world.error.clone().unwrap();
    assert_eq!(error.io_error().unwrap().kind(), io::ErrorKind::TimedOut);
    world.wait();
    assert_eq!(world.last_opening().offset, 1000);
    world.opened(versioned());
    // A byte now and then is no silence.
    for _ in 0..10 {
        assert!(world.deadline().is_some());
        world.now += Duration::from_secs(29);
        world.send(1);
    }
    finish(&mut world);
}

#[test]
fn a_stream_that_is_unused_for_30_s_is_closed_and_the_next_read_opens_it_again() {
    // Rule 21.
    let mut world = World::source(PLAIN);
    world.read(0, 1000);
    world.opened(versioned());
    world.send(1000);
    assert_eq!(world.next_bytes().len(), 1000);
    assert_eq!(world.wait(), Duration::from_secs(30));
    assert!(world.at().is_none() && world.error.is_none());
    assert_eq!(world.published.state, State::Waiting);
    world.read(0, SIZE);
    assert_eq!(world.last_opening().offset, 1000);
    world.opened(versioned());
    finish(&mut world);
}

#[test]
fn a_stream_that_cannot_be_opened_anywhere_is_not_closed_because_it_is_unused() {
    // Rule 21.
    for reopen in [Reopen::Never, Reopen::FromStart] {
        let mut world = World::source(PLAIN);
        world.read(0, 1000);
        world.opened(OpenedStream { reopen, ..versioned() });
        world.send(1000);
        assert_eq!(world.deadline(), None, "{reopen:?}");
        // The deadline of something else, such as a failed write.
        world.pass(Duration::from_secs(60));
        assert!(world.at().is_some(), "{reopen:?}");
    }
}

#[test]
fn a_source_that_can_never_be_opened_again_fails_for_good() {
    // Rule 21.
    let mut world = halfway(OpenedStream { reopen: Reopen::Never, ..versioned() }, 1000);
    world.breaks();
    assert_eq!(world.next_error().kind(), ErrorKind::Source);
    assert_eq!(world.published.state, State::Failed);
}

#[test]
fn a_size_that_differs_from_the_declared_one_fails_at_once() {
    // Rule 24.
    for (declared, kind) in [(SIZE + 1, ErrorKind::Truncated), (SIZE - 1, ErrorKind::Oversized)] {
        let mut world = World::source(Limits { declared: Some(declared), ..PLAIN });
        world.read(0, 1);
        world.opened(versioned());
        assert_eq!(world.next_error().kind(), kind);
        assert_eq!((world.published.state, world.published.size), (State::Failed, None));
    }
}

#[test]
fn without_a_timer_the_first_failure_fails_the_waiting_reads() {
    // Section "Structure" of the design: operations that need a timer return an error.
    let mut world = halfway(versioned(), 1000);
    world.breaks();
    world.has_no_timer();
    assert_eq!(world.next_error().kind(), ErrorKind::Source);
    assert_eq!(world.deadline(), None);
    world.read(0, SIZE);
    world.opened(versioned());
    world.breaks();
    assert_eq!(world.next_error().kind(), ErrorKind::Source);
    world.read(0, SIZE);
    world.opened(versioned());
    finish(&mut world);
}

#[test]
fn unlimited_read_ahead_stops_after_a_series_and_goes_on_with_the_next_request() {
    // Rules 24 and 26.
    let limits = Limits { read_ahead: u64::MAX, ..PLAIN };
    let mut world = World::new(Kind::Source(Retry::default().attempts(2)), limits);
    for _ in 0..2 {
        world.open_fails(io::ErrorKind::ConnectionRefused.into());
        world.wait();
    }
    world.open_fails(io::ErrorKind::ConnectionRefused.into());
    assert!(!world.is_opening() && world.deadline().is_none());
    assert_eq!(world.published.state, State::Waiting);
    world.read(0, SIZE);
    world.opened(versioned());
    finish(&mut world);
}

#[test]
fn the_size_is_published_as_soon_as_the_source_tells_it() {
    let mut world = World::source(PLAIN);
    world.ask_size();
    assert_eq!(world.last_opening(), OpenAt::new(0), "it opens the source to look");
    world.opened(versioned());
    assert!(world.next_bytes().is_empty());
    assert_eq!((world.published.size, world.published.loaded), (Some(SIZE), 0));
    assert!(!world.wants(), "the size needs no byte");
    // A source that tells no size is pulled to its end.
    let mut world = World::source(PLAIN);
    world.ask_size();
    world.opened(told(None, None));
    assert!(world.fresh.is_empty());
    world.send(1000);
    world.ends();
    assert!(world.next_bytes().is_empty());
    assert_eq!(world.published.size, Some(1000));
}

#[test]
fn a_new_version_counts_only_after_the_overlap_has_compared_equal() {
    // Rule 22: else the next opening would take an unproven version for a proof.
    let loaded = 1_000_000;
    let mut world = halfway(told(None, None), loaded);
    world.breaks();
    world.wait();
    world.opened(told(Some("v2"), Some(loaded)));
    assert_ne!(world.published.state, State::Complete, "nor does a size");
    world.breaks();
    world.wait();
    assert_eq!(world.last_opening(), OpenAt::new(loaded - OVERLAP));
    world.opened(told(Some("v2"), Some(SIZE)));
    world.send(OVERLAP + 1);
    world.breaks();
    world.wait();
    let at = world.last_opening();
    assert_eq!((at.offset, at.version), (loaded + 1, Some(Version::strong("v2"))));
    world.opened(told(Some("v2"), Some(SIZE)));
    finish(&mut world);
}

#[test]
fn a_size_that_a_proven_stream_tells_counts_before_its_first_new_byte() {
    // Rules 22 and 24: else an early end of that stream would be the end of the resource.
    for version in [Some("v1"), None] {
        let mut world = halfway(told(version, None), 1000);
        world.breaks();
        world.wait();
        world.opened(told(version, Some(SIZE)));
        if version.is_none() {
            // The overlap is the proof.
            world.send(1000);
        }
        world.ends();
        assert!(matches!(world.published.state, State::Retrying { .. }), "{:?}", world.published);
        world.wait();
        world.opened(told(version, Some(SIZE)));
        finish(&mut world);
    }
}

#[test]
fn a_source_is_not_opened_at_its_end_after_a_stream_with_the_known_version_told_its_size() {
    // Rule 21: no byte is missing.
    let mut world = World::source(PLAIN);
    world.read(0, u64::MAX);
    world.opened(told(Some("v1"), None));
    world.send(SIZE);
    world.breaks();
    world.wait();
    world.opened(versioned());
    assert_eq!(world.published.state, State::Complete);
    assert!(world.at().is_none(), "the stream is closed");
}
