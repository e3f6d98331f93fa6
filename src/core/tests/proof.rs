//! What proves the bytes of a stream: rule 22, with openings that return late.

use super::remote::{Remote, SIZE, told, versioned};
use super::*;
use crate::core::OpenedStream;
use crate::error::ErrorKind;
use crate::source::Reopen;
use crate::source::retry::Retry;

/// The source tells a version, so the buffer jumps. Then it tells none, and the first `loaded` bytes are those of
/// a stream without a version. The openings at these offsets are still under way: their numbers.
fn late<const N: usize>(offsets: [u64; N], loaded: u64) -> (Remote, [usize; N]) {
    let mut remote = Remote::with(Limits { streams: 1 + N, ..PLAIN }, Retry::default());
    remote.read(0, 400_000);
    remote.opened(told(Some("old"), None));
    let late = offsets.map(|offset| {
        remote.read(offset, 10);
        assert_eq!(remote.last_opening().offset, offset);
        remote.last_opened()
    });
    remote.breaks();
    remote.wait();
    assert_eq!(remote.last_opening().offset, 0);
    remote.opened_as(remote.last_opened(), told(None, None));
    if loaded > 0 {
        remote.send_of(remote.last_opened(), loaded);
    }
    assert_eq!(remote.published.loaded, loaded);
    (remote, late)
}

#[test]
fn an_opening_of_a_time_when_the_buffer_could_jump_brings_no_bytes_when_it_cannot() {
    // Rule 22: nothing can be compared.
    for version in [Some("old"), Some("new"), None] {
        let (mut remote, [far]) = late([500_000], 1000);
        let first = remote.last_opened();
        remote.opened_as(far, told(version, None));
        assert!(!remote.streams.contains_key(&far), "{version:?}: the stream is dropped");
        assert_eq!((remote.published.state, remote.error.is_none()), (State::Pulling, true), "no failure");
        // The stream without a version goes on to the bytes that the second read waits for.
        remote.send_of(first, 500_000 - 1000 + 10);
        assert_eq!((remote.bytes(), remote.bytes()), (source(0, 400_000), source(500_000, 500_010)));
        remote.finish_openings(3);
    }
}

#[test]
fn a_late_stream_that_starts_at_the_end_of_the_loaded_bytes_is_not_proven_by_them() {
    // Rule 22: none of its bytes would be compared.
    let (mut remote, [far]) = late([200_000], 200_000);
    remote.breaks_of(remote.last_opened());
    let openings = remote.openings.len();
    remote.opened_as(far, told(None, None));
    assert!(!remote.streams.contains_key(&far));
    remote.wait();
    assert_eq!(remote.openings.len(), openings + 1);
    assert_eq!(remote.last_opening().offset, 200_000 - 64 * 1024, "where a proof is possible");
    remote.opened(told(None, None));
    remote.send(64 * 1024 + 200_000);
    assert_eq!(remote.bytes(), source(200_000, 200_010));
}

#[test]
fn a_late_stream_that_passes_the_kept_bytes_is_proven_by_them() {
    // Rules 22 and 23: it ignores the offset.
    for starts in [0, 100_000, 200_000 - 64 * 1024] {
        let (mut remote, [far]) = late([300_000], 200_000);
        remote.breaks_of(remote.last_opened());
        remote.opened_as(far, OpenedStream { start: Some(starts), ..told(None, None) });
        assert!(remote.wants_of(far), "it serves the first read");
        remote.send_of(far, 400_000 - starts);
        assert_eq!((remote.bytes(), remote.bytes()), (source(300_000, 300_010), source(0, 400_000)));
        remote.finish_openings(3);
    }
}

#[test]
fn only_one_stream_at_a_time_is_proven_by_the_kept_bytes() {
    // Rule 22: the version that a stream tells counts from its first new byte on. Then no bytes are kept any
    // more, and a second stream would be compared with nothing.
    let (mut remote, [one, two]) = late([500_000, 900_000], 1000);
    let first = remote.last_opened();
    remote.breaks_of(first);
    remote.wait();
    // One of the late openings was given up for the new one.
    let proven = remote.last_opened();
    let other = if proven == one { two } else { one };
    assert_eq!(remote.last_opening().offset, 0);
    remote.opened_as(proven, told(Some("new"), None));
    if remote.streams.contains_key(&other) {
        remote.opened_as(other, OpenedStream { start: Some(0), ..told(Some("another"), None) });
    }
    assert_eq!(remote.streams.len(), 1, "{:?}", remote.streams);
    remote.send_of(proven, 2000);
    assert_eq!(remote.published.loaded, 2000);
}

#[test]
fn a_late_stream_without_proof_says_nothing_about_the_source() {
    // Rule 22: neither how it can be opened again, nor its size.
    let (mut remote, [far]) = late([500_000], 1000);
    let first = remote.last_opened();
    let reopen = Reopen::Never;
    remote.opened_as(far, OpenedStream { reopen, ..told(None, Some(SIZE)) });
    assert_eq!(remote.published.size, None);
    remote.breaks_of(first);
    assert!(matches!(remote.published.state, State::Retrying { attempt: 1, .. }));
    remote.wait();
    remote.opened(told(None, None));
    remote.send(500_010);
    assert_eq!(remote.published.loaded, 500_010);
}

#[test]
fn before_the_first_byte_a_stream_is_proven_by_the_version_of_an_open_one_or_not_at_all() {
    // Rule 22: bytes of either stream may come first.
    for start in [0, 500_000] {
        let (mut remote, [far]) = late([500_000], 0);
        let first = remote.last_opened();
        remote.opened_as(far, OpenedStream { start: Some(start), ..told(Some("old"), None) });
        assert!(!remote.streams.contains_key(&far), "the other has no version, and no byte");
        remote.send_of(first, 400_000);
        assert_eq!(remote.bytes(), source(0, 400_000));
    }
    // Without another stream, there is nothing to mix with.
    let (mut remote, [far]) = late([500_000], 0);
    remote.breaks_of(remote.last_opened());
    remote.opened_as(far, told(Some("old"), None));
    remote.send_of(far, 10);
    assert_eq!(remote.bytes(), source(500_000, 500_010));
}

/// A radio: each stream starts at offset 0 with what is sent at that time.
fn radio() -> OpenedStream {
    OpenedStream { start: Some(0), reopen: Reopen::FromStart, ..told(None, None) }
}

#[test]
fn a_stream_that_starts_again_with_other_bytes_is_changed_at_its_first_bytes() {
    // Rule 22: and not after as many bytes as were loaded.
    for (loaded, wrong) in [(10, 9), (1000, 0), (2_000_000, 0), (2_000_000, 4095)] {
        let mut remote = Remote::halfway(radio(), loaded);
        remote.breaks();
        remote.wait();
        remote.opened(radio());
        let mut bytes = source(0, loaded.min(5000)).to_vec();
        bytes[wrong] ^= 1;
        if wrong > 0 {
            remote.send_bytes(bytes[..wrong].to_vec().into());
            assert!(!remote.published.state.is_final(), "equal so far");
        }
        remote.send_bytes(bytes[wrong..].to_vec().into());
        assert_eq!(remote.error().kind(), ErrorKind::Changed);
        assert_eq!((remote.published.state, remote.published.loaded), (State::Failed, loaded));
    }
}

#[test]
fn a_stream_that_starts_again_with_the_same_bytes_goes_on() {
    // Rules 21 to 23.
    for loaded in [10, 4096, 4097, 1_000_000] {
        let mut remote = Remote::halfway(radio(), loaded);
        for _ in 0..2 {
            remote.breaks();
            remote.wait();
            assert_eq!(remote.last_opening().offset, loaded.saturating_sub(64 * 1024));
            remote.opened(radio());
            remote.send(loaded);
        }
        remote.send(SIZE - loaded);
        assert!(remote.bytes() == source(0, SIZE));
    }
}

#[test]
fn a_stream_of_a_versioned_source_is_not_compared() {
    // Rule 22: the version is the proof, and no bytes are kept.
    let mut remote = Remote::halfway(versioned(), 1000);
    remote.breaks();
    remote.wait();
    remote.opened(OpenedStream { start: Some(0), ..versioned() });
    remote.send_bytes(vec![0; 1000].into());
    remote.send(1);
    assert_eq!(remote.published.loaded, 1001);
}

/// A source that has told a version and does not any more. The stream breaks after 500,000 bytes, and the next two
/// openings tell no version.
fn lost(limits: Limits) -> Remote {
    let mut remote = Remote::with(limits, Retry::default());
    remote.read(0, SIZE);
    remote.opened(versioned());
    remote.send(500_000);
    remote.breaks();
    for _ in 0..2 {
        remote.wait();
        assert_eq!(remote.last_opening().offset, 500_000);
        assert!(remote.last_opening().version.is_some());
        remote.opened(told(None, Some(SIZE)));
    }
    remote
}

#[test]
fn a_source_that_tells_no_version_any_more_is_proven_by_the_last_bytes_in_memory() {
    // Rule 22.
    let overlap = 64 * 1024;
    let mut remote = lost(PLAIN);
    for from in [500_000, 1_000_000] {
        // At once, and again after each break.
        let opening = remote.last_opening();
        assert_eq!((opening.offset, opening.version), (from - overlap, None));
        remote.opened(told(None, Some(SIZE)));
        remote.send(overlap + 500_000);
        assert_eq!(remote.published.loaded, from + 500_000);
        remote.breaks();
        remote.wait();
    }
    // The buffer jumps again once the source tells the version again.
    let far = remote.read(2_900_000, 10);
    assert!(remote.last_opening().offset < 2_900_000, "without a version it does not jump");
    remote.opened(versioned());
    assert_eq!(remote.last_opening().offset, 2_900_000);
    remote.opened(versioned());
    remote.send_of(remote.last_opened(), 10);
    assert_eq!(remote.answer().0, far);
}

#[test]
fn other_bytes_of_a_source_that_tells_no_version_any_more_are_changed() {
    // Rule 22.
    for wrong in [0, 64 * 1024 - 1] {
        let mut remote = lost(PLAIN);
        remote.opened(told(None, Some(SIZE)));
        let mut bytes = source(500_000 - 64 * 1024, 600_000).to_vec();
        bytes[wrong] ^= 1;
        remote.send_bytes(bytes.into());
        assert_eq!(remote.error().kind(), ErrorKind::Changed);
        assert_eq!(remote.published.loaded, 500_000);
    }
}

#[test]
fn without_a_byte_in_memory_a_source_that_tells_no_version_any_more_fails_at_once() {
    // Rules 22 and 24: no attempt can mend that.
    let mut remote = Remote::with(Limits { max_memory: 0, ..PLAIN }, Retry::default());
    remote.read(0, SIZE);
    remote.opened(versioned());
    remote.send(500_000);
    remote.breaks();
    while remote.writing.is_some() {
        remote.write_succeeds();
    }
    for _ in 0..2 {
        remote.wait();
        remote.opened(told(None, Some(SIZE)));
    }
    let error = remote.error();
    assert_eq!(error.kind(), ErrorKind::Source);
    assert!(error.to_string().contains("500000"), "{error}");
    assert_eq!(remote.published.state, State::Failed);
}

#[test]
fn one_opening_without_a_version_is_a_fault_that_passes() {
    // Rules 22 and 24: another server of the resource may have answered it.
    let mut remote = Remote::halfway(versioned(), 1000);
    for _ in 0..3 {
        remote.breaks();
        remote.wait();
        remote.opened(told(None, Some(SIZE)));
        assert!(matches!(remote.published.state, State::Retrying { attempt: 2, .. }));
        assert!(remote.streams.is_empty() && remote.answers.is_empty());
        remote.wait();
        assert_eq!(remote.last_opening().offset, remote.published.loaded);
        remote.opened(versioned());
        remote.send(1000);
    }
}
