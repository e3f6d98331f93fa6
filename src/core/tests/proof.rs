//! What proves the bytes of a stream: rule 22, with openings that return late.

use super::resuming::halfway;
use super::*;

/// The source tells a version, so the buffer jumps. Then it tells none, and the first `loaded` bytes are those of
/// a stream without a version. The openings at these offsets are still under way: their numbers.
fn late<const N: usize>(offsets: [u64; N], loaded: u64) -> (World, [usize; N]) {
    let mut world = World::source(Limits { streams: 1 + N, ..PLAIN });
    world.read(0, 400_000);
    world.opened(told(Some("old"), None));
    let late = offsets.map(|offset| {
        world.read(offset, 10);
        assert_eq!(world.last_opening().offset, offset);
        world.last_opened()
    });
    world.breaks();
    world.wait();
    assert_eq!(world.last_opening().offset, 0);
    world.opened_as(world.last_opened(), told(None, None));
    if loaded > 0 {
        world.send_of(world.last_opened(), loaded);
    }
    assert_eq!(world.published.loaded, loaded);
    (world, late)
}

#[test]
fn an_opening_of_a_time_when_the_buffer_could_jump_brings_no_bytes_when_it_cannot() {
    // Rule 22: nothing can be compared.
    for version in [Some("old"), Some("new"), None] {
        let (mut world, [far]) = late([500_000], 1000);
        let first = world.last_opened();
        world.opened_as(far, told(version, None));
        assert!(!world.has_stream(far), "{version:?}: the stream is dropped");
        assert_eq!((world.published.state, world.error.is_none()), (State::Pulling, true), "no failure");
        // The stream without a version goes on to the bytes that the second read waits for.
        world.send_of(first, 500_000 - 1000 + 10);
        assert_eq!((world.next_bytes(), world.next_bytes()), (source(0, 400_000), source(500_000, 500_010)));
        assert_eq!(world.openings(), 3);
    }
}

#[test]
fn a_late_stream_that_starts_at_the_end_of_the_loaded_bytes_is_not_proven_by_them() {
    // Rule 22: none of its bytes would be compared.
    let (mut world, [far]) = late([200_000], 200_000);
    world.breaks_of(world.last_opened());
    let openings = world.openings();
    world.opened_as(far, told(None, None));
    assert!(!world.has_stream(far));
    world.wait();
    assert_eq!(world.openings(), openings + 1);
    assert_eq!(world.last_opening().offset, 200_000 - 64 * 1024, "where a proof is possible");
    world.opened(told(None, None));
    world.send(64 * 1024 + 200_000);
    assert_eq!(world.next_bytes(), source(200_000, 200_010));
}

#[test]
fn a_late_stream_that_passes_the_kept_bytes_is_proven_by_them() {
    // Rules 22 and 23: it ignores the offset.
    for starts in [0, 100_000, 200_000 - 64 * 1024] {
        let (mut world, [far]) = late([300_000], 200_000);
        world.breaks_of(world.last_opened());
        world.opened_as(far, OpenedStream { start: Some(starts), ..told(None, None) });
        assert!(world.wants_of(far), "it serves the first read");
        world.send_of(far, 400_000 - starts);
        assert_eq!((world.next_bytes(), world.next_bytes()), (source(300_000, 300_010), source(0, 400_000)));
        assert_eq!(world.openings(), 3);
    }
}

#[test]
fn only_one_stream_at_a_time_is_proven_by_the_kept_bytes() {
    // Rule 22: the version that a stream tells counts from its first new byte on. Then no bytes are kept any
    // more, and a second stream would be compared with nothing.
    let (mut world, [one, two]) = late([500_000, 900_000], 1000);
    let first = world.last_opened();
    world.breaks_of(first);
    world.wait();
    // One of the late openings was given up for the new one.
    let proven = world.last_opened();
    let other = if proven == one { two } else { one };
    assert_eq!(world.last_opening().offset, 0);
    world.opened_as(proven, told(Some("new"), None));
    if world.has_stream(other) {
        world.opened_as(other, OpenedStream { start: Some(0), ..told(Some("another"), None) });
    }
    assert_eq!(world.ids().len(), 1);
    world.send_of(proven, 2000);
    assert_eq!(world.published.loaded, 2000);
}

#[test]
fn a_late_stream_without_proof_says_nothing_about_the_source() {
    // Rule 22: neither how it can be opened again, nor its size.
    let (mut world, [far]) = late([500_000], 1000);
    let first = world.last_opened();
    let reopen = Reopen::Never;
    world.opened_as(far, OpenedStream { reopen, ..told(None, Some(SIZE)) });
    assert_eq!(world.published.size, None);
    world.breaks_of(first);
    assert!(matches!(world.published.state, State::Retrying { attempt: 1, .. }));
    world.wait();
    world.opened(told(None, None));
    world.send(500_010);
    assert_eq!(world.published.loaded, 500_010);
}

#[test]
fn before_the_first_byte_a_stream_is_proven_by_the_version_of_an_open_one_or_not_at_all() {
    // Rule 22: bytes of either stream may come first.
    for start in [0, 500_000] {
        let (mut world, [far]) = late([500_000], 0);
        let first = world.last_opened();
        world.opened_as(far, OpenedStream { start: Some(start), ..told(Some("old"), None) });
        assert!(!world.has_stream(far), "the other has no version, and no byte");
        world.send_of(first, 400_000);
        assert_eq!(world.next_bytes(), source(0, 400_000));
    }
    // Without another stream, there is nothing to mix with.
    let (mut world, [far]) = late([500_000], 0);
    world.breaks_of(world.last_opened());
    world.opened_as(far, told(Some("old"), None));
    world.send_of(far, 10);
    assert_eq!(world.next_bytes(), source(500_000, 500_010));
}

/// A radio: each stream starts at offset 0 with what is sent at that time.
fn radio() -> OpenedStream {
    OpenedStream { start: Some(0), reopen: Reopen::FromStart, ..told(None, None) }
}

#[test]
fn a_stream_that_starts_again_with_other_bytes_is_changed_at_its_first_bytes() {
    // Rule 22: and not after as many bytes as were loaded.
    for (loaded, wrong) in [(10_u64, 9), (1000, 0), (2_000_000, 0), (2_000_000, 4095)] {
        let mut world = halfway(radio(), loaded);
        world.breaks();
        world.wait();
        world.opened(radio());
        let mut bytes = source(0, loaded.min(5000)).to_vec();
        bytes[wrong] ^= 1;
        if wrong > 0 {
            world.send_bytes(bytes[..wrong].to_vec().into());
            assert!(!world.published.state.is_final(), "equal so far");
        }
        world.send_bytes(bytes[wrong..].to_vec().into());
        assert_eq!(world.next_error().kind(), ErrorKind::Changed);
        assert_eq!((world.published.state, world.published.loaded), (State::Failed, loaded));
    }
}

#[test]
fn a_stream_that_starts_again_with_the_same_bytes_goes_on() {
    // Rules 21 to 23.
    for loaded in [10_u64, 4096, 4097, 1_000_000] {
        let mut world = halfway(radio(), loaded);
        for _ in 0..2 {
            world.breaks();
            world.wait();
            assert_eq!(world.last_opening().offset, loaded.saturating_sub(64 * 1024));
            world.opened(radio());
            world.send(loaded);
        }
        world.send(SIZE - loaded);
        assert!(world.next_bytes() == source(0, SIZE));
    }
}

#[test]
fn a_stream_of_a_versioned_source_is_not_compared() {
    // Rule 22: the version is the proof, and no bytes are kept.
    let mut world = halfway(versioned(), 1000);
    world.breaks();
    world.wait();
    world.opened(OpenedStream { start: Some(0), ..versioned() });
    world.send_bytes(vec![0; 1000].into());
    world.send(1);
    assert_eq!(world.published.loaded, 1001);
}

/// A source that has told a version and does not any more. The stream breaks after 500,000 bytes, and the next two
/// openings tell no version.
fn lost(limits: Limits) -> World {
    let mut world = World::source(limits);
    world.read(0, SIZE);
    world.opened(versioned());
    world.send(500_000);
    world.breaks();
    for _ in 0..2 {
        world.wait();
        assert_eq!(world.last_opening().offset, 500_000);
        assert!(world.last_opening().version.is_some());
        world.opened(told(None, Some(SIZE)));
    }
    world
}

#[test]
fn a_source_that_tells_no_version_any_more_is_proven_by_the_last_bytes_in_memory() {
    // Rule 22.
    let overlap = 64 * 1024;
    let mut world = lost(PLAIN);
    for from in [500_000, 1_000_000] {
        // At once, and again after each break.
        let opening = world.last_opening();
        assert_eq!((opening.offset, opening.version), (from - overlap, None));
        world.opened(told(None, Some(SIZE)));
        world.send(overlap + 500_000);
        assert_eq!(world.published.loaded, from + 500_000);
        world.breaks();
        world.wait();
    }
    // The buffer jumps again once the source tells the version again.
    let far = world.read(2_900_000, 10);
    assert!(world.last_opening().offset < 2_900_000, "without a version it does not jump");
    world.opened(versioned());
    assert_eq!(world.last_opening().offset, 2_900_000);
    world.opened(versioned());
    world.send_of(world.last_opened(), 10);
    assert_eq!(world.next_answer().0, far.id);
}

#[test]
fn other_bytes_of_a_source_that_tells_no_version_any_more_are_changed() {
    // Rule 22.
    for wrong in [0, 64 * 1024 - 1] {
        let mut world = lost(PLAIN);
        world.opened(told(None, Some(SIZE)));
        let mut bytes = source(500_000 - 64 * 1024, 600_000).to_vec();
        bytes[wrong] ^= 1;
        world.send_bytes(bytes.into());
        assert_eq!(world.next_error().kind(), ErrorKind::Changed);
        assert_eq!(world.published.loaded, 500_000);
    }
}

#[test]
fn without_a_byte_in_memory_a_source_that_tells_no_version_any_more_fails_at_once() {
    // Rules 22 and 24: no attempt can mend that.
    let mut world = World::source(Limits { max_memory: 0, ..PLAIN });
    world.read(0, SIZE);
    world.opened(versioned());
    world.send(500_000);
    world.breaks();
    world.write_all();
    for _ in 0..2 {
        world.wait();
        world.opened(told(None, Some(SIZE)));
    }
    let error = world.next_error();
    assert_eq!(error.kind(), ErrorKind::Source);
    assert!(error.to_string().contains("500000"), "{error}");
    assert_eq!(world.published.state, State::Failed);
}

#[test]
fn one_opening_without_a_version_is_a_fault_that_passes() {
    // Rules 22 and 24: another server of the resource may have answered it.
    let mut world = halfway(versioned(), 1000);
    for _ in 0..3 {
        world.breaks();
        world.wait();
        world.opened(told(None, Some(SIZE)));
        assert!(matches!(world.published.state, State::Retrying { attempt: 2, .. }));
        assert!(world.ids().is_empty() && world.fresh.is_empty());
        world.wait();
        assert_eq!(world.last_opening().offset, world.published.loaded);
        world.opened(versioned());
        world.send(1000);
    }
}
