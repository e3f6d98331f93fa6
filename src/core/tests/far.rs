//! Offsets near `u64::MAX`, which callers and sources can send: rules 1 and 3. No sum may panic or wrap.

use super::remote::{Remote, told};
use super::*;
use crate::progress::Ranges;
use crate::source::retry::Retry;

const LAST: u64 = u64::MAX;

/// A source that sends bytes wherever it is opened.
fn opened_at(limits: Limits, offset: u64) -> Remote {
    let mut remote = Remote::with(limits, Retry::default());
    remote.ask(Read { offset, len: 1, want: Want::Piece, borrow: false });
    assert_eq!(remote.last_opening().offset, offset);
    remote.opened(told(Some("v1"), None));
    remote
}

#[test]
fn bytes_after_the_largest_offset_are_cut_off() {
    // Rules 1 and 3: no resource has a byte at `u64::MAX`, whatever a source sends.
    let mut remote = opened_at(PLAIN, LAST - 10);
    remote.send_bytes(source(0, 100));
    assert_eq!(remote.bytes(), source(0, 1));
    assert_eq!(remote.core.ranges().resident, [LAST - 10..LAST]);
    assert!(remote.streams.is_empty(), "the stream has no more bytes");
    remote.read(LAST - 3, 100);
    assert_eq!(remote.bytes(), source(7, 10));
}

#[test]
fn a_chunk_that_ends_at_the_largest_offset_fills_the_last_block() {
    let len = BLOCK as u64 + 1000;
    let mut remote = opened_at(PLAIN, LAST - len);
    remote.send_bytes(source(0, len + 7));
    let first = remote.bytes();
    assert!(!first.is_empty() && first == source(0, first.len() as u64));
    remote.load(LAST - len..LAST);
    remote.answer().1.unwrap();
    let Ranges { resident, .. } = remote.core.ranges();
    assert_eq!(resident, [LAST - len..LAST]);
    for (from, to) in [(0, 10), (BLOCK as u64 - 5, BLOCK as u64 + 5), (len - 10, len)] {
        remote.read(LAST - len + from, to - from);
        assert_eq!(remote.bytes(), source(from, to));
    }
}

#[test]
fn spilled_bytes_at_the_largest_offset_are_read_back() {
    // Rules 12 and 27: the slot is near the start of the store, and the offset is not.
    let limits = Limits { max_disk: 4 * BLOCK as u64, ..PLAIN };
    let mut remote = opened_at(limits, LAST - 1000);
    remote.send_bytes(source(0, 1000));
    remote.bytes();
    let token = remote.ticket();
    remote.event(Event::Spill { token });
    remote.write_succeeds();
    remote.answer().1.unwrap();
    for want in [Want::Exact, Want::Piece, Want::Run] {
        remote.ask(Read { offset: LAST - 1000, len: u64::MAX, want, borrow: false });
        assert_eq!(remote.bytes(), source(0, 1000), "{want:?}");
    }
}

#[test]
fn a_new_limit_discards_a_block_at_the_largest_offset() {
    // Rule 28.
    let mut remote = opened_at(PLAIN, LAST - 10);
    remote.send_bytes(source(0, 10));
    remote.bytes();
    let token = remote.ticket();
    remote.event(Event::Spill { token });
    // The store of this test holds no bytes, so that it can have any place.
    remote.writing = None;
    remote.event(Event::Written);
    remote.answer().1.unwrap();
    let token = remote.ticket();
    remote.event(Event::SetLimits { max_memory: None, max_disk: Some(0), token });
    let write = remote.writing.take().expect("the place is given back");
    assert_eq!(write.discarded, [LAST / BLOCK as u64 * BLOCK as u64..LAST]);
    remote.event(Event::Written);
    remote.answer().1.unwrap();
    assert_eq!(remote.published.loaded, 0);
}

#[test]
fn a_read_at_the_largest_offset_waits_for_the_end_and_does_not_open_again_and_again() {
    // Rule 1: only the end of the resource shows that there is no byte.
    let mut remote = Remote::new();
    remote.read(LAST, 1);
    assert_eq!(remote.last_opening().offset, 0, "the end is found from the furthest byte");
    remote.opened(told(Some("v1"), None));
    remote.send(1000);
    remote.finish_openings(1);
    remote.ends();
    assert!(remote.bytes().is_empty());
    remote.finish_openings(1);
}

#[test]
fn a_byte_before_the_largest_offset_is_the_last_one() {
    // Rule 1. The size is asked for before and after the byte.
    let mut remote = Remote::new();
    let read = Read { offset: LAST - 1, len: 1, want: Want::Exact, borrow: false };
    let (token, size) = (remote.ticket(), remote.ticket());
    remote.event(Event::Read { read, token });
    remote.opened(told(Some("v1"), None));
    remote.event(Event::Size { token: size });
    remote.send_bytes(source(0, 1));
    assert_eq!(remote.bytes(), source(0, 1));
    assert!(remote.bytes().is_empty());
    assert_eq!(remote.published.size, Some(LAST));
    remote.read(LAST, u64::MAX);
    assert!(remote.bytes().is_empty());
    let size = remote.ticket();
    remote.event(Event::Size { token: size });
    assert!(remote.bytes().is_empty());
    // The first request for the size looked for the end from the start on.
    remote.finish_openings(2);
}

#[test]
fn a_read_at_the_largest_offset_of_a_resource_that_ends_there_is_empty() {
    // Rule 1: the known end answers it, and no byte is pulled for it.
    let size = Some(LAST);
    for version in [Some("v1"), None] {
        let mut remote = Remote::new();
        remote.read(LAST, 1);
        remote.opened(told(version, size));
        assert!(remote.bytes().is_empty(), "it was told while the read waited");
        remote.read(LAST, u64::MAX);
        assert!(remote.bytes().is_empty(), "it was known before");
        assert!(!remote.wants());
        remote.read(0, 10);
        remote.send(10);
        assert_eq!(remote.bytes(), source(0, 10));
        remote.read(LAST, 1);
        assert!(remote.bytes().is_empty());
    }
}
