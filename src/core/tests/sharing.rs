//! Readers and streams that share a store with a limit: rules 4 and 27.

use super::limits::BLOCKS;
use super::remote::{Remote, told};
use super::*;
use crate::source::retry::Retry;

#[test]
fn exact_reads_that_share_a_small_store_all_end() {
    // Rules 4 and 27: bytes that one read has waited for are not lost to another one.
    for (memory, disk, readers) in [(0, 0, 8), (0, 1, 8), (0, 3, 16), (2, 1, 30)] {
        let limits = Limits {
            max_memory: memory * BLOCK,
            max_disk: disk * BLOCKS,
            streams: readers as usize,
            read_ahead: 0,
            ..PLAIN
        };
        let mut remote = Remote::with(limits, Retry::default());
        let mut left: Vec<_> = (0..readers).map(|number| number * BLOCKS..(number + 1) * BLOCKS).collect();
        let mut ids: Vec<_> = left.iter().map(|range| remote.read(range.start, BLOCKS)).collect();
        for round in 0.. {
            assert!(round < 10_000, "{left:?} after {} bytes", remote.sent);
            for stream in remote.streams.keys().copied().collect::<Vec<_>>() {
                match remote.streams.get(&stream).copied() {
                    Some(None) => remote.opened_as(stream, told(Some("v1"), Some(8 * MIB as u64))),
                    Some(Some(_)) if remote.wants_of(stream) => remote.send_of(stream, 16_384),
                    _ => {}
                }
            }
            while remote.writing.is_some() {
                remote.write_succeeds();
            }
            while let Some((id, bytes)) = remote.answers.pop_front() {
                let number = ids.iter().position(|other| *other == id).unwrap();
                let (range, bytes) = (&mut left[number], bytes.unwrap());
                assert!(bytes == source(range.start, range.start + bytes.len() as u64), "wrong bytes");
                range.start += bytes.len() as u64;
                if !range.is_empty() {
                    ids[number] = remote.read(range.start, range.end - range.start);
                }
            }
            if left.iter().all(std::ops::Range::is_empty) {
                break;
            }
            if remote.streams.values().all(Option::is_some)
                && (0..readers as usize).all(|stream| !remote.wants_of(stream))
            {
                remote.wait();
            }
        }
        assert!(remote.sent <= 2 * readers * BLOCKS, "{} bytes for {readers} blocks", remote.sent);
    }
}

#[test]
fn read_ahead_does_not_discard_unread_bytes_because_a_request_waits_elsewhere() {
    // Rule 27: which bytes may be discarded is decided for each stream.
    for (memory, disk) in [(0, 2), (2, 0), (2, 4)] {
        let limits =
            Limits { max_memory: memory * BLOCK, max_disk: disk * BLOCKS, read_ahead: u64::MAX, ..PLAIN };
        let mut remote = Remote::with(limits, Retry::default());
        remote.pump();
        remote.opened(told(Some("v1"), Some(8 * MIB as u64)));
        // An opening far away hangs.
        remote.read(7 * MIB as u64, 1000);
        assert!(remote.is_opening());
        while remote.wants_of(0) {
            remote.send_of(0, 16_384);
            while remote.writing.is_some() {
                remote.write_succeeds();
            }
            assert_eq!(remote.core.layout.first_missing(0), remote.sent, "discarded unread");
        }
        let held = (memory as u64 + disk) * BLOCKS;
        assert!((held..=held + 5 * BLOCKS).contains(&remote.sent), "{} bytes of {held}", remote.sent);
        // Its request gets its bytes.
        remote.opened(told(Some("v1"), Some(8 * MIB as u64)));
        let far = remote.stream_at(7 * MIB as u64);
        assert!(remote.wants_of(far));
        remote.send_of(far, 1000);
        while remote.writing.is_some() {
            remote.write_succeeds();
        }
        assert_eq!(remote.bytes(), source(7 * MIB as u64, 7 * MIB as u64 + 1000));
    }
}
