//! Offsets near `u64::MAX`, which callers and sources can send: rules 1 and 3. No sum may panic or wrap.

use super::*;
use crate::progress::Ranges;

const LAST: u64 = u64::MAX;

/// A source that sends bytes wherever it is opened.
fn opened_at(limits: Limits, offset: u64) -> World {
    let mut world = World::source(limits);
    world.ask(Read { offset, len: 1, want: Want::Piece });
    assert_eq!(world.last_opening().offset, offset);
    world.opened(told(Some("v1"), None));
    world
}

#[test]
fn bytes_after_the_largest_offset_are_cut_off() {
    // Rules 1 and 3: no resource has a byte at `u64::MAX`, whatever a source sends.
    let mut world = opened_at(PLAIN, LAST - 10);
    world.send_bytes(source(0, 100));
    assert_eq!(world.next_bytes(), source(0, 1));
    assert_eq!(world.ranges().resident, [LAST - 10..LAST]);
    assert!(world.ids().is_empty(), "the stream has no more bytes");
    world.read(LAST - 3, 100);
    assert_eq!(world.next_bytes(), source(7, 10));
}

#[test]
fn a_chunk_that_ends_at_the_largest_offset_fills_the_last_block() {
    let len = BLOCK as u64 + 1000;
    let mut world = opened_at(PLAIN, LAST - len);
    world.send_bytes(source(0, len + 7));
    let first = world.next_bytes();
    assert!(!first.is_empty() && first == source(0, first.len() as u64));
    world.load(LAST - len..LAST);
    world.next_answer().1.unwrap();
    let Ranges { resident, .. } = world.ranges();
    assert_eq!(resident, [LAST - len..LAST]);
    for (from, to) in [(0, 10), (BLOCK as u64 - 5, BLOCK as u64 + 5), (len - 10, len)] {
        world.read(LAST - len + from, to - from);
        assert_eq!(world.next_bytes(), source(from, to));
    }
}

#[test]
fn spilled_bytes_at_the_largest_offset_are_read_back() {
    // Rules 12 and 27: the slot is near the start of the store, and the offset is not.
    let limits = Limits { max_disk: 4 * BLOCK as u64, ..PLAIN };
    let mut world = opened_at(limits, LAST - 1000);
    world.send_bytes(source(0, 1000));
    world.next_bytes();
    world.spill();
    world.write_succeeds();
    world.next_answer().1.unwrap();
    for want in [Want::Exact, Want::Piece, Want::Run] {
        world.ask(Read { offset: LAST - 1000, len: u64::MAX, want });
        assert_eq!(world.next_bytes(), source(0, 1000), "{want:?}");
    }
}

#[test]
fn a_new_limit_discards_a_block_at_the_largest_offset() {
    // Rule 28.
    let mut world = opened_at(PLAIN, LAST - 10);
    world.send_bytes(source(0, 10));
    world.next_bytes();
    world.spill();
    world.write_succeeds();
    world.next_answer().1.unwrap();
    world.set_limits(None, Some(0));
    world.write_succeeds();
    assert_eq!(world.disk.discarded, [LAST / BLOCKS * BLOCKS..LAST], "the place is given back");
    world.next_answer().1.unwrap();
    assert_eq!(world.published.loaded, 0);
}

#[test]
fn a_read_at_the_largest_offset_waits_for_the_end_and_does_not_open_again_and_again() {
    // Rule 1: only the end of the resource shows that there is no byte.
    let mut world = World::source(PLAIN);
    world.read(LAST, 1);
    assert_eq!(world.last_opening().offset, 0, "the end is found from the furthest byte");
    world.opened(told(Some("v1"), None));
    world.send(1000);
    assert_eq!(world.openings(), 1);
    world.ends();
    assert!(world.next_bytes().is_empty());
    assert_eq!(world.openings(), 1);
}

#[test]
fn a_byte_before_the_largest_offset_is_the_last_one() {
    // Rule 1. The size is asked for before and after the byte.
    let mut world = World::source(PLAIN);
    let read = Read { offset: LAST - 1, len: 1, want: Want::Exact };
    world.ask(read);
    world.opened(told(Some("v1"), None));
    world.ask_size();
    world.send_bytes(source(0, 1));
    assert_eq!(world.next_bytes(), source(0, 1));
    assert!(world.next_bytes().is_empty());
    assert_eq!(world.published.size, Some(LAST));
    world.read(LAST, u64::MAX);
    assert!(world.next_bytes().is_empty());
    world.ask_size();
    assert!(world.next_bytes().is_empty());
    // The first request for the size looked for the end from the start on.
    assert_eq!(world.openings(), 2);
}

#[test]
fn a_read_at_the_largest_offset_of_a_resource_that_ends_there_is_empty() {
    // Rule 1: the known end answers it, and no byte is pulled for it.
    let size = Some(LAST);
    for version in [Some("v1"), None] {
        let mut world = World::source(PLAIN);
        world.read(LAST, 1);
        world.opened(told(version, size));
        assert!(world.next_bytes().is_empty(), "it was told while the read waited");
        world.read(LAST, u64::MAX);
        assert!(world.next_bytes().is_empty(), "it was known before");
        assert!(!world.wants());
        world.read(0, 10);
        world.send(10);
        assert_eq!(world.next_bytes(), source(0, 10));
        world.read(LAST, 1);
        assert!(world.next_bytes().is_empty());
    }
}
